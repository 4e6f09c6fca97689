//! What is compared: the files, or the levels that are made of one, and the reference.

use std::path::{Path, PathBuf};

use oribi::backend::Device;
use oribi::backend::cpu::cores;
use oribi::backend::cpu::kernels::Isa;
use oribi::compare::{Key, ScoreFile, Store};
use oribi::eval::Chunks;
use oribi::gguf::Gguf;
use oribi::quant;
use oribi::quant::recipes::{RECIPES, Recipe};
use oribi::tokenizer::Tokenizer;
use oribi::{Error, ErrorKind, Result};

use super::bar::Bar;
use super::identity::{self, Identity};
use super::speed::Sample;
use super::{Args, is_wanting, quality, speed};
use crate::bench::machine::cpu_name;
use crate::inspect::printable;
use crate::level;
use crate::loading::Text;

/// One side of the comparison.
pub struct Entry {
    /// The level, or the file's name without its ending; for people, without control characters.
    pub name: String,
    /// The level that is to be made; `None` for a file that is given.
    pub recipe: Option<Recipe>,
    /// Where the file is, while it is there.
    pub path: Option<PathBuf>,
    /// Known once the file has been read, now or by an earlier run.
    pub identity: Option<Identity>,
    /// Quality, as far as it is known.
    pub scores: Option<ScoreFile>,
    /// Speed, as often as it was measured.
    pub samples: Vec<Sample>,
    /// Whether what earlier runs know of it is to be measured again.
    is_to_forget: bool,
}

/// All sides.
pub struct Field {
    pub entries: Vec<Entry>,
    /// The index of the reference.
    pub reference: usize,
    /// Whether the reference is one of those that were asked for.
    pub is_reference_listed: bool,
    /// The name of the reference's file, without its ending; many models call themselves something that nobody knows.
    pub model: String,
    pub chunks: Chunks,
    /// Weights of the reference.
    pub n_elems: u64,
    store: Store,
    /// The parts of keys that are the same for all.
    quality_key: String,
    speed_key: String,
}

impl Field {
    /// Of files, one of which is the reference unless another file is.
    pub fn of_files(
        args: &Args,
        store: &Store,
        text: &Text,
        mut paths: Vec<PathBuf>,
        reference: Option<PathBuf>,
        bar: &mut Bar,
    ) -> Result<Field> {
        let mut seen: Vec<PathBuf> = Vec::new();
        paths.retain(|path| {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            let is_new = !seen.contains(&real);
            seen.push(real);
            is_new
        });
        let real = |path: &PathBuf| path.canonicalize().ok();
        let listed = match &reference {
            Some(reference) => paths.iter().position(|path| real(path) == real(reference)),
            None => Some(finest(&paths)?),
        };
        let index = listed.unwrap_or(paths.len());
        paths.extend(reference.filter(|_| listed.is_none()));
        let opened = paths.iter().map(|path| Gguf::open(path)).collect::<Result<Vec<_>>>()?;
        bar.set_total(opened.iter().map(|gguf| identity::work(gguf.file_bytes())).sum());
        let mut field = Field::new(args, store, text, &opened[index], &paths[index])?;
        for (path, gguf) in paths.iter().zip(&opened) {
            field.entries.push(Entry::of_file(path, Identity::of(path, gguf, bar)?, args.again));
        }
        field.reference = index;
        field.is_reference_listed = listed.is_some();
        (0..field.entries.len()).try_for_each(|i| field.look_up(i))?;
        Ok(field)
    }

    /// Of levels that are to be made of `source`, which is the reference unless another file is.
    pub fn of_levels(
        args: &Args,
        store: &Store,
        text: &Text,
        source: &Path,
        reference: Option<PathBuf>,
        bar: &mut Bar,
    ) -> Result<Field> {
        let path = reference.as_deref().unwrap_or(source);
        let gguf = Gguf::open(path)?;
        bar.set_total(identity::work(gguf.file_bytes()));
        let mut field = Field::new(args, store, text, &gguf, path)?;
        for recipe in recipes(&args.levels)? {
            field.entries.push(Entry { recipe: Some(recipe), ..Entry::new(recipe.name.to_string(), args.again) });
        }
        field.reference = field.entries.len();
        field.entries.push(Entry::of_file(path, Identity::of(path, &gguf, bar)?, args.again));
        field.look_up(field.reference)?;
        Ok(field)
    }

