// oribi_hpp.cpp - what oribi.hpp adds to oribi.h: owners, exceptions, ranges, callbacks. Run by tests/cpp.rs on the files of
// tests/common/capi_files.rs; the folder is the argument.

#include <algorithm>
#include <array>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <iostream>
#include <oribi.hpp>
#include <sstream>
#include <thread>
#include <unistd.h>

static int n_failed = 0;

#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) {                                                          \
      n_failed++;                                                                \
      std::cout << "FAILED " << __FILE__ << ":" << __LINE__ << ": " #condition "\n"; \
    }                                                                            \
  } while (0)

// A call that throws an oribi::error of a status, whose text has a word.
template <class Call>
static bool fails(oribi_status status, std::string_view word, Call &&call) {
  try {
    call();
  } catch (const oribi::error &error) {
    if (error.status() == status && std::string_view(error.what()).find(word) != std::string_view::npos) return true;
    std::cout << "got " << error.status_name() << ": " << error.what() << "\n";
    return false;
  }
  std::cout << "nothing was thrown\n";
  return false;
}

// A call out of which an exception of the host's own type comes.
struct own_exception {
  int number;
};
template <class Call>
static int thrown_number(Call &&call) {
  try {
    call();
  } catch (const own_exception &thrown) {
    return thrown.number;
  }
  return 0;
}

static std::string folder;
static std::string path(const char *name) { return folder + "/" + name; }

static oribi::options greedy(int max_tokens) {
  oribi::options options;
  options.set("temp", 0.0).set("max_tokens", max_tokens).set("n_ctx", 256).set("n_sequences", 2).set("ban_end_of_generation", true);
  return options;
}

static const oribi::model &tiny() {
  static oribi::model model(path("tiny.gguf"));
  return model;
}

static void what_runs_says_what_it_is() {
  CHECK(oribi::version() == ORIBI_VERSION);
  CHECK(oribi::abi_version() == ORIBI_ABI_VERSION);
  CHECK(oribi::cpu_default_threads() > 0);
  CHECK(oribi::cpu_report().find("\"features\"") != std::string::npos);
  CHECK(oribi::cpu_report("scalar").find("scalar") != std::string::npos);
  auto list = oribi::option_list();
  CHECK(list.size() > 30 && std::string_view(list[0].key) == "n_threads" && std::string_view(list[0].type) == "an integer");
  CHECK(list[0].about[0] != '\0');
}

static void errors_carry_status_and_reason() {
  CHECK(fails(ORIBI_STATUS_IO, "absent.gguf", [] { oribi::model model(path("absent.gguf")); }));
  CHECK(fails(ORIBI_STATUS_NOT_GGUF, "", [] { oribi::file file(path("garbage.gguf")); }));
  CHECK(fails(ORIBI_STATUS_DEVICE, "", [] { oribi::cpu_report(oribi::cpu_report("scalar").find("neon") == 0 ? "amx" : "neon"); }) ||
        fails(ORIBI_STATUS_DEVICE, "", [] { oribi::cpu_report("amx"); }));
  oribi::options options;
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "n_ctx", [&] { options.set("n_ctx", -1); }));
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "temp", [&] { options.set("temp", 0); }));
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "nothing", [&] { options.reset("nothing"); }));
  try {
    options.set("top_p", 2.0);
  } catch (const std::runtime_error &error) {
    CHECK(std::string_view(error.what()).find("top_p") != std::string_view::npos);
  }
}

static void options_take_every_type() {
  oribi::options options;
  std::string name = "q8_0";
  options.set("n_ctx", 64).set("seed", std::uint64_t(-1)).set("temp", 0.5f).set("pack_weights", true).set("kv_type", "f16");
  options.set("kv_type", name).add_text("stop_strings", "w270").add_token("stop_tokens", 7).add_logit_bias(5, 1.0f);
  options.reset("stop_tokens");
  oribi::options copy = options.clone();
  CHECK(oribi::session(tiny(), copy).n_ctx() == 64);
  CHECK(oribi::sampler(oribi::tokenizer(tiny()), options).seed() == UINT64_MAX);
}

