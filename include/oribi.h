/*
 * oribi.h - run quantized language models from GGUF files.
 *
 * Made from src/capi by scripts/header; do not edit. A guide with a first program: docs/embedding.md.
 *
 * CONVENTIONS, which hold for every function:
 *
 * - Every type is an opaque handle. No struct has public fields or crosses by value.
 * - A function that can fail returns an oribi_status. Results go through the last arguments, which are written only on success.
 *   A function that cannot fail returns its value, and 0, NULL or false for a NULL handle.
 * - The reason of a failure: oribi_last_error(), the thread's text, which names the argument, key, tensor, offset or limit.
 * - Ownership: what comes out of a function through a pointer to a handle ("_new", "_open", "_load", and whatever says so) is the
 *   host's, who frees it with that type's "_free". Freeing NULL does nothing. Handles keep alive what they need, so the order of
 *   freeing does not matter. What is "lent" belongs to a handle, stays valid as long as the function says, and is not freed.
 * - Threads: a function whose first argument is const does not change the handle; several threads may call such functions at
 *   once. Other calls on one handle go one at a time; different handles are independent. Every function states its rule. A call
 *   on a handle that another call is using is refused with ORIBI_STATUS_INVALID_STATE: it does not wait, and nothing is damaged.
 *   A handle is freed when no call uses it.
 * - NULL is always checked, unless a function says what it stands for. Lengths are checked. No panic, abort, exit or signal
 *   leaves the library, and nothing is ever written to standard output or standard error. A defect of the library becomes
 *   ORIBI_STATUS_INTERNAL; the handle concerned then refuses further calls, others go on.
 * - Text is UTF-8 with an explicit length in bytes; ORIBI_TO_NUL as a length has the library look for the NUL. Names (option and
 *   metadata keys, names of tensors, of templates, of roles) and paths are ended by NUL instead and have no length. Text that comes out
 *   is never cut inside a character.
 * - Every callback takes a `void *userdata` and is called on the thread of the call that it belongs to. It may call the library,
 *   except on the handle that is at work, and a cancel or progress callback must not load or compute; both are refused with
 *   ORIBI_STATUS_INVALID_STATE. A C++ exception or a longjmp must not leave it.
 * - Numbers of enums are explicit and never reused. Where a function takes one of several values, an unknown value is refused.
 */


#ifndef ORIBI_H
#define ORIBI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version that a program is compiled against; oribi_version() is the one that runs. */
#define ORIBI_VERSION "0.1.0"
#define ORIBI_VERSION_MAJOR 0
#define ORIBI_VERSION_MINOR 1
#define ORIBI_VERSION_PATCH 0

/**
 * The version of the binary interface. A program runs with a library of the same number, however much older the program
 * is; compare it with oribi_abi_version() where the library is loaded by name.
 */
#define ORIBI_ABI_VERSION 1

/** A length that stands for "up to the NUL": the library measures the text itself. */
#define ORIBI_TO_NUL SIZE_MAX




/**
 * The most dimensions of a tensor.
 */
#define ORIBI_MAX_DIMS 4

/**
 * What a call came to. Grouped by class: 1xx argument, 2xx file, 3xx model, 4xx resources and device, 5xx state, 6xx cancelled,
 * 9xx internal. A number is never reused for another meaning; later versions may add numbers, so treat one that you do not
 * know as its class.
 */
enum oribi_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Success.
     */
    ORIBI_STATUS_OK = 0,
    /**
     * An argument is NULL, not UTF-8, out of range, of the wrong length, or contradicts another.
     */
    ORIBI_STATUS_INVALID_ARGUMENT = 100,
    /**
     * The file could not be opened, read or written; the text carries the operating system's reason.
     */
    ORIBI_STATUS_IO = 200,
    /**
     * The bytes are not a GGUF file at all.
     */
    ORIBI_STATUS_NOT_GGUF = 201,
    /**
     * The bytes are GGUF, of a version or byte order that is not supported.
     */
    ORIBI_STATUS_UNSUPPORTED_VERSION = 202,
    /**
     * The file ends before what its header promises.
     */
    ORIBI_STATUS_TRUNCATED = 203,
    /**
     * The file contradicts the GGUF specification.
     */
    ORIBI_STATUS_INVALID_FILE = 204,
    /**
     * A metadata key is absent.
     */
    ORIBI_STATUS_MISSING_KEY = 205,
    /**
     * A metadata value has another type than the caller or the model demands.
     */
    ORIBI_STATUS_WRONG_TYPE = 206,
    /**
     * The file is sound but the model in it contradicts itself: shapes, ranges, missing tensors, vocabulary.
     */
    ORIBI_STATUS_INVALID_MODEL = 300,
    /**
     * The architecture, tensor type, tokenizer or feature is not supported.
     */
    ORIBI_STATUS_UNSUPPORTED = 301,
    /**
     * A chat template is missing, wrong, refuses the conversation, or went past its limits.
     */
    ORIBI_STATUS_TEMPLATE = 302,
    /**
     * Memory could not be had, or a stated budget would be exceeded.
     */
    ORIBI_STATUS_OUT_OF_MEMORY = 400,
    /**
     * The thread team could not be started, or the requested instruction set is not available on this CPU.
     */
    ORIBI_STATUS_DEVICE = 401,
    /**
     * The context has no room for what was asked.
     */
    ORIBI_STATUS_CONTEXT_FULL = 500,
    /**
     * A handle is not in a condition that allows the call: in use by another call, or unusable after an internal error.
     */
    ORIBI_STATUS_INVALID_STATE = 501,
    /**
     * The host's cancel request took effect.
     */
    ORIBI_STATUS_CANCELLED = 600,
    /**
     * A defect in oribi itself. The handle concerned may be unusable; others are not.
     */
    ORIBI_STATUS_INTERNAL = 900,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_status oribi_status;
#else
typedef int32_t oribi_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How much a message of the log matters.
 */
enum oribi_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Something that the host may want to know, for example a contradiction in the file and how it was taken.
     */
    ORIBI_LOG_LEVEL_WARNING = 1,
    /**
     * What was chosen: instruction set, threads, memory.
     */
    ORIBI_LOG_LEVEL_INFO = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_log_level oribi_log_level;
#else
typedef int32_t oribi_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a progress callback hears of.
 */
enum oribi_phase
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A model is being loaded: bytes of tensors that are ready, and of all.
     */
    ORIBI_PHASE_LOAD = 1,
    /**
     * A batch or a prompt is being computed: tokens that are computed, and of the batch.
     */
    ORIBI_PHASE_PROMPT = 2,
    /**
     * A file is being quantized: bytes of the input's tensors that are done, and of all.
     */
    ORIBI_PHASE_QUANTIZE = 3,
    /**
     * A text is being evaluated: chunks that are done, and of all.
     */
    ORIBI_PHASE_EVALUATE = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_phase oribi_phase;
#else
typedef int32_t oribi_phase;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The type of a metadata value's elements; the numbers are those of the GGUF format.
 */
enum oribi_value_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * An unsigned integer of 8 bits.
     */
    ORIBI_VALUE_TYPE_U8 = 0,
    /**
     * A signed integer of 8 bits.
     */
    ORIBI_VALUE_TYPE_I8 = 1,
    /**
     * An unsigned integer of 16 bits.
     */
    ORIBI_VALUE_TYPE_U16 = 2,
    /**
     * A signed integer of 16 bits.
     */
    ORIBI_VALUE_TYPE_I16 = 3,
    /**
     * An unsigned integer of 32 bits.
     */
    ORIBI_VALUE_TYPE_U32 = 4,
    /**
     * A signed integer of 32 bits.
     */
    ORIBI_VALUE_TYPE_I32 = 5,
    /**
     * A float of 32 bits.
     */
    ORIBI_VALUE_TYPE_F32 = 6,
    /**
     * A bool.
     */
    ORIBI_VALUE_TYPE_BOOL = 7,
    /**
     * A text. Elements of an array may be any bytes, for example parts of characters in a vocabulary.
     */
    ORIBI_VALUE_TYPE_TEXT = 8,
    /**
     * An unsigned integer of 64 bits.
     */
    ORIBI_VALUE_TYPE_U64 = 10,
    /**
     * A signed integer of 64 bits.
     */
    ORIBI_VALUE_TYPE_I64 = 11,
    /**
     * A float of 64 bits.
     */
    ORIBI_VALUE_TYPE_F64 = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_value_type oribi_value_type;
#else
typedef int32_t oribi_value_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a token is for.
 */
enum oribi_token_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The file gives no meaning.
     */
    ORIBI_TOKEN_KIND_UNDEFINED = 0,
    /**
     * Ordinary text.
     */
    ORIBI_TOKEN_KIND_NORMAL = 1,
    /**
     * Stands for what the vocabulary cannot express.
     */
    ORIBI_TOKEN_KIND_UNKNOWN = 2,
    /**
     * Structure, for example the end of a turn; never part of a text.
     */
    ORIBI_TOKEN_KIND_CONTROL = 3,
    /**
     * Text that is one token wherever it occurs.
     */
    ORIBI_TOKEN_KIND_USER_DEFINED = 4,
    /**
     * Reserved.
     */
    ORIBI_TOKEN_KIND_UNUSED = 5,
    /**
     * One byte.
     */
    ORIBI_TOKEN_KIND_BYTE = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_token_kind oribi_token_kind;