    fn new(args: &Args, store: &Store, text: &Text, reference: &Gguf, path: &Path) -> Result<Field> {
        let tokenizer = Tokenizer::from_gguf(reference).map_err(|e| e.within(path.display()))?;
        let options = args.evaluation.chunk_options(None);
        let chunks = Chunks::of_text(&tokenizer, &text.text, &options).map_err(|e| e.within(text.path.display()))?;
        let isa = args.evaluation.isa.unwrap_or_else(Isa::detect);
        let isa_limit = std::env::var("ORIBI_ISA").unwrap_or_default();
        let n_threads = args.evaluation.threads.unwrap_or_else(cores::default_threads);
        let kv_type = args.evaluation.kv_type;
        let storage = if args.evaluation.no_pack { "in file" } else { "packed" };
        // Portable figures are the same on every CPU.
        let numerics =
            if args.evaluation.native { format!("native {isa} {isa_limit}") } else { "portable".to_string() };
        // Those of a GPU are its own.
        let device = match args.evaluation.device.device.resolved() {
            Device::Cpu => String::new(),
            gpu => match args.evaluation.device.gpu_layers {
                Some(n) => format!(" on {gpu} with {n} blocks there"),
                None => format!(" on {gpu}"),
            },
        };
        Ok(Field {
            entries: Vec::new(),
            reference: 0,
            is_reference_listed: false,
            model: printable(&stem(path)),
            // Without the number of chunks: what is known of the first ones stays when more are asked for.
            quality_key: format!(
                "oribi {}, text {}, chunks of {}, {numerics}{device}, {kv_type}",
                env!("CARGO_PKG_VERSION"),
                text.hash(),
                chunks.chunk_len()
            ),
            speed_key: format!(
                "program {}, {}{device}, {isa} {isa_limit}, {n_threads} threads, {storage}, pp{} tg{}, {kv_type}",
                identity::program()?,
                cpu_name(),
                args.speed.n_prompt,
                args.speed.n_gen
            ),
            chunks,
            n_elems: reference.tensors().iter().map(|t| t.n_elems()).sum(),
            store: store.clone(),
        })
    }

    /// Finds what is known of an entry whose file is known. With --again that is nothing.
    pub fn look_up(&mut self, i: usize) -> Result<()> {
        let (Some(of), Some(to)) = (&self.entries[i].identity, &self.entries[self.reference].identity) else {
            return Ok(());
        };
        let takes_part = self.contestants().contains(&i);
        let quality = Key::new("quality", &[("of", &of.hash), ("to", &to.hash), ("how", &self.quality_key)]);
        let speed = Key::new("speed", &[("of", &of.hash), ("how", &self.speed_key)]);
        let entry = &mut self.entries[i];
        // Once: what this run measures is not forgotten.
        if std::mem::take(&mut entry.is_to_forget) {
            self.store.forget(&quality)?;
            self.store.forget(&speed)?;
        }
        if takes_part {
            entry.scores = Some(self.store.scores(&quality, self.chunks.len())?);
        }
        entry.samples = self.store.read(&speed).unwrap_or_default();
        Ok(())
    }

    /// Keeps one more measurement of an entry's speed.
    pub fn add_sample(&mut self, i: usize, sample: Sample) -> Result<()> {
        self.entries[i].samples.push(sample);
        let Some(of) = &self.entries[i].identity else { return Ok(()) };
        let key = Key::new("speed", &[("of", &of.hash), ("how", &self.speed_key)]);
        self.store.write(&key, &self.entries[i].samples)
    }

    /// Entries that take part in the divergence: all but the reference, or the reference alone with itself.
    pub fn contestants(&self) -> Vec<usize> {
        if self.entries.len() == 1 {
            vec![0]
        } else {
            (0..self.entries.len()).filter(|&i| i != self.reference).collect()
        }
    }

    /// Whether anything of an entry is still to be measured.
    pub fn is_wanting(&self, i: usize, rounds: usize) -> bool {
        is_wanting(&self.entries[i], !self.contestants().contains(&i), rounds)
    }

    /// How long what is still to be measured will take; files that are to be made not counted.
    pub fn work(&self, args: &Args) -> f64 {
        quality::work(self) + (0..self.entries.len()).map(|i| speed::work(self, i, args)).sum::<f64>()
    }
}

impl Entry {
    fn new(name: String, is_to_forget: bool) -> Entry {
        let (recipe, path, identity, scores, samples) = (None, None, None, None, Vec::new());
        Entry { name, recipe, path, identity, scores, samples, is_to_forget }
    }

    fn of_file(path: &Path, identity: Identity, is_to_forget: bool) -> Entry {
        let (path, name) = (Some(path.to_path_buf()), printable(&stem(path)));
        Entry { path, identity: Some(identity), ..Entry::new(name, is_to_forget) }
    }

    /// The file; it was made before it is asked for.
    pub fn path(&self) -> Result<&Path> {
        let missing = || Error::new(ErrorKind::Internal, format!("{}: the file is not there", self.name));
        self.path.as_deref().ok_or_else(missing)
    }
}

/// The file of most bits per weight, the first of equals.
fn finest(paths: &[PathBuf]) -> Result<usize> {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, path) in paths.iter().enumerate() {
        let bits = crate::inspect::Totals::of(Gguf::open(path)?.tensors()).bits_per_weight();
        if bits > best.1 {
            best = (i, bits);
        }
    }
    Ok(best.0)
}

/// The levels of names, each once.
fn recipes(names: &[String]) -> Result<Vec<Recipe>> {
    let mut found: Vec<Recipe> = Vec::new();
    for name in names {
        let more = if name.eq_ignore_ascii_case("all") {
            RECIPES.iter().filter(|recipe| quant::is_encodable(recipe.base)).copied().collect()
        } else {
            vec![level::find(name.trim(), false, quant::is_encodable)?]
        };
        for recipe in more {
            if !found.iter().any(|known| known.name == recipe.name) {
                found.push(recipe);
            }
        }
    }
    Ok(found)
}

/// A file's name without folder and ending, that of the first file of a split model without its number.
pub fn stem(path: &Path) -> String {
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    match name.split_once("-00001-of-") {
        Some((prefix, count)) if count.len() == 5 && count.bytes().all(|b| b.is_ascii_digit()) => prefix.to_string(),
        _ => name.into_owned(),
    }
}