static void owners_move() {
  static_assert(!std::is_copy_constructible_v<oribi::model> && std::is_nothrow_move_constructible_v<oribi::model>);
  static_assert(!std::is_copy_assignable_v<oribi::session> && std::is_nothrow_move_assignable_v<oribi::session>);
  oribi::tokenizer first(tiny());
  oribi::tokenizer second = std::move(first);
  CHECK(second.n_tokens() == 300 && first.get() == nullptr && first.n_tokens() == 0);
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "tokenizer is NULL", [&] { first.encode("x"); }));
  first = std::move(second);
  CHECK(first.n_tokens() == 300);
  oribi::model gone(path("tiny.gguf"));
  oribi::session session(gone);  // keeps the model alive
  { oribi::model other = std::move(gone); }
  CHECK(gone.architecture().empty() && session.n_ctx() == 1024);
}

static void files_tell_all() {
  oribi::file file(path("tiny.gguf"));
  CHECK(file.version() == 3 && file.n_shards() == 1 && file.len() > 1000);
  CHECK(file.predict_memory() > file.predict_memory({}, ORIBI_MEMORY_SCRATCH));
  auto at = [&](const char *key) { return file.metadata_find(key); };
  CHECK(file.metadata_key(at("test.huge")) == "test.huge" && at("test.huge") < file.n_metadata());
  CHECK(fails(ORIBI_STATUS_MISSING_KEY, "test.none", [&] { at("test.none"); }));
  CHECK(file.metadata_ints(at("test.negative")) == std::vector<std::int64_t>{-5});
  CHECK(fails(ORIBI_STATUS_WRONG_TYPE, "test.huge", [&] { file.metadata_ints(at("test.huge")); }));
  CHECK((file.metadata_floats(at("test.doubles")) == std::vector<double>{0.25, 2.0}));
  CHECK((file.metadata_bools(at("test.bools")) == std::vector<bool>{true, false, true}));
  CHECK((file.metadata_texts(at("test.texts")) == std::vector<std::string_view>{"one", "", "drei"}));
  auto type = file.metadata_type(at("test.texts"));
  CHECK(type.type == ORIBI_VALUE_TYPE_TEXT && type.is_array && type.n_elems == 3);
  auto tensor = file.tensor_find("token_embd.weight");
  CHECK(tensor < file.n_tensors() && file.tensor_name(tensor) == "token_embd.weight" && file.tensor_dtype(tensor) == "Q8_0");
  CHECK((file.tensor_shape(tensor) == std::vector<std::uint64_t>{256, 300}) && file.tensor_len(tensor) == 300 * 256 / 32 * 34);
  CHECK(oribi::tokenizer(file).n_tokens() == 300);

  int fd = open(path("inside.bin").c_str(), O_RDONLY);
  auto inside = oribi::file::from_fd(fd, 4099, file.len());
  close(fd);
  CHECK(oribi::model(inside).n_blocks() == 2);
}

static std::vector<std::byte> bytes_of(const char *name) {
  std::ifstream file(path(name), std::ios::binary);
  std::string all{std::istreambuf_iterator<char>(file), {}};
  auto data = reinterpret_cast<const std::byte *>(all.data());
  return {data, data + all.size()};
}

