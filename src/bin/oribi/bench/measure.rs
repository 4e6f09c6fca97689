//! Loads models, runs tests on them in turns, and relates what they reached to the machine's limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oribi::backend::{Device, GpuSpeeds, Storage};
use oribi::bench::{Bench, BenchOptions, Limits, Machine, Spread, Test};
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::SessionOptions;
use oribi::{Error, ErrorKind, Result};
use serde::Serialize;

use super::setting::{Setting, numerics_name};
use crate::loading::device_name;
use crate::memory::DeviceArgs;
use crate::progress::Progress;
use crate::{interrupt, memory};

/// How carefully to measure, and with what.
#[derive(Clone, Copy)]
pub struct Effort {
    pub repetitions: u32,
    pub warmup: u32,
    /// Prompt tokens that are computed at once.
    pub chunk: usize,
    pub max_memory: Option<u64>,
    pub with_limits: bool,
}

/// The result of a test; the field names are those of the JSON form.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub test: String,
    pub n_prompt: usize,
    pub n_gen: usize,
    pub depth: usize,
    pub batch: usize,
    pub threads: usize,
    pub numerics: &'static str,
    pub isa: &'static str,
    pub kv_type: &'static str,
    pub tokens_per_second: Spread,
    pub gb_per_second: f64,
    pub gmac_per_second: f64,
    /// `None` where the machine was not measured.
    pub share_of_limit: Option<f64>,
    /// What the model ran on. Threads and instruction set are those of the CPU, also beside a GPU.
    pub device: String,
}

/// The same test on two sides, measured in turns.
pub struct Pair {
    pub rows: [Row; 2],
    /// Speed of the first over speed of the second, turn by turn.
    pub ratio: Spread,
}

/// A model that is ready for its tests.
struct Side {
    model: Arc<Model>,
    setting: Setting,
    bench: Bench,
    /// What it runs on, where that was measured.
    machine: Option<Measured>,
}

/// Where models are measured: what is kept between one setting and the next.
pub struct Lab {
    effort: Effort,
    /// Models of the settings in hand; those that differ in the session alone share one.
    models: Vec<(PathBuf, Setting, Arc<Model>)>,
    /// One per number of threads.
    machines: Vec<Machine>,
    gpus: Vec<(Device, GpuSpeeds)>,
    bar: Progress,
    done: u64,
    total: u64,
}

impl Lab {
    /// A lab for so many tests.
    pub fn new(effort: Effort, n_tests: usize) -> Lab {
        let total = n_tests as u64 * u64::from(effort.repetitions + effort.warmup);
        Lab {
            effort,
            models: Vec::new(),
            machines: Vec::new(),
            gpus: Vec::new(),
            bar: Progress::new("measuring"),
            done: 0,
            total,
        }
    }

    /// Measures one model.
    pub fn measure(&mut self, path: &Path, setting: &Setting, tests: &[Test]) -> Result<Vec<Row>> {
        self.keep_models(&[(path, setting)]);
        let mut side = self.side(path, setting, tests)?;
        let mut rows = Vec::new();
        for test in tests {
            let [seconds] = self.seconds(test, [&mut side])?;
            rows.push(side.row(test, &seconds)?);
        }
        Ok(rows)
    }

    /// Measures two in turns.
    pub fn compare(&mut self, sides: [(&Path, &Setting); 2], tests: &[Test]) -> Result<Vec<Pair>> {
        self.keep_models(&sides);
        let mut a = self.side(sides[0].0, sides[0].1, tests)?;
        let mut b = self.side(sides[1].0, sides[1].1, tests)?;
        let mut pairs = Vec::new();
        for test in tests {
            let [of_a, of_b] = self.seconds(test, [&mut a, &mut b])?;
            let ratio = spread(of_a.iter().zip(&of_b).map(|(a, b)| b / a))?;
            pairs.push(Pair { rows: [a.row(test, &of_a)?, b.row(test, &of_b)?], ratio });
        }
        Ok(pairs)
    }

    /// Seconds of each repetition of a test on each side; the sides take turns.
    fn seconds<const N: usize>(&mut self, test: &Test, mut sides: [&mut Side; N]) -> Result<[Vec<f64>; N]> {
        let mut seconds = std::array::from_fn(|_| Vec::new());
        for turn in 0..self.effort.warmup + self.effort.repetitions {
            for (side, seconds) in sides.iter_mut().zip(&mut seconds) {
                let time = side.bench.run(test, &interrupt::requested)?;
                if turn >= self.effort.warmup {
                    seconds.push(time.as_secs_f64().max(1e-9));
                }
                self.done += 1;
                self.bar.update(self.done, self.total);
            }
        }
        Ok(seconds)
    }

    /// Lets go of the models that none of `sides` uses.
    fn keep_models(&mut self, sides: &[(&Path, &Setting)]) {
        self.models.retain(|(path, setting, _)| sides.iter().any(|side| side.0 == path && same_model(side.1, setting)));
    }

