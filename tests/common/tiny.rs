//! Small models with random weights and a small valid vocabulary, made in memory.

use half::f16;
use oribi::dtype::DType;
use oribi::gguf::GgufBuilder;

/// Every format that weights are computed in.
#[allow(dead_code, reason = "some test binaries make models of a few formats only")]
pub const FORMATS: &[DType] = &[
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::Q8_1,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::Q8_K,
    DType::IQ4_NL,
    DType::IQ4_XS,
    DType::MXFP4,
    DType::IQ1_S,
    DType::IQ1_M,
    DType::IQ2_XXS,
    DType::IQ2_XS,
    DType::IQ2_S,
    DType::IQ3_XXS,
    DType::IQ3_S,
    DType::TQ1_0,
    DType::TQ2_0,
];

/// The sizes of a tiny model. Two query heads share a key head.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub arch: &'static str,
    pub dtype: DType,
    pub dim: usize,
    pub n_blocks: usize,
    pub head_dim: usize,
    pub ffn_dim: usize,
    pub n_vocab: usize,
}

impl Shape {
    /// A model whose rows are whole blocks of every format.
    pub fn new(arch: &'static str, dtype: DType) -> Shape {
        Shape { arch, dtype, dim: 256, n_blocks: 7, head_dim: 64, ffn_dim: 512, n_vocab: 300 }
    }
}

/// A small deterministic generator (SplitMix64, Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Metadata and tensors of a tiny model; a test may change either before [`write`].
pub struct Tiny {
    pub builder: GgufBuilder,
    pub tensors: Vec<(String, DType, Vec<u64>)>,
}

/// The parts of a tiny model.
pub fn tiny(shape: Shape) -> Tiny {
    let mut b = GgufBuilder::new();
    let key = |name: &str| format!("{}.{name}", shape.arch);
    b.set("general.architecture", shape.arch).unwrap();
    b.set(&key("block_count"), shape.n_blocks as u32).unwrap();
    b.set(&key("context_length"), 1024u32).unwrap();
    b.set(&key("embedding_length"), shape.dim as u32).unwrap();
    b.set(&key("feed_forward_length"), shape.ffn_dim as u32).unwrap();
    b.set(&key("attention.head_count"), 4u32).unwrap();
    b.set(&key("attention.head_count_kv"), 2u32).unwrap();
    b.set(&key("attention.key_length"), shape.head_dim as u32).unwrap();
    b.set(&key("attention.value_length"), shape.head_dim as u32).unwrap();
    b.set(&key("attention.layer_norm_rms_epsilon"), 1e-5f32).unwrap();
    if shape.arch == "gemma3" {
        b.set(&key("attention.sliding_window"), 20u32).unwrap();
        b.set(&key("rope.freq_base"), 1e6f32).unwrap();
    }
    set_vocabulary(&mut b, shape.n_vocab);

    let (dim, ffn) = (shape.dim as u64, shape.ffn_dim as u64);
    let (q, kv) = (4 * shape.head_dim as u64, 2 * shape.head_dim as u64);
    let mut tensors = vec![("token_embd.weight".to_string(), shape.dtype, vec![dim, shape.n_vocab as u64])];
    for i in 0..shape.n_blocks {
        let mut add =
            |part: &str, dtype, dims: &[u64]| tensors.push((format!("blk.{i}.{part}.weight"), dtype, dims.to_vec()));
        add("attn_norm", DType::F32, &[dim]);
        add("attn_q", shape.dtype, &[dim, q]);
        add("attn_k", shape.dtype, &[dim, kv]);
        add("attn_v", shape.dtype, &[dim, kv]);
        add("attn_output", shape.dtype, &[q, dim]);
        add("ffn_norm", DType::F32, &[dim]);
        add("ffn_gate", shape.dtype, &[dim, ffn]);
        add("ffn_up", shape.dtype, &[dim, ffn]);
        add("ffn_down", shape.dtype, &[ffn, dim]);
        if shape.arch == "gemma3" {
            add("attn_q_norm", DType::F32, &[shape.head_dim as u64]);
            add("attn_k_norm", DType::F32, &[shape.head_dim as u64]);
            add("post_attention_norm", DType::F32, &[dim]);
            add("post_ffw_norm", DType::F32, &[dim]);
        }
        if shape.arch == "qwen2" {
            for (part, n) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
                tensors.push((format!("blk.{i}.{part}.bias"), DType::F32, vec![n]));
            }
        }
    }
    tensors.push(("output_norm.weight".to_string(), DType::F32, vec![dim]));
    Tiny { builder: b, tensors }
}

