//! What a run needs, and what there is.

use oribi::backend::{Device, Storage};
use oribi::gguf::Gguf;
use oribi::session::{MemoryPrediction, SessionOptions, predict_gpu_memory, predict_memory};
use oribi::{Error, ErrorKind, Result};

use crate::output::human_bytes;

/// What a model runs on.
#[derive(clap::Args, Clone, Debug)]
pub struct DeviceArgs {
    /// What the model runs on: cpu, cuda or cuda:N (an NVIDIA GPU), auto (the first GPU that can be used, else the CPU)
    #[arg(long, value_name = "DEVICE", default_value_t = Device::Cpu)]
    pub device: Device,
    /// Blocks of the model that are on the GPU, for models larger than its memory; the CPU computes the others [default: all]
    #[arg(long, visible_alias = "n-gpu-layers", value_name = "N")]
    pub gpu_layers: Option<usize>,
    /// Refuse to use more of a GPU's own memory than this, as in 512M or 4G [default: what is free there]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub max_gpu_memory: Option<u64>,
}

/// What a run is on.
#[derive(Clone, Copy)]
pub struct Chosen {
    pub device: Device,
    /// Blocks on the GPU; `None` where all are on the device.
    pub gpu_layers: Option<usize>,
    /// What it needs of the device's memory.
    pub needed: MemoryPrediction,
}

impl DeviceArgs {
    /// The device that is meant, and what a run needs of its memory; a run that needs more than there is is refused.
    pub fn check(
        &self,
        gguf: &Gguf,
        storage: Storage,
        session: &SessionOptions,
        n_threads: usize,
        max_memory: Option<u64>,
    ) -> Result<Chosen> {
        let device = self.device.resolved();
        let Some((free, _)) = device.memory()? else {
            // With `auto` the number is for the case that there is a GPU.
            if self.gpu_layers.is_some() && self.device == Device::Cpu {
                let text = "--gpu-layers needs a GPU: --device cuda or --device auto";
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
            let needed = predict_memory(gguf, storage, session, n_threads)?;
            check(&needed, max_memory)?;
            return Ok(Chosen { device, gpu_layers: None, needed });
        };
        let needed = predict_gpu_memory(gguf, storage, session, n_threads, self.gpu_layers)?;
        let (limit, whose) = match self.max_gpu_memory {
            Some(bytes) => (bytes, "--max-gpu-memory allows"),
            None => (free, "free are"),
        };
        if needed.gpu.total > limit {
            let text = format!(
                "needs {} of the memory of {device} ({}), {whose} {}; a smaller context (-c) or batch (-b) needs less, and so \
                 do fewer blocks there (--gpu-layers)",
                human_bytes(needed.gpu.total),
                describe(&needed.gpu),
                human_bytes(limit)
            );
            return Err(Error::new(ErrorKind::OutOfMemory, text));
        }
        check(&needed.host, max_memory)?;
        Ok(Chosen { device, gpu_layers: self.gpu_layers, needed: needed.gpu })
    }
}

/// Refuses a run that would need more than `budget`, or, without one, than the system has available.
pub fn check(needed: &MemoryPrediction, budget: Option<u64>) -> Result<()> {
    let (limit, whose) = match (budget, available()) {
        (Some(bytes), _) => (bytes, "--max-memory allows"),
        (None, Some(bytes)) => (bytes, "available are"),
        (None, None) => return Ok(()),
    };
    if needed.total <= limit {
        return Ok(());
    }
    let text = format!(
        "needs {} ({}), {whose} {}; a smaller context (-c) or batch (-b) needs less",
        human_bytes(needed.total),
        describe(needed),
        human_bytes(limit)
    );
    Err(Error::new(ErrorKind::OutOfMemory, text))
}

/// The parts, for people.
pub fn describe(needed: &MemoryPrediction) -> String {
    format!(
        "weights {}, keys and values up to {}, buffers {}, vocabulary {}, other {}",
        human_bytes(needed.weights),
        human_bytes(needed.kv_cache),
        human_bytes(needed.scratch),
        human_bytes(needed.vocabulary),
        human_bytes(needed.other)
    )
}

/// Bytes that new allocations can have without swapping, where the system says so (Linux), within this control group.
pub fn available() -> Option<u64> {
    let system = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_available(&text));
    let number = |file: &str| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .and_then(|max| Some(max.saturating_sub(number("/sys/fs/cgroup/memory.current")?)));
    system.into_iter().chain(group).min()
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `4096`, `512M`, `1.5G`: binary units, whatever the case.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let number = upper.trim_end_matches("IB").trim_end_matches('B');
    let (digits, shift) = match number.char_indices().next_back() {
        Some((at, 'K')) => (&number[..at], 10),
        Some((at, 'M')) => (&number[..at], 20),
        Some((at, 'G')) => (&number[..at], 30),
        Some((at, 'T')) => (&number[..at], 40),
        _ => (number, 0),
    };
    let value: f64 =
        digits.trim().parse().map_err(|_| "not a number of bytes, as in 4096, 512M or 1.5G".to_string())?;
    let bytes = value * (1u64 << shift) as f64;
    if (0.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err("out of range".to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_units() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("512M"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("2kb"), Ok(2048));
        for wrong in ["", "M", "-1", "1e30", "nan", "1 2"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_budget_is_kept_and_the_error_names_the_parts() {
        let needed = MemoryPrediction {
            weights: 100 << 20,
            kv_cache: 20 << 20,
            scratch: 4 << 20,
            vocabulary: 1 << 20,
            other: 8 << 20,
            total: 133 << 20,
        };
        assert!(check(&needed, Some(133 << 20)).is_ok());
        let error = check(&needed, Some(64 << 20)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        for word in ["133.0 MiB", "weights 100.0 MiB", "64.0 MiB", "-c"] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn meminfo_is_read() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
    }
}
