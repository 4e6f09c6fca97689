// oribi from Node, by koffi: nothing to build. A thin layer over oribi.h, which documents what everything means; it covers what
// generating needs, and shows how the rest is added: the function's declaration, and a method that calls it. The library is the one
// that the environment variable ORIBI_LIBRARY names, or the one that the system finds.
//
//   const model = new Model('model.gguf');
//   const session = model.session();
//   const prompt = model.tokenizer.encode('The capital of France is');
//   const options = { temp: 0, max_tokens: 24 };
//   for (const piece of session.generate(session.newSequence(), prompt, options)) process.stdout.write(piece.text);
//
// `for await` in place of `for` computes each piece on another thread, while the event loop goes on.

import { promisify } from 'node:util';
import koffi from 'koffi';

const ABI_VERSION = 1;
const OK = 0;
const CANCELLED = 600; // ORIBI_STATUS_CANCELLED

const library = koffi.load(process.env.ORIBI_LIBRARY || `liboribi.so.${ABI_VERSION}`);
const declare = (declaration) => library.func(declaration);
const lib = {
  abi_version: declare('uint32_t oribi_abi_version()'),
  last_error: declare('const char *oribi_last_error()'),
  status_name: declare('const char *oribi_status_name(int32_t status)'),
  tokens_data: declare('const uint32_t *oribi_tokens_data(const void *tokens)'),
  tokens_len: declare('size_t oribi_tokens_len(const void *tokens)'),
  tokens_free: declare('void oribi_tokens_free(void *tokens)'),
  cancel_new: declare('int32_t oribi_cancel_new(_Out_ void **cancel)'),
  cancel_request: declare('void oribi_cancel_request(const void *cancel)'),
  cancel_free: declare('void oribi_cancel_free(void *cancel)'),
  option_key: declare('const char *oribi_option_key(size_t index)'),
  option_type: declare('const char *oribi_option_type(size_t index)'),
  options_new: declare('int32_t oribi_options_new(_Out_ void **options)'),
  options_free: declare('void oribi_options_free(void *options)'),
  options_set_int: declare('int32_t oribi_options_set_int(void *options, const char *key, int64_t value)'),
  options_set_float: declare('int32_t oribi_options_set_float(void *options, const char *key, double value)'),
  options_set_bool: declare('int32_t oribi_options_set_bool(void *options, const char *key, bool value)'),
  options_set_text: declare(
    'int32_t oribi_options_set_text(void *options, const char *key, const uint8_t *value, size_t len_bytes)',
  ),
  options_add_text: declare(
    'int32_t oribi_options_add_text(void *options, const char *key, const uint8_t *value, size_t len_bytes)',
  ),
  options_add_token: declare('int32_t oribi_options_add_token(void *options, const char *key, uint32_t token)'),
  options_set_cancel: declare('int32_t oribi_options_set_cancel(void *options, const void *cancel)'),
  model_open: declare('int32_t oribi_model_open(const char *path, const void *options, _Out_ void **model)'),
  model_tokenizer: declare('int32_t oribi_model_tokenizer(const void *model, _Out_ void **tokenizer)'),
  model_free: declare('void oribi_model_free(void *model)'),
  tokenizer_encode: declare(
    'int32_t oribi_tokenizer_encode(const void *tokenizer, const uint8_t *text, size_t len_bytes, bool add_special, ' +
      'bool parse_special, _Out_ void **tokens)',
  ),
  tokenizer_free: declare('void oribi_tokenizer_free(void *tokenizer)'),
  session_new: declare('int32_t oribi_session_new(const void *model, const void *options, _Out_ void **session)'),
  session_new_sequence: declare('int32_t oribi_session_new_sequence(void *session, _Out_ uint32_t *sequence)'),
  session_free: declare('void oribi_session_free(void *session)'),
  sampler_new: declare('int32_t oribi_sampler_new(const void *tokenizer, const void *options, _Out_ void **sampler)'),
  sampler_free: declare('void oribi_sampler_free(void *sampler)'),
  generation_new: declare(
    'int32_t oribi_generation_new(void *session, uint32_t sequence, void *sampler, const uint32_t *prompt, ' +
      'size_t n_prompt, const void *options, _Out_ void **generation)',
  ),
  generation_next: declare('int32_t oribi_generation_next(void *generation, _Out_ void **piece)'),
  generation_free: declare('void oribi_generation_free(void *generation)'),
  piece_text: declare('int32_t oribi_piece_text(const void *piece, _Out_ void **text, _Out_ size_t *len_bytes)'),
  piece_token: declare('uint32_t oribi_piece_token(const void *piece)'),
};
const nextElsewhere = promisify(lib.generation_next.async);

if (lib.abi_version() !== ABI_VERSION) {
  throw new Error(`the oribi library has ABI version ${lib.abi_version()}, not ${ABI_VERSION}`);
}

