//! NVIDIA's driver, loaded when it is first asked for: a library that was built with it runs on machines that do not have it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use super::bindings as c;
use super::driver::{Address, Args, Driver, Kernel, MemoryInfo};
use super::launches::Launch;
use super::modules;
use super::sources::Module;
use crate::error::{Error, ErrorKind, Result, bail};

/// The oldest driver interface that is used: that of CUDA 12.0.
const MIN_DRIVER: c_int = 12000;
/// The oldest architecture that the kernels are for.
const MIN_ARCHITECTURE: u32 = 80;

pub(super) struct Nvidia {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// Where graphs are recorded: what other threads ask of the GPU meanwhile must not come into them.
    recording: Mutex<Stream>,
    name: String,
    architecture: u32,
    #[cfg_attr(not(feature = "bench"), allow(dead_code))]
    n_processors: u32,
    /// Bytes of shared memory that a block can ask for.
    most_shared: c_int,
    modules: Mutex<BTreeMap<Module, Loaded>>,
}

/// A stream.
struct Stream(sys::CUstream);

/// A module in the GPU's memory.
#[derive(Clone, Copy)]
struct Loaded(sys::CUmodule);

// SAFETY: handles of the driver, which may be used from any thread.
unsafe impl Send for Loaded {}
// SAFETY: as above; what must not happen at once is behind a lock.
unsafe impl Send for Nvidia {}
// SAFETY: as above.
unsafe impl Sync for Nvidia {}

/// What the driver answered, as an error while doing `what`.
fn failed(what: &str) -> impl FnOnce(DriverError) -> Error {
    move |error| {
        let text = |name: std::result::Result<&CStr, DriverError>| {
            name.map_or_else(|_| format!("{:?}", error.0), |name| name.to_string_lossy().into_owned())
        };
        let is_memory = error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let kind = if is_memory { ErrorKind::OutOfMemory } else { ErrorKind::Device };
        Error::new(kind, format!("{what}: {} ({})", text(error.error_string()), text(error.error_name())))
    }
}

impl Nvidia {
    /// The GPU of a number.
    pub fn new(number: u32) -> Result<Nvidia> {
        // SAFETY: loads a library by its usual names.
        if !unsafe { sys::is_culib_present() } {
            bail!(Device, "there is no GPU that can be used: the NVIDIA driver (libcuda) was not found");
        }
        result::init().map_err(failed("start the NVIDIA driver"))?;
        let mut version = 0;
        // SAFETY: the driver is there and started; the function writes a number.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(failed("ask the driver for its version"))?;
        if version < MIN_DRIVER {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            bail!(Device, "the NVIDIA driver is for CUDA {major}.{minor}; 12.0 is needed");
        }
        let count = result::device::get_count().map_err(failed("count the GPUs"))?;
        if i64::from(number) >= i64::from(count) {
            bail!(Device, "there is no GPU {number}: the NVIDIA driver knows of {count}");
        }
        Nvidia::open(number)
    }

