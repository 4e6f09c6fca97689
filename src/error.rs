//! The one error type: a kind that programs act on and a text that names the thing.

use std::fmt;

/// What went wrong, as a closed set with stable numbers. The numbers are the status codes of the C interface, grouped by
/// class: 1xx argument, 2xx file, 3xx model, 4xx resources and device, 5xx state, 6xx cancelled, 9xx internal. A number
/// is never reused for another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorKind {
    /// An argument is out of range, of the wrong length or contradicts another.
    InvalidArgument = 100,
    /// The file could not be opened, read or written; the text carries the operating system's reason.
    Io = 200,
    /// The bytes are not a GGUF file at all.
    NotGguf = 201,
    /// The bytes are GGUF, of a version or byte order that is not supported.
    UnsupportedVersion = 202,
    /// The file ends before what its header promises.
    Truncated = 203,
    /// The file contradicts the GGUF specification.
    InvalidFile = 204,
    /// A metadata key is absent.
    MissingKey = 205,
    /// A metadata value has another type than the key demands.
    WrongType = 206,
    /// The file is sound but the model in it contradicts itself: shapes, ranges, missing tensors, vocabulary.
    InvalidModel = 300,
    /// The architecture, tensor type, tokenizer or feature is not supported.
    Unsupported = 301,
    /// A chat template is missing, wrong or went past its limits.
    Template = 302,
    /// Memory could not be had, or a stated budget would be exceeded.
    OutOfMemory = 400,
    /// The thread team could not be started, or the requested instruction set is not available on this CPU.
    Device = 401,
    /// The context has no room for what was asked.
    ContextFull = 500,
    /// A sequence, session or state is not in a condition that allows the call.
    InvalidState = 501,
    /// The caller's cancel request took effect.
    Cancelled = 600,
    /// A defect in oribi itself.
    Internal = 900,
}

/// An error: its [`ErrorKind`] and a text in lower case, without a full stop, that names the tensor, key, offset, argument
/// or limit concerned.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` with its text.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    /// An operating system error while doing `what`, for example `open /models/a.gguf`.
    pub fn io(what: impl fmt::Display, source: std::io::Error) -> Self {
        Error { kind: ErrorKind::Io, message: format!("{what}: {source}"), source: Some(Box::new(source)) }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error with `what` and a colon in front of its text: where it happened.
    pub fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| &**e as &(dyn std::error::Error + 'static))
    }
}

/// `bail!(Kind, "format", args)`: return an [`Error`] of that [`ErrorKind`].
macro_rules! bail {
    ($kind:ident, $($arg:tt)*) => {
        return Err($crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($arg)*)))
    };
}
pub(crate) use bail;