#else
typedef int32_t oribi_token_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a generation ended.
 */
enum oribi_stop_reason
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It has not ended, or it ended with an error.
     */
    ORIBI_STOP_REASON_NONE = 0,
    /**
     * The model chose a token that ends the text or the turn.
     */
    ORIBI_STOP_REASON_END_OF_GENERATION = 1,
    /**
     * A stop string appeared; it is not part of the text.
     */
    ORIBI_STOP_REASON_STOP_STRING = 2,
    /**
     * One of the option's stop_tokens was chosen.
     */
    ORIBI_STOP_REASON_STOP_TOKEN = 3,
    /**
     * The option max_tokens was reached.
     */
    ORIBI_STOP_REASON_LENGTH = 4,
    /**
     * The context has no room for another token.
     */
    ORIBI_STOP_REASON_CONTEXT_FULL = 5,
    /**
     * The host cancelled it.
     */
    ORIBI_STOP_REASON_CANCELLED = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_stop_reason oribi_stop_reason;
#else
typedef int32_t oribi_stop_reason;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A part of the memory that a model takes.
 */
enum oribi_memory
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The sum of the others, which the option max_memory limits.
     */
    ORIBI_MEMORY_TOTAL = 0,
    /**
     * Weights in the layout of the kernels: all of them, or what is at work of those that stay in the file.
     */
    ORIBI_MEMORY_WEIGHTS = 1,
    /**
     * Keys and values, when every sequence has filled its context. They grow page by page.
     */
    ORIBI_MEMORY_KV_CACHE = 2,
    /**
     * Buffers of a pass, and the logits.
     */
    ORIBI_MEMORY_SCRATCH = 3,
    /**
     * The tokenizer's tables.
     */
    ORIBI_MEMORY_VOCABULARY = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_memory oribi_memory;
#else
typedef int32_t oribi_memory;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The roles that a vocabulary may give to a token.
 */
enum oribi_role_token
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Beginning of a sequence.
     */
    ORIBI_ROLE_TOKEN_BOS = 0,
    /**
     * End of a sequence.
     */
    ORIBI_ROLE_TOKEN_EOS = 1,
    /**
     * End of a turn.
     */
    ORIBI_ROLE_TOKEN_EOT = 2,
    /**
     * End of a message that calls a tool.
     */
    ORIBI_ROLE_TOKEN_EOM = 3,
    /**
     * What the vocabulary cannot express.
     */
    ORIBI_ROLE_TOKEN_UNK = 4,
    /**
     * Separator.
     */
    ORIBI_ROLE_TOKEN_SEP = 5,
    /**
     * Padding.
     */
    ORIBI_ROLE_TOKEN_PAD = 6,
    /**
     * Mask.
     */
    ORIBI_ROLE_TOKEN_MASK = 7,
    /**
     * Fill in the middle: what stands before the gap.
     */
    ORIBI_ROLE_TOKEN_FIM_PRE = 8,
    /**
     * Fill in the middle: what stands behind the gap.
     */
    ORIBI_ROLE_TOKEN_FIM_SUF = 9,
    /**
     * Fill in the middle: the gap.
     */
    ORIBI_ROLE_TOKEN_FIM_MID = 10,
    /**
     * Fill in the middle: padding.
     */
    ORIBI_ROLE_TOKEN_FIM_PAD = 11,
    /**
     * Fill in the middle: repository.
     */
    ORIBI_ROLE_TOKEN_FIM_REP = 12,
    /**
     * Fill in the middle: file separator.
     */
    ORIBI_ROLE_TOKEN_FIM_SEP = 13,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_role_token oribi_role_token;
#else
typedef int32_t oribi_role_token;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a token comes from. It decides the arithmetic where the option numerics is native, so that results depend neither on the
 * batch that a token is in nor on how a prompt was divided.
 */
enum oribi_role
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Given: prompts, documents.
     */
    ORIBI_ROLE_PROMPT = 0,
    /**
     * Made by the model: sampled, or drafted and to be verified.
     */
    ORIBI_ROLE_GENERATED = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_role oribi_role;
#else
typedef int32_t oribi_role;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A number about a generation.
 */
enum oribi_timing
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Tokens of the prompt.
     */
    ORIBI_TIMING_PROMPT_TOKENS = 0,
    /**
     * Seconds to evaluate the prompt.
     */
    ORIBI_TIMING_PROMPT_SECONDS = 1,
    /**
     * Sampled tokens, the one that ended the generation included.
     */
    ORIBI_TIMING_GENERATED_TOKENS = 2,
    /**
     * Tokens that were evaluated one at a time: the last generated one never is.
     */
    ORIBI_TIMING_EVALUATED_TOKENS = 3,
    /**
     * Seconds to evaluate and sample those; what the host does between two pieces is not counted.
     */
    ORIBI_TIMING_GENERATE_SECONDS = 4,
    /**
     * Seconds from the start to the first sampled token; 0 until there is one.
     */
    ORIBI_TIMING_FIRST_TOKEN_SECONDS = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_timing oribi_timing;
#else
typedef int32_t oribi_timing;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Which hidden states become embeddings. No vector is scaled to length 1.
 */
enum oribi_pooling
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * One vector for each token of the batch that was added with `wants_output`, in the order of the batch.
     */
    ORIBI_POOLING_TOKENS = 0,
    /**
     * One for each sequence, in order of first occurrence: the mean over its tokens of the batch.
     */
    ORIBI_POOLING_MEAN = 1,
    /**
     * One for each sequence, in order of first occurrence: that of its last token of the batch.
     */
    ORIBI_POOLING_LAST = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum oribi_pooling oribi_pooling;
#else
typedef int32_t oribi_pooling;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Tokens to append to sequences of a session, in order. Tokens of several sequences may be mixed; each goes to the next position of
 * its sequence.
 */
typedef struct oribi_batch oribi_batch;

/**
 * Bytes that the library made, for example the state of a session.
 */
typedef struct oribi_bytes oribi_bytes;

/**
 * A request to cancel that any thread can make, at any time: also while the handles that listen to it are at work or being
 * made. Handles listen to the one of the options that they were made with (oribi_options_set_cancel()).
 */
typedef struct oribi_cancel oribi_cancel;

/**
 * A chat template: the Jinja template that a model file carries, rendered in a sandbox. Immutable.
 */
typedef struct oribi_chat_template oribi_chat_template;

/**
 * Turns tokens into text as they come, for hosts with a loop of their own; oribi_generation has one inside. It never splits a
 * character.
 */
typedef struct oribi_decoder oribi_decoder;

/**
 * An open GGUF file, or the files of a split model: its header, checked; everything large stays where it is. Immutable. A model
 * that is loaded from it keeps what it needs, so it may be freed at any time.
 *
 * The file must not be shortened or rewritten while it is open; replacing it by renaming another over it is fine. A host that
 * cannot promise that opens it from memory.
 */
typedef struct oribi_file oribi_file;

/**
 * Numbers that the library computed, for example embeddings.
 */
typedef struct oribi_floats oribi_floats;

/**
 * Text from a prompt, under way. It keeps its session and its sampler alive, and uses them only while a call on it is under way:
 * between two pieces the session's other sequences, and other generations, may go on.
 */
typedef struct oribi_generation oribi_generation;

/**
 * A conversation: messages, and other variables that a template may look at.
 */
typedef struct oribi_messages oribi_messages;

/**
 * A model ready to run: weights, hyperparameters, tokenizer. Immutable: any number of sessions, on any threads, share it and
 * keep it alive.
 */
typedef struct oribi_model oribi_model;