    fn open(number: u32) -> Result<Nvidia> {
        let device = result::device::get(number as c_int).map_err(failed("open the GPU"))?;
        let name = result::device::get_name(device).map_err(failed("ask the GPU for its name"))?;
        // SAFETY: the device was just opened.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) }.map_err(failed("ask the GPU"));
        use sys::CUdevice_attribute as attr;
        let major = attribute(attr::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(attr::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let most_shared = attribute(attr::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let n_processors = attribute(attr::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let architecture = (10 * major + minor) as u32;
        if architecture < MIN_ARCHITECTURE {
            bail!(Device, "GPU {number} ({name}) is too old: it has architecture sm_{architecture}, sm_80 is needed");
        }
        // SAFETY: the device was just opened.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed("start the GPU"))?;
        let mut opened = Nvidia {
            device,
            context,
            stream: std::ptr::null_mut(),
            recording: Mutex::new(Stream(std::ptr::null_mut())),
            name: format!("{name}, sm_{architecture}, {}", modules::origin()),
            architecture,
            n_processors: n_processors.max(1) as u32,
            most_shared,
            modules: Mutex::default(),
        };
        opened.enter()?;
        let stream =
            || result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed("make a stream"));
        opened.stream = stream()?;
        opened.recording = Mutex::new(Stream(stream()?));
        Ok(opened)
    }

    /// Make the GPU's context that of this thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: retained when the GPU was opened.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("enter the GPU's context"))
    }

    fn load(&self, module: &Module, code: &[u8]) -> Result<sys::CUmodule> {
        // SAFETY: the code is a whole cubin, or a text that ends with zero: it came from the compiler, or with its checksum from a file that we wrote.
        let loaded = unsafe { result::module::load_data(code.as_ptr().cast()) };
        loaded.map_err(|error| {
            modules::forget(module, self.architecture);
            failed(&format!("load the kernels {}", module.name()))(error)
        })
    }

    fn wait(&self) -> Result<()> {
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("wait for the GPU"))
    }
}

/// Launch a kernel on a stream of the context that this thread has entered.
///
/// # Safety
/// See [`Driver::launch`].
unsafe fn launch_on(stream: sys::CUstream, kernel: &Kernel, shape: c::oribi_cuda_launch, args: Args) -> Result<()> {
    let c::oribi_cuda_launch { grid, block, shared_bytes } = shape;
    let mut parameters = [args.start.cast_mut()];
    // SAFETY: by the caller's promise; the driver copies the struct, whose size it knows from the kernel.
    let status = unsafe {
        let (grid, block) = ((grid[0], grid[1], grid[2]), (block[0], block[1], block[2]));
        result::launch_kernel(kernel.handle as sys::CUfunction, grid, block, shared_bytes, stream, &mut parameters)
    };
    status.map_err(|e| failed(&format!("launch kernel {}", kernel.name.to_string_lossy()))(e))
}

impl Driver for Nvidia {
    fn name(&self) -> &str {
        &self.name
    }

    #[cfg(feature = "bench")]
    fn n_processors(&self) -> u32 {
        self.n_processors
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.enter()?;
        let (free, total) = result::mem_get_info().map_err(failed("ask for the GPU's memory"))?;
        Ok(MemoryInfo { free: free as u64, total: total as u64 })
    }

    fn allocate(&self, n_bytes: usize, what: &str) -> Result<Address> {
        self.enter()?;
        // SAFETY: callers ask for at least one byte, and write it before they read it.
        unsafe { result::malloc_sync(n_bytes) }
            .map_err(|e| failed(&format!("no memory on the GPU for {what}: {n_bytes} bytes"))(e))
    }

    fn free(&self, address: Address) {
        // What is under way may still use it: freeing waits for that.
        if self.enter().is_ok() {
            // SAFETY: allocated above, and by the buffer's drop given back once.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    fn allocate_host(&self, n_bytes: usize, what: &str) -> Result<*mut u8> {
        self.enter()?;
        // SAFETY: callers ask for at least one byte.
        let start = unsafe { result::malloc_host(n_bytes, 0) };
        start.map(<*mut c_void>::cast).map_err(|e| failed(&format!("no memory for {what}: {n_bytes} bytes"))(e))
    }

    unsafe fn free_host(&self, start: *mut u8, _: usize) {
        if self.enter().is_ok() {
            // SAFETY: by the caller's promise allocated above and used by nobody; copies that are under way end first.
            let _ = self.wait();
            let _ = unsafe { result::free_host(start.cast()) };
        }
    }

    unsafe fn zero(&self, to: Address, n_bytes: usize) -> Result<()> {
        self.enter()?;
        if n_bytes == 0 {
            return Ok(());
        }
        // SAFETY: by the caller's promise.
        unsafe { result::memset_d8_async(to, 0, n_bytes, self.stream) }.map_err(failed("clear memory of the GPU"))
    }

    unsafe fn write(&self, to: Address, from: &[u8]) -> Result<()> {
        // SAFETY: by the caller's promise; the copy ends before `from` does, wherever that lies.
        unsafe { self.write_later(to, from.as_ptr(), from.len())? }
        self.wait()
    }

    unsafe fn read(&self, from: Address, to: &mut [u8]) -> Result<()> {
        // SAFETY: by the caller's promise; the copy ends before `to` does, wherever that lies.
        unsafe { self.read_later(from, to.as_mut_ptr(), to.len())? }
        self.wait()
    }

    unsafe fn write_later(&self, to: Address, from: *const u8, n_bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: by the caller's promise.
        let status = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.cast(), n_bytes, self.stream) };
        status.result().map_err(failed("copy to the GPU"))
    }

