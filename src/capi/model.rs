//! Models: loaded once, immutable, shared by any number of sessions and threads.

use std::ffi::{CString, c_char};
use std::sync::Arc;

use super::boundary::{Out, call, handle, optional, value};
use super::file::{oribi_file, path_of};
use super::handle::{free, give};
use super::hooks::{Watch, oribi_log_level, oribi_phase};
use super::options::oribi_options;
use super::settings::Settings;
use super::status::oribi_status;
use super::text::c_name;
use crate::backend::cpu::cores;
use crate::backend::{Device, Storage};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::gguf::Gguf;
use crate::model::{Model, ModelOptions};
use crate::session::{check_gpu_memory, check_memory};

/// A model ready to run: weights, hyperparameters, tokenizer. Immutable: any number of sessions, on any threads, share it and
/// keep it alive.
pub struct oribi_model {
    pub(super) model: Arc<Model>,
    architecture: CString,
    isa: CString,
}

impl oribi_model {
    fn new(model: Arc<Model>) -> Self {
        let architecture = c_name(model.hparams().arch.name);
        let isa = c_name(model.cpu().kernels().isa().name());
        oribi_model { model, architecture, isa }
    }
}

/// Load a model with the host's options and callbacks.
fn load(gguf: &Gguf, settings: &Settings) -> Result<Arc<Model>> {
    let hooks = &settings.hooks;
    hooks.check()?;
    let n_threads = settings.cpu.n_threads.unwrap_or_else(cores::default_threads);
    let device = settings.device.resolved();
    if settings.device == Device::Cpu && settings.gpu_layers.is_some() {
        bail!(InvalidArgument, "option gpu_layers needs option device to be cuda or auto");
    }
    let gpu_layers = settings.gpu_layers.filter(|_| device != Device::Cpu);
    check_budget(gguf, (device, gpu_layers), settings.storage, settings, n_threads)?;
    let watch = Watch::new(hooks);
    let progress = |done, total| {
        watch.progress(oribi_phase::LOAD, done, total);
        !watch.stop()
    };
    let options =
        ModelOptions { cpu: settings.cpu, device, gpu_layers, storage: settings.storage, progress: Some(&progress) };
    let model = Model::load(gguf.clone(), options)?;
    for note in model.tokenizer().notes() {
        hooks.log(oribi_log_level::WARNING, &format!("tokenizer: {note}"));
    }
    hooks.log(oribi_log_level::INFO, &summary(&model));
    Ok(model)
}

/// Refuse what the options max_memory and max_gpu_memory do not allow: a model on a device, with so many of its blocks on a GPU, its
/// weights in `storage`, with one session of these settings.
fn check_budget(
    gguf: &Gguf,
    (device, gpu_layers): (Device, Option<usize>),
    storage: Storage,
    settings: &Settings,
    n_threads: usize,
) -> Result<()> {
    let within = |e: Error| e.within("option max_memory");
    let budget = settings.max_memory.unwrap_or(u64::MAX);
    if device == Device::Cpu {
        if settings.max_memory.is_some() {
            check_memory(gguf, storage, &settings.session, n_threads, budget).map_err(within)?;
        }
        return Ok(());
    }
    let gpu_budget = settings.max_gpu_memory.unwrap_or(u64::MAX);
    let needed = check_gpu_memory(gguf, storage, &settings.session, n_threads, gpu_layers, gpu_budget)
        .map_err(|e| e.within("option max_gpu_memory"))?;
    if needed.host.total > budget {
        return Err(within(Error::new(
            ErrorKind::OutOfMemory,
            format!("{} bytes are needed beside the GPU, {budget} allowed", needed.host.total),
        )));
    }
    Ok(())
}

/// The same for a session of a model that is loaded.
pub(super) fn check_session_budget(model: &Model, settings: &Settings) -> Result<()> {
    let place = (model.machine().device(), model.gpu_layers());
    check_budget(model.gguf(), place, model.storage(), settings, model.cpu().team().n_threads())
}

/// What was chosen, in one line.
fn summary(model: &Model) -> String {
    format!(
        "{}: {} blocks, {} wide, {} tokens; on {}; kernels for {}, {} threads; weights {} in {:.0} ms",
        model.hparams().arch.name,
        model.hparams().n_blocks,
        model.hparams().dim,
        model.tokenizer().n_vocab(),
        model.place(),
        model.cpu().kernels().isa().name(),
        model.cpu().team().n_threads(),
        if model.storage() == Storage::Packed { "packed" } else { "left in the file" },
        model.load_time().as_secs_f64() * 1e3
    )
}

