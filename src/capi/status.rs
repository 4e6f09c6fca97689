//! Status codes: the numbers of [`ErrorKind`], and their names.

use std::ffi::{CStr, c_char};

use super::boundary;
use crate::error::ErrorKind;

/// A length that stands for "up to the NUL": the library measures the text itself.
pub const ORIBI_TO_NUL: usize = usize::MAX;

/// What a call came to. Grouped by class: 1xx argument, 2xx file, 3xx model, 4xx resources and device, 5xx state, 6xx cancelled,
/// 9xx internal. A number is never reused for another meaning; later versions may add numbers, so treat one that you do not
/// know as its class.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum oribi_status {
    /// Success.
    OK = 0,
    /// An argument is NULL, not UTF-8, out of range, of the wrong length, or contradicts another.
    INVALID_ARGUMENT = 100,
    /// The file could not be opened, read or written; the text carries the operating system's reason.
    IO = 200,
    /// The bytes are not a GGUF file at all.
    NOT_GGUF = 201,
    /// The bytes are GGUF, of a version or byte order that is not supported.
    UNSUPPORTED_VERSION = 202,
    /// The file ends before what its header promises.
    TRUNCATED = 203,
    /// The file contradicts the GGUF specification.
    INVALID_FILE = 204,
    /// A metadata key is absent.
    MISSING_KEY = 205,
    /// A metadata value has another type than the caller or the model demands.
    WRONG_TYPE = 206,
    /// The file is sound but the model in it contradicts itself: shapes, ranges, missing tensors, vocabulary.
    INVALID_MODEL = 300,
    /// The architecture, tensor type, tokenizer or feature is not supported.
    UNSUPPORTED = 301,
    /// A chat template is missing, wrong, refuses the conversation, or went past its limits.
    TEMPLATE = 302,
    /// Memory could not be had, or a stated budget would be exceeded.
    OUT_OF_MEMORY = 400,
    /// The thread team could not be started, or the requested instruction set is not available on this CPU.
    DEVICE = 401,
    /// The context has no room for what was asked.
    CONTEXT_FULL = 500,
    /// A handle is not in a condition that allows the call: in use by another call, or unusable after an internal error.
    INVALID_STATE = 501,
    /// The host's cancel request took effect.
    CANCELLED = 600,
    /// A defect in oribi itself. The handle concerned may be unusable; others are not.
    INTERNAL = 900,
}

impl From<ErrorKind> for oribi_status {
    fn from(kind: ErrorKind) -> oribi_status {
        match kind {
            ErrorKind::InvalidArgument => oribi_status::INVALID_ARGUMENT,
            ErrorKind::Io => oribi_status::IO,
            ErrorKind::NotGguf => oribi_status::NOT_GGUF,
            ErrorKind::UnsupportedVersion => oribi_status::UNSUPPORTED_VERSION,
            ErrorKind::Truncated => oribi_status::TRUNCATED,
            ErrorKind::InvalidFile => oribi_status::INVALID_FILE,
            ErrorKind::MissingKey => oribi_status::MISSING_KEY,
            ErrorKind::WrongType => oribi_status::WRONG_TYPE,
            ErrorKind::InvalidModel => oribi_status::INVALID_MODEL,
            ErrorKind::Unsupported => oribi_status::UNSUPPORTED,
            ErrorKind::Template => oribi_status::TEMPLATE,
            ErrorKind::OutOfMemory => oribi_status::OUT_OF_MEMORY,
            ErrorKind::Device => oribi_status::DEVICE,
            ErrorKind::ContextFull => oribi_status::CONTEXT_FULL,
            ErrorKind::InvalidState => oribi_status::INVALID_STATE,
            ErrorKind::Cancelled => oribi_status::CANCELLED,
            ErrorKind::Internal => oribi_status::INTERNAL,
        }
    }
}

