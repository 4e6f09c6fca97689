// generate.cpp - continue a prompt, and print the text piece by piece.
//
//   c++ -std=c++17 generate.cpp -o generate $(pkg-config --cflags --libs oribi)
//   ./generate MODEL.gguf "The capital of France is"

#include <iostream>
#include <oribi.hpp>

int main(int argc, char **argv) try {
  if (argc != 3) {
    std::cerr << "usage: generate MODEL.gguf PROMPT\n";
    return 2;
  }
  oribi::options options;
  options.set("temp", 0.0).set("max_tokens", 24);

  oribi::model model(argv[1], options);    // immutable, may be shared
  oribi::session session(model, options);  // all that changes
  oribi::tokenizer tokenizer(model);
  oribi::sampler sampler(tokenizer, options);

  auto prompt = tokenizer.encode(argv[2]);
  for (auto piece : oribi::generation(session, session.new_sequence(), sampler, prompt, options)) {
    std::cout << piece.text() << std::flush;
  }
  std::cout << '\n';
  return 0;
} catch (const oribi::error &error) {
  std::cerr << error.what() << " (" << error.status_name() << ")\n";
  return 1;
}
