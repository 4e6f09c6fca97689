//! A GPU that there is not: its memory is the host's, and its kernels are the same sources, compiled for the CPU. For tests, on
//! machines without a GPU.
//!
//! It keeps count of its memory as a GPU has to: `ORIBI_CUDA_EMULATED_MEMORY` says how many bytes there are.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bindings as c;
use super::driver::{Address, Args, Driver, Kernel, MemoryInfo};
use super::launches::Launch;
use crate::error::{Result, bail};

/// Bytes of memory, unless the environment says otherwise.
const MEMORY_BYTES: u64 = 4 << 30;
/// Alignment of what is allocated, as a GPU has it.
const ALIGN: usize = 256;

pub(super) struct Emulated {
    total: u64,
    /// Sizes of what is allocated, by address.
    allocated: Mutex<BTreeMap<Address, usize>>,
    /// Graphs, by number.
    recorded: Mutex<BTreeMap<usize, Arc<[Launch]>>>,
}

impl Emulated {
    /// The GPU of a number; there is one.
    pub fn new(number: u32) -> Result<Emulated> {
        if number != 0 {
            bail!(Device, "there is no GPU {number}: there is one, which is emulated");
        }
        let total = match std::env::var("ORIBI_CUDA_EMULATED_MEMORY") {
            Ok(text) => match text.parse() {
                Ok(total) => total,
                Err(e) => bail!(InvalidArgument, "ORIBI_CUDA_EMULATED_MEMORY is {text:?}: {e}"),
            },
            Err(_) => MEMORY_BYTES,
        };
        Ok(Emulated { total, allocated: Mutex::default(), recorded: Mutex::default() })
    }

    fn allocated(&self) -> MutexGuard<'_, BTreeMap<Address, usize>> {
        self.allocated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn n_used(&self) -> u64 {
        self.allocated().values().map(|&n_bytes| n_bytes as u64).sum()
    }

    /// Whether the bytes lie in one piece of what was allocated: a stray copy would be an error on a GPU, too.
    fn check(&self, address: Address, n_bytes: usize) -> Result<()> {
        let allocated = self.allocated();
        let piece = allocated.range(..=address).next_back();
        let is_inside = piece.is_some_and(|(&start, &len)| address - start + n_bytes as u64 <= len as u64);
        if !is_inside {
            bail!(Device, "{n_bytes} bytes at {address:#x} are no memory of the GPU");
        }
        Ok(())
    }
}

impl Driver for Emulated {
    fn name(&self) -> &str {
        "emulated on the CPU"
    }

    #[cfg(feature = "bench")]
    fn n_processors(&self) -> u32 {
        1
    }

    fn memory(&self) -> Result<MemoryInfo> {
        Ok(MemoryInfo { free: self.total.saturating_sub(self.n_used()), total: self.total })
    }