static void files_come_from_memory_and_from_readers() {
  auto memory = std::make_shared<std::vector<std::byte>>(bytes_of("tiny.gguf"));
  std::weak_ptr<std::vector<std::byte>> watched = memory;
  {
    std::optional<oribi::model> model;
    {
      auto file = oribi::file::from_memory(memory->data(), memory->size(), memory);
      memory.reset();
      model.emplace(file);
    }
    CHECK(!watched.expired() && model->file().metadata_find("test.bool") > 0);
  }
  CHECK(watched.expired());
  auto keeper = std::make_shared<int>(0);
  CHECK(fails(ORIBI_STATUS_NOT_GGUF, "", [&] { oribi::file::from_memory("no such file", 12, keeper); }));
  CHECK(keeper.use_count() == 1);

  // Read in short pieces, by a lambda that lives as long as the model; then one that throws, at once and while weights are read.
  auto all = bytes_of("tiny.gguf");
  std::uint64_t failing_from = UINT64_MAX;
  auto read = [all, keeper, &failing_from](std::uint64_t offset, oribi::span<std::byte> buffer) {
    if (offset >= failing_from) throw own_exception{7};
    std::size_t n = std::min<std::size_t>({buffer.size(), all.size() - offset, 1000});
    std::copy_n(all.data() + offset, n, buffer.data());
    return n;
  };
  {
    auto file = oribi::file::from_read_at(all.size(), read);
    CHECK(oribi::model(file).n_blocks() == 2);
    failing_from = all.size() - 5000;
    CHECK(thrown_number([&] { oribi::model model(file); }) == 7);
    failing_from = 0;
    CHECK(thrown_number([&] { oribi::file::from_read_at(all.size(), read); }) == 7);
  }
  CHECK(keeper.use_count() == 2);  // here and in `read`
}

static void models_tell_their_sizes() {
  const oribi::model &model = tiny();
  CHECK(model.architecture() == "llama" && !model.isa().empty() && model.n_tokens() == 300 && model.n_ctx_train() == 1024);
  CHECK(model.dim() == 256 && model.n_blocks() == 2 && model.n_heads() == 4 && model.n_kv_heads() == 2);
  CHECK(model.n_threads() > 0 && model.bytes_per_token() > 0 && model.load_seconds() > 0);
  CHECK(model.is_native() == (model.isa() == "amx" || model.isa() == "avx512bf16"));
  CHECK(model.file().n_tensors() == oribi::file(path("tiny.gguf")).n_tensors());
}

static void files_are_quantized_and_models_measured() {
  oribi::options options;
  options.set("requantize", true);
  oribi::file file(path("tiny.gguf"));
  auto made = path("tiny.gguf") + ".q4_0";
  file.quantize("Q4_0", made, options);
  CHECK(oribi::file(made).len() == file.quantized_len("Q4_0", options) && std::remove(made.c_str()) == 0);
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "Q9_X", [&] { file.quantize("Q9_X", made, options); }));
  std::string text;
  for (int i = 0; i < 60; i++) text += "the quick brown fox jumps over the lazy dog; ";
  auto found = tiny().perplexity(text, 1);
  CHECK(found.value > 1 && found.standard_error > 0);
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "chunk", [&] { tiny().perplexity("short"); }));
}

static void text_becomes_tokens_and_back() {
  oribi::tokenizer tokenizer(tiny());
  CHECK(tokenizer.adds_bos() && !tokenizer.adds_eos());
  auto tokens = tokenizer.encode("h\xc3\xa9", false);
  CHECK(!tokens.empty() && tokenizer.encode("h\xc3\xa9").size() == tokens.size() + 1);
  CHECK(tokenizer.decode(tokens).find("h\xc3\xa9") != std::string::npos);
  CHECK(tokenizer.decode(std::array<std::uint32_t, 2>{270, 280}) == "w270 w280");
  CHECK(tokenizer.encode_prompt("x")[0] == 1 && tokenizer.encode("</s>", false, true) == std::vector<std::uint32_t>{2});
  CHECK(tokenizer.token_text(2) == "</s>" && tokenizer.token_kind(2) == ORIBI_TOKEN_KIND_CONTROL && tokenizer.is_end(2));
  CHECK(tokenizer.find("</s>") == 2 && tokenizer.role_token(ORIBI_ROLE_TOKEN_BOS) == 1);
  CHECK(tokenizer.token_bytes(3 + 0xc3).size() == 1 && static_cast<unsigned char>(tokenizer.token_bytes(3 + 0xc3)[0]) == 0xc3);
  CHECK(fails(ORIBI_STATUS_MISSING_KEY, "", [&] { tokenizer.role_token(ORIBI_ROLE_TOKEN_MASK); }));
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "UTF-8", [&] { tokenizer.encode("\xff"); }));
  oribi::decoder decoder(tokenizer);
  std::string text;
  for (auto token : tokens) text += decoder.push(token);
  text += decoder.finish();
  CHECK(text.find("h\xc3\xa9") != std::string::npos);
}