/**
 * Options and callbacks for the handles that are made with them. A handle takes what concerns it and keeps a copy: options may be
 * changed or freed afterwards, and one set of options may serve any number of handles. Wherever options are an argument, NULL
 * stands for the defaults.
 *
 * An option has a key and a type; a setter refuses, at once and by name, a key that does not exist, a value of another type, and
 * a value out of range. Keys, types and meanings:
 *
 * For models:
 *
 * - n_threads (an integer): threads; 0 is one for each physical core that the process may use
 * - isa (a text): use no instruction set above this: scalar, avx2, avxvnni, avx512, avx512bf16, amx, neon, dotprod, i8mm
 * - pack_weights (a bool): bring all weights into the layout of the kernels at load; false leaves them in the file: starts at once, runs slowly
 * - huge_pages (a bool): ask the system for huge pages for the weights
 * - max_memory (an integer): bytes that a model with one session may take; more is refused, before anything is read and before a session is made; 0 is no limit
 * - device (a text): what the model runs on: cpu, cuda or cuda:N for an NVIDIA GPU, auto for the first GPU that can be used, else the CPU
 * - gpu_layers (an integer): blocks of the model that are on the GPU, for models larger than its memory; the CPU computes the others; -1 is all
 * - max_gpu_memory (an integer): the same as max_memory for a GPU's own memory; 0 is what is free there
 *
 * For sessions:
 *
 * - n_ctx (an integer): positions that a sequence may have; 0 is what the model was trained for
 * - n_batch (an integer): tokens that are computed at once; changes speed and memory only
 * - n_sequences (an integer): sequences that may exist at once
 * - max_outputs (an integer): logits that one batch may ask for; 0 is one for each sequence
 * - numerics (a text): arithmetic of prompts: native (bfloat16 where the CPU is fast at it) or portable (the same bits everywhere)
 * - kv_type (a text): how keys and values are kept: f16, q8_0 (half the memory), q4_0 (a quarter, far less exact)
 *
 * For samplers:
 *
 * - seed (an integer): seed of the random numbers, its 64 bits; without one each sampler draws its own
 * - logprobs (an integer): give the log-probability of each token, and of this many of the most probable ones; -1 gives none
 * - samplers (a text): stages in their order, as in penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature
 * - temp (a float): temperature; 0 takes the most probable token
 * - dynatemp_range (a float): half the width of the dynamic temperature's range; 0 is off
 * - dynatemp_exponent (a float): exponent of the dynamic temperature
 * - top_k (an integer): keep so many of the most probable tokens; 0 is off
 * - top_p (a float): keep the most probable tokens of this mass; 1 is off
 * - min_p (a float): keep tokens at least this fraction as probable as the best; 0 is off
 * - typical_p (a float): keep the most typical tokens of this mass; 1 is off
 * - top_n_sigma (a float): keep logits this many standard deviations from the best; 0 is off
 * - xtc_probability (a float): how often XTC takes top choices away; 0 is off
 * - xtc_threshold (a float): probability from which XTC calls a token a top choice
 * - penalty_last_n (an integer): how many of the last tokens the penalties look at; 0 is off, -1 is all
 * - repeat_penalty (a float): divides the logits of repeated tokens; 1 is off
 * - frequency_penalty (a float): subtracted for each repetition; 0 is off
 * - presence_penalty (a float): subtracted once for a repeated token; 0 is off
 * - dry_multiplier (a float): scale of the DRY penalty; 0 is off
 * - dry_base (a float): base of the DRY penalty's growth
 * - dry_allowed_length (an integer): repetitions shorter than this are free of the DRY penalty
 * - dry_penalty_last_n (an integer): how many of the last tokens DRY looks at; 0 is off, -1 is all
 * - dry_sequence_breakers (a list of texts): texts that no repetition reaches over; the first that is added replaces the default ones
 * - mirostat (an integer): Mirostat version 1 or 2 in place of the truncating stages; 0 is off
 * - mirostat_tau (a float): the surprise that Mirostat aims at, in bits
 * - mirostat_eta (a float): Mirostat's learning rate
 * - logit_bias (a list of biases): added to the logits of tokens, by oribi_options_add_logit_bias()
 * - ban_end_of_generation (a bool): never choose a token that ends the text, so that something else must
 *
 * For generations:
 *
 * - max_tokens (an integer): the most tokens to generate; -1 is as many as the context has room for
 * - stop_strings (a list of texts): texts that end the generation and are not part of it
 * - stop_tokens (a list of tokens): tokens that end the generation, beside those that the model ends with
 * - show_special (a bool): show control tokens in the text as the vocabulary writes them
 *
 * For oribi_file_quantize():
 *
 * - tensor_types (a list of texts): REGEX=TYPE: matrices whose names match have this type whatever the level; the first that matches decides
 * - importance (a text): path of an importance matrix, which weighs the errors of columns
 * - requantize (a bool): encode tensors again that are quantized already, which adds one rounding to another
 */
typedef struct oribi_options oribi_options;

/**
 * A token of a generation, and the text that became certain with it. Lent by the generation; there is nothing to free.
 */
typedef struct oribi_piece oribi_piece;

/**
 * A chain of stages on logits and a pick, with its random stream and its memory of the tokens that it accepted. The same options,
 * seed, logits and accepted tokens give the same tokens on every machine.
 */
typedef struct oribi_sampler oribi_sampler;

/**
 * All that changes while a model runs: sequences of tokens with their keys and values, and the logits of the last batch. It keeps
 * its model alive.
 *
 * Results depend on the model and on a sequence's own tokens, and on nothing else: the number of threads, the other sequences of a
 * batch, other sessions, and how a prompt was divided do not change a bit.
 *
 * A sequence is named by a number below the option n_sequences. A call on a session while another call on it is under way, from
 * another thread or from a callback, is refused with ORIBI_STATUS_INVALID_STATE.
 */
typedef struct oribi_session oribi_session;

/**
 * A text that the library computed: UTF-8 with its length, and a NUL behind it for programs that want one.
 */
typedef struct oribi_text oribi_text;

/**
 * The tokenizer of a model or of a file. Immutable.
 */
typedef struct oribi_tokenizer oribi_tokenizer;

/**
 * Tokens that the library computed.
 */
typedef struct oribi_tokens oribi_tokens;

/**
 * Hears a message: UTF-8 of `len_bytes` bytes, with a NUL behind it, lent for the call.
 */
typedef void (*oribi_log_fn)(void *userdata, oribi_log_level level, const char *text, size_t len_bytes);

/**
 * Hears how far work is: `done` of `total`.
 */
typedef void (*oribi_progress_fn)(void *userdata, oribi_phase phase, uint64_t done, uint64_t total);

/**
 * Says whether work is to end; asked many times a second, so it should be quick.
 */
typedef bool (*oribi_cancel_fn)(void *userdata);

/**
 * Hears that the library needs memory or a callback of the host no more. Called once, on the thread that frees the last handle which
 * needed it.
 */
typedef void (*oribi_release_fn)(void *userdata);

/**
 * Copies up to `len_bytes` bytes of a file from byte `offset` on into `buffer`; how many, like pread(): fewer are completed by
 * another call, 0 is the end of the file, a negative number is a failure.
 */
typedef int64_t (*oribi_read_at_fn)(void *userdata, uint64_t offset, void *buffer, size_t len_bytes);

/**
 * Hears a piece, which is lent for the call; returns whether to go on.
 */
typedef bool (*oribi_piece_fn)(void *userdata, const struct oribi_piece *piece);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that runs, for example "0.1.0"; ORIBI_VERSION is the one that was compiled against.
 *
 * Lent for ever. Threads: any.
 */
const char *oribi_version(void);

/**
 * The version of the binary interface of the library that runs; see ORIBI_ABI_VERSION.
 *
 * Threads: any.
 */
uint32_t oribi_abi_version(void);

/**
 * The text of the last error on this thread, in lower case, naming the argument, key, tensor, offset or limit concerned. UTF-8,
 * ended by NUL; empty before the first error. A call that succeeds leaves it as it is, so look at it after a status other than
 * ORIBI_STATUS_OK only.
 *
 * Lent until the next call of an oribi function that fails on this thread. Threads: any; each has its own text.
 *
 * @code
 * if (oribi_model_open(path, NULL, &model) != ORIBI_STATUS_OK) fprintf(stderr, "%s\n", oribi_last_error());
 * @endcode
 */
const char *oribi_last_error(void);

/**
 * The name of a status as in this header, for example "ORIBI_STATUS_TRUNCATED"; "ORIBI_STATUS_UNKNOWN" for another number.
 *
 * Lent for ever. Threads: any.
 */
const char *oribi_status_name(int32_t status);

/**
 * The bytes of a text, oribi_text_len() of them and a NUL behind. NULL for NULL.
 *
 * Lent until the text is freed. Threads: any.
 */
const char *oribi_text_data(const struct oribi_text *text);

/**
 * The length of a text in bytes, without the NUL behind it. 0 for NULL.
 *
 * Threads: any.
 */
size_t oribi_text_len(const struct oribi_text *text);

/**
 * Free a text. NULL is allowed.
 *
 * Threads: any, when nobody uses the text.
 */
void oribi_text_free(struct oribi_text *text);

/**
 * The tokens, oribi_tokens_len() of them. NULL for NULL; not to be read when there are none.
 *
 * Lent until they are freed. Threads: any.
 */
const uint32_t *oribi_tokens_data(const struct oribi_tokens *tokens);

/**
 * The number of tokens. 0 for NULL.
 *
 * Threads: any.
 */
size_t oribi_tokens_len(const struct oribi_tokens *tokens);

/**
 * Free tokens. NULL is allowed.
 *
 * Threads: any, when nobody uses them.
 */
void oribi_tokens_free(struct oribi_tokens *tokens);

/**
 * The bytes, oribi_bytes_len() of them. NULL for NULL; not to be read when there are none.
 *
 * Lent until they are freed. Threads: any.
 */
