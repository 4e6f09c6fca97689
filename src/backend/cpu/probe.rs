//! Measures what the machine does at best with a team of threads: reading memory, and multiply-adds in registers. The loops
//! are kernels of the table (`kernels/cpu/probe/`).
//!
//! All workers do the same amount at once, since cores share memory, cache and power; the speed is that of the team. The best
//! of a few runs counts: everything that disturbs makes a run longer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::bindings as c;
use super::kernels::{Kernel, table};
use super::memory::AlignedBytes;
use super::team::{Part, Team};
use crate::error::{Result, bail};

/// Runs of a measurement; the best counts.
const N_RUNS: usize = 7;
/// Nanoseconds that a run is to take, at least about half of them.
const RUN_NANOS: u64 = 3_000_000;
/// Bytes of a probe's operands, and the unit of what it reads.
const UNIT: usize = c::ORIBI_PROBE_BYTES as usize;

/// The kernels that measure multiply-adds and that this CPU can run, in the order of the table. [`Kernel::isa`] and
/// [`Kernel::acts`] say of what.
pub fn mac_probes() -> Vec<Kernel> {
    let probes = table().iter().copied().filter(|kernel| kernel.op() == c::ORIBI_OP_PROBE_MACS);
    probes.filter(|kernel| kernel.isa().is_available()).collect()
}

/// Multiply-adds per second of all workers of `team` with the instructions of a probe.
///
/// # Errors
/// `InvalidArgument` if `probe` is none of [`mac_probes`], `OutOfMemory`.
pub fn macs_per_second(team: &Team, probe: Kernel) -> Result<f64> {
    if !mac_probes().iter().any(|known| known.name() == probe.name()) {
        bail!(InvalidArgument, "kernel {} does not measure multiply-adds on this cpu", probe.name());
    }
    let data = AlignedBytes::zeroed(UNIT, "the operands of a probe")?;
    // SAFETY: just allocated with this length, and nobody else has it.
    let operands = unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), UNIT) };
    // Finite and of ordinary size in every number format.
    operands.iter_mut().enumerate().for_each(|(i, byte)| *byte = 0x3c + (i % 3) as u8);
    let speed = Measured::of(team, |_, n_rounds| {
        // SAFETY: the CPU runs the kernel, checked above; `data` holds the operands.
        unsafe { run(probe, data.as_ptr(), UNIT, n_rounds, false) }
    })?;
    Ok(speed.per_second())
}

/// Memory that a team reads; each worker has a share of its own, which it touched first.
pub struct ReadBuffer<'a> {
    team: &'a Team,
    bytes: AlignedBytes,
    share: usize,
    probe: Kernel,
}

impl<'a> ReadBuffer<'a> {
    /// A buffer of at least `n_bytes` for all workers together.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(team: &'a Team, n_bytes: u64) -> Result<ReadBuffer<'a>> {
        let n_workers = team.n_threads();
        let Ok(n_bytes) = usize::try_from(n_bytes) else {
            bail!(OutOfMemory, "{n_bytes} bytes exceed the address space");
        };
        let share = n_bytes.div_ceil(n_workers).next_multiple_of(UNIT).max(UNIT);
        let bytes = AlignedBytes::zeroed(share.saturating_mul(n_workers), "the memory that is read for measuring")?;
        // As packed weights have them.
        bytes.use_huge_pages();
        let best = |a: &Kernel, b: &Kernel| a.isa().cmp(&b.isa());
        let reads = table().iter().copied().filter(|kernel| kernel.op() == c::ORIBI_OP_PROBE_READ);
        let Some(probe) = reads.filter(|kernel| kernel.isa().is_available()).max_by(best) else {
            bail!(Internal, "no kernel measures the speed of memory");
        };
        let buffer = ReadBuffer { team, bytes, share, probe };
        // SAFETY: a share lies within the buffer and belongs to one part.
        team.run(|w| w.parallel(1, |part| unsafe { buffer.share_of(part).write_bytes(1, share) }))?;
        Ok(buffer)
    }

    fn share_of(&self, part: Part) -> *mut u8 {
        debug_assert!((part.id() + 1) * self.share <= self.bytes.len());
        self.bytes.as_ptr().wrapping_add(part.id() * self.share)
    }

    /// Bytes of the whole buffer.
    pub fn n_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes per second that all workers read together, each the first `n_bytes / n_workers` of its share, again and again; with
    /// prefetches or without, whichever is faster.
    ///
    /// # Errors
    /// `InvalidArgument` for more bytes than the buffer has.
    pub fn bytes_per_second(&self, n_bytes: u64) -> Result<f64> {
        if n_bytes > self.n_bytes() {
            bail!(InvalidArgument, "{n_bytes} bytes of a buffer of {}", self.n_bytes());
        }
        let each = (n_bytes as usize / self.team.n_threads() / UNIT * UNIT).max(UNIT);
        let read = |prefetch| {
            Measured::of(self.team, |part, n_rounds| {
                // SAFETY: the CPU runs the kernel; the share is as long.
                unsafe { run(self.probe, self.share_of(part), each, n_rounds, prefetch) }
            })
        };
        Ok(read(true)?.per_second().max(read(false)?.per_second()))
    }
}