static void conversations_are_rendered() {
  oribi::file file(path("tiny.gguf"));
  oribi::chat_template chat_template(file);
  CHECK(chat_template.source().find("add_generation_prompt") != std::string_view::npos);
  oribi::messages messages;
  messages.add("user", "hello").add_json(R"({"role":"tool","content":"t"})").set_variable("mood", "\"good\"");
  CHECK(chat_template.render(messages) == "<user>hello<tool>t|good<assistant>");
  CHECK(chat_template.render(messages, false) == "<user>hello<tool>t|good");
  CHECK(fails(ORIBI_STATUS_TEMPLATE, "nobody speaks", [&] { chat_template.render(messages.clear()); }));
  CHECK(oribi::chat_template(file, "other").source() == "other template");
}

static void batches_give_logits() {
  oribi::session session(tiny(), greedy(1));
  auto sequence = session.new_sequence();
  std::array<std::uint32_t, 3> prompt{1, 270, 280};
  oribi::batch batch;
  batch.add_prompt(sequence, prompt);
  CHECK(batch.len() == 3);
  session.decode(batch);
  CHECK(session.n_outputs() == 1 && session.len(sequence) == 3 && session.kv_bytes() > 0);
  std::vector<float> logits(session.logits(0).begin(), session.logits(0).end());
  CHECK(logits.size() == 300);

  oribi::tokenizer tokenizer(tiny());
  oribi::options options = greedy(1);
  options.set("logprobs", 2);
  oribi::sampler sampler(tokenizer, options);
  auto token = sampler.sample(logits);
  sampler.accept(token);
  CHECK(sampler.top(0).token == token && sampler.top(0).logprob == sampler.logprob() && sampler.top(1).logprob <= sampler.logprob());
  oribi::sampler other = sampler.clone();
  sampler.reset();
  CHECK(other.seed() == sampler.seed() && other.sample(logits) == token);

  auto forked = session.fork(sequence);
  batch.clear().add(forked, token, ORIBI_ROLE_GENERATED, true);
  session.decode(batch);
  CHECK(session.len(forked) == 4 && session.len(sequence) == 3);
  session.truncate(forked, 2);
  CHECK(session.len(forked) == 2);
  session.remove(forked);
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "sequence", [&] { session.len(forked); }));
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "output 9", [&] { session.logits(9); }));
}

static void states_and_embeddings_come_and_go() {
  oribi::session session(tiny(), greedy(1));
  auto sequence = session.new_sequence();
  std::array<std::uint32_t, 3> prompt{1, 270, 280};
  oribi::batch batch;
  batch.add_prompt(sequence, prompt);
  auto mean = session.embed(batch, ORIBI_POOLING_MEAN);
  CHECK(mean.size() == tiny().dim() && session.n_outputs() == 0);
  session.truncate(sequence, 0);
  session.decode(batch);
  CHECK(session.embedding(0).size() == tiny().dim());
  std::vector<float> logits(session.logits(0).begin(), session.logits(0).end());

  std::array<std::uint32_t, 1> saved{sequence};
  auto state = session.save(saved);
  CHECK(state.size() == session.state_len(saved));
  session.save_file(saved, path("state.bin"));
  oribi::session other(tiny(), greedy(1));
  CHECK(other.restore(state).size() == 1);
  auto restored = other.restore_file(path("state.bin"));
  CHECK(restored.size() == 1 && other.len(restored[0]) == 3);
  other.truncate(restored[0], 2);
  batch.clear().add(restored[0], 280, ORIBI_ROLE_PROMPT, true);
  other.decode(batch);
  CHECK(std::equal(logits.begin(), logits.end(), other.logits(0).begin()));
  CHECK(fails(ORIBI_STATUS_TRUNCATED, "", [&] { session.restore({state.data(), state.size() - 1}); }));
  CHECK(fails(ORIBI_STATUS_INVALID_ARGUMENT, "room for 0", [&] { session.restore(state, 0); }));
}

