//! Which tensor gets which format, and what the file will be, from the header alone.

use super::{Importance, NonFinite, Rule};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gguf::{Gguf, GgufBuilder, Metadata, TensorInfo};
use crate::quant;
use crate::quant::recipes::{Facts, Recipe, Role, fit};

/// Version of the block formats' meaning that files name (`general.quantization_version`).
const QUANTIZATION_VERSION: u32 = 2;

/// Matrices that are small and decide much, or that runtimes read as floats: they stay as they are.
const KEPT: &[&str] = &[
    "_norm.weight",
    "ffn_gate_inp.weight",
    "position_embd.weight",
    "token_types.weight",
    "attn_rel_b.weight",
    "ssm_conv1d.weight",
    "shortconv.conv.weight",
];

/// What to make of a file.
#[derive(Clone)]
pub struct Options<'a> {
    /// The level; [`Recipe::pure`] for one format everywhere.
    pub level: Recipe,
    /// Formats by name, before the level's; the first that matches decides.
    pub rules: Vec<Rule>,
    /// The format of the output head: of `output.weight`, or of the embeddings where they are the head, too.
    pub output_type: Option<DType>,
    /// The format of the embeddings.
    pub embedding_type: Option<DType>,
    /// Whether tensors of a block format may be encoded again, which adds one rounding to another.
    pub requantize: bool,
    /// What to do with values that are not finite.
    pub non_finite: NonFinite,
    /// Weights of the columns' errors.
    pub importance: Option<Importance<'a>>,
    /// Metadata to add: where the importance came from, say.
    pub metadata: Vec<(String, Note)>,
    /// Threads; `None` for as many as there are cores.
    pub n_threads: Option<usize>,
    /// Throw away what an interrupted run left, instead of going on with it.
    pub restart: bool,
}

/// A value of metadata to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A string.
    Text(String),
    /// An `i32`.
    Number(i32),
}

impl Options<'_> {
    /// A level, and nothing special.
    pub fn new(level: Recipe) -> Self {
        Options {
            level,
            rules: Vec::new(),
            output_type: None,
            embedding_type: None,
            requantize: false,
            non_finite: NonFinite::default(),
            importance: None,
            metadata: Vec::new(),
            n_threads: None,
            restart: false,
        }
    }
}

/// A tensor of the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its format in the input.
    pub from: DType,
    /// Its format in the output; the same for a tensor that is copied byte for byte.
    pub to: DType,
    /// The format that was wanted, where rows are not whole blocks of it.
    pub wanted: Option<DType>,
    /// Whether it is a matrix that levels and rules are about.
    pub is_matrix: bool,
    /// Its weights.
    pub n_elems: u64,
    /// Its bytes in the input.
    pub from_bytes: u64,
    /// Its bytes in the output.
    pub to_bytes: u64,
}

/// What will be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The tensors, in the input's order.
    pub tensors: Vec<Planned>,
    /// Bytes of the whole file, header and padding included: exact.
    pub file_bytes: u64,
    pub(super) builder: GgufBuilder,
}

impl Plan {
    /// Plans the file that `options` make of `gguf`.
    ///
    /// # Errors
    /// `InvalidArgument` for a rule that is about no matrix, and for a tensor of a block format without
    /// [`requantize`](Options::requantize); `Unsupported` for a format that cannot be made or read, naming the tensor.
    pub fn new(gguf: &Gguf, options: &Options<'_>) -> Result<Plan> {
        let facts = facts(gguf, options.importance.is_some());
        let mut tensors = Vec::with_capacity(gguf.tensors().len());
        for tensor in gguf.tensors() {
            let planned = plan_tensor(tensor, options, &facts)?;
            check(&planned, options).map_err(|e| e.within(format_args!("tensor {}", planned.name)))?;
            tensors.push(planned);
        }
        let is_about = |rule: &Rule| tensors.iter().any(|t| t.is_matrix && rule.matches(&t.name));
        if let Some(rule) = options.rules.iter().find(|rule| !is_about(rule)) {
            bail!(InvalidArgument, "rule {:?} matches no matrix of this file", rule.text());
        }
        let builder = builder(gguf, options, &tensors)?;
        Ok(Plan { file_bytes: builder.file_bytes()?, tensors, builder })
    }

    /// Bits per weight, of all tensors.
    pub fn bits_per_weight(&self) -> f64 {
        let (n_bytes, n_elems) = self.tensors.iter().fold((0, 0), |(b, n), t| (b + t.to_bytes, n + t.n_elems));
        n_bytes as f64 * 8.0 / (n_elems.max(1)) as f64
    }

    /// Bytes of all tensors of the input.
    pub fn source_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.from_bytes).sum()
    }

    /// Matrices that got another format than was wanted for them, because their rows are not whole blocks of it.
    pub fn n_refitted(&self) -> usize {
        self.tensors.iter().filter(|t| t.wanted.is_some()).count()
    }
}

