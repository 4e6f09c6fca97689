//! Which machine a model runs on, as a user names it.

use std::fmt;
use std::str::FromStr;

use super::cuda;
use crate::error::{Error, ErrorKind, Result};

/// A machine, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(u32),
    /// The first NVIDIA GPU that can be used, else the CPU.
    Auto,
}

impl Device {
    /// What [`Auto`](Device::Auto) stands for on this machine; any other is itself.
    pub fn resolved(self) -> Device {
        match self {
            Device::Auto if cuda::memory_of(0).is_ok() => Device::Cuda(0),
            Device::Auto => Device::Cpu,
            known => known,
        }
    }

    /// Bytes of a GPU's own memory that are free, and all; `None` for the CPU.
    ///
    /// # Errors
    /// `Device` for a GPU that is not there or cannot be used.
    pub fn memory(self) -> Result<Option<(u64, u64)>> {
        match self.resolved() {
            Device::Cuda(number) => cuda::memory_of(number).map(Some),
            _ => Ok(None),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            Device::Auto => f.write_str("auto"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Device> {
        let number = |text: &str| text.parse().ok().map(Device::Cuda);
        let device = match name {
            "cpu" => Some(Device::Cpu),
            "auto" => Some(Device::Auto),
            "cuda" => Some(Device::Cuda(0)),
            _ => name.strip_prefix("cuda:").and_then(number),
        };
        device.ok_or_else(|| {
            let text = format!("there is no device {name:?} (there are cpu, cuda, cuda:N and auto)");
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (name, device) in
            [("cpu", Device::Cpu), ("auto", Device::Auto), ("cuda:0", Device::Cuda(0)), ("cuda:7", Device::Cuda(7))]
        {
            assert_eq!(name.parse::<Device>().unwrap(), device);
            assert_eq!(device.to_string(), name);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for wrong in ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:4294967296"] {
            let error = wrong.parse::<Device>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
