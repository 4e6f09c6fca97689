//! The files of levels: made where they are needed, as many at once as the disk may hold, and taken away when they were measured.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use oribi::compare::{Key, Store};
use oribi::gguf::Gguf;
use oribi::importance::ImportanceMatrix;
use oribi::quant::recipes::Recipe;
use oribi::quantize::{self, Options, Plan};
use oribi::{Error, ErrorKind, Result};

use super::bar::Bar;
use super::entry::{Field, stem};
use super::identity::{self, Identity};
use super::{Args, Batch};
use crate::{interrupt, output};

/// Weights that are encoded in a millisecond.
const WEIGHTS_PER_MS: f64 = 3e4;
/// How the folders of files that live for one run begin; the number of the process follows.
const PREFIX: &str = "levels-";

/// Where levels are made of one model.
pub struct Workshop<'a> {
    source: &'a Gguf,
    path: &'a Path,
    store: &'a Store,
    keep: Option<&'a Path>,
    /// Where files live for this run.
    folder: PathBuf,
    disk: u64,
    rounds: usize,
    imatrix: Option<ImportanceMatrix>,
    /// What the bytes of a level depend on, besides the level.
    key: String,
}

impl<'a> Workshop<'a> {
    pub fn new(
        args: &'a Args,
        store: &'a Store,
        source: &'a Gguf,
        path: &'a Path,
        folder: &Path,
    ) -> Result<Workshop<'a>> {
        sweep(folder);
        if let Some(keep) = &args.keep {
            std::fs::create_dir_all(keep).map_err(|e| Error::io(format!("create {}", keep.display()), e))?;
        }
        Ok(Workshop {
            source,
            path,
            store,
            keep: args.keep.as_deref(),
            folder: folder.join(format!("{PREFIX}{}", std::process::id())),
            disk: args.disk,
            rounds: args.speed.rounds,
            imatrix: args.imatrix.as_deref().map(ImportanceMatrix::open).transpose()?,
            key: String::new(),
        })
    }

    /// Finds what earlier runs know of the files that would be made, and refuses levels that cannot be.
    pub fn look_up(&mut self, field: &mut Field, bar: &mut Bar) -> Result<()> {
        let reference = &field.entries[field.reference];
        let source = match &reference.identity {
            Some(known) if reference.path.as_deref() == Some(self.path) => known.hash.clone(),
            _ => Identity::of(self.path, self.source, bar)?.hash,
        };
        let imatrix = self.imatrix.as_ref().map_or("no importance".to_string(), importance_hash);
        self.key = format!("source {source}, {imatrix}, program {}", identity::program()?);
        let mut n_again = 0;
        for i in 0..field.entries.len() {
            let Some(recipe) = field.entries[i].recipe else { continue };
            let plan = self.with_options(recipe, |options| Plan::new(self.source, options))?;
            n_again += plan.tensors.iter().filter(|t| t.from != t.to && t.from.block_len() > 1).count();
            field.entries[i].identity = self.store.read(&self.key(recipe));
            field.look_up(i)?;
        }
        if n_again > 0 {
            eprintln!(
                "{} is quantized already: its levels add one rounding to another, and are compared with it as it is",
                self.path.display()
            );
        }
        Ok(())
    }

    fn key(&self, recipe: Recipe) -> Key {
        Key::new("level", &[("level", &recipe.name), ("of", &self.key)])
    }

    /// How long making the files takes that are still needed.
    pub fn work(&self, field: &Field) -> f64 {
        let n = (0..field.entries.len()).filter(|&i| self.is_needed(field, i)).count();
        n as f64 * self.work_of_one()
    }

    fn work_of_one(&self) -> f64 {
        self.source.tensors().iter().map(|t| t.n_elems()).sum::<u64>() as f64 / WEIGHTS_PER_MS
    }

    /// A level whose file is not there though something is to be measured, or kept.
    fn is_needed(&self, field: &Field, i: usize) -> bool {
        let entry = &field.entries[i];
        entry.recipe.is_some() && entry.path.is_none() && (self.keep.is_some() || field.is_wanting(i, self.rounds))
    }

    /// Makes the next files, and gives the entries that can be measured now and are not yet: the first time those that need no file
    /// made, too. `None` when all is done.
    pub fn next_batch(&self, field: &mut Field, bar: &mut Bar) -> Result<Option<Batch>> {
        loop {
            self.make_some(field, bar)?;
            let is_ready = |&i: &usize| field.entries[i].path.is_some() && field.is_wanting(i, self.rounds);
            let batch: Batch = (0..field.entries.len()).filter(is_ready).collect();
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
            // A file may turn out to be one that is known.
            self.clear(field)?;
            if !(0..field.entries.len()).any(|i| self.is_needed(field, i)) {
                return Ok(None);
            }
        }
    }

    /// Makes files that are needed, as many as the disk may hold, and one at least.
    fn make_some(&self, field: &mut Field, bar: &mut Bar) -> Result<()> {
        let mut used = 0;
        for i in 0..field.entries.len() {
            let (true, Some(recipe)) = (self.is_needed(field, i), field.entries[i].recipe) else { continue };
            let plan = self.with_options(recipe, |options| Plan::new(self.source, options))?;
            if self.keep.is_none() && used > 0 && used + plan.file_bytes > self.disk {
                break;
            }
            used += plan.file_bytes;
            let (path, identity) = self.make(recipe, &plan, bar)?;
            field.entries[i].path = Some(path);
            field.entries[i].identity = Some(identity);
            field.look_up(i)?;
        }
        Ok(())
    }

    /// Takes the files away that need not be kept.
    pub fn clear(&self, field: &mut Field) -> Result<()> {
        for entry in field.entries.iter_mut().filter(|entry| self.keep.is_none() && entry.recipe.is_some()) {
            if let Some(path) = entry.path.take() {
                std::fs::remove_file(&path).map_err(|e| Error::io(format!("remove {}", path.display()), e))?;
            }
        }
        Ok(())
    }

    /// Makes a level, or finds it among the kept ones.
    fn make(&self, recipe: Recipe, plan: &Plan, bar: &mut Bar) -> Result<(PathBuf, Identity)> {
        let key = self.key(recipe);
        let path = match self.keep {
            Some(keep) => keep.join(format!("{}.{}.gguf", stem(self.path), recipe.name)),
            None => self.folder.join(format!("{}.gguf", recipe.name)),
        };
        let work = self.work_of_one();
        if self.keep.is_some() && path.exists() {
            let found = Identity::of(&path, &Gguf::open(&path)?, bar)?;
            if self.store.read::<Identity>(&key).is_some_and(|known| known.hash == found.hash) {
                bar.advance(work);
                return Ok((path, found));
            }
            let text = format!("{} is there, and it is not what would be made; move it away", path.display());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|e| Error::io(format!("create {}", folder.display()), e))?;
        bar.say(format!("making {}, {}", recipe.name, output::human_bytes(plan.file_bytes)));
        let shown = Mutex::new(&mut *bar);
        let progress = |done: u64, total: u64| {
            if let Ok(bar) = shown.lock() {
                bar.show(work * done as f64 / total.max(1) as f64);
            }
            !interrupt::requested()
        };
        self.with_options(recipe, |options| quantize::run(self.source, plan, options, &path, &progress))
            .map_err(|e| e.within(recipe.name))?;
        bar.advance(work);
        let identity = Identity::of(&path, &Gguf::open(&path)?, &mut Bar::silent())?;
        self.store.write(&key, &identity)?;
        Ok((path, identity))
    }

    fn with_options<T>(&self, recipe: Recipe, then: impl FnOnce(&Options<'_>) -> Result<T>) -> Result<T> {
        let importance = |name: &str| self.imatrix.as_ref()?.get(name);
        let mut options = Options { requantize: true, ..Options::new(recipe) };
        if self.imatrix.is_some() {
            options.importance = Some(&importance);
        }
        then(&options)
    }
}

impl Drop for Workshop<'_> {
    fn drop(&mut self) {
        // There may be none, and what stays is swept by the next run.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What an importance matrix says.
fn importance_hash(imatrix: &ImportanceMatrix) -> String {
    let mut hash = twox_hash::XxHash3_128::new();
    for (name, entry) in imatrix.iter() {
        hash.write(name.as_bytes());
        entry.means().iter().for_each(|mean| hash.write(&mean.to_le_bytes()));
    }
    format!("importance {:032x}", hash.finish_128())
}

/// Removes what runs have left that were killed, where the system tells which processes there are.
fn sweep(folder: &Path) {
    let is_alive = |pid: &str| Path::new("/proc").join(pid).exists();
    if !is_alive("self") {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| pid.bytes().all(|b| b.is_ascii_digit()) && !is_alive(pid)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