/// Open a file by its path and load the model in it: oribi_file_open() and oribi_model_load() in one.
///
/// The host frees the result with oribi_model_free(). Threads: any. Errors: those of both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_open(
    path: *const c_char,
    options: *const oribi_options,
    model: *mut *mut oribi_model,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers, as for every function.
        let (path, settings, out) =
            unsafe { (path_of(path)?, oribi_options::settings(options)?, Out::new(model, "model")?) };
        settings.hooks.check()?;
        let loaded = load(&Gguf::open(&path)?, &settings).map_err(|e| e.within(path.display()))?;
        give(out, oribi_model::new(loaded));
        Ok(())
    })
}

/// Load the model of an open file: check it, bring its weights into the layout of the kernels on all threads, and build its
/// tokenizer. `options` may be NULL. The file may be freed at any time.
///
/// The host frees the result with oribi_model_free(). Threads: any. Errors: ORIBI_STATUS_UNSUPPORTED for an architecture, tensor
/// type or tokenizer that is not built; ORIBI_STATUS_INVALID_MODEL, _MISSING_KEY, _WRONG_TYPE, _INVALID_FILE for a file that
/// contradicts itself; ORIBI_STATUS_OUT_OF_MEMORY, also when the option max_memory does not allow it, before anything is read;
/// ORIBI_STATUS_DEVICE; ORIBI_STATUS_CANCELLED; ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_load(
    file: *const oribi_file,
    options: *const oribi_options,
    model: *mut *mut oribi_model,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or a place for a result.
        let (file, settings, out) =
            unsafe { (handle(file, "file")?, oribi_options::settings(options)?, Out::new(model, "model")?) };
        give(out, oribi_model::new(load(&file.0, &settings)?));
        Ok(())
    })
}

/// Free the host's part of a model. NULL is allowed; sessions, tokenizers and files that came from it keep what they need.
///
/// Threads: any, when nobody uses this pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_free(model: *mut oribi_model) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(model) }
}

/// The file that a model was loaded from: metadata and tensors.
///
/// The host frees the result with oribi_file_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_file(model: *const oribi_model, file: *mut *mut oribi_file) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (model, out) = unsafe { (handle(model, "model")?, Out::new(file, "file")?) };
        give(out, oribi_file(model.model.gguf().clone()));
        Ok(())
    })
}

/// A number of a model.
///
/// # Safety
/// `model` is NULL or a live handle.
unsafe fn number<T: Default>(model: *const oribi_model, get: impl FnOnce(&Model) -> T) -> T {
    // SAFETY: the caller's promise.
    value(T::default(), || Some(get(&unsafe { optional(model) }?.model)))
}

/// The architecture, as the file names it, for example "llama". NULL for NULL.
///
/// Lent until the model is freed. Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_architecture(model: *const oribi_model) -> *const c_char {
    // SAFETY: NULL or a live handle.
    value(std::ptr::null(), || Some(unsafe { optional(model) }?.architecture.as_ptr()))
}

/// The instruction set whose kernels are used, for example "avx512"; see the option isa. NULL for NULL.
///
/// Lent until the model is freed. Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_isa(model: *const oribi_model) -> *const c_char {
    // SAFETY: NULL or a live handle.
    value(std::ptr::null(), || Some(unsafe { optional(model) }?.isa.as_ptr()))
}

/// The number of tokens in the vocabulary, which is also the number of logits of an output. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_n_tokens(model: *const oribi_model) -> usize {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.tokenizer().n_vocab()) }
}

/// The positions that the model was trained for. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_n_ctx_train(model: *const oribi_model) -> usize {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.hparams().n_ctx_train) }
}

/// The length of the residual vector, which is also that of an embedding. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_dim(model: *const oribi_model) -> usize {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.hparams().dim) }
}

/// The number of blocks (layers). 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_n_blocks(model: *const oribi_model) -> usize {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.hparams().n_blocks) }
}

/// The number of query heads. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_n_heads(model: *const oribi_model) -> usize {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.hparams().n_heads) }
}

/// The number of key and value heads. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_n_kv_heads(model: *const oribi_model) -> usize {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.hparams().n_kv_heads) }
}

/// The number of threads that compute. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_n_threads(model: *const oribi_model) -> usize {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.cpu().team().n_threads()) }
}

/// The bytes of weights that one generated token reads. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_bytes_per_token(model: *const oribi_model) -> u64 {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, Model::bytes_per_token) }
}

/// Whether prompts can be computed in native arithmetic; see the option numerics. False for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_is_native(model: *const oribi_model) -> bool {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, Model::is_native) }
}

/// The seconds that loading took. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_load_seconds(model: *const oribi_model) -> f64 {
    // SAFETY: NULL or a live handle.
    unsafe { number(model, |model| model.load_time().as_secs_f64()) }
}
