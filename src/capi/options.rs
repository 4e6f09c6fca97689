//! Options: one handle for everything that can be set, with setters that refuse at once what cannot be.

use std::ffi::{c_char, c_void};

use super::boundary::{Out, call, handle, name, optional, text, value};
use super::cancel::oribi_cancel;
use super::handle::{Guarded, free, give};
use super::hooks::{Callback, Hooks, oribi_cancel_fn, oribi_log_fn, oribi_progress_fn};
use super::settings::{Given, OPTIONS, Settings};
use super::status::oribi_status;
use crate::error::Result;

/// Options and callbacks for the handles that are made with them. A handle takes what concerns it and keeps a copy: options may be
/// changed or freed afterwards, and one set of options may serve any number of handles. Wherever options are an argument, NULL
/// stands for the defaults.
///
/// An option has a key and a type; a setter refuses, at once and by name, a key that does not exist, a value of another type, and
/// a value out of range. Keys, types and meanings:
///
/// For models:
///
/// - n_threads (an integer): threads; 0 is one for each physical core that the process may use
/// - isa (a text): use no instruction set above this: scalar, avx2, avxvnni, avx512, avx512bf16, amx, neon, dotprod, i8mm
/// - pack_weights (a bool): bring all weights into the layout of the kernels at load; false leaves them in the file: starts at once, runs slowly
/// - huge_pages (a bool): ask the system for huge pages for the weights
/// - max_memory (an integer): bytes that a model with one session may take; more is refused, before anything is read and before a session is made; 0 is no limit
/// - device (a text): what the model runs on: cpu, cuda or cuda:N for an NVIDIA GPU, auto for the first GPU that can be used, else the CPU
/// - gpu_layers (an integer): blocks of the model that are on the GPU, for models larger than its memory; the CPU computes the others; -1 is all
/// - max_gpu_memory (an integer): the same as max_memory for a GPU's own memory; 0 is what is free there
///
/// For sessions:
///
/// - n_ctx (an integer): positions that a sequence may have; 0 is what the model was trained for
/// - n_batch (an integer): tokens that are computed at once; changes speed and memory only
/// - n_sequences (an integer): sequences that may exist at once
/// - max_outputs (an integer): logits that one batch may ask for; 0 is one for each sequence
/// - numerics (a text): arithmetic of prompts: native (bfloat16 where the CPU is fast at it) or portable (the same bits everywhere)
/// - kv_type (a text): how keys and values are kept: f16, q8_0 (half the memory), q4_0 (a quarter, far less exact)
///
/// For samplers:
///
/// - seed (an integer): seed of the random numbers, its 64 bits; without one each sampler draws its own
/// - logprobs (an integer): give the log-probability of each token, and of this many of the most probable ones; -1 gives none
/// - samplers (a text): stages in their order, as in penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature
/// - temp (a float): temperature; 0 takes the most probable token
/// - dynatemp_range (a float): half the width of the dynamic temperature's range; 0 is off
/// - dynatemp_exponent (a float): exponent of the dynamic temperature
/// - top_k (an integer): keep so many of the most probable tokens; 0 is off
/// - top_p (a float): keep the most probable tokens of this mass; 1 is off
/// - min_p (a float): keep tokens at least this fraction as probable as the best; 0 is off
/// - typical_p (a float): keep the most typical tokens of this mass; 1 is off
/// - top_n_sigma (a float): keep logits this many standard deviations from the best; 0 is off
/// - xtc_probability (a float): how often XTC takes top choices away; 0 is off
/// - xtc_threshold (a float): probability from which XTC calls a token a top choice
/// - penalty_last_n (an integer): how many of the last tokens the penalties look at; 0 is off, -1 is all
/// - repeat_penalty (a float): divides the logits of repeated tokens; 1 is off
/// - frequency_penalty (a float): subtracted for each repetition; 0 is off
/// - presence_penalty (a float): subtracted once for a repeated token; 0 is off
/// - dry_multiplier (a float): scale of the DRY penalty; 0 is off
/// - dry_base (a float): base of the DRY penalty's growth
/// - dry_allowed_length (an integer): repetitions shorter than this are free of the DRY penalty
/// - dry_penalty_last_n (an integer): how many of the last tokens DRY looks at; 0 is off, -1 is all
/// - dry_sequence_breakers (a list of texts): texts that no repetition reaches over; the first that is added replaces the default ones
/// - mirostat (an integer): Mirostat version 1 or 2 in place of the truncating stages; 0 is off
/// - mirostat_tau (a float): the surprise that Mirostat aims at, in bits
/// - mirostat_eta (a float): Mirostat's learning rate
/// - logit_bias (a list of biases): added to the logits of tokens, by oribi_options_add_logit_bias()
/// - ban_end_of_generation (a bool): never choose a token that ends the text, so that something else must
///
/// For generations:
///
/// - max_tokens (an integer): the most tokens to generate; -1 is as many as the context has room for
/// - stop_strings (a list of texts): texts that end the generation and are not part of it
/// - stop_tokens (a list of tokens): tokens that end the generation, beside those that the model ends with
/// - show_special (a bool): show control tokens in the text as the vocabulary writes them
///
/// For oribi_file_quantize():
///
/// - tensor_types (a list of texts): REGEX=TYPE: matrices whose names match have this type whatever the level; the first that matches decides
/// - importance (a text): path of an importance matrix, which weighs the errors of columns
/// - requantize (a bool): encode tensors again that are quantized already, which adds one rounding to another
pub struct oribi_options(Guarded<Settings>);