const uint8_t *oribi_bytes_data(const struct oribi_bytes *bytes);

/**
 * The number of bytes. 0 for NULL.
 *
 * Threads: any.
 */
size_t oribi_bytes_len(const struct oribi_bytes *bytes);

/**
 * Free bytes. NULL is allowed.
 *
 * Threads: any, when nobody uses them.
 */
void oribi_bytes_free(struct oribi_bytes *bytes);

/**
 * The floats, oribi_floats_len() of them. NULL for NULL; not to be read when there are none.
 *
 * Lent until they are freed. Threads: any.
 */
const float *oribi_floats_data(const struct oribi_floats *floats);

/**
 * The number of floats. 0 for NULL.
 *
 * Threads: any.
 */
size_t oribi_floats_len(const struct oribi_floats *floats);

/**
 * Free floats. NULL is allowed.
 *
 * Threads: any, when nobody uses them.
 */
void oribi_floats_free(struct oribi_floats *floats);

/**
 * A new request, not made yet. The host frees it with oribi_cancel_free(); handles that listen to it keep what they need.
 *
 * Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_cancel_new(struct oribi_cancel **cancel);

/**
 * Make the request: every load, batch and generation that listens ends with ORIBI_STATUS_CANCELLED, within 50 milliseconds,
 * and so does what begins later, until oribi_cancel_reset(). NULL is allowed and does nothing.
 *
 * Threads: any, at any time; also from a signal handler, because it sets one flag and does nothing else.
 */
void oribi_cancel_request(const struct oribi_cancel *cancel);

/**
 * Take the request back, so that work can begin again. NULL is allowed and does nothing.
 *
 * Threads: any, at any time.
 */
void oribi_cancel_reset(const struct oribi_cancel *cancel);

/**
 * Whether the request is made. False for NULL.
 *
 * Threads: any, at any time.
 */
bool oribi_cancel_is_requested(const struct oribi_cancel *cancel);

/**
 * Free the host's part of a request. NULL is allowed.
 *
 * Threads: any, when nobody uses this pointer.
 */
void oribi_cancel_free(struct oribi_cancel *cancel);

/**
 * New options: the defaults, without callbacks. The host frees them with oribi_options_free().
 *
 * Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 *
 * @code
 * oribi_options *options = NULL;
 * if (oribi_options_new(&options) != ORIBI_STATUS_OK) return 1;
 * oribi_options_set_int(options, "n_ctx", 4096);
 * oribi_options_set_float(options, "temp", 0.7);
 * oribi_options_set_text(options, "kv_type", "q8_0", ORIBI_TO_NUL);
 * @endcode
 */
oribi_status oribi_options_new(struct oribi_options **options);

/**
 * A copy of options, callbacks included, to be changed apart. The host frees it with oribi_options_free().
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE while they are being changed.
 */
oribi_status oribi_options_clone(const struct oribi_options *options,
                                 struct oribi_options **copy);

/**
 * Free options. NULL is allowed; handles that were made with them are not concerned.
 *
 * Threads: any, when nobody uses them.
 */
void oribi_options_free(struct oribi_options *options);

/**
 * Set an option that is an integer.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
 * while the options are in use by another call. After an error they are as before.
 */
oribi_status oribi_options_set_int(struct oribi_options *options,
                                   const char *key,
                                   int64_t value);

/**
 * Set an option that is a float.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
 * while the options are in use by another call. After an error they are as before.
 */
oribi_status oribi_options_set_float(struct oribi_options *options,
                                     const char *key,
                                     double value);

/**
 * Set an option that is a bool.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
 * while the options are in use by another call. After an error they are as before.
 */
oribi_status oribi_options_set_bool(struct oribi_options *options,
                                    const char *key,
                                    bool value);

/**
 * Set an option that is a text.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
 * while the options are in use by another call. After an error they are as before.
 */
oribi_status oribi_options_set_text(struct oribi_options *options,
                                    const char *key,
                                    const char *value,
                                    size_t len_bytes);

/**
 * Add a text to an option that is a list of texts.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
 * while the options are in use by another call. After an error they are as before.
 */
oribi_status oribi_options_add_text(struct oribi_options *options,
                                    const char *key,
                                    const char *value,
                                    size_t len_bytes);

/**
 * Add a token to an option that is a list of tokens.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
 * while the options are in use by another call. After an error they are as before.
 */
oribi_status oribi_options_add_token(struct oribi_options *options,
                                     const char *key,
                                     uint32_t token);

/**
 * Add a bias to the logit of a token, before everything else that the sampler does: -INFINITY excludes the token, otherwise -1e9 to
 * 1e9. Several for one token add up.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE. That the token exists is checked where
 * a sampler is made.
 */
oribi_status oribi_options_add_logit_bias(struct oribi_options *options,
                                          uint32_t token,
                                          float bias);

/**
 * Set an option back to its default; a list becomes the default list.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for a key that does not exist; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_options_reset(struct oribi_options *options,
                                 const char *key);

/**
 * Who hears the messages of handles that are made with these options; NULL for nobody. Nothing is ever written to standard output
 * or standard error. Called on the thread of the call that has something to say, never after that call returned.
 *
 * `userdata` is handed to every call and must stay valid as long as a handle that was made with the options. Threads: one at a
 * time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_options_set_log(struct oribi_options *options,
                                   oribi_log_fn callback,
                                   void *userdata);

/**
 * Who hears how far loads and prompts are; NULL for nobody. Called on the thread of the load, batch or generation.
 *
 * `userdata` and the rest as for oribi_options_set_log().
 */
oribi_status oribi_options_set_progress(struct oribi_options *options, oribi_progress_fn callback, void *userdata);

/**
 * Who is asked whether a load, batch or generation is to end, with ORIBI_STATUS_CANCELLED; NULL for nobody. Asked on the thread
 * of the call, at least every 50 milliseconds. To cancel from another thread there is oribi_cancel.
 *
 * `userdata` and the rest as for oribi_options_set_log().
 */
oribi_status oribi_options_set_cancel_callback(struct oribi_options *options,
                                               oribi_cancel_fn callback,
                                               void *userdata);

/**
 * The request to cancel that handles made with these options listen to; NULL for none. One request may serve any number of
 * options. The host may free its part at any time.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_options_set_cancel(struct oribi_options *options,
                                      const struct oribi_cancel *cancel);

/**
 * The key of option `index`, in the order of the list above; NULL past the last. For hosts that offer options by name.
 *
 * Lent for ever. Threads: any.
 */
const char *oribi_option_key(size_t index);

/**
 * What option `index` means, in the words of the list above; NULL past the last.
 *
 * Lent for ever. Threads: any.
 */
const char *oribi_option_about(size_t index);

/**
 * What option `index` takes: "an integer", "a float", "a bool", "a text", "a list of texts", "a list of tokens" or "a list of
 * biases"; NULL past the last.
 *
 * Lent for ever. Threads: any.
 */
const char *oribi_option_type(size_t index);

/**
 * The threads that a model takes by default: one for each physical core that the process may use.
 *
 * Threads: any.
 */
size_t oribi_cpu_default_threads(void);

/**
 * What this CPU can do and which kernels would run, as a JSON object:
 *
 * - "isa": the instruction set in use, "features": what it needs of a CPU
 * - "available": all instruction sets whose kernels run here
 * - "threads": oribi_cpu_default_threads()
 * - "formats": for each tensor format, the kernels of its matrix products by number of rows
 * - "operations": the kernels of everything else
 *
 * `isa` is NULL for the best of this CPU, or a name as in the option isa. The host frees the result with oribi_text_free(). Threads:
 * any. Errors: ORIBI_STATUS_INVALID_ARGUMENT for an unknown name; ORIBI_STATUS_DEVICE for an instruction set that this CPU lacks.
 */
oribi_status oribi_cpu_report(const char *isa,
                              struct oribi_text **report);

/**
 * Open a file by its path; a split model by its first file NAME-00001-of-000NN.gguf. Reads the header only, and takes no more
 * memory than a small multiple of its size.
 *
 * The host frees the result with oribi_file_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_IO;
 * ORIBI_STATUS_NOT_GGUF, _UNSUPPORTED_VERSION, _TRUNCATED, _INVALID_FILE, _WRONG_TYPE, _UNSUPPORTED for what is wrong with the
 * file.
 */
oribi_status oribi_file_open(const char *path,
                             struct oribi_file **file);

/**
 * Open the `len_bytes` bytes from byte `offset` of an open file descriptor, for example a model inside an application's package.
 * The descriptor is duplicated: the host may close its own at once. Its position is not used.
 *
 * Ownership, threads and errors as for oribi_file_open(); ORIBI_STATUS_UNSUPPORTED on systems without file descriptors, and for a
 * file of a split model.
 */
oribi_status oribi_file_open_fd(int fd,
                                uint64_t offset,
                                uint64_t len_bytes,
                                struct oribi_file **file);

