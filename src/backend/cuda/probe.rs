//! Measures what a GPU does at best: reading its memory, and multiply-adds in registers (`kernels/cuda/probe.cu`).
//!
//! The best of a few runs counts: everything that disturbs makes a run longer. A run ends with a synchronization, whose few
//! microseconds are within it.

use std::time::{Duration, Instant};

use super::Cuda;
use super::bindings as c;
use super::driver::{Args, Buffer, Kernel};
use crate::backend::GpuSpeeds;
use crate::error::Result;

/// Runs of a measurement.
const N_RUNS: usize = 5;
/// What a run is to take, at least.
const RUN_TIME: Duration = Duration::from_millis(5);
/// Bytes that are read at least, and at most: far more than the cache of any GPU.
const READ_BYTES: std::ops::RangeInclusive<usize> = 1 << 20..=1 << 30;
/// The most rounds of multiply-adds.
const MAX_ROUNDS: u32 = 1 << 20;
/// Blocks for each processor, and threads of a block.
const BLOCKS: u32 = 8;
const THREADS: u64 = 256;
/// Multiply-adds of a round: of a warp's eight products, and of a thread's eight sums.
const MMA_MACS: u64 = 8 * 16 * 16 * 8;
const FMA_MACS: u64 = 8;

impl Cuda {
    /// Measures the GPU; takes less than a second.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn speeds(&self) -> Result<GpuSpeeds> {
        let driver = &self.driver;
        let n_blocks = BLOCKS * driver.n_processors();
        let n_threads = u64::from(n_blocks) * THREADS;
        let results = Buffer::zeroed(driver, n_threads as usize * size_of::<u32>(), "the results of a probe")?;
        let args = c::oribi_cuda_probe_args {
            one: 1.0,
            results: results.at(0, results.len()) as *mut u32,
            ..Default::default()
        };
        let macs = |kernel: &str, macs_per_round: u64| -> Result<f64> {
            let kernel = driver.kernel(kernel)?;
            let mut args = c::oribi_cuda_probe_args { n_rounds: 64, ..args };
            let mut time = self.time(&kernel, n_blocks, &args)?;
            while time < RUN_TIME && args.n_rounds < MAX_ROUNDS {
                args.n_rounds *= 2;
                time = self.time(&kernel, n_blocks, &args)?;
            }
            let macs = macs_per_round * u64::from(args.n_rounds);
            Ok(macs as f64 / self.best(time, &kernel, n_blocks, &args)?.as_secs_f64())
        };
        Ok(GpuSpeeds {
            bytes: self.read_speed(n_blocks, args)?,
            bf16_macs: macs("oribi_probe_mma", MMA_MACS * n_threads / 32)?,
            float_macs: macs("oribi_probe_fma", FMA_MACS * n_threads)?,
        })
    }

    /// Bytes per second.
    fn read_speed(&self, n_blocks: u32, args: c::oribi_cuda_probe_args) -> Result<f64> {
        let kernel = self.driver.kernel("oribi_probe_read")?;
        let free = usize::try_from(self.driver.memory()?.free).unwrap_or(usize::MAX);
        let most = (free / 2).min(*READ_BYTES.end()).next_multiple_of(16);
        let mut n_bytes = *READ_BYTES.start();
        loop {
            let data = Buffer::zeroed(&self.driver, n_bytes, "what a probe reads")?;
            let args =
                c::oribi_cuda_probe_args { data: data.at(0, n_bytes) as *const u8, n_bytes: n_bytes as u64, ..args };
            let time = self.time(&kernel, n_blocks, &args)?;
            if time >= RUN_TIME || n_bytes * 2 > most {
                return Ok(n_bytes as f64 / self.best(time, &kernel, n_blocks, &args)?.as_secs_f64());
            }
            n_bytes *= 2;
        }
    }

    /// The shortest of some runs, `first` among them.
    fn best(
        &self,
        first: Duration,
        kernel: &Kernel,
        n_blocks: u32,
        args: &c::oribi_cuda_probe_args,
    ) -> Result<Duration> {
        (1..N_RUNS).try_fold(first, |best, _| Ok(best.min(self.time(kernel, n_blocks, args)?)))
    }

    /// How long a run takes.
    fn time(&self, kernel: &Kernel, n_blocks: u32, args: &c::oribi_cuda_probe_args) -> Result<Duration> {
        self.driver.synchronize()?;
        let start = Instant::now();
        // SAFETY: a pure function of a number; the kernels are those of these arguments, whose buffers have what is read and written.
        unsafe { self.driver.launch(kernel, c::oribi_cuda_probe_launch(n_blocks), Args::of(args))? }
        self.driver.synchronize()?;
        Ok(start.elapsed().max(Duration::from_nanos(1)))
    }
}