/** A call that failed: the reason, with its `status` and `statusName` as in oribi.h. */
export class OribiError extends Error {
  constructor(status, text) {
    const statusName = lib.status_name(status);
    super(text ? `${text} (${statusName})` : statusName);
    Object.assign(this, { name: 'OribiError', status, statusName, isCancelled: status === CANCELLED });
  }
}

function check(status) {
  if (status !== OK) throw new OribiError(status, lib.last_error());
}

/** Calls a function whose last argument is where its result goes. */
function result(name, ...args) {
  const out = [null];
  check(lib[name](...args, out));
  return out[0];
}

// Handles are freed when nobody can reach their owner any more.
const forgotten = new FinalizationRegistry(({ free, handle }) => free(handle));

class Owner {
  constructor(type, handle) {
    this.handle = handle;
    forgotten.register(this, { free: lib[`${type}_free`], handle });
  }
}

const optionTypes = new Map();
for (let i = 0; lib.option_key(i) !== null; i++) optionTypes.set(lib.option_key(i), lib.option_type(i));

/** Options from an object with the keys of oribi.h, and `signal`, an AbortSignal. */
class Options extends Owner {
  constructor(options) {
    super('options', result('options_new'));
    const { signal, ...others } = options;
    for (const [key, value] of Object.entries(others)) this.#set(key, value);
    if (signal) this.#listen(signal);
  }

  #set(key, value) {
    const text = (value) => [Buffer.from(value), Buffer.byteLength(value)];
    if (typeof value === 'boolean') check(lib.options_set_bool(this.handle, key, value));
    else if (typeof value === 'string') check(lib.options_set_text(this.handle, key, ...text(value)));
    // JavaScript has one type of numbers; the library says which of its own an option takes.
    else if (typeof value === 'number' && optionTypes.get(key) === 'a float') {
      check(lib.options_set_float(this.handle, key, value));
    } else if (typeof value === 'bigint' || Number.isInteger(value)) check(lib.options_set_int(this.handle, key, value));
    else if (typeof value === 'number') check(lib.options_set_float(this.handle, key, value)); // refused, with the reason
    else {
      for (const one of value) {
        if (typeof one === 'string') check(lib.options_add_text(this.handle, key, ...text(one)));
        else check(lib.options_add_token(this.handle, key, one));
      }
    }
  }

  #listen(signal) {
    const cancel = new Owner('cancel', result('cancel_new'));
    check(lib.options_set_cancel(this.handle, cancel.handle));
    const request = () => lib.cancel_request(cancel.handle);
    if (signal.aborted) request();
    else signal.addEventListener('abort', request, { once: true });
  }
}

/** A model, ready to run. */
export class Model extends Owner {
  constructor(path, options = {}) {
    super('model', result('model_open', path, new Options(options).handle));
    this.tokenizer = new Tokenizer('tokenizer', result('model_tokenizer', this.handle));
  }

  session(options = {}) {
    return new Session(this, options);
  }
}

class Tokenizer extends Owner {
  /** The tokens of a text, a Uint32Array. */
  encode(text, { addSpecial = true, parseSpecial = false } = {}) {
    const bytes = Buffer.from(text);
    const tokens = result('tokenizer_encode', this.handle, bytes, bytes.length, addSpecial, parseSpecial);
    const n = Number(lib.tokens_len(tokens));
    const copy = Uint32Array.from(n > 0 ? koffi.decode(lib.tokens_data(tokens), 'uint32_t', n) : []);
    lib.tokens_free(tokens);
    return copy;
  }
}

/** All that changes while a model runs. */
class Session extends Owner {
  constructor(model, options) {
    super('session', result('session_new', model.handle, new Options(options).handle));
    this.tokenizer = model.tokenizer;
  }

  newSequence() {
    return result('session_new_sequence', this.handle);
  }

  /** A continuation of a sequence and a prompt, to be iterated with `for` or `for await`. */
  generate(sequence, prompt, options = {}) {
    return new Generation(this, sequence, prompt, new Options(options));
  }
}

class Generation extends Owner {
  constructor(session, sequence, prompt, options) {
    const sampler = new Owner('sampler', result('sampler_new', session.tokenizer.handle, options.handle));
    super(
      'generation',
      result('generation_new', session.handle, sequence, sampler.handle, prompt, prompt.length, options.handle),
    );
  }

  *[Symbol.iterator]() {
    for (;;) {
      const piece = result('generation_next', this.handle);
      if (piece === null) return;
      yield readPiece(piece);
    }
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      const out = [null];
      const status = await nextElsewhere(this.handle, out);
      // The text of an error belongs to the thread of the call, which is not this one: the status must do.
      if (status !== OK) throw new OribiError(status, '');
      if (out[0] === null) return;
      yield readPiece(out[0]);
    }
  }
}

/** A token, and the text that became certain with it: copied, because the library lends them until the next piece. */
function readPiece(piece) {
  const text = [null];
  const n = [0];
  check(lib.piece_text(piece, text, n));
  const bytes = Number(n[0]);
  return { token: lib.piece_token(piece), text: bytes > 0 ? koffi.decode.string(text[0], bytes) : '' };
}