    fn allocate(&self, n_bytes: usize, what: &str) -> Result<Address> {
        let free = self.memory()?.free;
        let layout = Layout::from_size_align(n_bytes, ALIGN).ok().filter(|_| n_bytes as u64 <= free);
        let Some(layout) = layout else {
            bail!(OutOfMemory, "no memory on the GPU for {what}: {n_bytes} bytes are needed, {free} are free");
        };
        // SAFETY: callers ask for at least one byte.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            bail!(OutOfMemory, "no memory for {what}: {n_bytes} bytes");
        }
        // Whoever reads what was never written shall notice: these are NaN as float32, float16, bfloat16.
        // SAFETY: the bytes were just allocated.
        unsafe { start.write_bytes(0xff, n_bytes) }
        let address = start as Address;
        self.allocated().insert(address, n_bytes);
        Ok(address)
    }

    fn free(&self, address: Address) {
        if let Some(n_bytes) = self.allocated().remove(&address) {
            // SAFETY: allocated above with this very layout, which was valid there.
            unsafe { dealloc(address as *mut u8, Layout::from_size_align_unchecked(n_bytes, ALIGN)) }
        }
    }

    fn allocate_host(&self, n_bytes: usize, what: &str) -> Result<*mut u8> {
        let layout = Layout::from_size_align(n_bytes, ALIGN).ok();
        // SAFETY: callers ask for at least one byte.
        let start = layout.map_or(std::ptr::null_mut(), |layout| unsafe { alloc(layout) });
        if start.is_null() {
            bail!(OutOfMemory, "no memory for {what}: {n_bytes} bytes");
        }
        Ok(start)
    }

    unsafe fn free_host(&self, start: *mut u8, n_bytes: usize) {
        // SAFETY: by the caller's promise allocated above with this very layout.
        unsafe { dealloc(start, Layout::from_size_align_unchecked(n_bytes, ALIGN)) }
    }

    unsafe fn zero(&self, to: Address, n_bytes: usize) -> Result<()> {
        self.check(to, n_bytes)?;
        // SAFETY: checked; by the caller's promise nobody else uses them.
        unsafe { (to as *mut u8).write_bytes(0, n_bytes) }
        Ok(())
    }

    unsafe fn write(&self, to: Address, from: &[u8]) -> Result<()> {
        // SAFETY: as in `zero`; here nothing is done later.
        unsafe { self.write_later(to, from.as_ptr(), from.len()) }
    }

    unsafe fn read(&self, from: Address, to: &mut [u8]) -> Result<()> {
        // SAFETY: as in `zero`; here nothing is done later.
        unsafe { self.read_later(from, to.as_mut_ptr(), to.len()) }
    }

    unsafe fn write_later(&self, to: Address, from: *const u8, n_bytes: usize) -> Result<()> {
        self.check(to, n_bytes)?;
        // SAFETY: as in `zero`, and `from` by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from, to as *mut u8, n_bytes) }
        Ok(())
    }

    unsafe fn read_later(&self, from: Address, to: *mut u8, n_bytes: usize) -> Result<()> {
        self.check(from, n_bytes)?;
        // SAFETY: as in `zero`, and `to` by the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to, n_bytes) }
        Ok(())
    }

    unsafe fn copy(&self, from: Address, to: Address, n_bytes: usize) -> Result<()> {
        self.check(from, n_bytes)?;
        self.check(to, n_bytes)?;
        // SAFETY: as in `zero`.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, n_bytes) }
        Ok(())
    }

    fn prepare(&self, kernels: &[String]) -> Result<()> {
        kernels.iter().try_for_each(|name| self.kernel(name).map(|_| ()))
    }

    fn kernel(&self, name: &str) -> Result<Kernel> {
        // SAFETY: the function takes any number; names are constants that end in zero.
        let name_of = |i| unsafe {
            let name = c::oribi_cuda_emulated_kernel(i);
            (!name.is_null()).then(|| CStr::from_ptr(name))
        };
        match (0..).map_while(name_of).find(|known| known.to_bytes() == name.as_bytes()) {
            Some(known) => Ok(Kernel { name: Arc::new(known.to_owned()), handle: 0 }),
            None => bail!(Internal, "there is no CUDA kernel {name}"),
        }
    }

    unsafe fn launch(&self, kernel: &Kernel, shape: c::oribi_cuda_launch, args: Args) -> Result<()> {
        let c::oribi_cuda_launch { grid, block, shared_bytes } = shape;
        let name: &CString = &kernel.name;
        let text = name.to_string_lossy();
        // SAFETY: name and arrays live during the call, which reads them; the argument struct is the kernel's by the caller's
        // promise.
        let status = unsafe {
            let (grid, block) = (grid.as_ptr(), block.as_ptr());
            c::oribi_cuda_emulated_launch(name.as_ptr(), grid, block, shared_bytes as usize, args.start, args.n_bytes)
        };
        let why = match status as c::oribi_cuda_emulated_status {
            c::ORIBI_CUDA_EMULATED_OK => return Ok(()),
            c::ORIBI_CUDA_EMULATED_NO_KERNEL => "there is none",
            c::ORIBI_CUDA_EMULATED_ARGUMENTS => "its arguments are of another size",
            c::ORIBI_CUDA_EMULATED_SHAPE => "no GPU can launch that shape",
            c::ORIBI_CUDA_EMULATED_MEMORY => bail!(OutOfMemory, "no memory to emulate kernel {text}"),
            c::ORIBI_CUDA_EMULATED_DEADLOCK => "its threads wait for each other",
            _ => "of an unknown reason",
        };
        bail!(Device, "kernel {text} (grid {grid:?}, block {block:?}): {why} ({status})")
    }

    unsafe fn record(&self, launches: &Arc<[Launch]>) -> Result<usize> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let number = recorded.last_key_value().map_or(0, |(&last, _)| last + 1);
        recorded.insert(number, Arc::clone(launches));
        Ok(number)
    }

    unsafe fn replay(&self, graph: usize) -> Result<()> {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner).get(&graph).cloned();
        let Some(launches) = recorded else { bail!(Device, "there is no graph {graph}") };
        // SAFETY: by the caller's promise.
        launches.iter().try_for_each(|l| unsafe { self.launch(&l.kernel, l.shape, l.args()) })
    }

    fn forget(&self, graph: usize) {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).remove(&graph);
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}
