//! `--target-size` and `--target-bpw`: a recipe within a budget, from what rounding each tensor costs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::eval::{Baseline, ChunkOptions, Chunks, Runtime};
use oribi::gguf::Gguf;
use oribi::model::Model;
use oribi::quantize::{Options, Plan, RecipeFile};
use oribi::session::Numerics;
use oribi::tune::{self, Choice, Sensitivity, TensorErrors};
use oribi::{AtomicFile, Error, ErrorKind, Result};

use crate::progress::Progress;
use crate::{cache, interrupt};

/// Tokens of a chunk of the text; the second half of each is compared.
const CHUNK_LEN: usize = 256;
/// Measurements between two saves.
const SAVE_EVERY: usize = 8;
/// What becomes of matrices that the model does not have now, should somebody replay the recipe with another.
const DEFAULT: DType = DType::Q8_0;

/// How large the file may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Bytes of the file.
    Size(u64),
    /// Bits per weight, of all tensors.
    BitsPerWeight(f64),
}

impl Target {
    /// Bytes with a unit: `1.2GB`, `800MiB`, `123456`.
    pub fn parse_size(text: &str) -> Result<Target> {
        let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            _ => 0.0,
        };
        match number.parse::<f64>() {
            Ok(number) if number * unit >= 1.0 => Ok(Target::Size((number * unit) as u64)),
            _ => Err(invalid(format!("{text:?} is no size such as 1.2GB or 800MiB"))),
        }
    }

    /// Bits per weight.
    pub fn parse_bits(bits: f64) -> Result<Target> {
        match bits > 0.0 && bits <= 32.0 {
            true => Ok(Target::BitsPerWeight(bits)),
            false => Err(invalid(format!("{bits} bits per weight: nothing from 0 to 32"))),
        }
    }
}

/// What the search is about.
pub struct Search<'a, 'i> {
    pub gguf: &'a Gguf,
    /// The options that the file will be made with; tensors that their rules are about get what they say.
    pub options: &'a Options<'i>,
    pub target: Target,
    /// The text that divergence is measured on.
    pub text: &'a Path,
    /// Chunks of it.
    pub n_chunks: usize,
    /// Tells importance matrices apart.
    pub importance_id: String,
}

/// What was found.
pub struct Found {
    pub recipe: RecipeFile,
    /// The sum of what each tensor is expected to cost, in nats.
    pub expected_kld: f64,
}

impl Search<'_, '_> {
    /// The recipe that is expected to cost least within the budget.
    pub fn run(&self) -> Result<Found> {
        let plan = Plan::new(self.gguf, self.options)?;
        let names: Vec<&str> = plan.tensors.iter().filter(|t| t.is_matrix).map(|t| t.name.as_str()).collect();
        let sensitivities = self.sensitivities(&names)?;
        let errors = tune::errors(self.gguf, &names, self.options.importance)?;
        let choices: Vec<Vec<Choice>> = errors.iter().map(|e| self.choices(e, &sensitivities, &plan)).collect();
        let mut budget = self.budget(&plan)?;
        loop {
            let Some(chosen) = tune::allocate(&choices, budget) else {
                let least: u64 = choices.iter().filter_map(|c| c.iter().map(|c| c.n_bytes).min()).sum();
                return Err(invalid(format!("the smallest formats take {} bytes more than that", least - budget)));
            };
            let chosen: Vec<Choice> = choices.iter().zip(chosen).map(|(choices, i)| choices[i]).collect();
            let expected_kld = chosen.iter().map(|c| c.cost).sum();
            let tensors = names.iter().copied().zip(chosen.iter().map(|c| c.dtype));
            let recipe = RecipeFile::new(self.about(expected_kld), DEFAULT, tensors);
            // The header holds the recipe, whose length depends on it.
            let size = super::with_recipe(self.options, &recipe).and_then(|options| Plan::new(self.gguf, &options))?;
            match self.target {
                Target::Size(target) if size.file_bytes > target => {
                    match budget.checked_sub(size.file_bytes - target) {
                        Some(smaller) => budget = smaller,
                        None => return Err(invalid(format!("a file of {target} bytes has no room for the header"))),
                    }
                }
                _ => return Ok(Found { recipe, expected_kld }),
            }
        }
    }

    /// Bytes for all matrices.
    fn budget(&self, plan: &Plan) -> Result<u64> {
        let others: u64 = plan.tensors.iter().filter(|t| !t.is_matrix).map(|t| t.to_bytes).sum();
        let n_elems: u64 = plan.tensors.iter().map(|t| t.n_elems).sum();
        let total = match self.target {
            Target::Size(n_bytes) => n_bytes,
            Target::BitsPerWeight(bits) => (bits * n_elems as f64 / 8.0) as u64,
        };
        total.checked_sub(others).ok_or_else(|| invalid("the vectors alone take more than that".to_owned()))
    }

