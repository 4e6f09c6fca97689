"""oribi from Python, by ctypes: nothing to build, nothing but the standard library.

A thin layer over oribi.h, which documents what everything means; it covers what generating and chatting need, and shows how the
rest is added: a row in _FUNCTIONS, a method that calls it. The library is the one that the environment variable ORIBI_LIBRARY names,
or the one that the system finds.

    model = oribi.Model("model.gguf")
    session = model.session()
    prompt = model.tokenizer.encode("The capital of France is")
    for piece in session.generate(session.new_sequence(), prompt, temp=0.0, max_tokens=24):
        print(piece.text, end="")
"""

import ctypes
import ctypes.util
import os
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

ABI_VERSION = 1
CANCELLED = 600  # ORIBI_STATUS_CANCELLED

LogFn = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_void_p, c_size_t)
ProgressFn = ctypes.CFUNCTYPE(None, c_void_p, c_int32, c_uint64, c_uint64)
CancelFn = ctypes.CFUNCTYPE(c_bool, c_void_p)

_status = c_int32
_lent = (POINTER(c_void_p), POINTER(c_size_t))  # where a text and its length go

# name -> (result, arguments...), as in oribi.h. Handles are pointers to something unknown.
_FUNCTIONS = {
    "version": (c_char_p,),
    "abi_version": (c_uint32,),
    "last_error": (c_char_p,),
    "status_name": (c_char_p, c_int32),
    "text_data": (c_void_p, c_void_p),
    "text_len": (c_size_t, c_void_p),
    "text_free": (None, c_void_p),
    "tokens_data": (POINTER(c_uint32), c_void_p),
    "tokens_len": (c_size_t, c_void_p),
    "tokens_free": (None, c_void_p),
    "cancel_new": (_status, POINTER(c_void_p)),
    "cancel_request": (None, c_void_p),
    "cancel_reset": (None, c_void_p),
    "cancel_is_requested": (c_bool, c_void_p),
    "cancel_free": (None, c_void_p),
    "options_new": (_status, POINTER(c_void_p)),
    "options_free": (None, c_void_p),
    "options_set_int": (_status, c_void_p, c_char_p, c_int64),
    "options_set_float": (_status, c_void_p, c_char_p, c_double),
    "options_set_bool": (_status, c_void_p, c_char_p, c_bool),
    "options_set_text": (_status, c_void_p, c_char_p, c_char_p, c_size_t),
    "options_add_text": (_status, c_void_p, c_char_p, c_char_p, c_size_t),
    "options_add_token": (_status, c_void_p, c_char_p, c_uint32),
    "options_set_log": (_status, c_void_p, LogFn, c_void_p),
    "options_set_progress": (_status, c_void_p, ProgressFn, c_void_p),
    "options_set_cancel_callback": (_status, c_void_p, CancelFn, c_void_p),
    "options_set_cancel": (_status, c_void_p, c_void_p),
    "file_free": (None, c_void_p),
    "model_open": (_status, c_char_p, c_void_p, POINTER(c_void_p)),
    "model_file": (_status, c_void_p, POINTER(c_void_p)),
    "model_tokenizer": (_status, c_void_p, POINTER(c_void_p)),
    "model_free": (None, c_void_p),
    "tokenizer_encode": (_status, c_void_p, c_char_p, c_size_t, c_bool, c_bool, POINTER(c_void_p)),
    "tokenizer_encode_prompt": (_status, c_void_p, c_char_p, c_size_t, POINTER(c_void_p)),
    "tokenizer_decode": (_status, c_void_p, POINTER(c_uint32), c_size_t, c_bool, POINTER(c_void_p)),
    "tokenizer_free": (None, c_void_p),
    "chat_template_new": (_status, c_void_p, c_char_p, POINTER(c_void_p)),
    "chat_template_render": (_status, c_void_p, c_void_p, c_bool, POINTER(c_void_p)),
    "chat_template_free": (None, c_void_p),
    "messages_new": (_status, POINTER(c_void_p)),
    "messages_add": (_status, c_void_p, c_char_p, c_char_p, c_size_t),
    "messages_free": (None, c_void_p),
    "session_new": (_status, c_void_p, c_void_p, POINTER(c_void_p)),
    "session_new_sequence": (_status, c_void_p, POINTER(c_uint32)),
    "session_truncate": (_status, c_void_p, c_uint32, c_size_t),
    "session_len": (_status, c_void_p, c_uint32, POINTER(c_size_t)),
    "session_free": (None, c_void_p),
    "sampler_new": (_status, c_void_p, c_void_p, POINTER(c_void_p)),
    "sampler_free": (None, c_void_p),
    "generation_new": (
        _status, c_void_p, c_uint32, c_void_p, POINTER(c_uint32), c_size_t, c_void_p, POINTER(c_void_p)
    ),
    "generation_next": (_status, c_void_p, POINTER(c_void_p)),
    "generation_stop_reason": (_status, c_void_p, POINTER(c_int32)),
    "generation_free": (None, c_void_p),
    "piece_text": (_status, c_void_p, *_lent),
    "piece_token": (c_uint32, c_void_p),
}  # fmt: skip


