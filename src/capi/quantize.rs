//! Quantization: a file's tensors in other formats.

use std::ffi::c_char;
use std::path::PathBuf;

use super::boundary::{Out, call, handle, name};
use super::file::{oribi_file, path_of};
use super::hooks::{Watch, oribi_log_level, oribi_phase};
use super::options::oribi_options;
use super::settings::Settings;
use super::status::oribi_status;
use crate::error::{Result, bail};
use crate::importance::ImportanceMatrix;
use crate::quant::recipes::Recipe;
use crate::quantize::{self, Options, Plan, Rule};

/// What the options say about quantization.
#[derive(Clone, Default)]
pub(super) struct QuantizeSettings {
    pub rules: Vec<Rule>,
    pub importance: Option<PathBuf>,
    pub requantize: bool,
}

/// Do something with the library's options for a level.
fn with_options<T>(settings: &Settings, level: &str, body: impl FnOnce(&Options<'_>) -> Result<T>) -> Result<T> {
    let Some(recipe) = Recipe::find(level) else {
        bail!(InvalidArgument, "level {level:?} is not known");
    };
    let chosen = &settings.quantize;
    let importance = chosen.importance.as_deref().map(ImportanceMatrix::open).transpose()?;
    let of = importance.as_ref().map(|matrix| move |name: &str| matrix.get(name));
    let options = Options {
        rules: chosen.rules.clone(),
        requantize: chosen.requantize,
        importance: of.as_ref().map(|of| of as quantize::Importance<'_>),
        n_threads: settings.cpu.n_threads,
        ..Options::new(recipe)
    };
    body(&options)
}

/// Write a file that has this file's metadata, and its matrices at a quantization level: Q4_K_M, Q8_0, F16, or a format such as Q4_K for
/// all of them. `path` takes its name when it is whole; a file of that name is replaced then, and not before. A call that was
/// cancelled or killed leaves what is done beside it, and the same call later goes on with it.
///
/// The options tensor_types, importance and requantize are for this function; so is n_threads. Callbacks hear of
/// ORIBI_PHASE_QUANTIZE. Values that are not finite are refused, naming the tensor.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT for an unknown level, a rule that is about no matrix, or
/// tensors that are quantized already without the option requantize; ORIBI_STATUS_UNSUPPORTED for a format that cannot be read or
/// made; ORIBI_STATUS_INVALID_MODEL; ORIBI_STATUS_INVALID_STATE, also when another process writes the same file;
/// ORIBI_STATUS_CANCELLED; ORIBI_STATUS_IO; ORIBI_STATUS_OUT_OF_MEMORY; what a wrong importance matrix says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_quantize(
    file: *const oribi_file,
    options: *const oribi_options,
    level: *const c_char,
    path: *const c_char,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or texts that end with NUL.
        let (file, settings, level, path) = unsafe {
            (handle(file, "file")?, oribi_options::settings(options)?, name(level, "level")?, path_of(path)?)
        };
        settings.hooks.check()?;
        let watch = Watch::new(&settings.hooks);
        let progress = |done, total| {
            watch.progress(oribi_phase::QUANTIZE, done, total);
            !watch.stop()
        };
        with_options(&settings, level, |options| {
            let plan = Plan::new(&file.0, options)?;
            let report = quantize::run(&file.0, &plan, options, &path, &progress)?;
            let text = format!("{}: {level}, {:.2} bits per weight", path.display(), plan.bits_per_weight());
            settings.hooks.log(oribi_log_level::INFO, &format!("{text}, {} bytes", report.file_bytes));
            Ok(())
        })
    })
}

/// The bytes of the file that oribi_file_quantize() would write: exact, and known from the header alone.
///
/// Threads: any, several at once. Errors: those of oribi_file_quantize() that the header decides.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_quantized_len(
    file: *const oribi_file,
    options: *const oribi_options,
    level: *const c_char,
    n_bytes: *mut u64,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or a text that ends with NUL, NULL or a place for a result.
        let (file, settings, level, out) = unsafe {
            (
                handle(file, "file")?,
                oribi_options::settings(options)?,
                name(level, "level")?,
                Out::new(n_bytes, "n_bytes")?,
            )
        };
        out.set(with_options(&settings, level, |options| Ok(Plan::new(&file.0, options)?.file_bytes))?);
        Ok(())
    })
}