// A generation with all that it needs.
struct run_of {
  oribi::options options;
  oribi::session session{tiny(), options};
  oribi::tokenizer tokenizer{tiny()};
  oribi::sampler sampler{tokenizer, options};
  std::uint32_t sequence = session.new_sequence();
  std::vector<std::uint32_t> prompt{1, 270, 280, 290};
  oribi::generation generation{session, sequence, sampler, prompt, options};
  explicit run_of(oribi::options with) : options(std::move(with)) {}
};

static void pull_range_and_callback_give_the_same() {
  std::vector<std::uint32_t> pulled, ranged, heard;
  run_of a(greedy(6)), b(greedy(6)), c(greedy(6));
  while (auto piece = a.generation.next()) pulled.push_back(piece->token());
  for (auto piece : b.generation) ranged.push_back(piece.token());
  c.generation.run([&](oribi::piece piece) { heard.push_back(piece.token()); });
  CHECK(pulled.size() == 6 && pulled == ranged && pulled == heard);
  CHECK(a.generation.stop_reason() == ORIBI_STOP_REASON_LENGTH && a.generation.timing(ORIBI_TIMING_GENERATED_TOKENS) == 6);
  CHECK(b.session.len(b.sequence) == 9);

  // One that returns false stops for now; a const one may be called, too.
  run_of d(greedy(6));
  std::size_t n = 0;
  const auto twice = [&](oribi::piece) { return ++n < 2; };
  d.generation.run(twice);
  CHECK(n == 2 && d.generation.stop_reason() == ORIBI_STOP_REASON_NONE);
  d.generation.run([&](oribi::piece) { n++; });
  CHECK(n == 6);

  oribi::options options = greedy(2);
  options.set("logprobs", 1).add_logit_bias(270, 1e6f);
  run_of e(std::move(options));
  auto piece = e.generation.next();
  CHECK(piece && piece->text() == " w270" && piece->logprob() <= 0 && piece->top(0).logprob >= piece->logprob());
}

static void callbacks_hear_of_work() {
  std::ostringstream log;
  std::uint64_t last = 0, total = 0;
  bool was_asked = false;
  oribi::options options = greedy(2);
  options.set_log([&](oribi_log_level, std::string_view text) { log << text; });
  options.set_progress([&](oribi_phase phase, std::uint64_t done, std::uint64_t all) {
    if (phase == ORIBI_PHASE_LOAD) last = done, total = all;
  });
  options.set_cancel_callback([&] { return was_asked = true, false; });
  oribi::model model(path("tiny.gguf"), options);
  CHECK(log.str().find("llama") != std::string::npos && last == total && total > 0 && was_asked);

  // Callbacks that are replaced are no concern of what was made before; clones share them.
  std::string heard;
  auto named = [&](const char *name) { return [&heard, name](oribi_log_level, std::string_view) { heard += name; }; };
  options.set_log(named("a"));
  oribi::options copy = options.clone();
  options.set_log(nullptr).set_progress(nullptr).set_cancel_callback(nullptr);
  oribi::model silent(path("tiny.gguf"), options);
  CHECK(heard.empty());
  oribi::model loud(path("tiny.gguf"), copy);
  CHECK(heard.find('a') == 0);
}