/// Every status with its name in the header.
const NAMES: [(oribi_status, &CStr); 18] = [
    (oribi_status::OK, c"ORIBI_STATUS_OK"),
    (oribi_status::INVALID_ARGUMENT, c"ORIBI_STATUS_INVALID_ARGUMENT"),
    (oribi_status::IO, c"ORIBI_STATUS_IO"),
    (oribi_status::NOT_GGUF, c"ORIBI_STATUS_NOT_GGUF"),
    (oribi_status::UNSUPPORTED_VERSION, c"ORIBI_STATUS_UNSUPPORTED_VERSION"),
    (oribi_status::TRUNCATED, c"ORIBI_STATUS_TRUNCATED"),
    (oribi_status::INVALID_FILE, c"ORIBI_STATUS_INVALID_FILE"),
    (oribi_status::MISSING_KEY, c"ORIBI_STATUS_MISSING_KEY"),
    (oribi_status::WRONG_TYPE, c"ORIBI_STATUS_WRONG_TYPE"),
    (oribi_status::INVALID_MODEL, c"ORIBI_STATUS_INVALID_MODEL"),
    (oribi_status::UNSUPPORTED, c"ORIBI_STATUS_UNSUPPORTED"),
    (oribi_status::TEMPLATE, c"ORIBI_STATUS_TEMPLATE"),
    (oribi_status::OUT_OF_MEMORY, c"ORIBI_STATUS_OUT_OF_MEMORY"),
    (oribi_status::DEVICE, c"ORIBI_STATUS_DEVICE"),
    (oribi_status::CONTEXT_FULL, c"ORIBI_STATUS_CONTEXT_FULL"),
    (oribi_status::INVALID_STATE, c"ORIBI_STATUS_INVALID_STATE"),
    (oribi_status::CANCELLED, c"ORIBI_STATUS_CANCELLED"),
    (oribi_status::INTERNAL, c"ORIBI_STATUS_INTERNAL"),
];

/// The text of the last error on this thread, in lower case, naming the argument, key, tensor, offset or limit concerned. UTF-8,
/// ended by NUL; empty before the first error. A call that succeeds leaves it as it is, so look at it after a status other than
/// ORIBI_STATUS_OK only.
///
/// Lent until the next call of an oribi function that fails on this thread. Threads: any; each has its own text.
///
/// @code
/// if (oribi_model_open(path, NULL, &model) != ORIBI_STATUS_OK) fprintf(stderr, "%s\n", oribi_last_error());
/// @endcode
#[unsafe(no_mangle)]
pub extern "C" fn oribi_last_error() -> *const c_char {
    boundary::last_error()
}

/// The name of a status as in this header, for example "ORIBI_STATUS_TRUNCATED"; "ORIBI_STATUS_UNKNOWN" for another number.
///
/// Lent for ever. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn oribi_status_name(status: i32) -> *const c_char {
    let row = NAMES.iter().find(|(known, _)| *known as i32 == status);
    row.map_or(c"ORIBI_STATUS_UNKNOWN", |(_, name)| name).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are written twice, because the header's generator reads literals alone.
    #[test]
    fn a_status_has_the_number_of_its_error_kind() {
        let kinds = [
            ErrorKind::InvalidArgument,
            ErrorKind::Io,
            ErrorKind::NotGguf,
            ErrorKind::UnsupportedVersion,
            ErrorKind::Truncated,
            ErrorKind::InvalidFile,
            ErrorKind::MissingKey,
            ErrorKind::WrongType,
            ErrorKind::InvalidModel,
            ErrorKind::Unsupported,
            ErrorKind::Template,
            ErrorKind::OutOfMemory,
            ErrorKind::Device,
            ErrorKind::ContextFull,
            ErrorKind::InvalidState,
            ErrorKind::Cancelled,
            ErrorKind::Internal,
        ];
        assert_eq!(kinds.len() + 1, NAMES.len());
        for kind in kinds {
            let status = oribi_status::from(kind);
            assert_eq!(status as i32, kind as i32);
            let named = NAMES.iter().find(|(known, _)| *known == status).unwrap();
            assert_eq!(named.1.to_str().unwrap(), format!("ORIBI_STATUS_{status:?}"));
        }
    }
}
