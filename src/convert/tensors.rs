//! Which tensor of the checkpoint becomes which of the file, in which format.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;

use super::TensorPlan;
use super::checkpoint::{Checkpoint, Stored};
use super::hparams::HyperParams;
use super::mapping::{How, IGNORED_ENDINGS, OTHER_MODELS, Presence, Rule};
use super::scales::{Scales, Scaling};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::quant::recipes::{Facts, Recipe, Role};
use crate::quant::{is_encodable, recipes};

/// A tensor of the file.
pub(super) struct Planned {
    pub name: String,
    pub dtype: DType,
    /// In GGUF's order, the contiguous dimension first.
    pub shape: Vec<u64>,
    pub source: Source,
}

/// Where its values come from.
pub(super) enum Source {
    Stored(Box<Piece>),
    /// From the configuration.
    Computed(Vec<f32>),
}

/// A tensor of the checkpoint and what is done to it.
pub(super) struct Piece {
    /// As the checkpoint has it.
    pub name: String,
    pub stored: Stored,
    pub scales: Option<Scales>,
    pub how: How,
    pub head_dim: usize,
}

impl Planned {
    pub fn n_elems(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bytes in the file.
    pub fn n_bytes(&self) -> u64 {
        self.n_elems() / self.dtype.block_len() as u64 * self.dtype.block_bytes() as u64
    }

    pub fn as_plan(&self) -> TensorPlan<'_> {
        let (source, source_type) = match &self.source {
            Source::Stored(piece) => (Some(piece.name.as_str()), type_name(piece.stored.dtype)),
            Source::Computed(_) => (None, "F32"),
        };
        TensorPlan { name: &self.name, source, source_type, dtype: self.dtype, shape: &self.shape }
    }
}

/// The format as its file writes it; the plan takes no other.
fn type_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        Dtype::F8_E4M3 => "F8_E4M3",
        _ => "F32",
    }
}

/// What comes out of the plan besides the tensors.
pub(super) struct List {
    pub tensors: Vec<Planned>,
    pub notes: Vec<String>,
    /// Matrices whose rows are not whole blocks of what the level wants, and that got another format.
    pub n_refitted: usize,
}

/// Plans every tensor.
pub(super) fn plan(checkpoint: &Checkpoint, h: &HyperParams, level: &Recipe) -> Result<List> {
    let scaling = Scaling::of(&h.config)?;
    let mut planner = Planner {
        checkpoint,
        h,
        level,
        scaling,
        names: names(checkpoint)?,
        used: BTreeSet::new(),
        list: List { tensors: Vec::new(), notes: Vec::new(), n_refitted: 0 },
    };
    for rule in h.mapping.tensors {
        planner.add(rule, "", "")?;
    }
    for block in 0..h.sizes.n_blocks {
        for rule in h.mapping.block {
            planner.add(rule, &format!("layers.{block}."), &format!("blk.{block}."))?;
        }
    }
    if let Some(factors) = h.rope_factors() {
        let shape = vec![factors.len() as u64];
        let source = Source::Computed(factors);
        planner.list.tensors.push(Planned { name: "rope_freqs.weight".to_owned(), dtype: DType::F32, shape, source });
    }
    planner.look_at_the_rest()?;
    Ok(planner.list)
}

/// The level that keeps the precision of a checkpoint: that of its first matrix in a block.
pub(super) fn own_level(checkpoint: &Checkpoint) -> Recipe {
    let is_weight = |name: &str| name.contains("layers.0.") && name.ends_with("proj.weight");
    let first = checkpoint.tensors.iter().find(|(name, _)| is_weight(name)).map(|(_, stored)| stored.dtype);
    recipes::Recipe::pure(match first {
        Some(Dtype::F32) => DType::F32,
        Some(Dtype::F16) => DType::F16,
        _ => DType::BF16,
    })
}

/// The name without what differs from class to class.
fn canonical(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix("model.").or_else(|| name.strip_prefix("language_model.")) {
        name = rest;
    }
    name
}

/// The checkpoint's names by canonical name.
fn names(checkpoint: &Checkpoint) -> Result<BTreeMap<&str, &str>> {
    let mut names = BTreeMap::new();
    for name in checkpoint.tensors.keys() {
        if let Some(other) = names.insert(canonical(name), name.as_str()) {
            bail!(InvalidModel, "tensors {other} and {name} are the same part of the model");
        }
    }
    Ok(names)
}

struct Planner<'a> {
    checkpoint: &'a Checkpoint,
    h: &'a HyperParams,
    level: &'a Recipe,
    scaling: Option<Scaling>,
    names: BTreeMap<&'a str, &'a str>,
    used: BTreeSet<&'a str>,
    list: List,
}