/**
 * Free a file. NULL is allowed; models that were loaded from it are not concerned.
 *
 * Threads: any, when nobody uses it.
 */
void oribi_file_free(struct oribi_file *file);

/**
 * The version of the GGUF format: 1, 2 or 3. 0 for NULL.
 *
 * Threads: any, several at once.
 */
uint32_t oribi_file_version(const struct oribi_file *file);

/**
 * The size in bytes, of all files of a split model together. 0 for NULL.
 *
 * Threads: any, several at once.
 */
uint64_t oribi_file_len(const struct oribi_file *file);

/**
 * The number of files: 1, or those of a split model. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_file_n_shards(const struct oribi_file *file);

/**
 * The bytes that a model of this file takes with one session, both made with `options` (NULL for the defaults); `part` is a
 * value of oribi_memory. Known from the header alone. Where the option device means a GPU they are bytes of its own memory.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT; those of oribi_model_load() for what is wrong with the
 * header.
 */
oribi_status oribi_file_predict_memory(const struct oribi_file *file,
                                       const struct oribi_options *options,
                                       int32_t part,
                                       uint64_t *n_bytes);

/**
 * Open a GGUF file in memory of the host. Nothing is copied: the memory must stay as it is until `release` is called with `userdata`,
 * which happens once, when the file, and every model and tokenizer that came from it, is freed; with a NULL `release`, until the
 * host has freed them all. After an error nothing is released.
 *
 * The host frees the result with oribi_file_free(). Threads: any. Errors: those of oribi_file_open(), without ORIBI_STATUS_IO;
 * ORIBI_STATUS_UNSUPPORTED for a file of a split model.
 */
oribi_status oribi_file_open_memory(const void *data,
                                    size_t len_bytes,
                                    oribi_release_fn release,
                                    void *userdata,
                                    struct oribi_file **file);

/**
 * Open a GGUF file of `len_bytes` bytes that the host reads on request, from wherever it is. `read` is called on the thread that
 * calls this function, and later on the one that loads a model from the file, and never at once from several. The header is kept;
 * tensors are read piece by piece while a model is loaded, and not afterwards, so the option pack_weights must be true.
 *
 * `userdata` must stay valid until `release` is called with it, which happens once, when the file, and every model that was loaded
 * from it, is freed; `release` may be NULL. After an error nothing is released. The host frees the result with oribi_file_free().
 * Threads: any. Errors: those of oribi_file_open(); ORIBI_STATUS_IO if `read` fails or claims more bytes than it was asked
 * for; ORIBI_STATUS_TRUNCATED if there are none before `len_bytes`; ORIBI_STATUS_UNSUPPORTED for a file of a split model.
 */
oribi_status oribi_file_open_read_at(uint64_t len_bytes,
                                     oribi_read_at_fn read,
                                     oribi_release_fn release,
                                     void *userdata,
                                     struct oribi_file **file);

/**
 * The number of metadata keys. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_file_n_metadata(const struct oribi_file *file);

/**
 * The key of metadata entry `index`, in the file's order: `len_bytes` bytes without a NUL behind them.
 *
 * Lent until the file is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_metadata_key(const struct oribi_file *file, size_t index, const char **text, size_t *len_bytes);

/**
 * The index of a metadata key.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY; ORIBI_STATUS_INVALID_ARGUMENT.
 *
 * @code
 * size_t index;
 * int64_t n_blocks;
 * if (oribi_file_metadata_find(file, "llama.block_count", &index) == ORIBI_STATUS_OK)
 *     oribi_file_metadata_ints(file, index, &n_blocks, 1);
 * @endcode
 */
oribi_status oribi_file_metadata_find(const struct oribi_file *file, const char *key, size_t *index);

/**
 * The type of a metadata value, whether it is an array, and its number of elements, which is 1 unless it is an array.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_metadata_type(const struct oribi_file *file,
                                      size_t index,
                                      oribi_value_type *value_type,
                                      bool *is_array,
                                      size_t *n_elems);

/**
 * All elements of a metadata value of integers into `values`, whose length `n` must be the number of elements.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_WRONG_TYPE for another type, and for a number that does not fit;
 * ORIBI_STATUS_INVALID_ARGUMENT for another length, naming the right one; ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_file_metadata_ints(const struct oribi_file *file, size_t index, int64_t *values, size_t n);

/**
 * All elements of a metadata value of floats into `values`, as oribi_file_metadata_ints() does.
 *
 * Threads and errors as for oribi_file_metadata_ints().
 */
oribi_status oribi_file_metadata_floats(const struct oribi_file *file, size_t index, double *values, size_t n);

/**
 * All elements of a metadata value of bools into `values`, as oribi_file_metadata_ints() does.
 *
 * Threads and errors as for oribi_file_metadata_ints().
 */
oribi_status oribi_file_metadata_bools(const struct oribi_file *file, size_t index, bool *values, size_t n);

/**
 * All elements of a metadata value of texts: their places into `texts` and their lengths in bytes into `lens_bytes`, both of
 * length `n`, which must be the number of elements. There is no NUL behind a text. A single text is UTF-8; elements of an array
 * may be any bytes.
 *
 * Lent until the file is freed. Threads and errors as for oribi_file_metadata_ints().
 */
oribi_status oribi_file_metadata_texts(const struct oribi_file *file,
                                       size_t index,
                                       const char **texts,
                                       size_t *lens_bytes,
                                       size_t n);

/**
 * The number of tensors. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_file_n_tensors(const struct oribi_file *file);

/**
 * The name of tensor `index`, in the file's order: `len_bytes` bytes without a NUL behind them.
 *
 * Lent until the file is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_tensor_name(const struct oribi_file *file, size_t index, const char **text, size_t *len_bytes);

/**
 * The index of the tensor of a name.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY; ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_tensor_find(const struct oribi_file *file, const char *tensor_name, size_t *index);

/**
 * The format of tensor `index` as the field writes it, for example "Q4_K".
 *
 * Lent for ever. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_tensor_dtype(const struct oribi_file *file, size_t index, const char **text, size_t *len_bytes);

/**
 * The shape of tensor `index`: `shape` has room for ORIBI_MAX_DIMS dimensions, of which `n_dims` are written. The first is the
 * contiguous one, the inputs of a weight matrix.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_tensor_shape(const struct oribi_file *file,
                                     size_t index,
                                     uint64_t *shape,
                                     size_t *n_dims);

/**
 * The bytes of tensor `index` in the file.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_tensor_len(const struct oribi_file *file, size_t index, uint64_t *n_bytes);

/**
 * Write a file that has this file's metadata, and its matrices at a quantization level: Q4_K_M, Q8_0, F16, or a format such as Q4_K for
 * all of them. `path` takes its name when it is whole; a file of that name is replaced then, and not before. A call that was
 * cancelled or killed leaves what is done beside it, and the same call later goes on with it.
 *
 * The options tensor_types, importance and requantize are for this function; so is n_threads. Callbacks hear of
 * ORIBI_PHASE_QUANTIZE. Values that are not finite are refused, naming the tensor.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT for an unknown level, a rule that is about no matrix, or
 * tensors that are quantized already without the option requantize; ORIBI_STATUS_UNSUPPORTED for a format that cannot be read or
 * made; ORIBI_STATUS_INVALID_MODEL; ORIBI_STATUS_INVALID_STATE, also when another process writes the same file;
 * ORIBI_STATUS_CANCELLED; ORIBI_STATUS_IO; ORIBI_STATUS_OUT_OF_MEMORY; what a wrong importance matrix says.
 */
oribi_status oribi_file_quantize(const struct oribi_file *file,
                                 const struct oribi_options *options,
                                 const char *level,
                                 const char *path);

/**
 * The bytes of the file that oribi_file_quantize() would write: exact, and known from the header alone.
 *
 * Threads: any, several at once. Errors: those of oribi_file_quantize() that the header decides.
 */
oribi_status oribi_file_quantized_len(const struct oribi_file *file,
                                      const struct oribi_options *options,
                                      const char *level,
                                      uint64_t *n_bytes);

/**
 * Open a file by its path and load the model in it: oribi_file_open() and oribi_model_load() in one.
 *
 * The host frees the result with oribi_model_free(). Threads: any. Errors: those of both.
 */
oribi_status oribi_model_open(const char *path, const struct oribi_options *options, struct oribi_model **model);

/**
 * Load the model of an open file: check it, bring its weights into the layout of the kernels on all threads, and build its
 * tokenizer. `options` may be NULL. The file may be freed at any time.
 *
 * The host frees the result with oribi_model_free(). Threads: any. Errors: ORIBI_STATUS_UNSUPPORTED for an architecture, tensor
 * type or tokenizer that is not built; ORIBI_STATUS_INVALID_MODEL, _MISSING_KEY, _WRONG_TYPE, _INVALID_FILE for a file that
 * contradicts itself; ORIBI_STATUS_OUT_OF_MEMORY, also when the option max_memory does not allow it, before anything is read;
 * ORIBI_STATUS_DEVICE; ORIBI_STATUS_CANCELLED; ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_model_load(const struct oribi_file *file,
                              const struct oribi_options *options,
                              struct oribi_model **model);

/**
 * Free the host's part of a model. NULL is allowed; sessions, tokenizers and files that came from it keep what they need.
 *
 * Threads: any, when nobody uses this pointer.
 */
