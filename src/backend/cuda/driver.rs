//! What the backend asks of a GPU, and memory that is given back when nobody needs it.
//!
//! There are two drivers: NVIDIA's (`nvidia.rs`), and for tests one that runs the same kernels on the CPU (`emulated.rs`).

use std::ffi::{CString, c_void};
use std::sync::Arc;

use super::bindings as c;
use super::launches::Launch;
use crate::error::Result;

/// A place in a GPU's memory.
pub(super) type Address = u64;

/// A kernel that can be launched.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kernel {
    /// Its name in its module.
    pub name: Arc<CString>,
    /// What the driver knows it by.
    pub handle: usize,
}

/// An argument struct: where it is, and its size.
#[derive(Clone, Copy)]
pub(super) struct Args {
    pub start: *const c_void,
    /// NVIDIA's driver knows it from the kernel.
    #[cfg_attr(not(feature = "cuda-emulated"), allow(dead_code))]
    pub n_bytes: usize,
}

impl Args {
    /// Of a struct.
    pub fn of<T>(args: &T) -> Args {
        Args { start: std::ptr::from_ref(args).cast(), n_bytes: size_of::<T>() }
    }
}

/// How much memory a GPU has.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryInfo {
    /// Bytes that nobody has taken.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

/// One GPU. What is asked of it happens in the order in which it is asked; copies from and to the host's memory are complete when
/// the call returns, unless said otherwise. Errors are of kind `Device`, or `OutOfMemory` where memory could not be had.
pub(super) trait Driver: Send + Sync {
    /// Its name and architecture, for people.
    fn name(&self) -> &str;

    /// Its multiprocessors.
    #[cfg(feature = "bench")]
    fn n_processors(&self) -> u32;

    /// How much memory it has.
    fn memory(&self) -> Result<MemoryInfo>;

    /// `n_bytes` of its memory, of any content, aligned to 256 bytes. `what` is named where they cannot be had.
    fn allocate(&self, n_bytes: usize, what: &str) -> Result<Address>;

    /// Give memory back. Nothing can be done about an error.
    fn free(&self, address: Address);

    /// `n_bytes` of the host's memory that copies reach fast.
    fn allocate_host(&self, n_bytes: usize, what: &str) -> Result<*mut u8>;

    /// Give the host's memory back.
    ///
    /// # Safety
    /// The pointer is from [`allocate_host`](Self::allocate_host) with this size, and nobody uses it any more.
    unsafe fn free_host(&self, start: *mut u8, n_bytes: usize);

    /// Make `n_bytes` zero.
    ///
    /// # Safety
    /// For this and the functions below: the addresses are those of memory of this driver that has the bytes.
    unsafe fn zero(&self, to: Address, n_bytes: usize) -> Result<()>;

    /// Copy from the host.
    ///
    /// # Safety
    /// See [`zero`](Self::zero).
    unsafe fn write(&self, to: Address, from: &[u8]) -> Result<()>;

    /// Copy to the host.
    ///
    /// # Safety
    /// See [`zero`](Self::zero).
    unsafe fn read(&self, from: Address, to: &mut [u8]) -> Result<()>;

    /// Copy from the host; complete only after the next [`synchronize`](Self::synchronize).
    ///
    /// # Safety
    /// See [`zero`](Self::zero). `from` has `n_bytes`, is from [`allocate_host`](Self::allocate_host), and stays as it is until then.
    unsafe fn write_later(&self, to: Address, from: *const u8, n_bytes: usize) -> Result<()>;

    /// Copy to the host; complete only after the next [`synchronize`](Self::synchronize).
    ///
    /// # Safety
    /// See [`zero`](Self::zero). `to` has `n_bytes`, is from [`allocate_host`](Self::allocate_host), and nobody uses it until then.
    unsafe fn read_later(&self, from: Address, to: *mut u8, n_bytes: usize) -> Result<()>;

    /// Copy within its memory, between places that do not overlap.
    ///
    /// # Safety
    /// See [`zero`](Self::zero).
    unsafe fn copy(&self, from: Address, to: Address, n_bytes: usize) -> Result<()>;

    /// Have the modules of these kernels compiled and loaded, all together: so several are compiled at a time.
    fn prepare(&self, kernels: &[String]) -> Result<()>;

    /// The kernel of a name, compiled and loaded where it was not yet.
    fn kernel(&self, name: &str) -> Result<Kernel>;

    /// Launch a kernel with an argument struct, which is copied.
    ///
    /// # Safety
    /// The kernel is from this driver and takes such a struct, which lives during the call; what it does with it is sound.
    unsafe fn launch(&self, kernel: &Kernel, shape: c::oribi_cuda_launch, args: Args) -> Result<()>;

