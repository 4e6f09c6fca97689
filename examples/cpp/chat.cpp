// chat.cpp - a conversation: the model's chat template, answers that are streamed to a lambda, and a session that keeps what it has
// read, so that each turn costs its new tokens only.
//
//   c++ -std=c++17 chat.cpp -o chat $(pkg-config --cflags --libs oribi)
//   ./chat MODEL.gguf          a message a line on standard input; the end of the input ends the conversation

#include <algorithm>
#include <iostream>
#include <oribi.hpp>

int main(int argc, char **argv) try {
  if (argc != 2) {
    std::cerr << "usage: chat MODEL.gguf\n";
    return 2;
  }
  oribi::options options;
  options.set("temp", 0.0).set("max_tokens", 256);

  oribi::model model(argv[1], options);
  oribi::tokenizer tokenizer(model);
  oribi::chat_template chat_template(model.file());
  oribi::session session(model, options);
  auto sequence = session.new_sequence();

  oribi::messages messages;
  std::vector<std::uint32_t> held;  // the tokens of the sequence, and the last of an answer, which was never evaluated
  for (std::string line; std::getline(std::cin, line);) {
    messages.add("user", line);
    auto prompt = tokenizer.encode_prompt(chat_template.render(messages));

    // What the sequence has in common with the prompt stays. The last token is always new: the answer begins with its logits.
    auto most = std::min(session.len(sequence), prompt.size() - 1);
    auto n_kept = static_cast<std::size_t>(
        std::mismatch(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(most), prompt.begin()).second - prompt.begin());
    session.truncate(sequence, n_kept);
    held = prompt;

    std::string answer;
    oribi::sampler sampler(tokenizer, options);
    oribi::span<const std::uint32_t> fresh(prompt.data() + n_kept, prompt.size() - n_kept);
    oribi::generation(session, sequence, sampler, fresh, options).run([&](oribi::piece piece) {
      std::cout << piece.text() << std::flush;
      answer += piece.text();
      held.push_back(piece.token());
    });
    std::cout << '\n';
    messages.add("assistant", answer);
  }
  return 0;
} catch (const oribi::error &error) {
  std::cerr << error.what() << " (" << error.status_name() << ")\n";
  return 1;
}