/// What levels must know of the model. A file that does not say it is taken for a plain one.
fn facts(gguf: &Gguf, has_importance: bool) -> Facts {
    let blocks = gguf.tensors().iter().filter_map(|t| t.name.strip_prefix("blk.")?.split('.').next()?.parse().ok());
    let metadata = gguf.metadata();
    let arch = metadata.opt_str("general.architecture").ok().flatten().unwrap_or_default();
    let heads = |key: &str| most(metadata, &format!("{arch}.attention.{key}"));
    let heads_per_kv_head = match (heads("head_count"), heads("head_count_kv")) {
        (Some(n_heads), Some(n_kv_heads)) => n_heads / n_kv_heads,
        _ => 1,
    };
    Facts {
        n_blocks: blocks.map(|i: usize| i.saturating_add(1)).max().unwrap_or(0),
        heads_per_kv_head: heads_per_kv_head as usize,
        tied_embeddings: gguf.tensor("output.weight").is_none(),
        has_importance,
    }
}

/// A number of one or more, or the largest of an array that has one per block.
fn most(metadata: &Metadata, key: &str) -> Option<u64> {
    let one = metadata.opt_u64(key).ok().flatten();
    let many = || metadata.opt_u64s(key).ok().flatten().and_then(|all| all.into_iter().max());
    one.or_else(many).filter(|&n| n > 0)
}

/// Whether a tensor is one that levels and rules are about: two dimensions or more, and computed with as a matrix.
fn is_matrix(tensor: &TensorInfo) -> bool {
    let n_rows: u64 = tensor.shape.iter().skip(1).fold(1, |n, &dim| n.saturating_mul(dim));
    let name = tensor.name.as_str();
    n_rows > 1
        && name.ends_with(".weight")
        && !KEPT.iter().any(|kept| name.ends_with(kept))
        && quant::is_supported(tensor.dtype)
}

fn plan_tensor(tensor: &TensorInfo, options: &Options<'_>, facts: &Facts) -> Result<Planned> {
    let is_matrix = is_matrix(tensor);
    let k = tensor.shape.first().map_or(1, |&k| k as usize);
    let asked = asked(&tensor.name, options, facts).filter(|_| is_matrix);
    let (wanted, to) = match asked {
        _ if !is_matrix => (tensor.dtype, tensor.dtype),
        Some(dtype) => (dtype, fit(dtype, k)),
        None => {
            // The matrices of a mixture's experts play the part of the single one.
            let name = tensor.name.replace("_exps.weight", ".weight").replace("_shexp.weight", ".weight");
            match Role::of_tensor(&name) {
                // With rows of no elements every wish is granted.
                Some((role, block)) => {
                    (options.level.dtype_of(role, block, 0, facts), options.level.dtype_of(role, block, k, facts))
                }
                None => (options.level.base, fit(options.level.base, k)),
            }
        }
    };
    let n_elems = tensor.n_elems();
    Ok(Planned {
        name: tensor.name.clone(),
        from: tensor.dtype,
        to,
        wanted: (wanted != to).then_some(wanted),
        is_matrix,
        n_elems,
        from_bytes: tensor.n_bytes(),
        to_bytes: n_elems / to.block_len() as u64 * to.block_bytes() as u64,
    })
}

/// The format that was asked for by name.
fn asked(name: &str, options: &Options<'_>, facts: &Facts) -> Option<DType> {
    if let Some(rule) = options.rules.iter().find(|rule| rule.matches(name)) {
        return Some(rule.dtype());
    }
    match name {
        "output.weight" => options.output_type,
        "token_embd.weight" if facts.tied_embeddings => options.embedding_type.or(options.output_type),
        "token_embd.weight" => options.embedding_type,
        _ => None,
    }
}

fn check(planned: &Planned, options: &Options<'_>) -> Result<()> {
    let Planned { from, to, .. } = *planned;
    if from == to {
        return Ok(());
    }
    if !quant::is_encodable(to) {
        bail!(Unsupported, "{to} cannot be made");
    }
    // Float32 takes every value as it is.
    if from.block_len() > 1 && to != DType::F32 && !options.requantize {
        bail!(
            InvalidArgument,
            "it is {from} already, and {to} would add a second rounding to the first: start from a file of F32, F16 or BF16, \
             or ask for it (--requantize)"
        );
    }
    Ok(())
}

fn builder(gguf: &Gguf, options: &Options<'_>, tensors: &[Planned]) -> Result<GgufBuilder> {
    let mut builder = GgufBuilder::new();
    builder.leave_room();
    builder.set_all(gguf.metadata())?;
    for key in ["split.no", "split.count", "split.tensors.count"] {
        builder.remove(key);
    }
    match options.level.file_type {
        Some(file_type) => builder.set("general.file_type", file_type)?,
        // The input's would not be true any more, and readers guess from the tensors.
        None => drop(builder.remove("general.file_type")),
    }
    if tensors.iter().any(|t| t.to.block_len() > 1) {
        builder.set("general.quantization_version", QUANTIZATION_VERSION)?;
    }
    for (key, value) in &options.metadata {
        match value {
            Note::Text(text) => builder.set(key, text)?,
            Note::Number(number) => builder.set(key, *number)?,
        }
    }
    for (planned, tensor) in tensors.iter().zip(gguf.tensors()) {
        builder.add_tensor(&planned.name, planned.to, &tensor.shape)?;
    }
    Ok(builder)
}