impl oribi_options {
    /// The settings behind a pointer, the defaults for NULL.
    ///
    /// # Safety
    /// `options` is NULL or a live handle.
    pub(super) unsafe fn settings(options: *const oribi_options) -> Result<Settings> {
        // SAFETY: the caller's promise.
        match unsafe { optional(options) } {
            Some(options) => Ok(options.0.read("options handle")?.clone()),
            None => Ok(Settings::default()),
        }
    }
}

/// New options: the defaults, without callbacks. The host frees them with oribi_options_free().
///
/// Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
///
/// @code
/// oribi_options *options = NULL;
/// if (oribi_options_new(&options) != ORIBI_STATUS_OK) return 1;
/// oribi_options_set_int(options, "n_ctx", 4096);
/// oribi_options_set_float(options, "temp", 0.7);
/// oribi_options_set_text(options, "kv_type", "q8_0", ORIBI_TO_NUL);
/// @endcode
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_new(options: *mut *mut oribi_options) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(options, "options") }?;
        give(out, oribi_options(Guarded::new(Settings::default())));
        Ok(())
    })
}

/// A copy of options, callbacks included, to be changed apart. The host frees it with oribi_options_free().
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE while they are being changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_clone(
    options: *const oribi_options,
    copy: *mut *mut oribi_options,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle; NULL or a place for a result.
        let (options, out) = unsafe { (handle(options, "options")?, Out::new(copy, "copy")?) };
        let settings = options.0.read("options handle")?.clone();
        give(out, oribi_options(Guarded::new(settings)));
        Ok(())
    })
}

/// Free options. NULL is allowed; handles that were made with them are not concerned.
///
/// Threads: any, when nobody uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_free(options: *mut oribi_options) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(options) }
}

/// Change the settings behind a pointer.
///
/// # Safety
/// `options` is NULL or a live handle.
unsafe fn change(options: *mut oribi_options, change: impl FnOnce(&mut Settings) -> Result<()>) -> oribi_status {
    call(|| {
        // SAFETY: the caller's promise.
        let options = unsafe { handle(options, "options") }?;
        change(&mut *options.0.write("options handle")?)
    })
}

/// The same for the option of a key.
///
/// # Safety
/// `options` is NULL or a live handle; `key` is NULL or ends with NUL.
unsafe fn set(options: *mut oribi_options, key: *const c_char, value: Given<'_>) -> oribi_status {
    // SAFETY: the caller's promise.
    unsafe { change(options, |settings| settings.set(name(key, "key")?, value)) }
}

/// The same for the option of a key and a text.
///
/// # Safety
/// `options` is NULL or a live handle; `key` is NULL or ends with NUL; `value` as for [`text`].
unsafe fn set_text<'a>(
    options: *mut oribi_options,
    key: *const c_char,
    (value, len_bytes): (*const c_char, usize),
    given: fn(&'a str) -> Given<'a>,
) -> oribi_status {
    // SAFETY: the caller's promise.
    unsafe { change(options, |settings| settings.set(name(key, "key")?, given(text(value, len_bytes, "value")?))) }
}

/// Set an option that is an integer.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
/// while the options are in use by another call. After an error they are as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_int(
    options: *mut oribi_options,
    key: *const c_char,
    value: i64,
) -> oribi_status {
    // SAFETY: NULL or live pointers, as for every function.
    unsafe { set(options, key, Given::Int(value)) }
}

/// Set an option that is a float.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
/// while the options are in use by another call. After an error they are as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_float(
    options: *mut oribi_options,
    key: *const c_char,
    value: f64,
) -> oribi_status {
    // SAFETY: NULL or live pointers, as for every function.
    unsafe { set(options, key, Given::Float(value)) }
}

/// Set an option that is a bool.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
/// while the options are in use by another call. After an error they are as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_bool(
    options: *mut oribi_options,
    key: *const c_char,
    value: bool,
) -> oribi_status {
    // SAFETY: NULL or live pointers, as for every function.
    unsafe { set(options, key, Given::Bool(value)) }
}

