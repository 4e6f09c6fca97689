//! `oribi bench --machine`: the limits that models meet here.

use oribi::backend::cpu::CpuOptions;
use oribi::backend::cpu::cores;
use oribi::backend::cpu::kernels::Isa;
use oribi::backend::cpu::team::Team;
use oribi::backend::{self, GpuSpeeds};
use oribi::bench::{Machine, Peak};
use oribi::{Result, bench::Bandwidth};
use serde_json::{Value, json};

use super::Args;
use crate::table::markdown;
use crate::{memory, output};

pub fn run(args: &Args) -> Result<()> {
    let counts = match args.settings.threads.as_slice() {
        [] => vec![cores::default_threads()],
        counts => counts.to_vec(),
    };
    let mut objects = Vec::new();
    let mut texts = Vec::new();
    for device in &args.settings.device {
        let machine = backend::Machine::new(*device, CpuOptions { n_threads: Some(1), ..CpuOptions::default() })?;
        if let Some(speeds) = machine.gpu_speeds()? {
            objects.push(gpu_json(&machine.name(), speeds));
            texts.push(gpu_text(&machine.name(), speeds));
            continue;
        }
        for &n_threads in &counts {
            let limit = args.max_memory.or_else(|| memory::available().map(|bytes| bytes / 2));
            let measured = Machine::measure(&Team::new(n_threads)?, limit)?;
            objects.push(as_json(&measured));
            texts.push(as_text(&measured));
        }
    }
    if args.json { output::print_line(&json!(objects).to_string()) } else { output::print(&texts.join("\n")) }
}

fn gpu_text(name: &str, speeds: GpuSpeeds) -> String {
    let row = |what: &str, per_second: f64| vec![what.to_string(), format!("{:.1}", per_second * 1e-9)];
    let rows = vec![
        row("GB/s read", speeds.bytes),
        row("GMAC/s in bf16", speeds.bf16_macs),
        row("GMAC/s in f32", speeds.float_macs),
    ];
    format!("{name}\n\n{}", markdown(&["limit", "measured"], rows, 1))
}

/// In the form of a CPU's, as far as that has a meaning.
fn gpu_json(name: &str, speeds: GpuSpeeds) -> Value {
    json!({
        "device": name,
        "bandwidth": [{"level": "DRAM", "gb_per_second": speeds.bytes * 1e-9}],
        "peaks": [
            {"operands": "bf16", "gmac_per_second": speeds.bf16_macs * 1e-9},
            {"operands": "f32", "gmac_per_second": speeds.float_macs * 1e-9},
        ],
    })
}

fn as_text(machine: &Machine) -> String {
    let n = machine.n_threads as f64;
    let note = if machine.caches.known { "" } else { " (a guess)" };
    let mut text = format!(
        "{}, {} threads; instruction set {}; L2 {} per core, L3 {}{note}\n\n",
        cpu_name(),
        machine.n_threads,
        Isa::detect(),
        output::human_bytes(machine.caches.l2_bytes),
        output::human_bytes(machine.caches.l3_bytes)
    );
    let bandwidth = |b: &Bandwidth| {
        let gb = b.bytes_per_second * 1e-9;
        vec![b.level.to_string(), output::human_bytes(b.n_bytes), format!("{gb:.1}"), format!("{:.1}", gb / n)]
    };
    let rows = machine.bandwidths.iter().map(bandwidth).collect();
    text += &markdown(&["reading", "bytes", "GB/s", "per thread"], rows, 1);
    text.push('\n');
    let peak = |p: &Peak| {
        let gmac = p.macs_per_second * 1e-9;
        vec![p.operands().to_string(), p.isa.to_string(), format!("{gmac:.1}"), format!("{:.1}", gmac / n)]
    };
    let rows = machine.peaks.iter().map(peak).collect();
    text + &markdown(&["multiply-adds", "isa", "GMAC/s", "per thread"], rows, 2)
}

fn as_json(machine: &Machine) -> Value {
    let bandwidth =
        |b: &Bandwidth| json!({"level": b.level, "n_bytes": b.n_bytes, "gb_per_second": b.bytes_per_second * 1e-9});
    let peak =
        |p: &Peak| json!({"operands": p.operands(), "isa": p.isa.name(), "gmac_per_second": p.macs_per_second * 1e-9});
    json!({
        "cpu": cpu_name(),
        "threads": machine.n_threads,
        "isa": Isa::detect().name(),
        "caches": {
            "l2_bytes": machine.caches.l2_bytes,
            "l3_bytes": machine.caches.l3_bytes,
            "known": machine.caches.known,
        },
        "bandwidth": machine.bandwidths.iter().map(bandwidth).collect::<Vec<_>>(),
        "peaks": machine.peaks.iter().map(peak).collect::<Vec<_>>(),
    })
}

/// What the CPU calls itself, where Linux tells; else the architecture.
pub fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or(std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}
