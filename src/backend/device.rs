//! Which machine a model runs on, as a user names it.

use std::fmt;
use std::str::FromStr;

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
