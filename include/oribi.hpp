// oribi.hpp - oribi.h for C++17: owners that free themselves, exceptions, ranges, callbacks that are lambdas.
//
// A thin layer: every function of oribi.h has its place here, under its own name and with the meaning, the thread rule and the errors
// that oribi.h documents. What this header adds:
//
// - Owners can be moved, not copied. A moved-from one may be destroyed or assigned to; calls on it throw.
// - A status other than ORIBI_STATUS_OK becomes an oribi::error with the status and the text of oribi_last_error().
// - Text and arrays go in as std::string_view and oribi::span, and come out as std::string and std::vector, or as views where oribi.h
//   lends them; views are valid as long as oribi.h says.
// - Callbacks are anything that can be called. An exception that leaves one does not cross the C boundary: it is kept, the call
//   is ended as soon as it can be, and the exception goes on from the C++ function that the host called.
//
//   oribi::options options;
//   options.set("temp", 0.0).set("max_tokens", 24);
//   oribi::model model("model.gguf", options);
//   oribi::session session(model, options);
//   oribi::tokenizer tokenizer(model);
//   oribi::sampler sampler(tokenizer, options);
//   auto prompt = tokenizer.encode("The capital of France is");
//   for (auto piece : oribi::generation(session, session.new_sequence(), sampler, prompt, options)) std::cout << piece.text();

#ifndef ORIBI_HPP
#define ORIBI_HPP

#include <oribi.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace oribi {

/// A call that failed.
class error : public std::runtime_error {
 public:
  error(oribi_status status, const char *text) : std::runtime_error(text), status_(status) {}
  oribi_status status() const noexcept { return status_; }
  /// The name of the status in oribi.h.
  const char *status_name() const noexcept { return oribi_status_name(status_); }

 private:
  oribi_status status_;
};