void oribi_model_free(struct oribi_model *model);

/**
 * The file that a model was loaded from: metadata and tensors.
 *
 * The host frees the result with oribi_file_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_model_file(const struct oribi_model *model,
                              struct oribi_file **file);

/**
 * The architecture, as the file names it, for example "llama". NULL for NULL.
 *
 * Lent until the model is freed. Threads: any, several at once.
 */
const char *oribi_model_architecture(const struct oribi_model *model);

/**
 * The instruction set whose kernels are used, for example "avx512"; see the option isa. NULL for NULL.
 *
 * Lent until the model is freed. Threads: any, several at once.
 */
const char *oribi_model_isa(const struct oribi_model *model);

/**
 * The number of tokens in the vocabulary, which is also the number of logits of an output. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_model_n_tokens(const struct oribi_model *model);

/**
 * The positions that the model was trained for. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_model_n_ctx_train(const struct oribi_model *model);

/**
 * The length of the residual vector, which is also that of an embedding. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_model_dim(const struct oribi_model *model);

/**
 * The number of blocks (layers). 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_model_n_blocks(const struct oribi_model *model);

/**
 * The number of query heads. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_model_n_heads(const struct oribi_model *model);

/**
 * The number of key and value heads. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_model_n_kv_heads(const struct oribi_model *model);

/**
 * The number of threads that compute. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_model_n_threads(const struct oribi_model *model);

/**
 * The bytes of weights that one generated token reads. 0 for NULL.
 *
 * Threads: any, several at once.
 */
uint64_t oribi_model_bytes_per_token(const struct oribi_model *model);

/**
 * Whether prompts can be computed in native arithmetic; see the option numerics. False for NULL.
 *
 * Threads: any, several at once.
 */
bool oribi_model_is_native(const struct oribi_model *model);

/**
 * The seconds that loading took. 0 for NULL.
 *
 * Threads: any, several at once.
 */
double oribi_model_load_seconds(const struct oribi_model *model);

/**
 * The perplexity of a text with its standard error: chunks of 512 tokens are evaluated each for itself, and the second half of each
 * is scored, as most tools of the field do it. `max_chunks` bounds how many, from the beginning; 0 is all that the text has. The
 * figures are the same for any number of threads; to compare machines or files, set the option numerics to portable.
 *
 * `options` may be NULL; those for sessions apply, except for n_ctx, n_sequences and max_outputs. Callbacks hear of
 * ORIBI_PHASE_EVALUATE. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for a text of less than one
 * chunk or less than max_chunks; ORIBI_STATUS_OUT_OF_MEMORY, also when the option max_memory does not allow it;
 * ORIBI_STATUS_CANCELLED; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_model_perplexity(const struct oribi_model *model,
                                    const struct oribi_options *options,
                                    const char *text_data,
                                    size_t len_bytes,
                                    size_t max_chunks,
                                    double *perplexity_value,
                                    double *standard_error);

/**
 * The tokenizer of a loaded model, which it keeps alive.
 *
 * The host frees the result with oribi_tokenizer_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_model_tokenizer(const struct oribi_model *model,
                                   struct oribi_tokenizer **tokenizer);

/**
 * The tokenizer of a file, without loading the model. The file may be freed at any time.
 *
 * The host frees the result with oribi_tokenizer_free(). Threads: any. Errors: ORIBI_STATUS_MISSING_KEY, _WRONG_TYPE,
 * _INVALID_FILE, _INVALID_MODEL for a file that contradicts itself; ORIBI_STATUS_UNSUPPORTED; ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_file_tokenizer(const struct oribi_file *file,
                                  struct oribi_tokenizer **tokenizer);

/**
 * Free a tokenizer. NULL is allowed.
 *
 * Threads: any, when nobody uses it.
 */
void oribi_tokenizer_free(struct oribi_tokenizer *tokenizer);

/**
 * The number of tokens in the vocabulary. 0 for NULL.
 *
 * Threads: any, several at once.
 */
size_t oribi_tokenizer_n_tokens(const struct oribi_tokenizer *tokenizer);

/**
 * The tokens of a text. With `add_special`, the tokens that the model wants around a sequence are added (a beginning in front, an
 * end behind, where the file asks for them). With `parse_special`, the texts of control tokens become those tokens; without it they
 * are ordinary text, which is right for anything that a user writes.
 *
 * The host frees the result with oribi_tokens_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT for a
 * text that is not UTF-8, longer than 4 GiB, or not expressible in the vocabulary; ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_tokenizer_encode(const struct oribi_tokenizer *tokenizer,
                                    const char *text,
                                    size_t len_bytes,
                                    bool add_special,
                                    bool parse_special,
                                    struct oribi_tokens **tokens);

/**
 * The tokens of a prompt that a chat template rendered: control tokens count, and a beginning is put in front only if the template
 * has not written it.
 *
 * Ownership, threads and errors as for oribi_tokenizer_encode().
 */
oribi_status oribi_tokenizer_encode_prompt(const struct oribi_tokenizer *tokenizer,
                                           const char *text,
                                           size_t len_bytes,
                                           struct oribi_tokens **tokens);

/**
 * The text of a whole sequence. Control tokens are left out, or with `with_special` shown as the vocabulary writes them. Bytes that
 * form no character become U+FFFD. For tokens that come one by one there is oribi_decoder.
 *
 * The host frees the result with oribi_text_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for
 * a token outside the vocabulary; ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_tokenizer_decode(const struct oribi_tokenizer *tokenizer,
                                    const uint32_t *tokens,
                                    size_t n_tokens,
                                    bool with_special,
                                    struct oribi_text **text);

/**
 * A token as the vocabulary writes it: `len_bytes` bytes of UTF-8 without a NUL behind them.
 *
 * Lent until the tokenizer is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_tokenizer_token_text(const struct oribi_tokenizer *tokenizer,
                                        uint32_t token,
                                        const char **text,
                                        size_t *len_bytes);

/**
 * The bytes that a token adds to a text, for a control token its name: any bytes, perhaps a part of a character.
 *
 * The host frees the result with oribi_bytes_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_tokenizer_token_bytes(const struct oribi_tokenizer *tokenizer,
                                         uint32_t token,
                                         struct oribi_bytes **bytes);

/**
 * What a token is for.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_tokenizer_token_kind(const struct oribi_tokenizer *tokenizer,
                                        uint32_t token,
                                        oribi_token_kind *kind);

/**
 * Whether a generation ends with this token. False for NULL and for a token outside the vocabulary.
 *
 * Threads: any, several at once.
 */
bool oribi_tokenizer_is_end(const struct oribi_tokenizer *tokenizer, uint32_t token);

/**
 * The token that the vocabulary writes exactly so.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY if there is none; ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_tokenizer_find(const struct oribi_tokenizer *tokenizer,
                                  const char *text,
                                  size_t len_bytes,
                                  uint32_t *token);

/**
 * The token of a role, a value of oribi_role_token.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY if the vocabulary gives that role to no token;
 * ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_tokenizer_role_token(const struct oribi_tokenizer *tokenizer, int32_t role, uint32_t *token);

/**
 * Whether oribi_tokenizer_encode() with `add_special` puts a beginning in front. False for NULL.
 *
 * Threads: any, several at once.
 */
bool oribi_tokenizer_adds_bos(const struct oribi_tokenizer *tokenizer);

/**
 * Whether oribi_tokenizer_encode() with `add_special` puts an end behind. False for NULL.
 *
 * Threads: any, several at once.
 */
bool oribi_tokenizer_adds_eos(const struct oribi_tokenizer *tokenizer);

/**
 * A decoder for a continuation, in which a leading space is text. With `with_special`, control tokens are shown as the vocabulary
 * writes them; otherwise they are left out.
 *
 * The host frees the result with oribi_decoder_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_decoder_new(const struct oribi_tokenizer *tokenizer,
                               bool with_special,
                               struct oribi_decoder **decoder);

/**
 * Add a token and get the text that is now certain: whole characters, perhaps none.
 *
 * Lent until the next call with this decoder. Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for a token
 * outside the vocabulary; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_decoder_push(struct oribi_decoder *decoder,
                                uint32_t token,
                                const char **text,
                                size_t *len_bytes);

/**
 * End the text: an unfinished character becomes U+FFFD. The decoder may be used for another text.
 *
 * Lent until the next call with this decoder. Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT,
 * ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_decoder_finish(struct oribi_decoder *decoder, const char **text, size_t *len_bytes);

/**
 * Free a decoder. NULL is allowed.
 *
 * Threads: any, when nobody uses it.
 */
