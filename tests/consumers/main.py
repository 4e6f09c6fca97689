"""Continues a text: main.py LIBRARY MODEL.gguf PROMPT. Prints the version of the library, and the tokens."""

import ctypes
import sys

library, path, text = sys.argv[1:]
oribi = ctypes.CDLL(library)
Handle = ctypes.c_void_p
oribi.oribi_version.restype = oribi.oribi_last_error.restype = ctypes.c_char_p
oribi.oribi_tokens_data.restype = Handle
oribi.oribi_tokens_len.restype = ctypes.c_size_t
oribi.oribi_piece_token.restype = ctypes.c_uint32


def call(name, *args):
    if getattr(oribi, name)(*args) != 0:
        sys.exit(oribi.oribi_last_error().decode())


def made(name, *args):
    """What a function makes and gives out through its last argument."""
    handle = Handle()
    call(name, *args, ctypes.byref(handle))
    return handle


options = made("oribi_options_new")
call("oribi_options_set_float", options, b"temp", ctypes.c_double(0))
call("oribi_options_set_int", options, b"max_tokens", ctypes.c_int64(8))
call("oribi_options_set_int", options, b"n_ctx", ctypes.c_int64(128))
call("oribi_options_set_bool", options, b"ban_end_of_generation", ctypes.c_bool(True))
model = made("oribi_model_open", path.encode(), options)
tokenizer = made("oribi_model_tokenizer", model)
bytes_of_text = text.encode()
prompt = made("oribi_tokenizer_encode", tokenizer, bytes_of_text, ctypes.c_size_t(len(bytes_of_text)), ctypes.c_bool(True),
              ctypes.c_bool(False))
session = made("oribi_session_new", model, options)
sequence = ctypes.c_uint32()
call("oribi_session_new_sequence", session, ctypes.byref(sequence))
sampler = made("oribi_sampler_new", tokenizer, options)
generation = made("oribi_generation_new", session, sequence, sampler, Handle(oribi.oribi_tokens_data(prompt)),
                  ctypes.c_size_t(oribi.oribi_tokens_len(prompt)), options)

tokens = []
while piece := made("oribi_generation_next", generation):
    tokens.append(oribi.oribi_piece_token(piece))
print(f"oribi {oribi.oribi_version().decode()}: {' '.join(map(str, tokens))}")

for kind, handle in [("generation", generation), ("sampler", sampler), ("session", session), ("tokens", prompt),
                     ("tokenizer", tokenizer), ("model", model), ("options", options)]:
    getattr(oribi, f"oribi_{kind}_free")(handle)
