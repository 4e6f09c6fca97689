"""Continue a prompt, and print the text piece by piece.

    python3 generate.py MODEL.gguf "The capital of France is"
"""

import sys

import oribi


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: generate.py MODEL.gguf PROMPT")
    _, path, text = sys.argv
    model = oribi.Model(path)
    session = model.session()
    prompt = model.tokenizer.encode(text)
    for piece in session.generate(session.new_sequence(), prompt, temp=0.0, max_tokens=24):
        print(piece.text, end="", flush=True)
    print()


if __name__ == "__main__":
    try:
        main()
    except oribi.Error as error:
        sys.exit(str(error))
