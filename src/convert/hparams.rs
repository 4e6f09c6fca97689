//! The configuration: sizes, metadata, and the refusal of what would be computed otherwise than it was trained.

use std::f32::consts::PI;

use serde_json::Value;

use super::json::{CONFIG, Config, in_range, missing, wrong};
use super::mapping::{Allowed, Demand, KeyKind, MAPPINGS, Mapping, Size};
use crate::error::{Result, bail};
use crate::gguf::GgufBuilder;
use crate::model::arch::{Arch, AttentionScale, Window};
use crate::model::limit;

/// The sizes of a checkpoint's model, checked for range.
pub(super) struct Sizes {
    pub n_vocab: usize,
    pub dim: usize,
    pub n_blocks: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub ffn_dim: usize,
}

/// What the configuration says of rotation.
struct Rope {
    theta: f64,
    theta_sliding: Option<f64>,
    /// Positions are divided by it.
    linear: Option<f64>,
    llama3: Option<Llama3>,
}

/// The parameters of Llama 3.1's rope scaling: long waves are slowed down by `factor`, short ones not, and between them it
/// goes over smoothly.
struct Llama3 {
    factor: f32,
    low_freq_factor: f32,
    high_freq_factor: f32,
    original_context: f32,
}

/// A configuration that was read and whose model can be computed.
pub(super) struct HyperParams {
    pub mapping: &'static Mapping,
    pub arch: &'static Arch,
    pub sizes: Sizes,
    pub config: Config,
    /// The output head is the embeddings.
    pub tied: bool,
    rope: Rope,
}

impl HyperParams {
    pub fn new(config: Value) -> Result<HyperParams> {
        let config = Config::new(config)?;
        let mapping = mapping(&config)?;
        let Some(arch) = Arch::find(mapping.arch) else {
            bail!(Internal, "{} has a mapping and no row", mapping.arch);
        };
        let config = config.with_defaults(mapping.defaults);
        mapping.demands.iter().try_for_each(|demand| check(demand, &config))?;
        let sizes = sizes(&config)?;
        check_windows(&config, arch, sizes.n_blocks)?;
        check_attention_scale(&config, arch, &sizes)?;
        let rope = rope(&config, mapping, arch)?;
        let tied = config.bool("tie_word_embeddings")?;
        Ok(HyperParams { mapping, arch, sizes, config, tied, rope })
    }

    /// Sets the keys with the architecture's prefix.
    pub fn set_metadata(&self, builder: &mut GgufBuilder) -> Result<()> {
        let (s, config) = (&self.sizes, &self.config);
        let key = |name: &str| format!("{}.{name}", self.arch.name);
        let int = |builder: &mut GgufBuilder, name: &str, n: usize| builder.set(&key(name), n as u32);
        int(builder, "block_count", s.n_blocks)?;
        int(builder, "context_length", config.int("max_position_embeddings", 1..=limit::CONTEXT)?)?;
        int(builder, "embedding_length", s.dim)?;
        int(builder, "feed_forward_length", s.ffn_dim)?;
        int(builder, "attention.head_count", s.n_heads)?;
        int(builder, "attention.head_count_kv", s.n_kv_heads)?;
        int(builder, "attention.key_length", s.head_dim)?;
        int(builder, "attention.value_length", s.head_dim)?;
        builder.set(&key("attention.layer_norm_rms_epsilon"), config.float("rms_norm_eps", 0.0..=1.0)? as f32)?;
        int(builder, "rope.dimension_count", s.head_dim)?;
        builder.set(&key("rope.freq_base"), self.rope.theta as f32)?;
        if let Some(theta) = self.rope.theta_sliding {
            builder.set(&key("rope.freq_base_swa"), theta as f32)?;
        }
        if let Some(factor) = self.rope.linear {
            builder.set(&key("rope.scaling.type"), "linear")?;
            builder.set(&key("rope.scaling.factor"), factor as f32)?;
        }
        for more in self.mapping.keys {
            match more.kind {
                KeyKind::Int => int(builder, more.gguf, config.int(more.config, 1..=limit::CONTEXT)?)?,
                KeyKind::OptFloat => match config.opt_float(more.config, 0.0..=1e6)? {
                    Some(x) if x > 0.0 => builder.set(&key(more.gguf), x as f32)?,
                    _ => {}
                },
            }
        }
        Ok(())
    }

    /// What the frequencies of the rotation are divided by, `[head_dim / 2]`; `None` for ones.
    pub fn rope_factors(&self) -> Option<Vec<f32>> {
        let llama3 = self.rope.llama3.as_ref()?;
        let n = self.sizes.head_dim;
        let theta = self.rope.theta as f32;
        Some((0..n / 2).map(|i| llama3.factor(1.0 / theta.powf((2 * i) as f32 / n as f32))).collect())
    }
}

impl Llama3 {
    /// The divisor of a frequency, in the float32 arithmetic of the reference.
    fn factor(&self, frequency: f32) -> f32 {
        let wavelength = 2.0 * PI / frequency;
        let turns = self.original_context / wavelength;
        if wavelength < self.original_context / self.high_freq_factor {
            1.0
        } else if wavelength > self.original_context / self.low_freq_factor {
            self.factor
        } else {
            let smooth = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
            1.0 / ((1.0 - smooth) / self.factor + smooth)
        }
    }
}

