//! Model files that are no files: memory of the host, and bytes that the host reads on request.

use std::ffi::c_void;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::boundary::{Out, call, slice};
use super::file::oribi_file;
use super::handle::give;
use super::hooks::Userdata;
use super::status::oribi_status;
use crate::error::bail;
use crate::gguf::Gguf;

/// Hears that the library needs memory or a callback of the host no more. Called once, on the thread that frees the last handle which
/// needed it.
pub type oribi_release_fn = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

/// Copies up to `len_bytes` bytes of a file from byte `offset` on into `buffer`; how many, like pread(): fewer are completed by
/// another call, 0 is the end of the file, a negative number is a failure.
pub type oribi_read_at_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, offset: u64, buffer: *mut c_void, len_bytes: usize) -> i64>;

/// What the host lends until it is released. Nothing is released before the file is open: after an error it is still the host's.
struct Loan {
    release: oribi_release_fn,
    userdata: Userdata,
    is_taken: Arc<AtomicBool>,
}

impl Loan {
    /// The loan, and the flag that says it was taken.
    fn new(release: oribi_release_fn, userdata: *mut c_void) -> (Loan, Arc<AtomicBool>) {
        let is_taken = Arc::new(AtomicBool::new(false));
        (Loan { release, userdata: Userdata(userdata), is_taken: Arc::clone(&is_taken) }, is_taken)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(release) = self.release.filter(|_| self.is_taken.load(Ordering::Acquire)) {
            // SAFETY: the host's function with its own pointer, once.
            unsafe { release(self.userdata.0) }
        }
    }
}

/// Memory of the host.
struct HostMemory {
    bytes: &'static [u8],
    _loan: Loan,
}

impl AsRef<[u8]> for HostMemory {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

/// Open a GGUF file in memory of the host. Nothing is copied: the memory must stay as it is until `release` is called with `userdata`,
/// which happens once, when the file, and every model and tokenizer that came from it, is freed; with a NULL `release`, until the
/// host has freed them all. After an error nothing is released.
///
/// The host frees the result with oribi_file_free(). Threads: any. Errors: those of oribi_file_open(), without ORIBI_STATUS_IO;
/// ORIBI_STATUS_UNSUPPORTED for a file of a split model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_open_memory(
    data: *const c_void,
    len_bytes: usize,
    release: oribi_release_fn,
    userdata: *mut c_void,
    file: *mut *mut oribi_file,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(file, "file") }?;
        // SAFETY: NULL or so many bytes, which by the host's promise stay as they are until they are released; nothing holds them
        // longer, because the loan is dropped with their last user.
        let bytes: &'static [u8] = unsafe { slice(data.cast::<u8>(), len_bytes, "data") }?;
        let (loan, is_taken) = Loan::new(release, userdata);
        let opened = Gguf::from_owner(HostMemory { bytes, _loan: loan })?;
        is_taken.store(true, Ordering::Release);
        give(out, oribi_file(opened));
        Ok(())
    })
}

/// A file that the host reads.
struct HostReader {
    read: unsafe extern "C" fn(*mut c_void, u64, *mut c_void, usize) -> i64,
    loan: Loan,
}

impl HostReader {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the host's function with its own pointer, and room for so many bytes.
        let n = unsafe { (self.read)(self.loan.userdata.0, offset, into.as_mut_ptr().cast(), into.len()) };
        usize::try_from(n).map_err(|_| io::Error::other(format!("the host's read-at callback returned {n}")))
    }
}

/// Open a GGUF file of `len_bytes` bytes that the host reads on request, from wherever it is. `read` is called on the thread that
/// calls this function, and later on the one that loads a model from the file, and never at once from several. The header is kept;
/// tensors are read piece by piece while a model is loaded, and not afterwards, so the option pack_weights must be true.
///
/// `userdata` must stay valid until `release` is called with it, which happens once, when the file, and every model that was loaded
/// from it, is freed; `release` may be NULL. After an error nothing is released. The host frees the result with oribi_file_free().
/// Threads: any. Errors: those of oribi_file_open(); ORIBI_STATUS_IO if `read` fails or claims more bytes than it was asked
/// for; ORIBI_STATUS_TRUNCATED if there are none before `len_bytes`; ORIBI_STATUS_UNSUPPORTED for a file of a split model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_open_read_at(
    len_bytes: u64,
    read: oribi_read_at_fn,
    release: oribi_release_fn,
    userdata: *mut c_void,
    file: *mut *mut oribi_file,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(file, "file") }?;
        let Some(read) = read else { bail!(InvalidArgument, "read is NULL") };
        let (loan, is_taken) = Loan::new(release, userdata);
        let reader = HostReader { read, loan };
        let opened = Gguf::from_read_at(len_bytes, move |offset, into| reader.read(offset, into))?;
        is_taken.store(true, Ordering::Release);
        give(out, oribi_file(opened));
        Ok(())
    })
}