/// One call of a probe; the bytes or multiply-adds done.
///
/// # Safety
/// The CPU runs the kernel, a probe, and `data` holds `n_bytes`, at least UNIT.
unsafe fn run(probe: Kernel, data: *const u8, n_bytes: usize, n_rounds: u64, prefetch: bool) -> u64 {
    let (mut n_done, mut result) = (0, 0.0);
    let prefetch = prefetch.into();
    let args = c::oribi_probe_args { data, n_bytes, n_rounds, n_done: &mut n_done, result: &mut result, prefetch };
    // SAFETY: the caller's promise.
    unsafe { probe.run(&args) };
    // The sum is of no interest, but must be formed.
    std::hint::black_box(result);
    n_done
}

/// Work of the team in the best of some runs.
struct Measured {
    n_done: u64,
    nanos: u64,
}

impl Measured {
    /// `work` gets a part and a number of rounds, and says what it did; the rounds grow until a run is long enough.
    fn of(team: &Team, work: impl Fn(Part, u64) -> u64 + Sync) -> Result<Measured> {
        let mut n_rounds = 1;
        loop {
            let trial = Measured::best(team, 2, |part| work(part, n_rounds))?;
            if trial.nanos >= RUN_NANOS / 2 {
                break;
            }
            n_rounds *= (RUN_NANOS / trial.nanos.max(1)).clamp(2, 1000);
        }
        Measured::best(team, N_RUNS, |part| work(part, n_rounds))
    }

    fn best(team: &Team, n_runs: usize, work: impl Fn(Part) -> u64 + Sync) -> Result<Measured> {
        let mut best = Measured { n_done: 0, nanos: u64::MAX };
        for _ in 0..n_runs {
            let now = Measured::once(team, &work)?;
            best = if now.nanos < best.nanos { now } else { best };
        }
        Ok(best)
    }

    /// One run: from when the first part began until the last one ended, whoever did them.
    fn once(team: &Team, work: &(impl Fn(Part) -> u64 + Sync)) -> Result<Measured> {
        let n_done = AtomicU64::new(0);
        let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let origin = Instant::now();
        let now = || origin.elapsed().as_nanos() as u64;
        team.run(|w| {
            // Whoever comes out of this step is awake.
            w.parallel(1, |_| ());
            w.parallel(1, |part| {
                first.fetch_min(now(), Ordering::Relaxed);
                n_done.fetch_add(work(part), Ordering::Relaxed);
                last.fetch_max(now(), Ordering::Relaxed);
            });
        })?;
        Ok(Measured { n_done: n_done.into_inner(), nanos: last.into_inner().saturating_sub(first.into_inner()) })
    }

    fn per_second(&self) -> f64 {
        self.n_done as f64 / (self.nanos.max(1) as f64 * 1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Isa;
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn reading_is_measured_and_bounds_are_kept() {
        let team = Team::new(2).unwrap();
        let buffer = ReadBuffer::new(&team, 1 << 20).unwrap();
        assert_eq!(buffer.n_bytes(), 1 << 20);
        let speed = buffer.bytes_per_second(1 << 20).unwrap();
        assert!((1e7..1e14).contains(&speed), "{speed}");
        assert_eq!(buffer.bytes_per_second(2 << 20).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn every_unit_is_measured_and_others_are_refused() {
        let team = Team::new(1).unwrap();
        let probes = mac_probes();
        assert!(probes.iter().any(|probe| probe.isa() == Isa::Scalar));
        for probe in probes {
            let speed = macs_per_second(&team, probe).unwrap();
            assert!((1e6..1e15).contains(&speed), "{probe:?}: {speed}");
        }
        let other = table().iter().copied().find(|kernel| kernel.op() == c::ORIBI_OP_PACK).unwrap();
        assert_eq!(macs_per_second(&team, other).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