impl Sizes {
    pub fn of(&self, size: Size) -> usize {
        match size {
            Size::Vocab => self.n_vocab,
            Size::Dim => self.dim,
            Size::Queries => self.n_heads * self.head_dim,
            Size::Keys => self.n_kv_heads * self.head_dim,
            Size::HeadDim => self.head_dim,
            Size::Ffn => self.ffn_dim,
        }
    }
}

/// The row of the configuration's class.
fn mapping(config: &Config) -> Result<&'static Mapping> {
    let classes = config.get("architectures").ok_or_else(|| missing("architectures"))?;
    let class = match classes.as_array().map(Vec::as_slice) {
        Some([Value::String(class)]) => class.clone(),
        _ => return Err(wrong("architectures", &classes, "the name of one class")),
    };
    match MAPPINGS.iter().find(|mapping| mapping.classes.contains(&class.as_str())) {
        Some(mapping) => Ok(mapping),
        None => {
            let known: Vec<_> = MAPPINGS.iter().flat_map(|mapping| mapping.classes).copied().collect();
            bail!(Unsupported, "{CONFIG}: architecture {class} is not supported; supported are {}", known.join(", "))
        }
    }
}

fn check(demand: &Demand, config: &Config) -> Result<()> {
    let Some(value) = config.get(demand.key) else { return Ok(()) };
    let wanted = match demand.allowed {
        Allowed::OneOf(texts) if value.as_str().is_some_and(|text| texts.contains(&text)) => return Ok(()),
        Allowed::OneOf(texts) => texts.join(" or "),
        Allowed::False if value == Value::Bool(false) => return Ok(()),
        Allowed::False => "false".to_owned(),
        Allowed::True if value == Value::Bool(true) => return Ok(()),
        Allowed::True => "true".to_owned(),
        Allowed::Nothing => "its absence".to_owned(),
    };
    bail!(Unsupported, "{CONFIG}: {} is {value}, but only {wanted} can be computed", demand.key)
}

fn sizes(config: &Config) -> Result<Sizes> {
    let dim = config.int("hidden_size", 1..=limit::DIM)?;
    let n_heads = config.int("num_attention_heads", 1..=limit::HEADS)?;
    let n_kv_heads = config.int("num_key_value_heads", 1..=limit::HEADS)?;
    if !n_heads.is_multiple_of(n_kv_heads) {
        bail!(
            InvalidModel,
            "{CONFIG}: num_attention_heads {n_heads} is not a multiple of num_key_value_heads {n_kv_heads}"
        );
    }
    let head_dim = match config.opt_int("head_dim", 2..=limit::HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if dim.is_multiple_of(n_heads) => {
            in_range("hidden_size / num_attention_heads", dim / n_heads, 2..=limit::HEAD_DIM)?
        }
        None => bail!(InvalidModel, "{CONFIG}: hidden_size {dim} is not a multiple of num_attention_heads {n_heads}"),
    };
    if !head_dim.is_multiple_of(2) {
        bail!(InvalidModel, "{CONFIG}: heads of {head_dim} cannot rotate in pairs");
    }
    Ok(Sizes {
        n_vocab: config.int("vocab_size", 1..=limit::VOCAB)?,
        dim,
        n_blocks: config.int("num_hidden_layers", 1..=limit::BLOCKS)?,
        n_heads,
        n_kv_heads,
        head_dim,
        ffn_dim: config.int("intermediate_size", 1..=limit::FFN_DIM)?,
    })
}

/// Which blocks see everything must be what the architecture's row says.
fn check_windows(config: &Config, arch: &Arch, n_blocks: usize) -> Result<()> {
    let slides = |block: usize| match arch.window {
        Window::Full => false,
        Window::Alternating { period } => !(block + 1).is_multiple_of(period),
    };
    if let Some(types) = config.get("layer_types") {
        let Some(types) = types.as_array().filter(|types| types.len() == n_blocks) else {
            return Err(wrong("layer_types", &types, &format!("a list of {n_blocks}")));
        };
        for (block, kind) in types.iter().enumerate() {
            let wanted = if slides(block) { "sliding_attention" } else { "full_attention" };
            if kind != wanted {
                bail!(
                    Unsupported,
                    "{CONFIG}: layer_types[{block}] is {kind}, but {} computes {wanted} there",
                    arch.name
                );
            }
        }
    }
    match arch.window {
        Window::Full => {
            let context = config.int("max_position_embeddings", 1..=limit::CONTEXT)?;
            let is_off = config.get("use_sliding_window") == Some(Value::Bool(false));
            match config.opt_int("sliding_window", 1..=limit::CONTEXT)? {
                Some(window) if window < context && !is_off && config.get("layer_types").is_none() => bail!(
                    Unsupported,
                    "{CONFIG}: sliding_window is {window} for max_position_embeddings {context}, but {} computes no windows",
                    arch.name
                ),
                _ => Ok(()),
            }
        }
        Window::Alternating { period } => {
            for key in ["sliding_window_pattern", "_sliding_window_pattern"] {
                if let Some(n) = config.opt_int(key, 1..=limit::BLOCKS)?.filter(|&n| n != period) {
                    bail!(Unsupported, "{CONFIG}: {key} is {n}, but only {period} can be computed");
                }
            }
            Ok(())
        }
    }
}

