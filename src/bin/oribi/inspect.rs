//! `oribi inspect`: what a file holds, from its header alone.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::{CellAlignment, Table};
use oribi::Result;
use oribi::backend::cpu::cores;
use oribi::backend::{Device, Storage};
use oribi::dtype::DType;
use oribi::gguf::{Gguf, TensorInfo, Value};
use oribi::model::HyperParams;
use oribi::session::{MemoryPrediction, SessionOptions, predict_gpu_memory, predict_memory};
use serde_json::{Map, json};

use crate::engine::ContextArgs;
use crate::options::ModelArg;
use crate::{cache, kernels, output};

/// Arrays of the metadata up to this length are printed in full with `--json`.
const FULL_ARRAY: usize = 64;
/// Elements of a longer array, and characters of a string, that the text form shows.
const SHOWN_ELEMENTS: usize = 4;
const SHOWN_CHARS: usize = 72;

/// Show a file's metadata and tensors, and the memory that a run needs.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    context: ContextArgs,
    /// What a run would be on: cpu, cuda or cuda:N (an NVIDIA GPU), auto (the first GPU that can be used, else the CPU)
    #[arg(long, value_name = "DEVICE", default_value_t = Device::Cpu)]
    device: Device,
    /// Blocks of the model that would be on the GPU; the CPU would compute the others [default: all]
    #[arg(long, visible_alias = "n-gpu-layers", value_name = "N")]
    gpu_layers: Option<usize>,
    /// Show the kernels that this CPU would use instead: for the file's formats, or without MODEL for every format
    #[arg(long)]
    kernels: bool,
    /// One JSON object on standard output; strings and short arrays in full
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    if args.kernels {
        return kernels::run(args.model.name(), args.json);
    }
    let path = cache::resolve(args.model.name())?;
    let gguf = Gguf::open(&path)?;
    let options = args.context.options();
    let device = args.device.resolved();
    let n_threads = cores::default_threads();
    let needed = match device.memory()? {
        None => predict_memory(&gguf, Storage::Packed, &options, n_threads),
        Some(_) => {
            predict_gpu_memory(&gguf, Storage::Packed, &options, n_threads, args.gpu_layers).map(|needed| needed.gpu)
        }
    };
    let memory = Memory { device, needed, options };
    if args.json {
        output::print_json(&as_json(&path, &gguf, &memory))
    } else {
        output::print(&as_text(&path, &gguf, &memory))
    }
}

/// What a run of the asked size would take, or why that cannot be said.
struct Memory {
    device: Device,
    needed: Result<MemoryPrediction>,
    options: SessionOptions,
}

impl Memory {
    /// Positions that were asked for, or those that the model was trained for.
    fn n_ctx(&self, gguf: &Gguf) -> u64 {
        let trained = || HyperParams::from_gguf(gguf).map_or(0, |h| h.n_ctx_train);
        if self.options.n_ctx == 0 { trained() as u64 } else { self.options.n_ctx as u64 }
    }
}

/// Elements, bytes and number of a set of tensors.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub n_tensors: u64,
    pub n_elems: u64,
    pub n_bytes: u64,
}

impl Totals {
    pub fn of<'a>(tensors: impl IntoIterator<Item = &'a TensorInfo>) -> Totals {
        tensors.into_iter().fold(Totals::default(), |sum, t| Totals {
            n_tensors: sum.n_tensors + 1,
            n_elems: sum.n_elems.saturating_add(t.n_elems()),
            n_bytes: sum.n_bytes.saturating_add(t.n_bytes()),
        })
    }

    pub fn bits_per_weight(&self) -> f64 {
        if self.n_elems == 0 { 0.0 } else { self.n_bytes as f64 * 8.0 / self.n_elems as f64 }
    }
}

/// Totals per format, in order of the format table.
fn by_format(gguf: &Gguf) -> BTreeMap<DType, Totals> {
    let mut groups: BTreeMap<DType, Vec<&TensorInfo>> = BTreeMap::new();
    for tensor in gguf.tensors() {
        groups.entry(tensor.dtype).or_default().push(tensor);
    }
    groups.into_iter().map(|(dtype, tensors)| (dtype, Totals::of(tensors))).collect()
}

fn as_text(path: &Path, gguf: &Gguf, memory: &Memory) -> String {
    let totals = Totals::of(gguf.tensors());
    let metadata = gguf.metadata();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let architecture = metadata.opt_str("general.architecture").ok().flatten().unwrap_or("unknown");
    let mut text = format!("{name}\n");
    text += &format!(
        "  GGUF version {}, {}, {}\n",
        gguf.version(),
        plural(gguf.n_shards() as u64, "file"),
        output::human_bytes(gguf.file_bytes())
    );
    text += &format!(
        "  architecture {architecture}, {} weights in {} tensors, {:.2} bits per weight\n",
        output::human_count(totals.n_elems),
        totals.n_tensors,
        totals.bits_per_weight()
    );
    text += &match &memory.needed {
        Ok(needed) => format!(
            "  a run{} with a context of {}, {} cache and batches of {} needs {}: {}\n",
            if memory.device == Device::Cpu { String::new() } else { format!(" on {}", memory.device) },
            memory.n_ctx(gguf),
            memory.options.kv_type,
            memory.options.n_batch,
            output::human_bytes(needed.total),
            crate::memory::describe(needed)
        ),
        Err(error) => format!("  cannot run: {error}\n"),
    };
    text += &section("metadata", metadata_table(gguf));
    text += &section("formats", format_table(gguf));
    text += &section("tensors", tensor_table(gguf));
    text
}