void oribi_decoder_free(struct oribi_decoder *decoder);

/**
 * The template for conversations with the model of a file. `chosen` is NULL for the file's own; or a name under which the file
 * carries another; or the name of a built-in one; or a template itself. The file may be freed at any time.
 *
 * The host frees the result with oribi_chat_template_free(). Threads: any. Errors: ORIBI_STATUS_TEMPLATE if there is none or it does
 * not compile, naming the line; ORIBI_STATUS_WRONG_TYPE; ORIBI_STATUS_INVALID_FILE; ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_chat_template_new(const struct oribi_file *file,
                                     const char *chosen,
                                     struct oribi_chat_template **chat);

/**
 * Free a template. NULL is allowed.
 *
 * Threads: any, when nobody uses it.
 */
void oribi_chat_template_free(struct oribi_chat_template *chat);

/**
 * The text of a template: `len_bytes` bytes of UTF-8 without a NUL behind them.
 *
 * Lent until the template is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_chat_template_source(const struct oribi_chat_template *chat, const char **text, size_t *len_bytes);

/**
 * The prompt of a conversation, for oribi_tokenizer_encode_prompt(). With `add_generation_prompt` it ends where the model is to
 * speak.
 *
 * The host frees the result with oribi_text_free(). Threads: any, several at once. Errors: ORIBI_STATUS_TEMPLATE if the template
 * refuses the conversation, is wrong, or goes past a limit, naming the line; ORIBI_STATUS_INVALID_ARGUMENT;
 * ORIBI_STATUS_INVALID_STATE while the messages are being changed; ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_chat_template_render(const struct oribi_chat_template *chat,
                                        const struct oribi_messages *messages,
                                        bool add_generation_prompt,
                                        struct oribi_text **prompt);

/**
 * A conversation without messages.
 *
 * The host frees the result with oribi_messages_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_messages_new(struct oribi_messages **messages);

/**
 * Free a conversation. NULL is allowed.
 *
 * Threads: any, when nobody uses it.
 */
void oribi_messages_free(struct oribi_messages *messages);

/**
 * Add a message: who speaks ("system", "user", "assistant" or what else the template knows), and what is said.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_messages_add(struct oribi_messages *messages,
                                const char *role,
                                const char *content,
                                size_t len_bytes);

/**
 * Add a message that is a JSON object: "role", "content" and whatever else the template looks at, for example "tool_calls".
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for what is no such object; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_messages_add_json(struct oribi_messages *messages,
                                     const char *json,
                                     size_t len_bytes);

/**
 * Set a variable that the template may look at, a JSON value: for example "tools", an array of JSON schemas, or "enable_thinking".
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for what is not JSON; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_messages_set_variable(struct oribi_messages *messages,
                                         const char *variable,
                                         const char *json,
                                         size_t len_bytes);

/**
 * Take all messages out of a conversation; variables stay.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_messages_clear(struct oribi_messages *messages);

/**
 * A session of a model, without sequences. `options` may be NULL. Its buffers are allocated now, keys and values as they are needed.
 *
 * The host frees the result with oribi_session_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT;
 * ORIBI_STATUS_INVALID_STATE while the options are being changed; ORIBI_STATUS_OUT_OF_MEMORY, also when the option max_memory does
 * not allow the model together with this session.
 */
oribi_status oribi_session_new(const struct oribi_model *model,
                               const struct oribi_options *options,
                               struct oribi_session **session);

/**
 * Free the host's part of a session. NULL is allowed; generations that use it keep it alive.
 *
 * Threads: any, when nobody uses this pointer.
 */
void oribi_session_free(struct oribi_session *session);

/**
 * The positions that a sequence of the session may have.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_n_ctx(const struct oribi_session *session, size_t *n_ctx);

/**
 * The bytes of keys and values that are allocated so far.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_kv_bytes(const struct oribi_session *session, uint64_t *n_bytes);

/**
 * A new, empty sequence.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_STATE, also when all n_sequences sequences are in use;
 * ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_session_new_sequence(struct oribi_session *session, uint32_t *sequence);

/**
 * A new sequence with the same tokens as another. It shares their keys and values until one of both grows past them.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT if the sequence does not exist; ORIBI_STATUS_INVALID_STATE, also
 * when all n_sequences sequences are in use.
 */
oribi_status oribi_session_fork(struct oribi_session *session,
                                uint32_t sequence,
                                uint32_t *forked);

/**
 * Forget all but the first `n_positions` positions of a sequence.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT if the sequence does not exist or is shorter;
 * ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_truncate(struct oribi_session *session, uint32_t sequence, size_t n_positions);

/**
 * Remove a sequence. Its number may be given to a new one.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT if it does not exist; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_remove(struct oribi_session *session, uint32_t sequence);

/**
 * The positions of a sequence: the tokens that it holds.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT if it does not exist; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_len(const struct oribi_session *session,
                               uint32_t sequence,
                               size_t *n_positions);

/**
 * Append the tokens of a batch to their sequences and compute the outputs that are wanted. All or nothing: after an error, also
 * after a cancel, the sequences are as long as before, and no output is there. The batch stays as it is.
 *
 * Threads: one at a time for each session; sessions of one model take turns on its threads. Errors: ORIBI_STATUS_INVALID_ARGUMENT
 * for a token outside the vocabulary, a sequence that does not exist, more outputs than the option max_outputs;
 * ORIBI_STATUS_CONTEXT_FULL when a sequence would exceed its context; ORIBI_STATUS_OUT_OF_MEMORY; ORIBI_STATUS_CANCELLED;
 * ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_decode(struct oribi_session *session,
                                  const struct oribi_batch *batch);

/**
 * The number of outputs of the last batch.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_n_outputs(const struct oribi_session *session, size_t *n_outputs);

/**
 * The logits of an output of the last batch, in the batch's order: `n_logits` floats, one for each token of the vocabulary.
 *
 * Lent until the next call that changes the session, and until it is freed. Threads: any, several at once. Errors:
 * ORIBI_STATUS_INVALID_ARGUMENT, also past the last output; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_session_logits(const struct oribi_session *session,
                                  size_t output,
                                  const float **logits,
                                  size_t *n_logits);

/**
 * Append the tokens of a batch like oribi_session_decode(), and get embeddings instead of logits: for each vector oribi_model_dim()
 * floats of the final, normalised hidden state. `pooling` is a value of oribi_pooling. No logits are there afterwards.
 *
 * The host frees the result with oribi_floats_free(). Threads and errors as for oribi_session_decode(); any number of tokens may be
 * outputs.
 */
oribi_status oribi_session_embed(struct oribi_session *session,
                                 const struct oribi_batch *batch,
                                 int32_t pooling,
                                 struct oribi_floats **vectors);

/**
 * The hidden state from which the logits of an output of the last batch were formed: `n` floats, as many as oribi_model_dim().
 *
 * Lent until the next call that changes the session, and until it is freed. Threads and errors as for oribi_session_logits().
 */
oribi_status oribi_session_embedding(const struct oribi_session *session,
                                     size_t output,
                                     const float **vector,
                                     size_t *n);

/**
 * The bytes that oribi_session_save() would give for these sequences.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT if a sequence does not exist; ORIBI_STATUS_INVALID_STATE;
 * ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_session_state_len(const struct oribi_session *session,
                                     const uint32_t *sequences,
                                     size_t n_sequences,
                                     uint64_t *n_bytes);

/**
 * The state of sequences, in the order given: what a later session of the same model, here or in another process, needs to go on
 * with them to the same bits. It holds keys and values, a checksum, and the identity of the model; it holds neither tokens, which
 * the host keeps if it needs them, nor logits. To get logits after a restore, truncate by one and decode the last token again.
 *
 * The host frees the result with oribi_bytes_free(). Threads: any, several at once. Errors: as for oribi_session_state_len().
 */
oribi_status oribi_session_save(const struct oribi_session *session,
                                const uint32_t *sequences,
                                size_t n_sequences,
                                struct oribi_bytes **state);

/**
 * The same into a file, which appears under its name, in place of another, when all of it is on the disk: after a crash in the
 * middle, the file that was there before is there.
 *
 * Threads: any, several at once. Errors: as for oribi_session_state_len(); ORIBI_STATUS_IO.
 */
oribi_status oribi_session_save_file(const struct oribi_session *session,
                                     const uint32_t *sequences,
                                     size_t n_sequences,
                                     const char *path);