impl<'a> Planner<'a> {
    fn add(&mut self, rule: &Rule, from: &str, to: &str) -> Result<()> {
        let wanted = format!("{from}{}", rule.from);
        let tied = rule.presence == Presence::UnlessTied && self.h.tied;
        let Some((&canonical, &name)) = self.names.get_key_value(wanted.as_str()) else {
            return match rule.presence {
                _ if tied => Ok(()),
                Presence::Optional => Ok(()),
                Presence::Required => bail!(InvalidModel, "tensor model.{wanted} is missing"),
                Presence::UnlessTied => {
                    bail!(InvalidModel, "tensor {wanted} is missing, and tie_word_embeddings is false")
                }
            };
        };
        self.used.insert(canonical);
        let stored = self.checkpoint.tensors[name].clone();
        let shape: Vec<usize> = rule.shape.iter().map(|&size| self.h.sizes.of(size)).collect();
        if stored.shape != shape {
            bail!(InvalidModel, "tensor {name} has shape {:?}; the configuration demands {shape:?}", stored.shape);
        }
        if tied {
            return self.leave_out_the_head(name, &stored);
        }
        let scales = self.scales(canonical, name, &stored)?;
        let target = format!("{to}{}", rule.to);
        let dtype = self.dtype(&target, &shape)?;
        let source = Source::Stored(Box::new(Piece {
            name: name.to_owned(),
            stored,
            scales,
            how: rule.how,
            head_dim: self.h.sizes.head_dim,
        }));
        let shape = shape.iter().rev().map(|&n| n as u64).collect();
        self.list.tensors.push(Planned { name: target, dtype, shape, source });
        Ok(())
    }

    /// A head that is there although it is the embeddings: it must be them.
    fn leave_out_the_head(&mut self, name: &str, head: &Stored) -> Result<()> {
        let embeddings = self.names.get("embed_tokens.weight").map(|name| &self.checkpoint.tensors[*name]);
        let same = |embeddings: &Stored| {
            embeddings.dtype == head.dtype && self.checkpoint.bytes(embeddings) == self.checkpoint.bytes(head)
        };
        if !embeddings.is_some_and(same) {
            bail!(InvalidModel, "tie_word_embeddings is true, but tensor {name} is not the embeddings");
        }
        self.list.notes.push(format!("left out: {name}, which repeats the embeddings"));
        Ok(())
    }

    /// The scales of a tensor of 8-bit floats, which must be there if the configuration says so.
    fn scales(&mut self, canonical: &str, name: &str, stored: &Stored) -> Result<Option<Scales>> {
        let known = matches!(stored.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F8_E4M3);
        if !known {
            bail!(Unsupported, "tensor {name} has type {:?}; F32, F16, BF16 and F8_E4M3 can be read", stored.dtype);
        }
        let Some(scaling) = &self.scaling else { return Ok(None) };
        let wanted = format!("{canonical}{}", scaling.suffix());
        let found = self.names.get_key_value(wanted.as_str());
        match found {
            Some((&canonical, &scale)) => {
                self.used.insert(canonical);
                let of = &self.checkpoint.tensors[scale];
                scaling
                    .read(self.checkpoint.bytes(of), of, stored)
                    .map(Some)
                    .map_err(|e| e.within(format_args!("tensor {scale}")))
            }
            None if stored.dtype == Dtype::F8_E4M3 => {
                bail!(InvalidModel, "tensor {name}{} is missing: the scales of {name}", scaling.suffix())
            }
            None => Ok(None),
        }
    }

    fn dtype(&mut self, target: &str, shape: &[usize]) -> Result<DType> {
        let (Some((role, block)), [_, k]) = (Role::of_tensor(target), shape) else { return Ok(DType::F32) };
        let s = &self.h.sizes;
        let facts = Facts {
            n_blocks: s.n_blocks,
            heads_per_kv_head: s.n_heads / s.n_kv_heads,
            tied_embeddings: self.h.tied,
            has_importance: false,
        };
        let dtype = self.level.dtype_of(role, block, *k, &facts);
        if !is_encodable(dtype) {
            bail!(Unsupported, "level {} needs {dtype} for tensor {target}, which cannot be made", self.level.name);
        }
        self.list.n_refitted += usize::from(dtype != self.level.dtype_of(role, block, 0, &facts));
        Ok(dtype)
    }

    /// Nothing of the text model may be lost unseen.
    fn look_at_the_rest(&mut self) -> Result<()> {
        let (mut n, mut n_bytes, mut kinds) = (0, 0, BTreeSet::new());
        for (&canonical, &name) in self.names.iter().filter(|(canonical, _)| !self.used.contains(*canonical)) {
            if IGNORED_ENDINGS.iter().any(|ending| name.ends_with(ending)) || self.is_activation_scale(canonical) {
                continue;
            }
            let Some(kind) = OTHER_MODELS.iter().find(|prefix| canonical.starts_with(**prefix)) else {
                let text = format!("tensor {name} has no place in {}: nothing would compute it", self.h.arch.name);
                return Err(Error::new(ErrorKind::Unsupported, text));
            };
            n += 1;
            n_bytes += self.checkpoint.tensors[name].n_bytes();
            kinds.insert(kind.trim_end_matches('.'));
        }
        if n > 0 {
            let kinds: Vec<_> = kinds.into_iter().collect();
            self.list.notes.push(format!(
                "left out: {n} tensors of {n_bytes} bytes that are not the text model ({})",
                kinds.join(", ")
            ));
        }
        Ok(())
    }

    fn is_activation_scale(&self, canonical: &str) -> bool {
        self.scaling.is_some() && (canonical.ends_with("activation_scale") || canonical.ends_with(".input_scale"))
    }
}
