"""oribi and ggml in one process, in the Python of the ik-llama-cpp-python wheel: beside_ggml.py LIBRARY MODEL.gguf PROMPT ORDER...

ORDER is a sequence of `oribi` and `ggml`. Their libraries are loaded in this order with all their names global, then each continues
the text in this order; every turn prints a line.
"""

import ctypes
import importlib.util
import runpy
import sys
from pathlib import Path

library, model_path, text, *order = sys.argv[1:]
ggml_folder = Path(importlib.util.find_spec("ik_llama_cpp").origin).parent / "lib"
files = {"oribi": [library], "ggml": [ggml_folder / "libggml.so", ggml_folder / "libllama.so"]}
for name in dict.fromkeys(order):
    for file in files[name]:
        ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)


def oribi():
    program = Path(__file__).resolve().parent.parent / "consumers" / "main.py"
    sys.argv = [str(program), library, model_path, text]
    runpy.run_path(str(program), run_name="__main__")


def ggml():
    from ik_llama_cpp import _ctypes_api as api
    from ik_llama_cpp._internals import IkContext, IkModel, make_batch_range, make_batch_single

    model = IkModel(model_path)
    context = IkContext(model, n_ctx=128, n_threads=2, flash_attn=False)
    n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model.model))
    # Its tokenizer does not matter here: any tokens do.
    batch, tokens, position = make_batch_range(list(range(10, 20)), pos_start=0, logits_last=True), [], 10
    while len(tokens) < 8:
        if context.decode(batch) != 0:
            sys.exit("llama_decode failed")
        logits = context.get_logits(-1)
        tokens.append(max(range(n_vocab), key=lambda i: logits[i]))
        api.llama_batch_free(batch)
        batch, position = make_batch_single(tokens[-1], position), position + 1
    print("ggml:", *tokens)


for name in order:
    {"oribi": oribi, "ggml": ggml}[name]()
    sys.stdout.flush()
