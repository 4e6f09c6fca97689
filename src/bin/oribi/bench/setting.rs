//! Settings: how a model runs while it is measured.

use std::fmt;
use std::str::FromStr;

use oribi::backend::Device;
use oribi::backend::cpu::kernels::Isa;
use oribi::backend::cpu::{CpuOptions, cores};
use oribi::session::{KvType, Numerics};

/// One way to run a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub device: Device,
    /// Blocks on the GPU; `None`: all.
    pub gpu_layers: Option<usize>,
    /// `None`: as many as the machine has cores.
    pub threads: Option<usize>,
    /// `None`: the best.
    pub isa: Option<Isa>,
    pub numerics: Numerics,
    pub kv_type: KvType,
}

impl Setting {
    pub fn cpu(&self) -> CpuOptions {
        CpuOptions { n_threads: self.threads, isa: self.isa, ..CpuOptions::default() }
    }

    pub fn n_threads(&self) -> usize {
        self.threads.unwrap_or_else(cores::default_threads)
    }
}

/// The settings to measure, in all combinations.
#[derive(clap::Args)]
pub struct SettingArgs {
    /// What the model runs on: cpu, cuda or cuda:N (an NVIDIA GPU), auto (the first GPU that can be used, else the CPU)
    #[arg(long, value_name = "DEVICE,..", value_delimiter = ',', default_value = "cpu")]
    pub device: Vec<Device>,
    /// Blocks of the model that are on a GPU; the CPU computes the others [default: all]
    #[arg(long, visible_alias = "n-gpu-layers", value_name = "N,..", value_delimiter = ',')]
    gpu_layers: Vec<usize>,
    /// Threads [default: the physical cores that this process may use]
    #[arg(short, long, value_name = "N,..", value_delimiter = ',')]
    pub threads: Vec<usize>,
    /// Use no instruction set above this one [default: the best of this CPU, or ORIBI_ISA]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub isa: Vec<Isa>,
    /// Arithmetic of the prompt: portable or native
    #[arg(long, value_name = "MODE,..", value_delimiter = ',', default_value = "native", value_parser = parse_numerics)]
    numerics: Vec<Numerics>,
    /// How keys and values are kept: f16, q8_0 or q4_0
    #[arg(long, value_name = "TYPE,..", value_delimiter = ',', default_value = "f16")]
    kv_type: Vec<KvType>,
}

impl SettingArgs {
    pub fn combinations(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        for (device, gpu_layers) in self.places() {
            for &threads in &or_default(&self.threads) {
                for &isa in &or_default(&self.isa) {
                    for &numerics in &self.numerics {
                        let with = |&kv_type| Setting { device, gpu_layers, threads, isa, numerics, kv_type };
                        all.extend(self.kv_type.iter().map(with));
                    }
                }
            }
        }
        all
    }
}

impl SettingArgs {
    /// Devices and, for those that have some, numbers of blocks.
    fn places(&self) -> Vec<(Device, Option<usize>)> {
        let layers = or_default(&self.gpu_layers);
        let with = |&device: &Device| match device {
            Device::Cpu => vec![(device, None)],
            _ => layers.iter().map(|&n| (device, n)).collect(),
        };
        self.device.iter().flat_map(with).collect()
    }
}

/// The values of a list, or the default that an empty one stands for.
fn or_default<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.iter().copied().map(Some).collect() }
}

fn parse_numerics(text: &str) -> Result<Numerics, String> {
    match text {
        "portable" => Ok(Numerics::Portable),
        "native" => Ok(Numerics::Native),
        _ => Err("neither portable nor native".to_string()),
    }
}

pub fn numerics_name(numerics: Numerics) -> &'static str {
    if numerics == Numerics::Portable { "portable" } else { "native" }
}

/// Changes to a setting: the value of `--versus`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Versus {
    device: Option<Device>,
    gpu_layers: Option<usize>,
    threads: Option<usize>,
    isa: Option<Isa>,
    numerics: Option<Numerics>,
    kv_type: Option<KvType>,
}

impl Versus {
    /// `setting` with the changes made.
    pub fn applied_to(&self, setting: &Setting) -> Setting {
        Setting {
            device: self.device.unwrap_or(setting.device),
            gpu_layers: self.gpu_layers.or(setting.gpu_layers),
            threads: self.threads.or(setting.threads),
            isa: self.isa.or(setting.isa),
            numerics: self.numerics.unwrap_or(setting.numerics),
            kv_type: self.kv_type.unwrap_or(setting.kv_type),
        }
    }
}

impl FromStr for Versus {
    type Err = String;

    fn from_str(text: &str) -> Result<Versus, String> {
        let mut versus = Versus::default();
        for part in text.split(',') {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("{part:?} is not SETTING=VALUE"));
            };
            let wrong = |why: &dyn fmt::Display| format!("{name}={value}: {why}");
            match name.trim() {
                "device" => versus.device = Some(value.parse().map_err(|e| wrong(&e))?),
                "gpu-layers" => versus.gpu_layers = Some(value.parse().map_err(|e| wrong(&e))?),
                "threads" => versus.threads = Some(value.parse().map_err(|e| wrong(&e))?),
                "isa" => versus.isa = Some(value.parse().map_err(|e| wrong(&e))?),
                "numerics" => versus.numerics = Some(parse_numerics(value).map_err(|e| wrong(&e))?),
                "kv-type" => versus.kv_type = Some(value.parse().map_err(|e| wrong(&e))?),
                _ => {
                    return Err(format!(
                        "no setting is called {name:?} (there are device, gpu-layers, threads, isa, numerics, kv-type)"
                    ));
                }
            }
        }
        Ok(versus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_replace_what_they_name() {
        let kv_type = KvType::F16;
        let device = Device::Cpu;
        let setting =
            Setting { device, gpu_layers: None, threads: Some(2), isa: None, numerics: Numerics::Native, kv_type };
        let versus: Versus = "isa=avx2,threads=1".parse().unwrap();
        let changed = Setting { threads: Some(1), isa: Some(Isa::Avx2), ..setting.clone() };
        assert_eq!(versus.applied_to(&setting), changed);
        let versus: Versus = "numerics=portable,kv-type=q8_0".parse().unwrap();
        let changed = Setting { numerics: Numerics::Portable, kv_type: KvType::Q8_0, ..setting.clone() };
        assert_eq!(versus.applied_to(&setting), changed);
        let versus: Versus = "device=cuda:1".parse().unwrap();
        assert_eq!(versus.applied_to(&setting), Setting { device: Device::Cuda(1), ..setting.clone() });
        for (wrong, word) in
            [("isa", "SETTING=VALUE"), ("isa=sse9", "sse9"), ("colour=red", "numerics"), ("", "SETTING")]
        {
            let error = wrong.parse::<Versus>().unwrap_err();
            assert!(error.contains(word), "{wrong}: {error}");
        }
    }
}
