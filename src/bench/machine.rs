//! The machine's limits, measured.

use crate::backend::cpu::caches::Caches;
use crate::backend::cpu::kernels::{Acts, Isa};
use crate::backend::cpu::probe::{ReadBuffer, mac_probes, macs_per_second};
use crate::backend::cpu::team::Team;
use crate::error::Result;

/// Least bytes that are read for the speed of memory.
const DRAM_BYTES: u64 = 512 << 20;
/// Bytes that are read for the speed of the shared cache, at most: what models of ordinary size keep in it.
const L3_BYTES: u64 = 64 << 20;

/// Reading at one level of the memory hierarchy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// `L2`, `L3`, `DRAM`.
    pub level: &'static str,
    /// Bytes that were read again and again, of all threads together.
    pub n_bytes: u64,
    /// Bytes per second, of all threads together.
    pub bytes_per_second: f64,
}

/// Multiply-adds with the instructions of one instruction set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The instruction set.
    pub isa: Isa,
    /// The operands: float32, 16-bit or 8-bit integers, bfloat16.
    pub acts: Acts,
    /// Multiply-adds per second, of all threads together.
    pub macs_per_second: f64,
}

impl Peak {
    /// The operands' name: `f32`, `int16`, `int8`, `bf16`.
    pub fn operands(&self) -> &'static str {
        match self.acts {
            Acts::F32 => "f32",
            Acts::Planes => "int8",
            Acts::Bf16 => "bf16",
            Acts::None | Acts::I16 | Acts::Pairs => "int16",
        }
    }
}

/// What the machine does at best with a number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Threads that were at work together.
    pub n_threads: usize,
    /// The caches by whose sizes the bandwidths were measured.
    pub caches: Caches,
    /// From the nearest level to the farthest.
    pub bandwidths: Vec<Bandwidth>,
    /// In the order of the kernel table.
    pub peaks: Vec<Peak>,
}

impl Machine {
    /// Measures with the threads of `team`; takes about a second. `max_bytes` bounds the memory that it takes, which otherwise
    /// is 512 MiB or twice the shared cache, whichever is more.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn measure(team: &Team, max_bytes: Option<u64>) -> Result<Machine> {
        let caches = Caches::detect();
        let dram = DRAM_BYTES.max(2 * caches.l3_bytes).min(max_bytes.unwrap_or(u64::MAX));
        let l3 = (caches.l3_bytes / 2).min(L3_BYTES).min(dram);
        let l2 = (caches.l2_bytes / 2 * team.n_threads() as u64).min(dram);
        let buffer = ReadBuffer::new(team, dram)?;
        let bandwidth =
            |(level, n_bytes)| Ok(Bandwidth { level, n_bytes, bytes_per_second: buffer.bytes_per_second(n_bytes)? });
        let bandwidths = [("L2", l2), ("L3", l3), ("DRAM", dram)].into_iter().map(bandwidth).collect::<Result<_>>()?;
        drop(buffer);
        let peak = |probe| {
            let macs_per_second = macs_per_second(team, probe)?;
            Ok(Peak { isa: probe.isa(), acts: probe.acts(), macs_per_second })
        };
        let peaks = mac_probes().into_iter().map(peak).collect::<Result<_>>()?;
        Ok(Machine { n_threads: team.n_threads(), caches, bandwidths, peaks })
    }
}
