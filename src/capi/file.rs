//! Model files: opened from wherever the host has them, header only.

use std::ffi::{CStr, c_char, c_int};
use std::fs::File;
use std::path::PathBuf;

use super::boundary::{Out, call, handle, value};
use super::handle::{free, give};
use super::options::oribi_options;
use super::status::oribi_status;
use crate::backend::Device;
use crate::backend::cpu::cores;
use crate::error::{Result, bail};
use crate::gguf::Gguf;
use crate::session::{predict_gpu_memory, predict_memory};

/// An open GGUF file, or the files of a split model: its header, checked; everything large stays where it is. Immutable. A model
/// that is loaded from it keeps what it needs, so it may be freed at any time.
///
/// The file must not be shortened or rewritten while it is open; replacing it by renaming another over it is fine. A host that
/// cannot promise that opens it from memory.
pub struct oribi_file(pub(super) Gguf);

/// The path behind a pointer: the system's bytes.
///
/// # Safety
/// `path` is NULL or ends with NUL.
pub(super) unsafe fn path_of(path: *const c_char) -> Result<PathBuf> {
    if path.is_null() {
        bail!(InvalidArgument, "path is NULL");
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Ok(std::ffi::OsStr::from_bytes(bytes).into())
    }
    #[cfg(not(unix))]
    match std::str::from_utf8(bytes) {
        Ok(path) => Ok(path.into()),
        Err(e) => bail!(InvalidArgument, "path is not UTF-8 from its byte {}", e.valid_up_to()),
    }
}

/// Open a file by its path; a split model by its first file NAME-00001-of-000NN.gguf. Reads the header only, and takes no more
/// memory than a small multiple of its size.
///
/// The host frees the result with oribi_file_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_IO;
/// ORIBI_STATUS_NOT_GGUF, _UNSUPPORTED_VERSION, _TRUNCATED, _INVALID_FILE, _WRONG_TYPE, _UNSUPPORTED for what is wrong with the
/// file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_open(path: *const c_char, file: *mut *mut oribi_file) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers, as for every function.
        let (path, out) = unsafe { (path_of(path)?, Out::new(file, "file")?) };
        give(out, oribi_file(Gguf::open(&path)?));
        Ok(())
    })
}

/// Open the `len_bytes` bytes from byte `offset` of an open file descriptor, for example a model inside an application's package.
/// The descriptor is duplicated: the host may close its own at once. Its position is not used.
///
/// Ownership, threads and errors as for oribi_file_open(); ORIBI_STATUS_UNSUPPORTED on systems without file descriptors, and for a
/// file of a split model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_open_fd(
    fd: c_int,
    offset: u64,
    len_bytes: u64,
    file: *mut *mut oribi_file,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(file, "file") }?;
        give(out, oribi_file(Gguf::open_range(duplicated(fd)?, offset, len_bytes)?));
        Ok(())
    })
}

#[cfg(unix)]
fn duplicated(fd: c_int) -> Result<File> {
    use std::os::fd::BorrowedFd;
    if fd < 0 {
        bail!(InvalidArgument, "fd is {fd}");
    }
    // SAFETY: not -1, and used for one system call, which refuses a descriptor that is not open.
    let owned = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    owned.map(File::from).map_err(|e| crate::error::Error::io(format_args!("file descriptor {fd}"), e))
}

#[cfg(not(unix))]
fn duplicated(_: c_int) -> Result<File> {
    bail!(Unsupported, "this system has no file descriptors")
}

/// Free a file. NULL is allowed; models that were loaded from it are not concerned.
///
/// Threads: any, when nobody uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_free(file: *mut oribi_file) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(file) }
}

/// The version of the GGUF format: 1, 2 or 3. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_version(file: *const oribi_file) -> u32 {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(file, "file") }.ok()?.0.version()))
}

/// The size in bytes, of all files of a split model together. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_len(file: *const oribi_file) -> u64 {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(file, "file") }.ok()?.0.file_bytes()))
}

/// The number of files: 1, or those of a split model. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_n_shards(file: *const oribi_file) -> usize {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(file, "file") }.ok()?.0.n_shards()))
}

/// A part of the memory that a model takes.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_memory {
    /// The sum of the others, which the option max_memory limits.
    TOTAL = 0,
    /// Weights in the layout of the kernels: all of them, or what is at work of those that stay in the file.
    WEIGHTS = 1,
    /// Keys and values, when every sequence has filled its context. They grow page by page.
    KV_CACHE = 2,
    /// Buffers of a pass, and the logits.
    SCRATCH = 3,
    /// The tokenizer's tables.
    VOCABULARY = 4,
}

/// The bytes that a model of this file takes with one session, both made with `options` (NULL for the defaults); `part` is a
/// value of oribi_memory. Known from the header alone. Where the option device means a GPU they are bytes of its own memory.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT; those of oribi_model_load() for what is wrong with the
/// header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_predict_memory(
    file: *const oribi_file,
    options: *const oribi_options,
    part: i32,
    n_bytes: *mut u64,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or a place for a result.
        let (file, settings, out) =
            unsafe { (handle(file, "file")?, oribi_options::settings(options)?, Out::new(n_bytes, "n_bytes")?) };
        let n_threads = settings.cpu.n_threads.unwrap_or_else(cores::default_threads);
        let (storage, session) = (settings.storage, &settings.session);
        let needed = match settings.device.resolved() {
            Device::Cpu => predict_memory(&file.0, storage, session, n_threads)?,
            _ => predict_gpu_memory(&file.0, storage, session, n_threads, settings.gpu_layers)?.gpu,
        };
        out.set(match part {
            part if part == oribi_memory::TOTAL as i32 => needed.total,
            part if part == oribi_memory::WEIGHTS as i32 => needed.weights,
            part if part == oribi_memory::KV_CACHE as i32 => needed.kv_cache,
            // The library's own part has no number here; it is what buffers are to a host: neither weights nor context.
            part if part == oribi_memory::SCRATCH as i32 => needed.scratch.saturating_add(needed.other),
            part if part == oribi_memory::VOCABULARY as i32 => needed.vocabulary,
            _ => bail!(InvalidArgument, "part is {part}, not a value of oribi_memory"),
        });
        Ok(())
    })
}