    unsafe fn read_later(&self, from: Address, to: *mut u8, n_bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: by the caller's promise.
        let status = unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), from, n_bytes, self.stream) };
        status.result().map_err(failed("copy from the GPU"))
    }

    unsafe fn copy(&self, from: Address, to: Address, n_bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: by the caller's promise.
        unsafe { result::memcpy_dtod_async(to, from, n_bytes, self.stream) }.map_err(failed("copy within the GPU"))
    }

    fn prepare(&self, kernels: &[String]) -> Result<()> {
        self.enter()?;
        let mut known = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeSet<Module> = kernels.iter().map(|name| Module::with_kernel(name)).collect::<Result<_>>()?;
        let missing: Vec<Module> = wanted.into_iter().filter(|module| !known.contains_key(module)).collect();
        let codes = modules::codes(&missing, self.architecture)?;
        for (module, code) in missing.into_iter().zip(codes) {
            let loaded = Loaded(self.load(&module, &code)?);
            known.insert(module, loaded);
        }
        Ok(())
    }

    fn kernel(&self, name: &str) -> Result<Kernel> {
        self.prepare(&[name.to_owned()])?;
        let module = Module::with_kernel(name)?;
        let known = self.modules.lock().unwrap_or_else(PoisonError::into_inner).get(&module).copied();
        let Some(loaded) = known else { bail!(Internal, "kernel {name} was prepared and is not there") };
        let c_name = CString::new(name).map_err(|_| Error::new(ErrorKind::Internal, "a name with a zero byte"))?;
        use sys::CUfunction_attribute as attr;
        // SAFETY: the module stays loaded as long as `self` lives, and the function with it.
        let function = unsafe {
            let function = result::module::get_function(loaded.0, c_name.clone()).map_err(failed(name))?;
            let fixed = attr::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
            let fixed = result::function::get_function_attribute(function, fixed).map_err(failed(name))?;
            let dynamic = attr::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, dynamic, self.most_shared - fixed)
                .map_err(failed(name))?;
            function
        };
        Ok(Kernel { name: Arc::new(c_name), handle: function as usize })
    }

    unsafe fn launch(&self, kernel: &Kernel, shape: c::oribi_cuda_launch, args: Args) -> Result<()> {
        self.enter()?;
        // SAFETY: by the caller's promise.
        unsafe { launch_on(self.stream, kernel, shape, args) }
    }

    unsafe fn record(&self, launches: &Arc<[Launch]>) -> Result<usize> {
        self.enter()?;
        let stream = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is this driver's, nobody else uses it, and every capture that begins ends.
        let (recorded, graph) = unsafe {
            result::stream::begin_capture(stream.0, mode).map_err(failed("begin to record a graph"))?;
            let recorded = launches.iter().try_for_each(|l| launch_on(stream.0, &l.kernel, l.shape, l.args()));
            (recorded, result::stream::end_capture(stream.0).map_err(failed("record a graph")))
        };
        let graph = graph?;
        // SAFETY: the graph was just made; an instance does not need it any more.
        let instance = unsafe {
            let flags = sys::CUgraphInstantiate_flags(0);
            let instance = recorded
                .and_then(|()| result::graph::instantiate(graph, flags).map_err(failed("make an instance of a graph")));
            let _ = sys::cuGraphDestroy(graph);
            instance
        };
        Ok(instance? as usize)
    }

    unsafe fn replay(&self, graph: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: by the caller's promise an instance of `record`.
        let status = unsafe { sys::cuGraphLaunch(graph as sys::CUgraphExec, self.stream) };
        status.result().map_err(failed("launch a graph"))
    }

    fn forget(&self, graph: usize) {
        if self.enter().is_ok() {
            // SAFETY: an instance of `record`, which nobody uses any more; the driver waits for what is under way.
            let _ = unsafe { sys::cuGraphExecDestroy(graph as sys::CUgraphExec) };
        }
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        self.wait()
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        let modules = std::mem::take(self.modules.get_mut().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: all of them were made in this context by this driver, and nobody uses them any more. Nothing can be done about errors.
        unsafe {
            if self.enter().is_ok() {
                if !self.stream.is_null() {
                    let _ = self.wait();
                    let _ = result::stream::destroy(self.stream);
                }
                let recording = self.recording.get_mut().unwrap_or_else(PoisonError::into_inner);
                if !recording.0.is_null() {
                    let _ = result::stream::destroy(recording.0);
                }
                for module in modules.into_values() {
                    let _ = result::module::unload(module.0);
                }
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}