    /// Make a graph of launches, which are not done now. Its number is this driver's.
    ///
    /// # Safety
    /// See [`launch`](Self::launch).
    unsafe fn record(&self, launches: &Arc<[Launch]>) -> Result<usize>;

    /// Do what is in a graph.
    ///
    /// # Safety
    /// See [`launch`](Self::launch), for all of its launches.
    unsafe fn replay(&self, graph: usize) -> Result<()>;

    /// A graph is not needed any more. Nothing can be done about an error.
    fn forget(&self, graph: usize);

    /// Wait until all is done, and hear of what went wrong.
    fn synchronize(&self) -> Result<()>;
}

/// A graph, forgotten on drop.
pub(super) struct Graph {
    driver: Arc<dyn Driver>,
    number: usize,
}

impl Graph {
    /// # Safety
    /// See [`Driver::record`].
    ///
    /// # Errors
    /// `Device`.
    pub unsafe fn new(driver: &Arc<dyn Driver>, launches: &Arc<[Launch]>) -> Result<Graph> {
        // SAFETY: by the caller's promise.
        let number = unsafe { driver.record(launches)? };
        Ok(Graph { driver: Arc::clone(driver), number })
    }

    /// # Safety
    /// See [`Driver::replay`].
    ///
    /// # Errors
    /// `Device`.
    pub unsafe fn replay(&self) -> Result<()> {
        // SAFETY: by the caller's promise.
        unsafe { self.driver.replay(self.number) }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.driver.forget(self.number);
    }
}

/// Memory of a GPU that is given back on drop.
pub(super) struct Buffer {
    driver: Arc<dyn Driver>,
    address: Address,
    len: usize,
}

impl Buffer {
    /// `len` bytes of any content.
    ///
    /// # Errors
    /// `OutOfMemory` naming `what`; `Device`.
    pub fn new(driver: &Arc<dyn Driver>, len: usize, what: &str) -> Result<Buffer> {
        let address = driver.allocate(len.max(1), what)?;
        Ok(Buffer { driver: Arc::clone(driver), address, len })
    }

    /// `len` zeros.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn zeroed(driver: &Arc<dyn Driver>, len: usize, what: &str) -> Result<Buffer> {
        let buffer = Buffer::new(driver, len, what)?;
        // SAFETY: the buffer has the bytes.
        unsafe { driver.zero(buffer.address, len)? }
        Ok(buffer)
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of byte `at`, from which on `n_bytes` are meant.
    pub fn at(&self, at: usize, n_bytes: usize) -> Address {
        assert!(at.checked_add(n_bytes).is_some_and(|end| end <= self.len), "{n_bytes} at {at} of {} bytes", self.len);
        self.address + at as u64
    }

    /// Copy from the host to byte `at`.
    ///
    /// # Errors
    /// `Device`.
    pub fn write(&self, at: usize, from: &[u8]) -> Result<()> {
        // SAFETY: `at` checks the range.
        unsafe { self.driver.write(self.at(at, from.len()), from) }
    }

    /// Copy to the host from byte `at`.
    ///
    /// # Errors
    /// `Device`.
    pub fn read(&self, at: usize, to: &mut [u8]) -> Result<()> {
        // SAFETY: `at` checks the range.
        unsafe { self.driver.read(self.at(at, to.len()), to) }
    }

    /// Copy everything to a buffer of the same length.
    ///
    /// # Errors
    /// `Device`.
    pub fn copy_to(&self, to: &Buffer) -> Result<()> {
        assert_eq!(self.len, to.len, "lengths of a copy");
        // SAFETY: both have the bytes, and two buffers do not overlap.
        unsafe { self.driver.copy(self.address, to.address, self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.driver.free(self.address);
    }
}

/// Memory of the host that copies reach fast, given back on drop.
pub(super) struct HostBuffer {
    driver: Arc<dyn Driver>,
    start: *mut u8,
    len: usize,
}

// SAFETY: it owns plain bytes; who writes them from several threads says why that is sound.
unsafe impl Send for HostBuffer {}
// SAFETY: as above.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    /// `len` zeros.
    ///
    /// # Errors
    /// `OutOfMemory` naming `what`; `Device`.
    pub fn new(driver: &Arc<dyn Driver>, len: usize, what: &str) -> Result<HostBuffer> {
        let len = len.max(1);
        let start = driver.allocate_host(len, what)?;
        // SAFETY: the bytes were just allocated.
        unsafe { start.write_bytes(0, len) }
        Ok(HostBuffer { driver: Arc::clone(driver), start, len })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this length; `&mut self` says that nobody uses it.
        unsafe { self.driver.free_host(self.start, self.len) }
    }
}
