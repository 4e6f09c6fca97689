//! The limits that a model meets on a machine, and the share of them that a measurement reached.

use crate::backend::GpuSpeeds;
use crate::backend::cpu::kernels::{Acts, Isa};

use super::machine::{Machine, Peak};
use super::work::{Work, macs_per_code};

/// The machine's limits for one model under one instruction set, per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes read from the level of memory that holds what a pass reads.
    pub bytes: f64,
    /// Multiply-adds of codes with 16-bit activations.
    pub code_macs: f64,
    /// Multiply-adds in float32.
    pub float_macs: f64,
    /// Multiply-adds in bfloat16.
    pub bf16_macs: f64,
}

impl Limits {
    /// The limits where a pass reads `pass_bytes` and no instruction set above `isa` is used. What fits in a level of cache
    /// with its whole size is taken to come from there.
    pub fn new(machine: &Machine, isa: Isa, pass_bytes: u64) -> Limits {
        let sizes = [machine.caches.l2_bytes * machine.n_threads as u64, machine.caches.l3_bytes];
        let level = sizes.iter().position(|&size| pass_bytes <= size).unwrap_or(sizes.len());
        let best = |speed: &dyn Fn(&Peak) -> Option<f64>| {
            let allowed = machine.peaks.iter().filter(|peak| peak.isa.is_part_of(isa));
            allowed.filter_map(speed).fold(0.0, f64::max)
        };
        let code = |peak: &Peak| match peak.acts {
            Acts::F32 | Acts::Bf16 => None,
            acts => Some(peak.macs_per_second / macs_per_code(acts)),
        };
        let of = |acts: Acts| move |peak: &Peak| (peak.acts == acts).then_some(peak.macs_per_second);
        Limits {
            bytes: machine.bandwidths.get(level).map_or(0.0, |bandwidth| bandwidth.bytes_per_second),
            code_macs: best(&code),
            float_macs: best(&of(Acts::F32)),
            bf16_macs: best(&of(Acts::Bf16)),
        }
    }

    /// The limits of a GPU. A code meets the two bfloat16 planes of a 16-bit activation.
    pub fn of_gpu(speeds: GpuSpeeds) -> Limits {
        let GpuSpeeds { bytes, bf16_macs, float_macs } = speeds;
        Limits { bytes, code_macs: bf16_macs / 2.0, float_macs, bf16_macs }
    }

    /// The share of the nearer limit that `work` in so many seconds reached: the time that reading alone, or multiplying
    /// alone, would take at best, over the time that it took.
    pub fn share(&self, work: &Work, seconds: f64) -> f64 {
        let time = |n: u64, per_second: f64| if n == 0 { 0.0 } else { n as f64 / per_second };
        let multiplying = time(work.code_macs, self.code_macs)
            + time(work.float_macs, self.float_macs)
            + time(work.bf16_macs, self.bf16_macs);
        time(work.read_bytes, self.bytes).max(multiplying) / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::caches::Caches;
    use crate::bench::Bandwidth;

    fn machine() -> Machine {
        let bandwidth = |level, n_bytes, gb: f64| Bandwidth { level, n_bytes, bytes_per_second: gb * 1e9 };
        let peak = |isa, acts, gmac: f64| Peak { isa, acts, macs_per_second: gmac * 1e9 };
        Machine {
            n_threads: 2,
            caches: Caches { l2_bytes: 1 << 20, l3_bytes: 1 << 30, known: true },
            bandwidths: vec![
                bandwidth("L2", 1 << 20, 300.0),
                bandwidth("L3", 64 << 20, 60.0),
                bandwidth("DRAM", 1 << 31, 30.0),
            ],
            peaks: vec![
                peak(Isa::Scalar, Acts::F32, 4.0),
                peak(Isa::Scalar, Acts::I16, 5.0),
                peak(Isa::Avx2, Acts::F32, 80.0),
                peak(Isa::Avx2, Acts::Pairs, 70.0),
                peak(Isa::AvxVnni, Acts::Planes, 300.0),
                peak(Isa::Avx512, Acts::Planes, 700.0),
                peak(Isa::Amx, Acts::Planes, 4000.0),
                peak(Isa::Amx, Acts::Bf16, 2000.0),
            ],
        }
    }

    #[test]
    fn limits_are_those_of_the_level_and_the_instruction_set() {
        let of = |isa, n_bytes| Limits::new(&machine(), isa, n_bytes);
        assert_eq!(of(Isa::Amx, 1 << 20).bytes, 300e9);
        assert_eq!(of(Isa::Amx, 100 << 20).bytes, 60e9);
        assert_eq!(of(Isa::Amx, 1 << 31).bytes, 30e9);
        let amx = of(Isa::Amx, 0);
        assert_eq!((amx.code_macs, amx.float_macs, amx.bf16_macs), (2000e9, 80e9, 2000e9));
        let avx512 = of(Isa::Avx512, 0);
        assert_eq!((avx512.code_macs, avx512.bf16_macs), (350e9, 0.0));
        assert_eq!(of(Isa::Avx2, 0).code_macs, 70e9);
        assert_eq!(of(Isa::AvxVnni, 0).code_macs, 150e9);
        assert_eq!(of(Isa::Scalar, 0).code_macs, 5e9);
    }

    #[test]
    fn the_share_is_that_of_the_nearer_limit() {
        let limits = Limits::new(&machine(), Isa::Amx, 1 << 31);
        let reading = Work { read_bytes: 15_000_000_000, code_macs: 1_000_000_000, ..Work::default() };
        assert!((limits.share(&reading, 1.0) - 0.5).abs() < 1e-9);
        let multiplying = Work { bf16_macs: 1_000_000_000_000, float_macs: 8_000_000_000, ..Work::default() };
        assert!((limits.share(&multiplying, 2.0) - 0.3).abs() < 1e-9);
    }
}
