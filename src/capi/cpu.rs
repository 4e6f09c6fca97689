//! What this CPU is, and which kernel runs for what.

use std::ffi::c_char;

use serde_json::json;

use super::boundary::{Out, call, name, value};
use super::handle::give;
use super::status::oribi_status;
use super::text::oribi_text;
use crate::backend::cpu::cores;
use crate::backend::cpu::kernels::{Isa, KernelSet};
use crate::dtype::TABLE;
use crate::error::Result;
use crate::quant;

/// The threads that a model takes by default: one for each physical core that the process may use.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn oribi_cpu_default_threads() -> usize {
    value(1, || Some(cores::default_threads()))
}

/// What this CPU can do and which kernels would run, as a JSON object:
///
/// - "isa": the instruction set in use, "features": what it needs of a CPU
/// - "available": all instruction sets whose kernels run here
/// - "threads": oribi_cpu_default_threads()
/// - "formats": for each tensor format, the kernels of its matrix products by number of rows
/// - "operations": the kernels of everything else
///
/// `isa` is NULL for the best of this CPU, or a name as in the option isa. The host frees the result with oribi_text_free(). Threads:
/// any. Errors: ORIBI_STATUS_INVALID_ARGUMENT for an unknown name; ORIBI_STATUS_DEVICE for an instruction set that this CPU lacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_cpu_report(isa: *const c_char, report: *mut *mut oribi_text) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(report, "report") }?;
        // SAFETY: not NULL here, so it ends with NUL.
        let wanted = if isa.is_null() { None } else { Some(unsafe { name(isa, "isa") }?.parse::<Isa>()?) };
        let kernels = KernelSet::new(Isa::choose(wanted)?)?;
        give(out, oribi_text::new(report_of(&kernels)?.to_string())?);
        Ok(())
    })
}

fn report_of(kernels: &KernelSet) -> Result<serde_json::Value> {
    let supported = TABLE.iter().filter(|row| quant::is_supported(row.dtype));
    let formats = supported.map(|row| {
        let choice = kernels.matmul_choice(row.dtype)?;
        Ok(json!({
            "format": row.name,
            "one_row": choice.one_row.name(),
            "few_rows": choice.few_rows.name(),
            "n_few": choice.n_few,
            "many_rows": choice.many_rows.name(),
            "native": choice.native.map(|kernel| kernel.name()),
        }))
    });
    let operations = kernels.other_kernels().into_iter().map(|kernel| {
        json!({
            "operation": kernel.operation(),
            "format": kernel.dtype().map(|dtype| dtype.name()),
            "kernel": kernel.name(),
            "isa": kernel.isa().name(),
            "is_native": kernel.is_native(),
        })
    });
    Ok(json!({
        "isa": kernels.isa().name(),
        "features": kernels.isa().features(),
        "available": Isa::ALL.iter().filter(|isa| isa.is_available()).map(|isa| isa.name()).collect::<Vec<_>>(),
        "threads": cores::default_threads(),
        "formats": formats.collect::<Result<Vec<_>>>()?,
        "operations": operations.collect::<Vec<_>>(),
    }))
}