/// The scale of the attention scores must be what the architecture's row says.
fn check_attention_scale(config: &Config, arch: &Arch, s: &Sizes) -> Result<()> {
    let Some(length) = config.opt_float("query_pre_attn_scalar", 1e-6..=1e6)? else { return Ok(()) };
    let computed = match arch.attention_scale {
        AttentionScale::HeadDimButDimPerHeadAt { n_blocks } if n_blocks == s.n_blocks => s.dim / s.n_heads,
        _ => s.head_dim,
    };
    if length != computed as f64 {
        bail!(Unsupported, "{CONFIG}: query_pre_attn_scalar is {length}, but {} computes with {computed}", arch.name);
    }
    Ok(())
}

fn rope(config: &Config, mapping: &Mapping, arch: &Arch) -> Result<Rope> {
    let (key, parameters) = match (config.get("rope_parameters"), config.get("rope_scaling")) {
        (Some(parameters), _) => ("rope_parameters", parameters),
        (None, Some(scaling)) => ("rope_scaling", scaling),
        (None, None) => ("rope_scaling", Value::Object(Default::default())),
    };
    if !parameters.is_object() {
        return Err(wrong(key, &parameters, "an object"));
    }
    let full = parameters.get("full_attention").unwrap_or(&parameters);
    let sliding = parameters.get("sliding_attention");
    let float = |of: &Value, name: &str| -> Result<Option<f64>> {
        match of.get(name).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|x| x.is_finite() && *x > 0.0) {
                Some(x) => Ok(Some(x)),
                None => Err(wrong(&format!("{key}.{name}"), value, "a number above zero")),
            },
        }
    };
    let kind = |of: &Value| -> Result<String> {
        match of.get("rope_type").or_else(|| of.get("type")) {
            None | Some(Value::Null) => Ok("default".to_owned()),
            Some(Value::String(kind)) => Ok(kind.to_lowercase()),
            Some(other) => Err(wrong(&format!("{key}.rope_type"), other, "a name")),
        }
    };
    let required = |name: &str| float(full, name)?.ok_or_else(|| missing(&format!("{key}.{name}")));
    let partial = float(full, "partial_rotary_factor")?.or(config.opt_float("partial_rotary_factor", 0.0..=1.0)?);
    if let Some(part) = partial.filter(|&part| part != 1.0) {
        bail!(Unsupported, "{CONFIG}: partial_rotary_factor is {part}, but only whole heads can rotate");
    }
    if let Some(sections) = parameters.get("mrope_section") {
        bail!(Unsupported, "{CONFIG}: {key}.mrope_section is {sections}, which cannot be computed");
    }
    let theta = match float(full, "rope_theta")? {
        Some(theta) => in_range(&format!("{key}.rope_theta"), theta, 1.0..=1e12)?,
        None => config.float("rope_theta", 1.0..=1e12)?,
    };
    let theta_sliding = match (arch.window, sliding) {
        (Window::Full, _) => None,
        (_, Some(sliding)) if float(sliding, "rope_theta")?.is_some() => float(sliding, "rope_theta")?,
        _ => config.opt_float("rope_local_base_freq", 1.0..=1e12)?,
    };
    if let Some(sliding) = sliding {
        let kind = kind(sliding)?;
        if kind != "default" {
            bail!(
                Unsupported,
                "{CONFIG}: {key}.sliding_attention.rope_type is {kind:?}, but only \"default\" can be computed"
            );
        }
    }
    let kind = kind(full)?;
    let mut rope = Rope { theta, theta_sliding, linear: None, llama3: None };
    match kind.as_str() {
        "default" => {}
        kind if !mapping.rope_types.contains(&kind) => bail!(
            Unsupported,
            "{CONFIG}: {key}.rope_type is {kind:?}; {} computes default, {}",
            arch.name,
            mapping.rope_types.join(", ")
        ),
        "linear" => rope.linear = Some(in_range(&format!("{key}.factor"), required("factor")?, 1e-6..=1e6)?),
        _ => {
            let llama3 = Llama3 {
                factor: required("factor")? as f32,
                low_freq_factor: required("low_freq_factor")? as f32,
                high_freq_factor: required("high_freq_factor")? as f32,
                original_context: required("original_max_position_embeddings")? as f32,
            };
            if llama3.low_freq_factor >= llama3.high_freq_factor {
                bail!(
                    InvalidModel,
                    "{CONFIG}: {key}.low_freq_factor {} is not below high_freq_factor {}",
                    llama3.low_freq_factor,
                    llama3.high_freq_factor
                );
            }
            rope.llama3 = Some(llama3);
        }
    }
    Ok(rope)
}