    fn choices(
        &self,
        errors: &TensorErrors,
        sensitivities: &BTreeMap<String, Sensitivity>,
        plan: &Plan,
    ) -> Vec<Choice> {
        let per_error = sensitivities.get(&errors.name).map_or(0.0, Sensitivity::per_error);
        let n_bytes = |dtype: DType| errors.n_elems / dtype.block_len() as u64 * dtype.block_bytes() as u64;
        let asked = self.options.rules.iter().any(|rule| rule.matches(&errors.name));
        if let Some(planned) = plan.tensors.iter().find(|t| asked && t.name == errors.name) {
            return vec![Choice { dtype: planned.to, n_bytes: planned.to_bytes, cost: 0.0 }];
        }
        let choice =
            |&(dtype, error): &(DType, f64)| Choice { dtype, n_bytes: n_bytes(dtype), cost: per_error * error };
        errors.formats.iter().map(choice).collect()
    }

    fn about(&self, expected_kld: f64) -> String {
        let target = match self.target {
            Target::Size(n_bytes) => format!("a file of {n_bytes} bytes"),
            Target::BitsPerWeight(bits) => format!("{bits} bits per weight"),
        };
        let text = self.text.file_name().unwrap_or(self.text.as_os_str()).to_string_lossy();
        format!(
            "chosen for {target}; measured on {} chunks of {text}; expected divergence {expected_kld:.5} nats",
            self.n_chunks
        )
    }

    /// What rounding each matrix costs, from the cache as far as it is there.
    fn sensitivities(&self, names: &[&str]) -> Result<BTreeMap<String, Sensitivity>> {
        let text = std::fs::read_to_string(self.text)
            .map_err(|e| Error::io(format_args!("read {}", self.text.display()), e))?;
        let cpu = CpuOptions { n_threads: self.options.n_threads, ..CpuOptions::default() };
        let model = tune::measured_model(self.gguf, cpu)?;
        let options = ChunkOptions { chunk_len: CHUNK_LEN, n_chunks: Some(self.n_chunks), ..ChunkOptions::default() };
        let chunks = Chunks::of_text(model.tokenizer(), &text, &options)?;
        let mut store = Store::open(&model, &chunks, &self.importance_id)?;
        let missing: Vec<&str> = names.iter().copied().filter(|name| !store.known.contains_key(*name)).collect();
        if missing.is_empty() {
            return Ok(store.known);
        }
        let mut runtime = Runtime::new(&model, CHUNK_LEN, Numerics::Portable)?;
        let baseline = Baseline::new(&mut runtime, &chunks, 1, &mut |_, _| stop_if_asked())?;
        drop(runtime);
        let mut bar = Progress::items("measuring tensors");
        let measured = missing.iter().enumerate().try_for_each(|(i, name)| {
            stop_if_asked()?;
            let sensitivity = tune::measure(&model, name, &baseline, self.options.importance)?;
            store.known.insert(sensitivity.name.clone(), sensitivity);
            bar.update(i as u64 + 1, missing.len() as u64);
            if (i + 1).is_multiple_of(SAVE_EVERY) { store.save() } else { Ok(()) }
        });
        // What was measured is kept, whatever came next.
        store.save().and(measured)?;
        Ok(store.known)
    }
}

fn stop_if_asked() -> Result<()> {
    match interrupt::requested() {
        true => Err(Error::new(ErrorKind::Cancelled, "interrupted; what was measured is kept".to_owned())),
        false => Ok(()),
    }
}

/// Measurements on disk: one file for a model, a text and an importance matrix.
struct Store {
    path: PathBuf,
    known: BTreeMap<String, Sensitivity>,
}

impl Store {
    fn open(model: &Model, chunks: &Chunks, importance_id: &str) -> Result<Store> {
        let identity: String = model.identity().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{identity}-{:032x}{importance_id}.json", chunks.hash());
        let path = cache::folder()?.join("sensitivity").join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // A cache: what cannot be read is measured again.
        let all: Vec<Sensitivity> = serde_json::from_str(&text).unwrap_or_default();
        Ok(Store { path, known: all.into_iter().map(|s| (s.name.clone(), s)).collect() })
    }

    fn save(&self) -> Result<()> {
        let io = |e| Error::io(format_args!("write {}", self.path.display()), e);
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let all: Vec<&Sensitivity> = self.known.values().collect();
        let text = serde_json::to_string_pretty(&all).map_err(|e| io(e.into()))?;
        let mut file = AtomicFile::create(&self.path)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.commit()
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let cases =
            [("1.2GB", 1_200_000_000), ("800MiB", 838_860_800), ("1234", 1234), ("2k", 2000), ("1 gb", 1_000_000_000)];
        for (text, n_bytes) in cases {
            assert_eq!(Target::parse_size(text).unwrap(), Target::Size(n_bytes), "{text}");
        }
        for text in ["", "GB", "1.2.3GB", "-1GB", "5 parsecs", "0"] {
            assert!(Target::parse_size(text).is_err(), "{text}");
        }
        assert!(
            Target::parse_bits(4.5).is_ok()
                && Target::parse_bits(0.0).is_err()
                && Target::parse_bits(f64::NAN).is_err()
        );
    }
}