/// Elements in a row that somebody else owns, as std::span in C++20.
template <class T>
class span {
 public:
  constexpr span() noexcept = default;
  constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  /// Of anything with data() and size(), for example a std::vector or a std::array.
  template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
  constexpr span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}

  constexpr T *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }
  constexpr T *begin() const noexcept { return data_; }
  constexpr T *end() const noexcept { return data_ + size_; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

namespace detail {

template <class T, void (*Free)(T *)>
struct freed_by {
  void operator()(T *handle) const noexcept { Free(handle); }
};

/// A handle of the host's.
template <class T, void (*Free)(T *)>
using owner = std::unique_ptr<T, freed_by<T, Free>>;

using text_owner = owner<oribi_text, oribi_text_free>;
using tokens_owner = owner<oribi_tokens, oribi_tokens_free>;
using bytes_owner = owner<oribi_bytes, oribi_bytes_free>;
using floats_owner = owner<oribi_floats, oribi_floats_free>;

/// A call under way on this thread. It keeps the first exception that a callback let out; calls that callbacks make nest.
class under_way {
 public:
  under_way() noexcept : outer_(innermost()) { innermost() = this; }
  ~under_way() { innermost() = outer_; }
  under_way(const under_way &) = delete;
  under_way &operator=(const under_way &) = delete;

  /// Keep the exception that is being handled.
  static void keep() noexcept {
    if (under_way *call = innermost(); call != nullptr && !call->thrown_) call->thrown_ = std::current_exception();
  }
  /// Whether an exception waits for the end of the call.
  static bool is_failing() noexcept { return innermost() != nullptr && innermost()->thrown_ != nullptr; }
  void finish(oribi_status status) const {
    if (thrown_) std::rethrow_exception(thrown_);
    if (status != ORIBI_STATUS_OK) throw error(status, oribi_last_error());
  }

 private:
  static under_way *&innermost() noexcept {
    thread_local under_way *call = nullptr;
    return call;
  }
  under_way *outer_;
  std::exception_ptr thrown_;
};

/// Make a call that returns a status.
template <class Call>
void checked(Call &&call) {
  under_way watch;
  watch.finish(call());
}

/// The same for a call with a result.
template <class T, class Call>
T result(Call &&call) {
  T value{};
  checked([&] { return call(&value); });
  return value;
}

/// The same for a call that makes a handle, which is freed if a callback threw nevertheless.
template <class Owner, class Call>
Owner made(Call &&call) {
  Owner owned;
  checked([&] {
    typename Owner::pointer handle = nullptr;
    oribi_status status = call(&handle);
    owned.reset(handle);
    return status;
  });
  return owned;
}

/// The same for a call that lends a text.
template <class Call>
std::string_view lent(Call &&call) {
  const char *text = nullptr;
  std::size_t len_bytes = 0;
  checked([&] { return call(&text, &len_bytes); });
  return {text, len_bytes};
}

inline std::string_view view(const char *text) noexcept { return text == nullptr ? std::string_view() : text; }

template <class Call>
std::string text(Call &&call) {
  auto made_text = made<text_owner>(call);
  return {oribi_text_data(made_text.get()), oribi_text_len(made_text.get())};
}

template <class Call>
std::vector<std::uint32_t> tokens(Call &&call) {
  auto made_tokens = made<tokens_owner>(call);
  const std::uint32_t *data = oribi_tokens_data(made_tokens.get());
  return {data, data + oribi_tokens_len(made_tokens.get())};
}

template <class Call>
std::vector<float> floats(Call &&call) {
  auto made_floats = made<floats_owner>(call);
  const float *data = oribi_floats_data(made_floats.get());
  return {data, data + oribi_floats_len(made_floats.get())};
}

/// Callbacks as they were set at one time. Handles that were made with them keep them alive.
struct hooks {
  std::function<void(oribi_log_level, std::string_view)> log;
  std::function<void(oribi_phase, std::uint64_t, std::uint64_t)> progress;
  std::function<bool()> stop;
  /// What the C options may still point to, should changing them fail midway.
  std::shared_ptr<const hooks> previous;
};

/// Calls a callback; `failed` is its result if it throws.
template <class T, class Callback>
T shielded(T failed, Callback &&callback) noexcept {
  try {
    return callback();
  } catch (...) {
    under_way::keep();
    return failed;
  }
}

inline void hear_log(void *userdata, oribi_log_level level, const char *text, std::size_t len_bytes) {
  if (under_way::is_failing()) return;
  shielded(false, [&] { return static_cast<const hooks *>(userdata)->log(level, {text, len_bytes}), true; });
}
inline void hear_progress(void *userdata, oribi_phase phase, std::uint64_t done, std::uint64_t total) {
  if (under_way::is_failing()) return;
  shielded(false, [&] { return static_cast<const hooks *>(userdata)->progress(phase, done, total), true; });
}
inline bool hear_stop(void *userdata) {
  if (under_way::is_failing()) return true;
  return shielded(true, [&] {
    const hooks *callbacks = static_cast<const hooks *>(userdata);
    return callbacks->stop && callbacks->stop();
  });
}

/// What reads a file, or owns the memory that it is in: the library releases it.
using reader = std::function<std::size_t(std::uint64_t, span<std::byte>)>;

inline std::int64_t read_at(void *userdata, std::uint64_t offset, void *buffer, std::size_t len_bytes) {
  if (under_way::is_failing()) return -1;
  return shielded(std::int64_t(-1), [&] {
    const reader &read = *static_cast<const reader *>(userdata);
    return static_cast<std::int64_t>(read(offset, {static_cast<std::byte *>(buffer), len_bytes}));
  });
}

template <class T>
void release(void *userdata) {
  delete static_cast<T *>(userdata);
}

/// Makes a handle that takes over `loan` if it succeeds.
template <class Owner, class T, class Call>
Owner made_with(std::unique_ptr<T> loan, Call &&call) {
  return made<Owner>([&](auto out) {
    oribi_status status = call(loan.get(), out);
    if (status == ORIBI_STATUS_OK) static_cast<void>(loan.release());
    return status;
  });
}

}  // namespace detail

/// Bytes that the library made.
class bytes {
 public:
  const std::uint8_t *data() const noexcept { return oribi_bytes_data(handle_.get()); }
  std::size_t size() const noexcept { return oribi_bytes_len(handle_.get()); }
  oribi_bytes *get() const noexcept { return handle_.get(); }

 private:
  friend class session;
  explicit bytes(detail::bytes_owner handle) : handle_(std::move(handle)) {}
  detail::bytes_owner handle_;
};

/// The version of the library that runs; ORIBI_VERSION is the one that was compiled against.
inline std::string_view version() noexcept { return oribi_version(); }
inline std::uint32_t abi_version() noexcept { return oribi_abi_version(); }

inline std::size_t cpu_default_threads() noexcept { return oribi_cpu_default_threads(); }
/// What this CPU can do, as JSON; `isa` is NULL for its best instruction set.
inline std::string cpu_report(const char *isa = nullptr) {
  return detail::text([&](auto out) { return oribi_cpu_report(isa, out); });
}

/// The keys of all options, what they mean and what they take.
struct option_info {
  const char *key, *about, *type;
};
inline std::vector<option_info> option_list() {
  std::vector<option_info> list;
  for (std::size_t i = 0; oribi_option_key(i) != nullptr; i++) {
    list.push_back({oribi_option_key(i), oribi_option_about(i), oribi_option_type(i)});
  }
  return list;
}

/// A request to cancel, which any thread can make.
class cancel {
 public:
  cancel() : handle_(detail::made<owner>([](auto out) { return oribi_cancel_new(out); })) {}
  void request() const noexcept { oribi_cancel_request(get()); }
  void reset() const noexcept { oribi_cancel_reset(get()); }
  bool is_requested() const noexcept { return oribi_cancel_is_requested(get()); }
  oribi_cancel *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_cancel, oribi_cancel_free>;
  owner handle_;
};

/// Options and callbacks. Setters return the options, so that calls can be chained.
class options {
 public:
  options() : handle_(detail::made<owner>([](auto out) { return oribi_options_new(out); })) {}
  /// A copy, to be changed apart.
  options clone() const {
    return {hooks_, detail::made<owner>([&](auto out) { return oribi_options_clone(get(), out); })};
  }

  /// By the type of the value: a bool, an integer, a float (0.0, not 0), or a text.
  template <class V>
  options &set(const char *key, const V &value) {
    return change([&] {
      if constexpr (std::is_same_v<V, bool>) {
        return oribi_options_set_bool(get(), key, value);
      } else if constexpr (std::is_integral_v<V>) {
        return oribi_options_set_int(get(), key, static_cast<std::int64_t>(value));
      } else if constexpr (std::is_floating_point_v<V>) {
        return oribi_options_set_float(get(), key, static_cast<double>(value));
      } else {
        std::string_view text = value;
        return oribi_options_set_text(get(), key, text.data(), text.size());
      }
    });
  }
  options &add_text(const char *key, std::string_view value) {
    return change([&] { return oribi_options_add_text(get(), key, value.data(), value.size()); });
  }
  options &add_token(const char *key, std::uint32_t token) {
    return change([&] { return oribi_options_add_token(get(), key, token); });
  }
  options &add_logit_bias(std::uint32_t token, float bias) {
    return change([&] { return oribi_options_add_logit_bias(get(), token, bias); });
  }
  options &reset(const char *key) {
    return change([&] { return oribi_options_reset(get(), key); });
  }

  /// Callbacks are kept alive by what is made with these options; an empty function sets none.
  options &set_log(std::function<void(oribi_log_level, std::string_view)> callback) {
    return set_hooks([&](detail::hooks &hooks) { hooks.log = std::move(callback); });
  }
  options &set_progress(std::function<void(oribi_phase, std::uint64_t, std::uint64_t)> callback) {
    return set_hooks([&](detail::hooks &hooks) { hooks.progress = std::move(callback); });
  }
  options &set_cancel_callback(std::function<bool()> callback) {
    return set_hooks([&](detail::hooks &hooks) { hooks.stop = std::move(callback); });
  }
  options &set_cancel(const cancel &request) {
    return change([&] { return oribi_options_set_cancel(get(), request.get()); });
  }
  options &unset_cancel() {
    return change([&] { return oribi_options_set_cancel(get(), nullptr); });
  }

  oribi_options *get() const noexcept { return handle_.get(); }
  const std::shared_ptr<const detail::hooks> &hooks() const noexcept { return hooks_; }

 private:
  using owner = detail::owner<oribi_options, oribi_options_free>;
  options(std::shared_ptr<const detail::hooks> hooks, owner handle) : hooks_(std::move(hooks)), handle_(std::move(handle)) {}

  template <class Call>
  options &change(Call &&call) {
    detail::checked(call);
    return *this;
  }

  template <class Change>
  options &set_hooks(Change &&change_hooks) {
    auto fresh = hooks_ ? std::make_shared<detail::hooks>(*hooks_) : std::make_shared<detail::hooks>();
    change_hooks(*fresh);
    fresh->previous = hooks_;
    void *userdata = fresh.get();
    bool log = bool(fresh->log), progress = bool(fresh->progress);
    // With any callback there is the one that ends the call when another threw.
    bool any = log || progress || fresh->stop;
    hooks_ = std::move(fresh);
    change([&] { return oribi_options_set_log(get(), log ? detail::hear_log : nullptr, userdata); });
    change([&] { return oribi_options_set_progress(get(), progress ? detail::hear_progress : nullptr, userdata); });
    return change([&] { return oribi_options_set_cancel_callback(get(), any ? detail::hear_stop : nullptr, userdata); });
  }

  std::shared_ptr<const detail::hooks> hooks_;
  owner handle_;
};

/// An open GGUF file: its header, metadata and tensors.
class file {
 public:
  explicit file(const std::string &path)
      : handle_(detail::made<owner>([&](auto out) { return oribi_file_open(path.c_str(), out); })) {}
  /// So many bytes of an open file descriptor, which may be closed at once.
  static file from_fd(int fd, std::uint64_t offset, std::uint64_t len_bytes) {
    return file(detail::made<owner>([&](auto out) { return oribi_file_open_fd(fd, offset, len_bytes, out); }));
  }
  /// A file in memory, which `keeper` keeps as it is; it is let go with the last handle that needs the memory.
  static file from_memory(const void *data, std::size_t len_bytes, std::shared_ptr<const void> keeper) {
    using loan = std::shared_ptr<const void>;
    return file(detail::made_with<owner>(std::make_unique<loan>(std::move(keeper)), [&](loan *userdata, auto out) {
      return oribi_file_open_memory(data, len_bytes, detail::release<loan>, userdata, out);
    }));
  }
  /// A file that `read(offset, buffer)` reads: it returns how many bytes it gave, 0 at the end, and throws if it cannot. It is
  /// destroyed with the last handle that needs it.
  static file from_read_at(std::uint64_t len_bytes, std::function<std::size_t(std::uint64_t, span<std::byte>)> read) {
    return file(detail::made_with<owner>(std::make_unique<detail::reader>(std::move(read)), [&](auto *userdata, auto out) {
      return oribi_file_open_read_at(len_bytes, detail::read_at, detail::release<detail::reader>, userdata, out);
    }));
  }

  std::uint32_t version() const noexcept { return oribi_file_version(get()); }
  std::uint64_t len() const noexcept { return oribi_file_len(get()); }
  std::size_t n_shards() const noexcept { return oribi_file_n_shards(get()); }
  std::uint64_t predict_memory(const options &options = {}, oribi_memory part = ORIBI_MEMORY_TOTAL) const {
    return detail::result<std::uint64_t>([&](auto out) { return oribi_file_predict_memory(get(), options.get(), part, out); });
  }

  /// Writes the file at a quantization level, as oribi_file_quantize() does.
  void quantize(const char *level, const std::string &path, const options &options = {}) const {
    detail::checked([&] { return oribi_file_quantize(get(), options.get(), level, path.c_str()); });
  }
  /// The bytes of that file, from the header alone.
  std::uint64_t quantized_len(const char *level, const options &options = {}) const {
    return detail::result<std::uint64_t>([&](auto out) { return oribi_file_quantized_len(get(), options.get(), level, out); });
  }

  /// The type of a metadata value.
  struct value_type {
    oribi_value_type type;
    bool is_array;
    std::size_t n_elems;
  };
  std::size_t n_metadata() const noexcept { return oribi_file_n_metadata(get()); }
  std::string_view metadata_key(std::size_t index) const {
    return detail::lent([&](auto text, auto len) { return oribi_file_metadata_key(get(), index, text, len); });
  }
  std::size_t metadata_find(const char *key) const {
    return detail::result<std::size_t>([&](auto out) { return oribi_file_metadata_find(get(), key, out); });
  }
  value_type metadata_type(std::size_t index) const {
    value_type found{};
    detail::checked([&] { return oribi_file_metadata_type(get(), index, &found.type, &found.is_array, &found.n_elems); });
    return found;
  }
  std::vector<std::int64_t> metadata_ints(std::size_t index) const {
    return values<std::int64_t>(index, oribi_file_metadata_ints);
  }
  std::vector<double> metadata_floats(std::size_t index) const { return values<double>(index, oribi_file_metadata_floats); }
  std::vector<bool> metadata_bools(std::size_t index) const {
    std::size_t n = metadata_type(index).n_elems;
    auto found = std::make_unique<bool[]>(n);
    detail::checked([&] { return oribi_file_metadata_bools(get(), index, found.get(), n); });
    return std::vector<bool>(found.get(), found.get() + n);
  }
  std::vector<std::string_view> metadata_texts(std::size_t index) const {
    std::size_t n = metadata_type(index).n_elems;
    std::vector<const char *> texts(n);
    std::vector<std::size_t> lens(n);
    detail::checked([&] { return oribi_file_metadata_texts(get(), index, texts.data(), lens.data(), n); });
    std::vector<std::string_view> found;
    for (std::size_t i = 0; i < n; i++) found.emplace_back(texts[i], lens[i]);
    return found;
  }

  std::size_t n_tensors() const noexcept { return oribi_file_n_tensors(get()); }
  std::string_view tensor_name(std::size_t index) const {
    return detail::lent([&](auto text, auto len) { return oribi_file_tensor_name(get(), index, text, len); });
  }
  std::size_t tensor_find(const char *name) const {
    return detail::result<std::size_t>([&](auto out) { return oribi_file_tensor_find(get(), name, out); });
  }
  std::string_view tensor_dtype(std::size_t index) const {
    return detail::lent([&](auto text, auto len) { return oribi_file_tensor_dtype(get(), index, text, len); });
  }
  std::vector<std::uint64_t> tensor_shape(std::size_t index) const {
    std::uint64_t shape[ORIBI_MAX_DIMS];
    auto n = detail::result<std::size_t>([&](auto out) { return oribi_file_tensor_shape(get(), index, shape, out); });
    return {shape, shape + n};
  }
  std::uint64_t tensor_len(std::size_t index) const {
    return detail::result<std::uint64_t>([&](auto out) { return oribi_file_tensor_len(get(), index, out); });
  }

  oribi_file *get() const noexcept { return handle_.get(); }

 private:
  friend class model;
  using owner = detail::owner<oribi_file, oribi_file_free>;
  explicit file(owner handle) : handle_(std::move(handle)) {}

  template <class T, class Read>
  std::vector<T> values(std::size_t index, Read &&read) const {
    std::vector<T> found(metadata_type(index).n_elems);
    detail::checked([&] { return read(get(), index, found.data(), found.size()); });
    return found;
  }

  owner handle_;
};

/// A model, ready to run: immutable, shared by any number of sessions.
class model {
 public:
  explicit model(const std::string &path, const options &options = {})
      : hooks_(options.hooks()),
        handle_(detail::made<owner>([&](auto out) { return oribi_model_open(path.c_str(), options.get(), out); })) {}
  explicit model(const class file &file, const options &options = {})
      : hooks_(options.hooks()),
        handle_(detail::made<owner>([&](auto out) { return oribi_model_load(file.get(), options.get(), out); })) {}

  class file file() const {
    return oribi::file(detail::made<oribi::file::owner>([&](auto out) { return oribi_model_file(get(), out); }));
  }
  std::string_view architecture() const noexcept { return detail::view(oribi_model_architecture(get())); }
  std::string_view isa() const noexcept { return detail::view(oribi_model_isa(get())); }
  std::size_t n_tokens() const noexcept { return oribi_model_n_tokens(get()); }
  std::size_t n_ctx_train() const noexcept { return oribi_model_n_ctx_train(get()); }
  std::size_t dim() const noexcept { return oribi_model_dim(get()); }
  std::size_t n_blocks() const noexcept { return oribi_model_n_blocks(get()); }
  std::size_t n_heads() const noexcept { return oribi_model_n_heads(get()); }
  std::size_t n_kv_heads() const noexcept { return oribi_model_n_kv_heads(get()); }
  std::size_t n_threads() const noexcept { return oribi_model_n_threads(get()); }
  std::uint64_t bytes_per_token() const noexcept { return oribi_model_bytes_per_token(get()); }
  bool is_native() const noexcept { return oribi_model_is_native(get()); }
  double load_seconds() const noexcept { return oribi_model_load_seconds(get()); }

  /// A perplexity and its standard error.
  struct estimate {
    double value, standard_error;
  };
  /// How well the model predicts a text; at most so many chunks of it, 0 for all.
  estimate perplexity(std::string_view text, std::size_t max_chunks = 0, const options &options = {}) const {
    estimate found{};
    detail::checked([&] {
      return oribi_model_perplexity(get(), options.get(), text.data(), text.size(), max_chunks, &found.value,
                                    &found.standard_error);
    });
    return found;
  }

  oribi_model *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_model, oribi_model_free>;
  std::shared_ptr<const detail::hooks> hooks_;
  owner handle_;
};

/// The tokenizer of a model or of a file.
class tokenizer {
 public:
  explicit tokenizer(const model &model)
      : handle_(detail::made<owner>([&](auto out) { return oribi_model_tokenizer(model.get(), out); })) {}
  explicit tokenizer(const file &file)
      : handle_(detail::made<owner>([&](auto out) { return oribi_file_tokenizer(file.get(), out); })) {}

  std::size_t n_tokens() const noexcept { return oribi_tokenizer_n_tokens(get()); }
  std::vector<std::uint32_t> encode(std::string_view text, bool add_special = true, bool parse_special = false) const {
    return detail::tokens([&](auto out) {
      return oribi_tokenizer_encode(get(), text.data(), text.size(), add_special, parse_special, out);
    });
  }
  /// Of a prompt that a chat template rendered.
  std::vector<std::uint32_t> encode_prompt(std::string_view text) const {
    return detail::tokens([&](auto out) { return oribi_tokenizer_encode_prompt(get(), text.data(), text.size(), out); });
  }
  std::string decode(span<const std::uint32_t> tokens, bool with_special = false) const {
    return detail::text(
        [&](auto out) { return oribi_tokenizer_decode(get(), tokens.data(), tokens.size(), with_special, out); });
  }
  std::string_view token_text(std::uint32_t token) const {
    return detail::lent([&](auto text, auto len) { return oribi_tokenizer_token_text(get(), token, text, len); });
  }
  /// Any bytes, perhaps a part of a character.
  std::string token_bytes(std::uint32_t token) const {
    auto made = detail::made<detail::bytes_owner>([&](auto out) { return oribi_tokenizer_token_bytes(get(), token, out); });
    auto data = reinterpret_cast<const char *>(oribi_bytes_data(made.get()));
    return {data, data + oribi_bytes_len(made.get())};
  }
  oribi_token_kind token_kind(std::uint32_t token) const {
    return detail::result<oribi_token_kind>([&](auto out) { return oribi_tokenizer_token_kind(get(), token, out); });
  }
  bool is_end(std::uint32_t token) const noexcept { return oribi_tokenizer_is_end(get(), token); }
  std::uint32_t find(std::string_view text) const {
    return detail::result<std::uint32_t>([&](auto out) { return oribi_tokenizer_find(get(), text.data(), text.size(), out); });
  }
  std::uint32_t role_token(oribi_role_token role) const {
    return detail::result<std::uint32_t>([&](auto out) { return oribi_tokenizer_role_token(get(), role, out); });
  }
  bool adds_bos() const noexcept { return oribi_tokenizer_adds_bos(get()); }
  bool adds_eos() const noexcept { return oribi_tokenizer_adds_eos(get()); }

  oribi_tokenizer *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_tokenizer, oribi_tokenizer_free>;
  owner handle_;
};

/// Turns tokens into text as they come. What it returns is lent until the next call.
class decoder {
 public:
  explicit decoder(const tokenizer &tokenizer, bool with_special = false)
      : handle_(detail::made<owner>([&](auto out) { return oribi_decoder_new(tokenizer.get(), with_special, out); })) {}
  std::string_view push(std::uint32_t token) {
    return detail::lent([&](auto text, auto len) { return oribi_decoder_push(get(), token, text, len); });
  }
  std::string_view finish() {
    return detail::lent([&](auto text, auto len) { return oribi_decoder_finish(get(), text, len); });
  }
  oribi_decoder *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_decoder, oribi_decoder_free>;
  owner handle_;
};

/// A conversation.
class messages {
 public:
  messages() : handle_(detail::made<owner>([](auto out) { return oribi_messages_new(out); })) {}
  messages &add(const char *role, std::string_view content) {
    detail::checked([&] { return oribi_messages_add(get(), role, content.data(), content.size()); });
    return *this;
  }
  messages &add_json(std::string_view json) {
    detail::checked([&] { return oribi_messages_add_json(get(), json.data(), json.size()); });
    return *this;
  }
  messages &set_variable(const char *variable, std::string_view json) {
    detail::checked([&] { return oribi_messages_set_variable(get(), variable, json.data(), json.size()); });
    return *this;
  }
  messages &clear() {
    detail::checked([&] { return oribi_messages_clear(get()); });
    return *this;
  }
  oribi_messages *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_messages, oribi_messages_free>;
  owner handle_;
};

/// A chat template.
class chat_template {
 public:
  /// `chosen` is NULL for the file's own, or a name, or a template itself.
  explicit chat_template(const file &file, const char *chosen = nullptr)
      : handle_(detail::made<owner>([&](auto out) { return oribi_chat_template_new(file.get(), chosen, out); })) {}
  std::string_view source() const {
    return detail::lent([&](auto text, auto len) { return oribi_chat_template_source(get(), text, len); });
  }
  std::string render(const messages &messages, bool add_generation_prompt = true) const {
    return detail::text(
        [&](auto out) { return oribi_chat_template_render(get(), messages.get(), add_generation_prompt, out); });
  }
  oribi_chat_template *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_chat_template, oribi_chat_template_free>;
  owner handle_;
};

/// Tokens to append to sequences.
class batch {
 public:
  batch() : handle_(detail::made<owner>([](auto out) { return oribi_batch_new(out); })) {}
  batch &clear() {
    detail::checked([&] { return oribi_batch_clear(get()); });
    return *this;
  }
  std::size_t len() const {
    return detail::result<std::size_t>([&](auto out) { return oribi_batch_len(get(), out); });
  }
  batch &add(std::uint32_t sequence, std::uint32_t token, oribi_role role, bool wants_output) {
    detail::checked([&] { return oribi_batch_add(get(), sequence, token, role, wants_output); });
    return *this;
  }
  batch &add_prompt(std::uint32_t sequence, span<const std::uint32_t> tokens) {
    detail::checked([&] { return oribi_batch_add_prompt(get(), sequence, tokens.data(), tokens.size()); });
    return *this;
  }
  oribi_batch *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_batch, oribi_batch_free>;
  owner handle_;
};

/// All that changes while a model runs.
class session {
 public:
  explicit session(const model &model, const options &options = {})
      : hooks_(options.hooks()),
        handle_(detail::made<owner>([&](auto out) { return oribi_session_new(model.get(), options.get(), out); })) {}

  std::size_t n_ctx() const {
    return detail::result<std::size_t>([&](auto out) { return oribi_session_n_ctx(get(), out); });
  }
  std::uint64_t kv_bytes() const {
    return detail::result<std::uint64_t>([&](auto out) { return oribi_session_kv_bytes(get(), out); });
  }
  std::uint32_t new_sequence() {
    return detail::result<std::uint32_t>([&](auto out) { return oribi_session_new_sequence(get(), out); });
  }
  std::uint32_t fork(std::uint32_t sequence) {
    return detail::result<std::uint32_t>([&](auto out) { return oribi_session_fork(get(), sequence, out); });
  }
  void truncate(std::uint32_t sequence, std::size_t n_positions) {
    detail::checked([&] { return oribi_session_truncate(get(), sequence, n_positions); });
  }
  void remove(std::uint32_t sequence) {
    detail::checked([&] { return oribi_session_remove(get(), sequence); });
  }
  std::size_t len(std::uint32_t sequence) const {
    return detail::result<std::size_t>([&](auto out) { return oribi_session_len(get(), sequence, out); });
  }
  void decode(const batch &batch) {
    detail::checked([&] { return oribi_session_decode(get(), batch.get()); });
  }
  std::size_t n_outputs() const {
    return detail::result<std::size_t>([&](auto out) { return oribi_session_n_outputs(get(), out); });
  }
  /// Lent until the session changes.
  span<const float> logits(std::size_t output) const {
    const float *logits = nullptr;
    std::size_t n_logits = 0;
    detail::checked([&] { return oribi_session_logits(get(), output, &logits, &n_logits); });
    return {logits, n_logits};
  }
  /// In place of logits: vectors of model::dim() floats, one after the other.
  std::vector<float> embed(const batch &batch, oribi_pooling pooling) {
    return detail::floats([&](auto out) { return oribi_session_embed(get(), batch.get(), pooling, out); });
  }
  /// Lent until the session changes.
  span<const float> embedding(std::size_t output) const {
    const float *vector = nullptr;
    std::size_t n = 0;
    detail::checked([&] { return oribi_session_embedding(get(), output, &vector, &n); });
    return {vector, n};
  }

  std::uint64_t state_len(span<const std::uint32_t> sequences) const {
    return detail::result<std::uint64_t>(
        [&](auto out) { return oribi_session_state_len(get(), sequences.data(), sequences.size(), out); });
  }
  bytes save(span<const std::uint32_t> sequences) const {
    return bytes(detail::made<detail::bytes_owner>(
        [&](auto out) { return oribi_session_save(get(), sequences.data(), sequences.size(), out); }));
  }
  void save_file(span<const std::uint32_t> sequences, const std::string &path) const {
    detail::checked([&] { return oribi_session_save_file(get(), sequences.data(), sequences.size(), path.c_str()); });
  }
  /// The sequences of a state, which has at most `n_max`.
  std::vector<std::uint32_t> restore(span<const std::uint8_t> state, std::size_t n_max = 256) {
    return restored(n_max, [&](auto sequences, auto n) {
      return oribi_session_restore(get(), state.data(), state.size(), sequences, n_max, n);
    });
  }
  std::vector<std::uint32_t> restore_file(const std::string &path, std::size_t n_max = 256) {
    return restored(n_max, [&](auto sequences, auto n) {
      return oribi_session_restore_file(get(), path.c_str(), sequences, n_max, n);
    });
  }

  oribi_session *get() const noexcept { return handle_.get(); }

 private:
  friend class generation;
  using owner = detail::owner<oribi_session, oribi_session_free>;

  template <class Call>
  std::vector<std::uint32_t> restored(std::size_t n_max, Call &&call) {
    std::vector<std::uint32_t> sequences(n_max);
    sequences.resize(detail::result<std::size_t>([&](auto n) { return call(sequences.data(), n); }));
    return sequences;
  }

  std::shared_ptr<const detail::hooks> hooks_;
  owner handle_;
};

/// A token with its log-probability.
struct token_logprob {
  std::uint32_t token;
  float logprob;
};

/// A chain of stages on logits, and a pick.
class sampler {
 public:
  explicit sampler(const tokenizer &tokenizer, const options &options = {})
      : handle_(detail::made<owner>([&](auto out) { return oribi_sampler_new(tokenizer.get(), options.get(), out); })) {}
  /// A copy, which goes on alike and apart.
  sampler clone() const {
    return sampler(detail::made<owner>([&](auto out) { return oribi_sampler_clone(get(), out); }));
  }
  std::uint64_t seed() const noexcept { return oribi_sampler_seed(get()); }
  std::uint32_t sample(span<const float> logits) {
    return detail::result<std::uint32_t>(
        [&](auto out) { return oribi_sampler_sample(get(), logits.data(), logits.size(), out); });
  }
  void accept(std::uint32_t token) {
    detail::checked([&] { return oribi_sampler_accept(get(), token); });
  }
  void reset() {
    detail::checked([&] { return oribi_sampler_reset(get()); });
  }
  float logprob() const {
    return detail::result<float>([&](auto out) { return oribi_sampler_logprob(get(), out); });
  }
  token_logprob top(std::size_t index) const {
    token_logprob found{};
    detail::checked([&] { return oribi_sampler_top(get(), index, &found.token, &found.logprob); });
    return found;
  }
  oribi_sampler *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_sampler, oribi_sampler_free>;
  explicit sampler(owner handle) : handle_(std::move(handle)) {}
  owner handle_;
};

/// A token of a generation, and the text that became certain with it: a view, valid until the generation's next piece.
class piece {
 public:
  explicit piece(const oribi_piece *lent) noexcept : lent_(lent) {}
  std::string_view text() const {
    return detail::lent([&](auto text, auto len) { return oribi_piece_text(get(), text, len); });
  }
  std::uint32_t token() const noexcept { return oribi_piece_token(get()); }
  float logprob() const {
    return detail::result<float>([&](auto out) { return oribi_piece_logprob(get(), out); });
  }
  token_logprob top(std::size_t index) const {
    token_logprob found{};
    detail::checked([&] { return oribi_piece_top(get(), index, &found.token, &found.logprob); });
    return found;
  }
  const oribi_piece *get() const noexcept { return lent_; }

 private:
  const oribi_piece *lent_;
};

/// Text from a prompt, under way: pulled with next() or by a range-based for, or handed to a callback with run().
class generation {
 public:
  generation(session &session, std::uint32_t sequence, sampler &sampler, span<const std::uint32_t> prompt,
             const options &options = {})
      : hooks_(options.hooks()), session_hooks_(session.hooks_), handle_(detail::made<owner>([&](auto out) {
          return oribi_generation_new(session.get(), sequence, sampler.get(), prompt.data(), prompt.size(), options.get(), out);
        })) {}

  /// The next piece; nothing at the end.
  std::optional<piece> next() {
    auto found = detail::result<const oribi_piece *>([&](auto out) { return oribi_generation_next(get(), out); });
    return found == nullptr ? std::nullopt : std::optional<piece>(found);
  }

  /// Hand pieces to a callback until the end, or until it returns false; one that returns nothing hears all of them.
  template <class Callback>
  void run(Callback &&callback) {
    void *userdata = const_cast<void *>(static_cast<const void *>(std::addressof(callback)));
    detail::checked([&] { return oribi_generation_run(get(), hear<std::remove_reference_t<Callback>>, userdata); });
  }

  oribi_stop_reason stop_reason() const {
    return detail::result<oribi_stop_reason>([&](auto out) { return oribi_generation_stop_reason(get(), out); });
  }
  double timing(oribi_timing timing) const {
    return detail::result<double>([&](auto out) { return oribi_generation_timing(get(), timing, out); });
  }

  /// Pulls a piece where it is advanced.
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = piece;
    using difference_type = std::ptrdiff_t;
    using pointer = const piece *;
    using reference = const piece &;

    iterator() = default;
    explicit iterator(generation &generation) : generation_(&generation), piece_(generation.next()) {}
    reference operator*() const { return *piece_; }
    pointer operator->() const { return &*piece_; }
    iterator &operator++() {
      piece_ = generation_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    /// Iterators differ in whether they are at the end.
    friend bool operator==(const iterator &a, const iterator &b) { return a.piece_.has_value() == b.piece_.has_value(); }
    friend bool operator!=(const iterator &a, const iterator &b) { return !(a == b); }

   private:
    generation *generation_ = nullptr;
    std::optional<piece> piece_;
  };
  iterator begin() { return iterator(*this); }
  iterator end() { return {}; }

  oribi_generation *get() const noexcept { return handle_.get(); }

 private:
  using owner = detail::owner<oribi_generation, oribi_generation_free>;

  template <class Callback>
  static bool hear(void *userdata, const oribi_piece *lent) {
    if (detail::under_way::is_failing()) return false;
    return detail::shielded(false, [&] {
      Callback &callback = *static_cast<Callback *>(userdata);
      if constexpr (std::is_void_v<decltype(callback(piece(lent)))>) {
        callback(piece(lent));
        return true;
      } else {
        return static_cast<bool>(callback(piece(lent)));
      }
    });
  }

  std::shared_ptr<const detail::hooks> hooks_, session_hooks_;
  owner handle_;
};

}  // namespace oribi

#endif  // ORIBI_HPP
