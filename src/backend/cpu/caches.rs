//! The sizes of the CPU's caches, by which the probes choose how much memory they read.

/// Bytes of the caches of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// The second-level cache, a core's own.
    pub l2_bytes: u64,
    /// The last-level cache, which cores share.
    pub l3_bytes: u64,
    /// Whether the system told the sizes; where it does not they are a guess.
    pub known: bool,
}

impl Caches {
    /// The caches of this machine; 1 MiB and 32 MiB where the system does not tell.
    pub fn detect() -> Caches {
        let guess = Caches { l2_bytes: 1 << 20, l3_bytes: 32 << 20, known: false };
        match (level_bytes(2), level_bytes(3)) {
            (Some(l2_bytes), Some(l3_bytes)) => Caches { l2_bytes, l3_bytes, known: true },
            (Some(l2_bytes), None) => Caches { l2_bytes, ..guess },
            _ => guess,
        }
    }
}

/// Bytes of a level of the first CPU's caches (Linux, Documentation/ABI/testing/sysfs-devices-system-cpu).
#[cfg(target_os = "linux")]
fn level_bytes(level: u32) -> Option<u64> {
    let read = |index: usize, file: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    (0..8).find_map(|index| {
        let is_it = read(index, "level")? == level.to_string() && read(index, "type")? != "Instruction";
        is_it.then(|| parse_size(&read(index, "size")?)).flatten()
    })
}

#[cfg(not(target_os = "linux"))]
fn level_bytes(_level: u32) -> Option<u64> {
    None
}

/// `2048K`, `32M`.
#[cfg(target_os = "linux")]
fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.strip_suffix(['K', 'M']) {
        Some(digits) => (digits, if text.ends_with('K') { 10 } else { 20 }),
        None => (text, 0),
    };
    digits.parse::<u64>().ok().filter(|&n| n > 0 && n < 1 << 40).map(|n| n << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_have_a_size() {
        let caches = Caches::detect();
        assert!(caches.l2_bytes >= 1 << 15 && caches.l3_bytes >= caches.l2_bytes / 4, "{caches:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sizes_parse() {
        assert_eq!(parse_size("2048K"), Some(2 << 20));
        assert_eq!(parse_size("32M"), Some(32 << 20));
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("0K"), None);
        assert_eq!(parse_size("much"), None);
    }
}