/// Set an option that is a text.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
/// while the options are in use by another call. After an error they are as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_text(
    options: *mut oribi_options,
    key: *const c_char,
    value: *const c_char,
    len_bytes: usize,
) -> oribi_status {
    // SAFETY: NULL or live pointers.
    unsafe { set_text(options, key, (value, len_bytes), Given::Text) }
}

/// Add a text to an option that is a list of texts.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
/// while the options are in use by another call. After an error they are as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_add_text(
    options: *mut oribi_options,
    key: *const c_char,
    value: *const c_char,
    len_bytes: usize,
) -> oribi_status {
    // SAFETY: NULL or live pointers.
    unsafe { set_text(options, key, (value, len_bytes), Given::OneText) }
}

/// Add a token to an option that is a list of tokens.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, naming the option and what it takes; ORIBI_STATUS_INVALID_STATE
/// while the options are in use by another call. After an error they are as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_add_token(
    options: *mut oribi_options,
    key: *const c_char,
    token: u32,
) -> oribi_status {
    // SAFETY: NULL or live pointers, as for every function.
    unsafe { set(options, key, Given::OneToken(token)) }
}

/// Add a bias to the logit of a token, before everything else that the sampler does: -INFINITY excludes the token, otherwise -1e9 to
/// 1e9. Several for one token add up.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE. That the token exists is checked where
/// a sampler is made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_add_logit_bias(
    options: *mut oribi_options,
    token: u32,
    bias: f32,
) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe { change(options, |settings| settings.add_logit_bias(token, bias)) }
}

/// Set an option back to its default; a list becomes the default list.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for a key that does not exist; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_reset(options: *mut oribi_options, key: *const c_char) -> oribi_status {
    // SAFETY: NULL or live pointers.
    unsafe { change(options, |settings| settings.reset(name(key, "key")?)) }
}

/// Who hears the messages of handles that are made with these options; NULL for nobody. Nothing is ever written to standard output
/// or standard error. Called on the thread of the call that has something to say, never after that call returned.
///
/// `userdata` is handed to every call and must stay valid as long as a handle that was made with the options. Threads: one at a
/// time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_log(
    options: *mut oribi_options,
    callback: oribi_log_fn,
    userdata: *mut c_void,
) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe { set_hook(options, |hooks| hooks.log = Callback::of(callback, userdata)) }
}

/// Who hears how far loads and prompts are; NULL for nobody. Called on the thread of the load, batch or generation.
///
/// `userdata` and the rest as for oribi_options_set_log().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_progress(
    options: *mut oribi_options,
    callback: oribi_progress_fn,
    userdata: *mut c_void,
) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe { set_hook(options, |hooks| hooks.progress = Callback::of(callback, userdata)) }
}

/// Who is asked whether a load, batch or generation is to end, with ORIBI_STATUS_CANCELLED; NULL for nobody. Asked on the thread
/// of the call, at least every 50 milliseconds. To cancel from another thread there is oribi_cancel.
///
/// `userdata` and the rest as for oribi_options_set_log().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_cancel_callback(
    options: *mut oribi_options,
    callback: oribi_cancel_fn,
    userdata: *mut c_void,
) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe { set_hook(options, |hooks| hooks.stop = Callback::of(callback, userdata)) }
}

/// The request to cancel that handles made with these options listen to; NULL for none. One request may serve any number of
/// options. The host may free its part at any time.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_options_set_cancel(
    options: *mut oribi_options,
    cancel: *const oribi_cancel,
) -> oribi_status {
    // SAFETY: NULL or live handles.
    unsafe {
        set_hook(options, |hooks| hooks.cancel = optional(cancel).map(|cancel| cancel.0.clone()).into_iter().collect())
    }
}

/// Change the callbacks.
///
/// # Safety
/// `options` is NULL or a live handle.
unsafe fn set_hook(options: *mut oribi_options, set: impl FnOnce(&mut Hooks)) -> oribi_status {
    // SAFETY: the caller's promise.
    unsafe {
        change(options, |settings| {
            set(&mut settings.hooks);
            Ok(())
        })
    }
}

/// The key of option `index`, in the order of the list above; NULL past the last. For hosts that offer options by name.
///
/// Lent for ever. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn oribi_option_key(index: usize) -> *const c_char {
    value(std::ptr::null(), || Some(OPTIONS.get(index)?.key.as_ptr()))
}

/// What option `index` means, in the words of the list above; NULL past the last.
///
/// Lent for ever. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn oribi_option_about(index: usize) -> *const c_char {
    value(std::ptr::null(), || Some(OPTIONS.get(index)?.about.as_ptr()))
}

/// What option `index` takes: "an integer", "a float", "a bool", "a text", "a list of texts", "a list of tokens" or "a list of
/// biases"; NULL past the last.
///
/// Lent for ever. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn oribi_option_type(index: usize) -> *const c_char {
    value(std::ptr::null(), || Some(OPTIONS.get(index)?.kind.c_name().as_ptr()))
}
