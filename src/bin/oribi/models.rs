//! `oribi models`: what is cached, and where.

use std::path::Path;

use oribi::Result;
use oribi::gguf::Gguf;
use serde_json::json;

use crate::inspect::Totals;
use crate::{cache, output};

/// List the cached models.
#[derive(clap::Args)]
pub struct Args {
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// One line of the list.
struct Entry {
    name: String,
    n_bytes: u64,
    /// What the header says, or why it could not be read.
    about: Result<About>,
}

struct About {
    architecture: String,
    /// The format that holds most of the weights.
    level: String,
    n_elems: u64,
    bits_per_weight: f64,
}

pub fn run(args: Args) -> Result<()> {
    let folder = cache::folder()?.join("models");
    let entries: Vec<Entry> = cache::models()?.iter().map(|path| entry(path)).collect();
    if args.json {
        let models: Vec<_> = entries.iter().map(entry_json).collect();
        return output::print_json(&json!({"folder": folder.to_string_lossy(), "models": models}));
    }
    if entries.is_empty() {
        eprintln!(
            "no models in {}; `scripts/fetch-models --default` in oribi's source tree gets one",
            folder.display()
        );
        return Ok(());
    }
    let width = entries.iter().map(|e| e.name.chars().count()).max().unwrap_or(0);
    let mut text = format!("{}\n", folder.display());
    for e in &entries {
        let mark = if e.name == cache::DEFAULT_MODEL { "*" } else { " " };
        text +=
            &format!("{mark} {:width$}  {:>10}  {}\n", e.name, output::human_bytes(e.n_bytes), about_text(&e.about));
    }
    output::print(&text)
}

fn entry(path: &Path) -> Entry {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let n_bytes = path.metadata().map_or(0, |m| m.len());
    Entry { name, n_bytes, about: Gguf::open(path).map(|gguf| about(&gguf)) }
}

fn about(gguf: &Gguf) -> About {
    let mut bytes_of = std::collections::BTreeMap::new();
    for t in gguf.tensors() {
        *bytes_of.entry(t.dtype).or_insert(0u64) += t.n_bytes();
    }
    let level = bytes_of.into_iter().max_by_key(|(_, n)| *n).map_or("none".to_string(), |(dtype, _)| dtype.to_string());
    let architecture = gguf.metadata().opt_str("general.architecture").ok().flatten().unwrap_or("unknown");
    let totals = Totals::of(gguf.tensors());
    About {
        architecture: architecture.to_string(),
        level,
        n_elems: totals.n_elems,
        bits_per_weight: totals.bits_per_weight(),
    }
}

fn about_text(about: &Result<About>) -> String {
    match about {
        Ok(a) => format!(
            "{}, {:.0} M weights, mostly {} ({:.2} bits per weight)",
            a.architecture,
            a.n_elems as f64 / 1e6,
            a.level,
            a.bits_per_weight
        ),
        Err(error) => format!("unreadable: {error}"),
    }
}

fn entry_json(e: &Entry) -> serde_json::Value {
    let mut object = json!({"name": e.name, "n_bytes": e.n_bytes, "default": e.name == cache::DEFAULT_MODEL});
    match &e.about {
        Ok(a) => {
            object["architecture"] = json!(a.architecture);
            object["level"] = json!(a.level);
            object["n_elems"] = json!(a.n_elems);
            object["bits_per_weight"] = json!(a.bits_per_weight);
        }
        Err(error) => object["error"] = json!(error.to_string()),
    }
    object
}