fn plural(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A heading and an indented table.
pub fn section(heading: &str, table: Table) -> String {
    let lines: Vec<String> = table.lines().map(|line| format!("  {}\n", line.trim_end())).collect();
    format!("\n{heading}\n{}", lines.concat())
}

/// A table without lines, the columns from `numbers` on aligned to the right.
pub fn plain_table(rows: Vec<Vec<String>>, right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.add_rows(rows);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn metadata_table(gguf: &Gguf) -> Table {
    let rows = gguf.metadata().iter().map(|(key, value)| vec![printable(key), type_name(&value), shown(&value)]);
    plain_table(rows.collect(), &[])
}

fn format_table(gguf: &Gguf) -> Table {
    let rows = by_format(gguf).into_iter().map(|(dtype, t)| {
        vec![
            dtype.to_string(),
            plural(t.n_tensors, "tensor"),
            format!("{} weights", output::human_count(t.n_elems)),
            output::human_bytes(t.n_bytes),
            format!("{:.2} bits per weight", t.bits_per_weight()),
        ]
    });
    plain_table(rows.collect(), &[1, 2, 3, 4])
}

fn tensor_table(gguf: &Gguf) -> Table {
    let rows = gguf.tensors().iter().map(|t| {
        vec![printable(&t.name), t.dtype.to_string(), format!("{:?}", t.shape), output::human_bytes(t.n_bytes())]
    });
    plain_table(rows.collect(), &[3])
}

fn type_name(value: &Value<'_>) -> String {
    match value.as_array() {
        Some(array) => format!("{}[{}]", array.element_type(), array.len()),
        None => value.value_type().to_string(),
    }
}

/// A value on one line: long strings and arrays are cut, control characters escaped.
fn shown(value: &Value<'_>) -> String {
    if let Some(text) = value.as_str() {
        return cut(&format!("{text:?}"));
    }
    let Some(array) = value.as_array() else { return value.to_string() };
    let strings =
        array.byte_strings().take(SHOWN_ELEMENTS).flatten().map(|b| format!("{:?}", String::from_utf8_lossy(b)));
    let mut items: Vec<String> = array.scalars().take(SHOWN_ELEMENTS).map(|v| v.to_string()).chain(strings).collect();
    if array.len() > SHOWN_ELEMENTS {
        items.push("..".to_string());
    }
    cut(&items.join(", "))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text.to_string(),
    }
}

/// A name from the file, with control characters escaped: a terminal must not obey a model file.
pub fn printable(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

fn as_json(path: &Path, gguf: &Gguf, memory: &Memory) -> serde_json::Value {
    let totals = Totals::of(gguf.tensors());
    let metadata: Map<String, serde_json::Value> =
        gguf.metadata().iter().map(|(key, value)| (key.to_string(), metadata_json(&value))).collect();
    let formats: Map<String, serde_json::Value> =
        by_format(gguf).into_iter().map(|(dtype, totals)| (dtype.to_string(), totals_json(&totals))).collect();
    let tensors: Vec<serde_json::Value> = gguf.tensors().iter().map(tensor_json).collect();
    json!({
        "file": path.to_string_lossy(),
        "version": gguf.version(),
        "n_files": gguf.n_shards(),
        "n_bytes": gguf.file_bytes(),
        "totals": totals_json(&totals),
        "memory": memory_json(gguf, memory),
        "formats": formats,
        "metadata": metadata,
        "tensors": tensors,
    })
}

/// Bytes of a run; `error` where the model cannot run.
fn memory_json(gguf: &Gguf, memory: &Memory) -> serde_json::Value {
    match &memory.needed {
        Ok(needed) => json!({
            "n_ctx": memory.n_ctx(gguf),
            "kv_type": memory.options.kv_type.name(),
            "n_batch": memory.options.n_batch,
            "weights": needed.weights,
            "kv_cache": needed.kv_cache,
            "scratch": needed.scratch,
            "vocabulary": needed.vocabulary,
            "total": needed.total,
        }),
        Err(error) => json!({"error": error.to_string()}),
    }
}

fn totals_json(totals: &Totals) -> serde_json::Value {
    json!({
        "n_tensors": totals.n_tensors,
        "n_elems": totals.n_elems,
        "n_bytes": totals.n_bytes,
        "bits_per_weight": totals.bits_per_weight(),
    })
}

fn tensor_json(tensor: &TensorInfo) -> serde_json::Value {
    json!({
        "name": tensor.name,
        "dtype": tensor.dtype.name(),
        "shape": tensor.shape,
        "n_elems": tensor.n_elems(),
        "n_bytes": tensor.n_bytes(),
    })
}

/// `{"type", "value"}`; for arrays `{"type", "len"}` with the elements where there are few.
fn metadata_json(value: &Value<'_>) -> serde_json::Value {
    let Some(array) = value.as_array() else {
        return json!({"type": value.value_type().name(), "value": scalar_json(value)});
    };
    let mut object = json!({"type": format!("{}[]", array.element_type()), "len": array.len()});
    if array.len() <= FULL_ARRAY {
        let strings = array.byte_strings().flatten().map(|b| json!(String::from_utf8_lossy(b)));
        let values: Vec<_> = array.scalars().map(|v| scalar_json(&v)).chain(strings).collect();
        object["value"] = json!(values);
    }
    object
}

fn scalar_json(value: &Value<'_>) -> serde_json::Value {
    match *value {
        Value::Bool(v) => json!(v),
        Value::Str(v) => json!(v),
        Value::U64(v) => json!(v),
        Value::F32(v) => json!(v),
        Value::F64(v) => json!(v),
        _ => json!(value.as_integer().and_then(|v| i64::try_from(v).ok())),
    }
}