def _load():
    name = os.environ.get("ORIBI_LIBRARY") or ctypes.util.find_library("oribi")
    if not name:
        raise ImportError("no oribi library: install it, or name it in the environment variable ORIBI_LIBRARY")
    library = ctypes.CDLL(name)
    for function, (result, *arguments) in _FUNCTIONS.items():
        entry = getattr(library, "oribi_" + function)
        entry.restype, entry.argtypes = result, arguments
    if library.oribi_abi_version() != ABI_VERSION:
        raise ImportError(f"{name} has ABI version {library.oribi_abi_version()}, not {ABI_VERSION}")
    return library


_lib = _load()
version = _lib.oribi_version().decode()


class Error(Exception):
    """A call that failed: the reason as text, and its `status` and `status_name` as in oribi.h."""

    def __init__(self, status, text):
        self.status, self.status_name = status, _lib.oribi_status_name(status).decode()
        super().__init__(f"{text} ({self.status_name})")


class Cancelled(Error):
    """A request to cancel took effect."""


def _call(function, *arguments):
    """Calls a function that returns a status."""
    status = getattr(_lib, "oribi_" + function)(*arguments)
    if status != 0:
        text = _lib.oribi_last_error().decode()
        raise (Cancelled if status == CANCELLED else Error)(status, text)


def _result(type, function, *arguments):
    """The same for a function whose last argument is where a result goes."""
    result = type()
    _call(function, *arguments, byref(result))
    return result.value


def _taken_text(handle):
    text = ctypes.string_at(_lib.oribi_text_data(handle), _lib.oribi_text_len(handle)).decode()
    _lib.oribi_text_free(handle)
    return text


def _taken_tokens(handle):
    tokens = _lib.oribi_tokens_data(handle)[: _lib.oribi_tokens_len(handle)]
    _lib.oribi_tokens_free(handle)
    return tokens


class _Handle:
    """Owns a handle. `_kept` is what it needs in Python: callbacks, which ctypes does not keep alive."""

    _free = None  # the name of the function

    def __init__(self, handle, kept=None):
        self._as_parameter_, self._kept = c_void_p(handle), kept

    def __del__(self):
        if getattr(self, "_as_parameter_", None):
            getattr(_lib, "oribi_" + self._free)(self._as_parameter_)


class Cancel(_Handle):
    """A request to cancel, which any thread can make."""

    _free = "cancel_free"

    def __init__(self):
        super().__init__(_result(c_void_p, "cancel_new"))

    def request(self):
        _lib.oribi_cancel_request(self)

    def reset(self):
        _lib.oribi_cancel_reset(self)

    def is_requested(self):
        return _lib.oribi_cancel_is_requested(self)


class _Options(_Handle):
    """Options from keywords: those of oribi.h, and `log`, `progress`, `should_cancel` (callables) and `cancel` (a Cancel).

    An exception that leaves a callback is kept; `raise_kept` raises it when the call is over.
    """

    _free = "options_free"

    def __init__(self, **options):
        super().__init__(_result(c_void_p, "options_new"), kept=[])
        self._thrown = None
        callables = {name: options.pop(name, None) for name in ("log", "progress", "should_cancel")}
        cancel = options.pop("cancel", None)
        for key, value in options.items():
            self._set(key.encode(), value)
        if cancel is not None:
            _call("options_set_cancel", self, cancel)
        if any(callables.values()):
            self._set_callbacks(**callables)

    def _set(self, key, value):
        if isinstance(value, bool):
            _call("options_set_bool", self, key, value)
        elif isinstance(value, int):
            _call("options_set_int", self, key, value)
        elif isinstance(value, float):
            _call("options_set_float", self, key, value)
        elif isinstance(value, str):
            _call("options_set_text", self, key, value.encode(), len(value.encode()))
        else:  # a list of texts or tokens
            for one in value:
                if isinstance(one, str):
                    _call("options_add_text", self, key, one.encode(), len(one.encode()))
                else:
                    _call("options_add_token", self, key, one)

    def _set_callbacks(self, log, progress, should_cancel):
        if log:
            hear = lambda _, level, text, n: self._shielded(log, level, ctypes.string_at(text, n).decode())
            self._register("options_set_log", LogFn(hear))
        if progress:
            hear = lambda _, phase, done, total: self._shielded(progress, phase, done, total)
            self._register("options_set_progress", ProgressFn(hear))
        # Also without one of the host's: it ends a call in which another callback raised.
        stop = lambda _: bool(should_cancel and self._shielded(should_cancel)) or self._thrown is not None
        self._register("options_set_cancel_callback", CancelFn(stop))

    def _register(self, function, callback):
        self._kept.append(callback)
        _call(function, self, callback, None)

    def _shielded(self, callback, *arguments):
        if self._thrown is None:
            try:
                return callback(*arguments)
            except BaseException as thrown:  # it must not cross C; KeyboardInterrupt too
                self._thrown = thrown

    def call(self, function, *arguments):
        """A call during which the callbacks may be called."""
        try:
            _call(function, *arguments)
        except Error:
            self.raise_kept()
            raise
        self.raise_kept()

    def raise_kept(self):
        thrown, self._thrown = self._thrown, None
        if thrown is not None:
            raise thrown


