"""A conversation: the model's chat template, streamed answers, and a session that keeps what it has read, so that each turn costs
its new tokens only. Ctrl-C ends an answer.

    python3 chat.py MODEL.gguf          a message a line on standard input; the end of the input ends the conversation
"""

import os
import sys

import oribi


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: chat.py MODEL.gguf")
    model = oribi.Model(sys.argv[1])
    template = model.chat_template()
    session = model.session()
    sequence = session.new_sequence()

    messages = []
    held = []  # the tokens of the sequence, and the last of an answer, which was never evaluated
    for line in sys.stdin:
        messages.append(("user", line.rstrip("\n")))
        prompt = model.tokenizer.encode_prompt(template.render(messages))

        # What the sequence has in common with the prompt stays. The last token is always new: the answer begins with its logits.
        n_kept = len(os.path.commonprefix([held[: session.len(sequence)], prompt[:-1]]))
        session.truncate(sequence, n_kept)
        held = prompt

        answer = ""
        try:
            # While a prompt is read or a token computed, Python notices Ctrl-C where it is asked whether to go on.
            options = {"temp": 0.0, "max_tokens": 256, "should_cancel": lambda: False}
            for piece in session.generate(sequence, prompt[n_kept:], **options):
                print(piece.text, end="", flush=True)
                answer += piece.text
                held.append(piece.token)
        except KeyboardInterrupt:
            pass
        print()
        messages.append(("assistant", answer))


if __name__ == "__main__":
    try:
        main()
    except oribi.Error as error:
        sys.exit(str(error))