/**
 * Create the sequences of a state beside those that exist. Their numbers go to `sequences`, which has room for `n_max`, in the order
 * in which they were saved, and how many there are to `n_sequences`. All or nothing: after an error the session is as before.
 *
 * A state is untrusted input, like a file; checksums find damage, they do not prove who wrote it. Threads: one at a time. Errors:
 * ORIBI_STATUS_INVALID_FILE, _TRUNCATED, _UNSUPPORTED_VERSION for bytes that are no whole state of this version;
 * ORIBI_STATUS_INVALID_STATE for a state of another model or type of keys and values, with more sequences than the session has left,
 * or while the session is in use; ORIBI_STATUS_CONTEXT_FULL for a sequence longer than the session's context;
 * ORIBI_STATUS_INVALID_ARGUMENT, also for more sequences than `n_max`; ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_session_restore(struct oribi_session *session,
                                   const void *state,
                                   size_t len_bytes,
                                   uint32_t *sequences,
                                   size_t n_max,
                                   size_t *n_sequences);

/**
 * The same from a file, which must not be shortened or rewritten meanwhile.
 *
 * Threads and errors as for oribi_session_restore(); ORIBI_STATUS_IO.
 */
oribi_status oribi_session_restore_file(struct oribi_session *session,
                                        const char *path,
                                        uint32_t *sequences,
                                        size_t n_max,
                                        size_t *n_sequences);

/**
 * A new, empty batch.
 *
 * The host frees it with oribi_batch_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_batch_new(struct oribi_batch **batch);

/**
 * Free a batch. NULL is allowed.
 *
 * Threads: any, when nobody uses it.
 */
void oribi_batch_free(struct oribi_batch *batch);

/**
 * Take all tokens out of a batch, so that it can be filled again.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE while it is being computed.
 */
oribi_status oribi_batch_clear(struct oribi_batch *batch);

/**
 * The number of tokens in a batch.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE while it is being changed.
 */
oribi_status oribi_batch_len(const struct oribi_batch *batch,
                             size_t *n_tokens);

/**
 * Add a token to a sequence; `role` is a value of oribi_role. With `wants_output`, its logits are computed. That the token and the
 * sequence exist is checked by oribi_session_decode().
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE; ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_batch_add(struct oribi_batch *batch,
                             uint32_t sequence,
                             uint32_t token,
                             int32_t role,
                             bool wants_output);

/**
 * Add the tokens of a prompt to a sequence; the logits of the last are wanted.
 *
 * Threads: one at a time. Errors: as for oribi_batch_add(); after an error the batch is as before.
 */
oribi_status oribi_batch_add_prompt(struct oribi_batch *batch,
                                    uint32_t sequence,
                                    const uint32_t *tokens,
                                    size_t n_tokens);

/**
 * A sampler for a vocabulary; `options` may be NULL.
 *
 * The host frees the result with oribi_sampler_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for a bias on a
 * token outside the vocabulary; ORIBI_STATUS_INVALID_STATE while the options are being changed.
 */
oribi_status oribi_sampler_new(const struct oribi_tokenizer *tokenizer,
                               const struct oribi_options *options,
                               struct oribi_sampler **sampler);

/**
 * A copy of a sampler, which goes on alike and apart.
 *
 * The host frees the result with oribi_sampler_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT,
 * ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_sampler_clone(const struct oribi_sampler *sampler,
                                 struct oribi_sampler **copy);

/**
 * Free the host's part of a sampler. NULL is allowed; generations that use it keep it alive.
 *
 * Threads: any, when nobody uses this pointer.
 */
void oribi_sampler_free(struct oribi_sampler *sampler);

/**
 * The seed of the random stream, given or drawn. 0 for NULL.
 *
 * Threads: any, several at once.
 */
uint64_t oribi_sampler_seed(const struct oribi_sampler *sampler);

/**
 * Pick a token from logits, one for each token of the vocabulary. The pick is not accepted by itself: the host calls
 * oribi_sampler_accept() with the token that it really goes on with.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for another number of logits, a logit that is not a number, no
 * logit above -INFINITY, or a bias that excludes every token; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_sampler_sample(struct oribi_sampler *sampler,
                                  const float *logits,
                                  size_t n_logits,
                                  uint32_t *token);

/**
 * Take note of a token that the text now holds: each token of a prompt, then each that was picked. Penalties look at them.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for a token outside the vocabulary; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_sampler_accept(struct oribi_sampler *sampler,
                                  uint32_t token);

/**
 * Back to the beginning, with the same seed: nothing accepted, the random stream from its start.
 *
 * Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_sampler_reset(struct oribi_sampler *sampler);

/**
 * The log-probability (nats) of the last pick in the model's own distribution: the softmax of the logits as they were given. Needs
 * the option logprobs.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_STATE, also before the first pick and without the option;
 * ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_sampler_logprob(const struct oribi_sampler *sampler,
                                   float *logprob);

/**
 * The `index`-th most probable token at the last pick, from 0, with its log-probability: as many as the option logprobs asks for.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also past the last; ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_sampler_top(const struct oribi_sampler *sampler,
                               size_t index,
                               uint32_t *token,
                               float *logprob);

/**
 * The text of a piece: whole characters, `len_bytes` bytes of them without a NUL behind. It may be empty while a character or a
 * possible stop string is unfinished; a later piece then carries it.
 *
 * Lent like the piece. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_piece_text(const struct oribi_piece *piece,
                              const char **text,
                              size_t *len_bytes);

/**
 * The token of a piece; the one that ended the generation included. 0 for NULL.
 *
 * Threads: any, several at once.
 */
uint32_t oribi_piece_token(const struct oribi_piece *piece);

/**
 * The log-probability of the token, as oribi_sampler_logprob() gives it.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_STATE if the sampler was made without the option logprobs;
 * ORIBI_STATUS_INVALID_ARGUMENT.
 */
oribi_status oribi_piece_logprob(const struct oribi_piece *piece,
                                 float *logprob);

/**
 * The `index`-th most probable token, as oribi_sampler_top() gives it.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also past the last.
 */
oribi_status oribi_piece_top(const struct oribi_piece *piece, size_t index, uint32_t *token, float *logprob);

/**
 * A continuation of what a sequence holds and of `prompt`, which has at least one token. Nothing is computed yet. `options` may be
 * NULL; callbacks that they leave out are those of the session, and a request to cancel counts in both. The sampler accepts the
 * tokens of the prompt, and then every token that it picks.
 *
 * The host frees the result with oribi_generation_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT for an empty prompt, a
 * token outside the vocabulary, a sequence that does not exist; ORIBI_STATUS_CONTEXT_FULL for a prompt that does not fit;
 * ORIBI_STATUS_INVALID_STATE while the session or the options are in use.
 *
 * @code
 * oribi_generation *generation = NULL;
 * const oribi_piece *piece = NULL;
 * status = oribi_generation_new(session, sequence, sampler, oribi_tokens_data(prompt), oribi_tokens_len(prompt), options, &generation);
 * while (status == ORIBI_STATUS_OK) {
 *     const char *text;
 *     size_t len_bytes;
 *     status = oribi_generation_next(generation, &piece);
 *     if (status != ORIBI_STATUS_OK || piece == NULL) break;
 *     oribi_piece_text(piece, &text, &len_bytes);
 *     fwrite(text, 1, len_bytes, stdout);
 * }
 * @endcode
 */
oribi_status oribi_generation_new(struct oribi_session *session,
                                  uint32_t sequence,
                                  struct oribi_sampler *sampler,
                                  const uint32_t *prompt,
                                  size_t n_prompt,
                                  const struct oribi_options *options,
                                  struct oribi_generation **generation);

/**
 * Free a generation. NULL is allowed. The sequence keeps the tokens that were evaluated.
 *
 * Threads: any, when nobody uses it.
 */
void oribi_generation_free(struct oribi_generation *generation);

/**
 * The next piece, NULL at the end. Every sampled token gives one. The token of a piece is evaluated when the next piece is asked
 * for, so a piece comes as early as it can, and the last token is not evaluated.
 *
 * The piece is lent until the next call with this generation. Threads: one at a time for each session; sessions of one model take
 * turns on its threads. Errors: ORIBI_STATUS_CANCELLED, now and afterwards; ORIBI_STATUS_INVALID_STATE while the session or the
 * sampler is in use, after which it may be tried again, and after another error; ORIBI_STATUS_INVALID_ARGUMENT, for example for a
 * bias that excludes every token; ORIBI_STATUS_CONTEXT_FULL; ORIBI_STATUS_OUT_OF_MEMORY.
 */
oribi_status oribi_generation_next(struct oribi_generation *generation,
                                   const struct oribi_piece **piece);

/**
 * Hand pieces to a callback until the end, or until it returns false; then the generation may go on with another call. No handle
 * is in use while the callback runs: it may use the session, but must not free the generation.
 *
 * Threads and errors as for oribi_generation_next().
 */
oribi_status oribi_generation_run(struct oribi_generation *generation,
                                  oribi_piece_fn callback,
                                  void *userdata);

/**
 * Why a generation ended; ORIBI_STOP_REASON_NONE while it goes on and after an error.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_generation_stop_reason(const struct oribi_generation *generation, oribi_stop_reason *reason);

/**
 * A number about a generation so far; `timing` is a value of oribi_timing.
 *
 * Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
 */
oribi_status oribi_generation_timing(const struct oribi_generation *generation, int32_t timing, double *number);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ORIBI_H */