static void exceptions_come_out_of_the_call() {
  // Out of each kind of callback; what was made is freed, and the call is ended.
  oribi::options options = greedy(6);
  options.set_log([](oribi_log_level, std::string_view) { throw own_exception{1}; });
  CHECK(thrown_number([&] { oribi::model model(path("tiny.gguf"), options); }) == 1);
  options.set_log(nullptr).set_progress([](oribi_phase, std::uint64_t, std::uint64_t) { throw own_exception{2}; });
  CHECK(thrown_number([&] { oribi::model model(path("tiny.gguf"), options); }) == 2);
  options.set_progress(nullptr).set_cancel_callback([]() -> bool { throw own_exception{3}; });
  CHECK(thrown_number([&] { oribi::model model(path("tiny.gguf"), options); }) == 3);

  run_of a(greedy(6));
  int n = 0;
  CHECK(thrown_number([&] {
          a.generation.run([&](oribi::piece) {
            if (++n == 3) throw own_exception{4};
          });
        }) == 4);
  CHECK(n == 3);
  a.generation.run([&](oribi::piece) { n++; });  // it may go on
  CHECK(n == 6);

  // Only the first exception counts, and later callbacks of the call are not called.
  int n_calls = 0;
  options.set_cancel_callback(nullptr).set_progress([&](oribi_phase, std::uint64_t, std::uint64_t) {
    n_calls++;
    throw own_exception{5};
  });
  CHECK(thrown_number([&] { oribi::model model(path("tiny.gguf"), options); }) == 5 && n_calls == 1);

  // A call that a callback makes keeps its own errors to itself.
  oribi_status inner = ORIBI_STATUS_OK;
  run_of b(greedy(1));
  b.generation.run([&](oribi::piece) {
    try {
      oribi::file file(path("garbage.gguf"));
    } catch (const oribi::error &error) {
      inner = error.status();
    }
  });
  CHECK(inner == ORIBI_STATUS_NOT_GGUF);
}

static void callbacks_live_as_long_as_what_needs_them() {
  auto counter = std::make_shared<int>(0);
  std::weak_ptr<int> watched = counter;
  {
    std::optional<oribi::generation> generation;
    oribi::tokenizer tokenizer(tiny());
    {
      oribi::options options = greedy(4);
      options.set_cancel_callback([counter] { return ++*counter, false; });
      counter.reset();
      oribi::session session(tiny(), options);
      oribi::sampler sampler(tokenizer, options);
      std::vector<std::uint32_t> prompt{1, 270};
      generation.emplace(session, session.new_sequence(), sampler, prompt);
    }
    for (auto piece : *generation) CHECK(piece.token() < 300);
    CHECK(!watched.expired() && *watched.lock() > 0);
  }
  CHECK(watched.expired());
}

static void another_thread_cancels() {
  oribi::cancel cancel;
  oribi::options options = greedy(-1);
  options.set_cancel(cancel);
  run_of a(std::move(options));
  CHECK(a.generation.next().has_value() && !cancel.is_requested());
  std::thread([&] { cancel.request(); }).join();
  CHECK(cancel.is_requested());
  CHECK(fails(ORIBI_STATUS_CANCELLED, "", [&] { a.generation.next(); }));
  CHECK(a.generation.stop_reason() == ORIBI_STOP_REASON_CANCELLED);
  cancel.reset();
  a.options.unset_cancel();
  oribi::generation again(a.session, a.sequence, a.sampler, a.prompt, a.options);
  CHECK(again.next().has_value());
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  folder = argv[1];
  what_runs_says_what_it_is();
  errors_carry_status_and_reason();
  options_take_every_type();
  owners_move();
  files_tell_all();
  files_come_from_memory_and_from_readers();
  models_tell_their_sizes();
  files_are_quantized_and_models_measured();
  text_becomes_tokens_and_back();
  conversations_are_rendered();
  batches_give_logits();
  states_and_embeddings_come_and_go();
  pull_range_and_callback_give_the_same();
  callbacks_hear_of_work();
  exceptions_come_out_of_the_call();
  callbacks_live_as_long_as_what_needs_them();
  another_thread_cancels();
  std::cout << n_failed << " failures\n";
  return n_failed == 0 ? 0 : 1;
}
