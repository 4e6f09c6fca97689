//! How many threads this process should use: the physical cores that it may run on.

/// The default number of threads: physical, performance cores that the process may use by affinity and cgroup quota.
pub fn default_threads() -> usize {
    // The standard library honours affinity and cgroup quotas on Linux; elsewhere it counts logical CPUs.
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    physical_cores().map_or(logical, |cores| cores.min(logical)).max(1)
}

/// Physical performance cores among the CPUs allowed to this process, where the system tells.
#[cfg(target_os = "linux")]
fn physical_cores() -> Option<usize> {
    use std::collections::BTreeSet;
    use std::fs::read_to_string;

    let status = read_to_string("/proc/self/status").ok()?;
    let mut allowed = parse_cpu_list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)?;
    // Present on hybrid processors only.
    if let Some(fast) = read_to_string("/sys/devices/cpu_core/cpus").ok().and_then(|text| parse_cpu_list(&text)) {
        let both: BTreeSet<_> = allowed.intersection(&fast).copied().collect();
        if !both.is_empty() {
            allowed = both;
        }
    }
    let first_sibling = |cpu: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        read_to_string(path).ok().and_then(|text| parse_cpu_list(&text)?.first().copied()).unwrap_or(*cpu)
    };
    Some(allowed.iter().map(first_sibling).collect::<BTreeSet<_>>().len())
}

#[cfg(not(target_os = "linux"))]
fn physical_cores() -> Option<usize> {
    None
}

/// CPU numbers of a list such as `0-3,8`; `None` if it is not one, or absurdly long.
#[cfg(target_os = "linux")]
fn parse_cpu_list(text: &str) -> Option<std::collections::BTreeSet<usize>> {
    let mut cpus = std::collections::BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last > 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_at_least_one_core() {
        assert!(default_threads() >= 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn cpu_lists_parse() {
        assert_eq!(parse_cpu_list("0-3,8\n").unwrap().len(), 5);
        assert_eq!(parse_cpu_list(" 7"), Some([7].into()));
        assert_eq!(parse_cpu_list("3-1"), None);
        assert_eq!(parse_cpu_list("x"), None);
    }
}
