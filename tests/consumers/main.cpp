// Continues a text: main MODEL.gguf PROMPT. Prints the version of the library, and the tokens.
#include <oribi.h>

#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>

namespace {

// An owner for each type of handle.
template <auto Free> struct Freed {
  template <typename T> void operator()(T *handle) const { Free(handle); }
};
template <typename T, auto Free> using Handle = std::unique_ptr<T, Freed<Free>>;

void check(oribi_status status) {
  if (status != ORIBI_STATUS_OK) throw std::runtime_error(oribi_last_error());
}

// What a function makes and gives out through its last argument.
template <typename H, typename F, typename... Args> H made(F function, Args... args) {
  typename H::pointer handle = nullptr;
  check(function(args..., &handle));
  return H(handle);
}

std::string continued(const char *path, const char *text) {
  auto options = made<Handle<oribi_options, oribi_options_free>>(oribi_options_new);
  check(oribi_options_set_float(options.get(), "temp", 0));
  check(oribi_options_set_int(options.get(), "max_tokens", 8));
  check(oribi_options_set_int(options.get(), "n_ctx", 128));
  check(oribi_options_set_bool(options.get(), "ban_end_of_generation", true));
  auto model = made<Handle<oribi_model, oribi_model_free>>(oribi_model_open, path, options.get());
  auto tokenizer = made<Handle<oribi_tokenizer, oribi_tokenizer_free>>(oribi_model_tokenizer, model.get());
  auto prompt = made<Handle<oribi_tokens, oribi_tokens_free>>(oribi_tokenizer_encode, tokenizer.get(), text, ORIBI_TO_NUL, true, false);
  auto session = made<Handle<oribi_session, oribi_session_free>>(oribi_session_new, model.get(), options.get());
  auto sampler = made<Handle<oribi_sampler, oribi_sampler_free>>(oribi_sampler_new, tokenizer.get(), options.get());
  std::uint32_t sequence = 0;
  check(oribi_session_new_sequence(session.get(), &sequence));
  auto generation = made<Handle<oribi_generation, oribi_generation_free>>(
      oribi_generation_new, session.get(), sequence, sampler.get(), oribi_tokens_data(prompt.get()),
      oribi_tokens_len(prompt.get()), options.get());
  std::ostringstream tokens;
  for (const oribi_piece *piece = nullptr;;) {
    check(oribi_generation_next(generation.get(), &piece));
    if (piece == nullptr) return tokens.str();
    tokens << ' ' << oribi_piece_token(piece);
  }
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 3 || oribi_abi_version() != ORIBI_ABI_VERSION) return 2;
  try {
    std::cout << "oribi " << oribi_version() << ':' << continued(argv[1], argv[2]) << '\n';
  } catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
}