/// A SentencePiece vocabulary of the 256 bytes and a few control and normal tokens.
pub fn set_vocabulary(b: &mut GgufBuilder, n_vocab: usize) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend((tokens.len()..n_vocab).map(|i| format!("\u{2581}w{i}")));
    tokens.truncate(n_vocab);
    let kinds: Vec<i32> = (0..n_vocab)
        .map(|i| {
            if i == 0 {
                2
            } else if i < 3 {
                3
            } else if i < 259 {
                6
            } else {
                1
            }
        })
        .collect();
    let scores: Vec<f32> = (0..n_vocab).map(|i| -(i as f32)).collect();
    b.set("tokenizer.ggml.model", "llama").unwrap();
    b.set("tokenizer.ggml.tokens", tokens.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    b.set("tokenizer.ggml.scores", scores).unwrap();
    b.set("tokenizer.ggml.token_type", kinds).unwrap();
    b.set("tokenizer.ggml.bos_token_id", 1u32).unwrap();
    b.set("tokenizer.ggml.eos_token_id", 2u32).unwrap();
}

/// The file of a tiny model, with random weights.
pub fn write(tiny: Tiny) -> Vec<u8> {
    let mut builder = tiny.builder;
    for (name, dtype, shape) in &tiny.tensors {
        builder.add_tensor(name, *dtype, shape).unwrap();
    }
    let mut writer = builder.write_to(Vec::new()).unwrap();
    let mut random = Random(1);
    for (name, dtype, shape) in &tiny.tensors {
        let n_elems = shape.iter().product::<u64>() as usize;
        writer.write_tensor(name, &random_data(*dtype, n_elems, &mut random)).unwrap();
    }
    writer.finish().unwrap()
}

/// Where the float16 (or other) scales of a block lie, with the largest magnitude that keeps weights near 0.05.
fn scales(dtype: DType) -> (&'static [usize], f32) {
    match dtype {
        DType::Q4_0 | DType::IQ4_NL => (&[0], 0.008),
        DType::Q4_1 => (&[0, 2], 0.008),
        DType::Q5_0 => (&[0], 0.004),
        DType::Q5_1 => (&[0, 2], 0.004),
        DType::Q8_0 | DType::Q8_1 => (&[0], 0.0006),
        DType::Q2_K => (&[80, 82], 0.003),
        DType::Q3_K => (&[108], 0.0006),
        DType::Q4_K | DType::Q5_K => (&[0, 2], 0.0001),
        DType::Q6_K => (&[208], 0.00003),
        DType::IQ4_XS => (&[0], 0.00004),
        DType::IQ1_S => (&[0], 0.01),
        DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S => (&[0], 0.001),
        DType::IQ3_XXS => (&[0], 0.0005),
        DType::IQ3_S => (&[0], 0.0005),
        DType::TQ1_0 => (&[52], 0.05),
        DType::TQ2_0 => (&[64], 0.05),
        _ => (&[], 0.05),
    }
}

/// Random blocks of a format whose values stay small.
pub fn random_data(dtype: DType, n_elems: usize, random: &mut Random) -> Vec<u8> {
    let n_bytes = dtype.row_bytes(n_elems).unwrap();
    let (places, scale) = scales(dtype);
    let values = || (0..n_elems).map(|_| ());
    match dtype {
        DType::F32 => values().flat_map(|()| (scale * random.unit() + 0.1).to_le_bytes()).collect(),
        DType::F16 => values().flat_map(|()| f16::from_f32(scale * random.unit()).to_le_bytes()).collect(),
        DType::BF16 => values().flat_map(|()| half::bf16::from_f32(scale * random.unit()).to_le_bytes()).collect(),
        _ => {
            let mut data: Vec<u8> = (0..n_bytes).map(|_| random.next() as u8).collect();
            for block in data.chunks_mut(dtype.block_bytes()) {
                for &at in places {
                    block[at..at + 2]
                        .copy_from_slice(&f16::from_f32(scale * (1.5 + 0.5 * random.unit())).to_le_bytes());
                }
                match dtype {
                    // An exponent near 2^-6.
                    DType::MXFP4 => block[0] = 120 + (block[0] % 3),
                    // A scale of 2^-7: its nibbles are the upper ones of four bytes, from the lowest on.
                    DType::IQ1_M => [(49, 0), (51, 0), (53, 0), (55, 2)].iter().for_each(|&(at, nibble)| {
                        block[at] = block[at] & 15 | nibble << 4;
                    }),
                    DType::Q8_K => block[..4].copy_from_slice(&(0.0005f32 * (1.5 + 0.5 * random.unit())).to_le_bytes()),
                    _ => {}
                }
            }
            data
        }
    }
}