class Model(_Handle):
    """A model, ready to run; any number of sessions on any threads share it."""

    _free = "model_free"

    def __init__(self, path, **options):
        options = _Options(**options)
        handle = c_void_p()
        options.call("model_open", os.fsencode(path), options, byref(handle))
        super().__init__(handle.value, kept=options)
        self.tokenizer = Tokenizer(_result(c_void_p, "model_tokenizer", self))

    def session(self, **options):
        return Session(self, **options)

    def chat_template(self, chosen=None):
        """The file's template, or one that it names, or a built-in one, or `chosen` itself."""
        file = _File(_result(c_void_p, "model_file", self))
        chosen = None if chosen is None else chosen.encode()
        return ChatTemplate(_result(c_void_p, "chat_template_new", file, chosen))


class _File(_Handle):
    _free = "file_free"


class Tokenizer(_Handle):
    _free = "tokenizer_free"

    def encode(self, text, add_special=True, parse_special=False):
        text = text.encode()
        return _taken_tokens(_result(c_void_p, "tokenizer_encode", self, text, len(text), add_special, parse_special))

    def encode_prompt(self, text):
        """The tokens of what a chat template rendered."""
        text = text.encode()
        return _taken_tokens(_result(c_void_p, "tokenizer_encode_prompt", self, text, len(text)))

    def decode(self, tokens, with_special=False):
        array = (c_uint32 * len(tokens))(*tokens)
        return _taken_text(_result(c_void_p, "tokenizer_decode", self, array, len(tokens), with_special))


class ChatTemplate(_Handle):
    _free = "chat_template_free"

    def render(self, messages, add_generation_prompt=True):
        """The prompt of a conversation: pairs of a role and what it says."""
        conversation = _Messages(_result(c_void_p, "messages_new"))
        for role, content in messages:
            content = content.encode()
            _call("messages_add", conversation, role.encode(), content, len(content))
        return _taken_text(_result(c_void_p, "chat_template_render", self, conversation, add_generation_prompt))


class _Messages(_Handle):
    _free = "messages_free"


class Session(_Handle):
    """All that changes while a model runs: sequences with their keys and values."""

    _free = "session_free"

    def __init__(self, model, **options):
        options = _Options(**options)
        super().__init__(_result(c_void_p, "session_new", model, options), kept=options)
        self.tokenizer = model.tokenizer

    def new_sequence(self):
        return _result(c_uint32, "session_new_sequence", self)

    def truncate(self, sequence, n_positions):
        _call("session_truncate", self, sequence, n_positions)

    def len(self, sequence):
        return _result(c_size_t, "session_len", self, sequence)

    def generate(self, sequence, prompt, **options):
        """A continuation of a sequence and a prompt: an iterator of pieces. Options are those of samplers and generations."""
        return Generation(self, sequence, prompt, _Options(**options))


class _Sampler(_Handle):
    _free = "sampler_free"


class Piece:
    """A token, and the text that became certain with it."""

    __slots__ = ("text", "token")

    def __init__(self, lent):
        text, n = c_void_p(), c_size_t()
        _call("piece_text", lent, byref(text), byref(n))
        self.text = ctypes.string_at(text, n.value).decode() if n.value else ""
        self.token = _lib.oribi_piece_token(lent)


class Generation(_Handle):
    """Text from a prompt, pulled piece by piece. Other Python threads run while a piece is computed."""

    _free = "generation_free"

    def __init__(self, session, sequence, prompt, options):
        sampler = _Sampler(_result(c_void_p, "sampler_new", session.tokenizer, options))
        array = (c_uint32 * len(prompt))(*prompt)
        handle = _result(c_void_p, "generation_new", session, sequence, sampler, array, len(prompt), options)
        super().__init__(handle, kept=(session, options))
        self._options = options

    def __iter__(self):
        return self

    def __next__(self):
        lent = c_void_p()
        self._options.call("generation_next", self, byref(lent))
        if not lent:
            raise StopIteration
        return Piece(lent)

    def stop_reason(self):
        """A value of oribi_stop_reason."""
        return _result(c_int32, "generation_stop_reason", self)