    fn side(&mut self, path: &Path, setting: &Setting, tests: &[Test]) -> Result<Side> {
        let Setting { numerics, kv_type, .. } = *setting;
        let session = SessionOptions { numerics, kv_type, n_batch: self.effort.chunk, ..Default::default() };
        let model = self.model(path, setting, &Bench::session_options(&session, tests))?;
        let bench = Bench::new(&model, &BenchOptions { session, seed: 0 }, tests)?;
        // Two machines have no limits in common.
        let with_limits = self.effort.with_limits && model.gpu_layers().is_none();
        let machine = if with_limits { Some(self.measured(&model)?) } else { None };
        Ok(Side { model, setting: setting.clone(), bench, machine })
    }

    fn model(&mut self, path: &Path, setting: &Setting, session: &SessionOptions) -> Result<Arc<Model>> {
        if let Some((_, _, model)) = self.models.iter().find(|(p, s, _)| p == path && same_model(s, setting)) {
            return Ok(Arc::clone(model));
        }
        let gguf = Gguf::open(path)?;
        let load = || {
            let wanted = DeviceArgs { device: setting.device, gpu_layers: setting.gpu_layers, max_gpu_memory: None };
            let (n_threads, max_memory) = (setting.n_threads(), self.effort.max_memory);
            let chosen = wanted.check(&gguf, Storage::Packed, session, n_threads, max_memory)?;
            let progress = |_, _| !interrupt::requested();
            let options = ModelOptions {
                device: chosen.device,
                gpu_layers: chosen.gpu_layers,
                cpu: setting.cpu(),
                progress: Some(&progress),
                ..Default::default()
            };
            Model::load(gguf, options)
        };
        let model = load().map_err(|e| e.within(path.display()))?;
        self.models.push((path.to_path_buf(), setting.clone(), Arc::clone(&model)));
        Ok(model)
    }

    /// What a model runs on; a GPU is measured once.
    fn measured(&mut self, model: &Model) -> Result<Measured> {
        let device = model.machine().device();
        if let Some((_, speeds)) = self.gpus.iter().find(|(known, _)| *known == device) {
            return Ok(Measured::Gpu(*speeds));
        }
        let Some(speeds) = model.machine().gpu_speeds()? else { return self.machine(model).map(Measured::Cpu) };
        self.gpus.push((device, speeds));
        Ok(Measured::Gpu(speeds))
    }

    /// The machine with the threads of a model, measured once for each number of threads.
    fn machine(&mut self, model: &Model) -> Result<Machine> {
        let team = model.cpu().team();
        if let Some(known) = self.machines.iter().find(|machine| machine.n_threads == team.n_threads()) {
            return Ok(known.clone());
        }
        let machine = Machine::measure(team, memory::available().map(|bytes| bytes / 2))?;
        self.machines.push(machine.clone());
        Ok(machine)
    }
}

/// The limits of what a model runs on.
enum Measured {
    Cpu(Machine),
    Gpu(GpuSpeeds),
}

/// Whether two settings can share a loaded model.
fn same_model(a: &Setting, b: &Setting) -> bool {
    (a.device, a.gpu_layers, a.threads, a.isa) == (b.device, b.gpu_layers, b.threads, b.isa)
}

fn spread(values: impl IntoIterator<Item = f64>) -> Result<Spread> {
    Spread::of(values).ok_or_else(|| Error::new(ErrorKind::Internal, "a test was never measured"))
}

impl Side {
    /// The row of a test that took so many seconds each time.
    fn row(&self, test: &Test, seconds: &[f64]) -> Result<Row> {
        let work = self.bench.work(test)?;
        let median = spread(seconds.iter().copied())?.median;
        let n_tokens = test.n_tokens() as f64;
        let cpu = self.model.cpu();
        let isa = cpu.kernels().isa();
        let pass_bytes = work.read_bytes / self.bench.n_passes(test).max(1) as u64;
        let limits = |machine: &Measured| match machine {
            Measured::Cpu(machine) => Limits::new(machine, isa, pass_bytes),
            Measured::Gpu(speeds) => Limits::of_gpu(*speeds),
        };
        Ok(Row {
            test: test.to_string(),
            n_prompt: test.n_prompt(),
            n_gen: test.n_gen(),
            depth: test.depth,
            batch: test.batch(),
            threads: cpu.team().n_threads(),
            numerics: numerics_name(self.setting.numerics),
            isa: isa.name(),
            kv_type: self.setting.kv_type.name(),
            tokens_per_second: spread(seconds.iter().map(|s| n_tokens / s))?,
            gb_per_second: work.read_bytes as f64 / median * 1e-9,
            gmac_per_second: work.macs() as f64 / median * 1e-9,
            share_of_limit: self.machine.as_ref().map(|machine| limits(machine).share(&work, median)),
            device: device_name(&self.model),
        })
    }
}
