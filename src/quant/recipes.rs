//! Quantization levels: which tensor of a file gets which format.
//!
//! A level such as Q4_K_M is a base format and a few exceptions, tensors that are worth more (or fewer) bits. [`RECIPES`]
//! states the levels that the field knows, as data; [`Recipe::dtype_of`] reads them. The levels and their exceptions are those
//! of llama.cpp's quantizer (`llama-quant.cpp`), so that a name means the same file here and there:
//!
//! 1. The output head, or the embeddings where they serve as the head, has its own format; embeddings that do not serve as
//!    the head have theirs.
//! 2. For the other matrices the first matching exception decides, else the base format. Exceptions look at what a matrix
//!    does, at how deep its block lies, and at facts of the model.
//! 3. A row that is not whole blocks of the format gets the nearest format with blocks of 32, and F16 where that does not
//!    fit either.
//!
//! Vectors (norms, biases) are no matrices and stay float32.

use crate::dtype::DType;
use crate::dtype::DType::*;

/// What a matrix does, from its tensor's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `token_embd.weight`.
    TokenEmbd,
    /// `output.weight`.
    Output,
    /// `blk.N.attn_q.weight`.
    AttnQ,
    /// `blk.N.attn_k.weight`.
    AttnK,
    /// `blk.N.attn_v.weight`.
    AttnV,
    /// `blk.N.attn_output.weight`.
    AttnOutput,
    /// `blk.N.ffn_gate.weight`.
    FfnGate,
    /// `blk.N.ffn_up.weight`.
    FfnUp,
    /// `blk.N.ffn_down.weight`.
    FfnDown,
}

impl Role {
    /// The role of a tensor and, for a matrix of a block, the block's number; `None` for any other name.
    pub fn of_tensor(name: &str) -> Option<(Role, usize)> {
        match name {
            "token_embd.weight" => return Some((Role::TokenEmbd, 0)),
            "output.weight" => return Some((Role::Output, 0)),
            _ => {}
        }
        let (block, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let role = match part.strip_suffix(".weight")? {
            "attn_q" => Role::AttnQ,
            "attn_k" => Role::AttnK,
            "attn_v" => Role::AttnV,
            "attn_output" => Role::AttnOutput,
            "ffn_gate" => Role::FfnGate,
            "ffn_up" => Role::FfnUp,
            "ffn_down" => Role::FfnDown,
            _ => return None,
        };
        Some((role, block.parse().ok()?))
    }
}

/// What a level must know of the model.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Blocks of the model.
    pub n_blocks: usize,
    /// Query heads that share a key head.
    pub heads_per_kv_head: usize,
    /// The embeddings are the output head, too.
    pub tied_embeddings: bool,
    /// The quantizer weighs its errors by an importance matrix.
    pub has_importance: bool,
}

/// The blocks that an exception is about, among `n`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Blocks {
    All,
    /// The first so many.
    First(usize),
    /// The first 1/16, the first 1/8, rounded down.
    Sixteenth,
    Eighth,
    /// The first and the last eighth, and every third of those between.
    Sensitive,
    /// All but the first and the last eighth.
    Middle,
}

impl Blocks {
    fn contain(self, i: usize, n: usize) -> bool {
        let (eighth, last_eighth) = (n / 8, 7 * n / 8);
        match self {
            Blocks::All => true,
            Blocks::First(count) => i < count,
            Blocks::Sixteenth => i < n / 16,
            Blocks::Eighth => i < eighth,
            Blocks::Sensitive => i < eighth || i >= last_eighth || (i - eighth) % 3 == 2,
            Blocks::Middle => i >= eighth && i < last_eighth,
        }
    }
}

/// The models that an exception is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Models {
    Any,
    /// Four or more query heads share a key head, so that values are small and precious.
    SharedValues,
    /// Models of the 70B shape: 80 blocks, shared key heads.
    SharedValues70B,
    /// Quantized with an importance matrix, and without.
    Weighed,
    NotWeighed,
}

impl Models {
    fn contain(self, facts: &Facts) -> bool {
        match self {
            Models::Any => true,
            Models::SharedValues => facts.heads_per_kv_head >= 4,
            Models::SharedValues70B => facts.n_blocks == 80 && facts.heads_per_kv_head > 1,
            Models::Weighed => facts.has_importance,
            Models::NotWeighed => !facts.has_importance,
        }
    }
}

/// Matrices of a role, in some blocks of some models, get a format of their own.
#[derive(Clone, Copy, Debug)]
struct Exception(Role, Blocks, Models, DType);

/// A quantization level.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Its name, as the field writes it.
    pub name: &'static str,
    /// The number of the level in `general.file_type`; `None` for a pure format that is no level of the field.
    pub file_type: Option<u32>,
    /// The format of every matrix without an exception.
    pub base: DType,
    output: DType,
    embeddings: DType,
    exceptions: &'static [Exception],
}

const fn recipe(
    name: &'static str,
    file_type: u32,
    base: DType,
    [output, embeddings]: [DType; 2],
    exceptions: &'static [Exception],
) -> Recipe {
    Recipe { name, file_type: Some(file_type), base, output, embeddings, exceptions }
}

use Blocks::{All, Eighth, First, Middle, Sensitive, Sixteenth};
use Models::{Any, NotWeighed, SharedValues, SharedValues70B, Weighed};
use Role::{AttnK, AttnOutput, AttnQ, AttnV, FfnDown, FfnGate, FfnUp};

/// The values of 70B models, where a level gives them 3 or 4 bits otherwise.
const VALUES_70B: Exception = Exception(AttnV, All, SharedValues70B, Q5_K);

/// The exceptions of the levels around 2 bits: what values and the first `ffn_down` get, and what `attn_output`.
const fn two_bits(precious: DType, attn_output: DType) -> [Exception; 4] {
    [
        Exception(AttnV, All, SharedValues, Q4_K),
        Exception(AttnV, All, Any, precious),
        Exception(FfnDown, Eighth, Any, precious),
        Exception(AttnOutput, All, Any, attn_output),
    ]
}

/// Every level, in order of `general.file_type`.
#[rustfmt::skip]
pub static RECIPES: &[Recipe] = &[
    recipe("F32", 0, F32, [F32, F32], &[]),
    recipe("F16", 1, F16, [F16, F16], &[]),
    recipe("Q4_0", 2, Q4_0, [Q6_K, Q4_0], &[Exception(FfnDown, Eighth, Weighed, Q4_1)]),
    recipe("Q4_1", 3, Q4_1, [Q6_K, Q4_1], &[]),
    recipe("Q8_0", 7, Q8_0, [Q8_0, Q8_0], &[]),
    recipe("Q5_0", 8, Q5_0, [Q6_K, Q5_0], &[Exception(FfnDown, Eighth, Weighed, Q5_1)]),
    recipe("Q5_1", 9, Q5_1, [Q6_K, Q5_1], &[]),
    recipe("Q2_K", 10, Q2_K, [Q6_K, Q2_K], &[
        VALUES_70B,
        Exception(AttnV, All, SharedValues, Q4_K),
        Exception(AttnV, All, Any, Q3_K),
        Exception(FfnDown, All, Any, Q3_K),
        Exception(AttnOutput, All, Any, Q3_K),
    ]),
    recipe("Q3_K_S", 11, Q3_K, [Q6_K, Q3_K], &[VALUES_70B]),
    recipe("Q3_K_M", 12, Q3_K, [Q6_K, Q3_K], &[
        VALUES_70B,
        Exception(AttnV, First(2), Any, Q5_K),
        Exception(AttnV, All, Any, Q4_K),
        Exception(FfnDown, Sixteenth, Any, Q5_K),
        Exception(FfnDown, All, Any, Q4_K),
        Exception(AttnOutput, All, Any, Q4_K),
    ]),
    recipe("Q3_K_L", 13, Q3_K, [Q6_K, Q3_K], &[
        Exception(AttnV, All, Any, Q5_K),
        Exception(FfnDown, All, Any, Q5_K),
        Exception(AttnOutput, All, Any, Q5_K),
    ]),
    recipe("Q4_K_S", 14, Q4_K, [Q6_K, Q4_K], &[
        VALUES_70B,
        Exception(AttnV, First(4), Any, Q5_K),
        Exception(FfnDown, Eighth, Any, Q5_K),
    ]),
    recipe("Q4_K_M", 15, Q4_K, [Q6_K, Q4_K], &[
        Exception(AttnV, Sensitive, Any, Q6_K),
        VALUES_70B,
        Exception(FfnDown, Sensitive, Any, Q6_K),
    ]),
    recipe("Q5_K_S", 16, Q5_K, [Q6_K, Q5_K], &[]),
    recipe("Q5_K_M", 17, Q5_K, [Q6_K, Q5_K], &[
        Exception(AttnV, Sensitive, Any, Q6_K),
        Exception(FfnDown, Sensitive, Any, Q6_K),
    ]),
    recipe("Q6_K", 18, Q6_K, [Q6_K, Q6_K], &[]),
    recipe("IQ2_XXS", 19, IQ2_XXS, [Q5_K, Q2_K], &two_bits(Q2_K, IQ2_XXS)),
    recipe("IQ2_XS", 20, IQ2_XS, [Q5_K, Q2_K], &two_bits(Q2_K, IQ2_XS)),
    recipe("Q2_K_S", 21, Q2_K, [Q6_K, Q2_K], &[
        VALUES_70B,
        Exception(AttnV, All, SharedValues, Q4_K),
        Exception(FfnDown, Eighth, Any, Q4_K),
    ]),
    recipe("IQ3_XS", 22, IQ3_S, [Q6_K, IQ3_S], &[
        VALUES_70B,
        Exception(AttnV, All, SharedValues, Q4_K),
        Exception(AttnK, All, Any, IQ3_XXS),
        Exception(AttnQ, All, Any, IQ3_XXS),
        Exception(FfnGate, Middle, Any, IQ3_XXS),
        Exception(FfnUp, Middle, Any, IQ3_XXS),
    ]),
    recipe("IQ3_XXS", 23, IQ3_XXS, [Q5_K, IQ3_S], &[
        VALUES_70B,
        Exception(AttnV, All, SharedValues, Q4_K),
        Exception(AttnV, All, NotWeighed, IQ3_S),
        Exception(AttnK, All, Any, IQ2_S),
        Exception(AttnQ, All, Any, IQ2_S),
        Exception(FfnDown, Eighth, NotWeighed, Q4_K),
        Exception(FfnDown, All, NotWeighed, Q3_K),
        Exception(AttnOutput, All, Any, IQ3_S),
    ]),
    recipe("IQ1_S", 24, IQ1_S, [Q5_K, Q2_K], &two_bits(Q2_K, IQ2_XXS)),
    recipe("IQ4_NL", 25, IQ4_NL, [Q6_K, IQ4_NL], &[
        Exception(AttnV, All, SharedValues, Q5_K),
        Exception(FfnDown, Eighth, NotWeighed, Q5_K),
    ]),
    recipe("IQ3_S", 26, IQ3_S, [Q6_K, IQ3_S], &[VALUES_70B, Exception(AttnV, All, SharedValues, Q4_K)]),
    recipe("IQ3_M", 27, IQ3_S, [Q6_K, IQ3_S], &[
        VALUES_70B,
        Exception(AttnV, All, Any, Q4_K),
        Exception(FfnDown, Eighth, Any, Q4_K),
        Exception(AttnOutput, All, Any, Q4_K),
    ]),
    recipe("IQ2_S", 28, IQ2_XS, [Q5_K, IQ3_S], &two_bits(IQ3_S, IQ3_S)),
    recipe("IQ2_M", 29, IQ2_S, [Q5_K, IQ3_S], &two_bits(IQ3_S, IQ3_S)),
    recipe("IQ4_XS", 30, IQ4_XS, [Q6_K, IQ4_XS], &[
        Exception(AttnV, All, SharedValues, Q5_K),
        Exception(FfnDown, Eighth, NotWeighed, Q5_K),
    ]),
    recipe("IQ1_M", 31, IQ1_M, [Q5_K, Q2_K], &two_bits(Q2_K, IQ2_XXS)),
    recipe("BF16", 32, BF16, [BF16, BF16], &[]),
    recipe("TQ1_0", 36, TQ1_0, [Q6_K, Q4_K], &[]),
    recipe("TQ2_0", 37, TQ2_0, [Q6_K, Q4_K], &[]),
];

impl Recipe {
    /// The level with a name, whatever its case; a format that is no level by itself (Q4_K, MXFP4) is pure: every matrix has it.
    pub fn find(name: &str) -> Option<Recipe> {
        let level = RECIPES.iter().find(|recipe| recipe.name.eq_ignore_ascii_case(name));
        level.copied().or_else(|| DType::from_name(name).map(Recipe::pure))
    }

    /// Every matrix in one format.
    pub fn pure(dtype: DType) -> Recipe {
        let level = RECIPES.iter().find(|recipe| recipe.name == dtype.name());
        Recipe {
            name: dtype.name(),
            file_type: level.and_then(|level| level.file_type),
            base: dtype,
            output: dtype,
            embeddings: dtype,
            exceptions: &[],
        }
    }

    /// The format of a matrix: `role` and `block` as of [`Role::of_tensor`], rows of `k` elements.
    pub fn dtype_of(&self, role: Role, block: usize, k: usize, facts: &Facts) -> DType {
        let is_head = role == Role::Output || (role == Role::TokenEmbd && facts.tied_embeddings);
        if is_head && self.base != self.output && !k.is_multiple_of(self.base.block_len()) {
            return fit(Q8_0, k);
        }
        let dtype = match role {
            _ if is_head => self.output,
            Role::TokenEmbd => self.embeddings,
            _ => self.exception(role, block, facts).unwrap_or(self.base),
        };
        fit(dtype, k)
    }

    fn exception(&self, role: Role, block: usize, facts: &Facts) -> Option<DType> {
        let applies = |e: &&Exception| e.0 == role && e.1.contain(block, facts.n_blocks) && e.2.contain(facts);
        self.exceptions.iter().find(applies).map(|e| e.3)
    }
}

/// The format for rows of `k` elements: itself, the nearest with blocks of 32, or F16.
pub(crate) fn fit(dtype: DType, k: usize) -> DType {
    let fits = |dtype: DType| k.is_multiple_of(dtype.block_len());
    if fits(dtype) {
        return dtype;
    }
    let smaller = match dtype {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        Q2_K | Q3_K | TQ1_0 | TQ2_0 => Q4_0,
        Q4_K => Q5_0,
        Q5_K => Q5_1,
        Q6_K | Q8_K => Q8_0,
        _ => F16,
    };
    if fits(smaller) { smaller } else { F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_1B: Facts = Facts { n_blocks: 22, heads_per_kv_head: 8, tied_embeddings: false, has_importance: false };

    fn level(name: &str) -> Recipe {
        Recipe::find(name).unwrap()
    }

    fn blocks_with(recipe: &Recipe, role: Role, dtype: DType, facts: &Facts) -> Vec<usize> {
        (0..facts.n_blocks).filter(|&i| recipe.dtype_of(role, i, 2048, facts) == dtype).collect()
    }

    #[test]
    fn names_and_file_types_are_unique_and_in_order() {
        assert!(RECIPES.windows(2).all(|w| w[0].file_type < w[1].file_type));
        for recipe in RECIPES {
            assert_eq!(Recipe::find(&recipe.name.to_lowercase()).unwrap().file_type, recipe.file_type);
        }
        assert!(Recipe::find("Q9_X").is_none());
        let pure = level("Q4_K");
        assert_eq!((pure.base, pure.output, pure.file_type), (Q4_K, Q4_K, None));
        assert_eq!(Recipe::pure(Q4_0).file_type, Some(2));
    }

    /// The blocks of a 22-block model as llama.cpp's quantizer chose them for TinyLlama: the first 2, the last 3, and every
    /// third between.
    #[test]
    fn q4_k_m_gives_sensitive_blocks_more_bits() {
        let q4_k_m = level("Q4_K_M");
        for role in [Role::AttnV, Role::FfnDown] {
            let more = blocks_with(&q4_k_m, role, Q6_K, &LLAMA_1B);
            assert_eq!(more, [0, 1, 4, 7, 10, 13, 16, 19, 20, 21], "{role:?}");
        }
        assert_eq!(q4_k_m.dtype_of(Role::AttnQ, 0, 2048, &LLAMA_1B), Q4_K);
        assert_eq!(q4_k_m.dtype_of(Role::Output, 0, 2048, &LLAMA_1B), Q6_K);
        assert_eq!(q4_k_m.dtype_of(Role::TokenEmbd, 0, 2048, &LLAMA_1B), Q4_K);
        let tied = Facts { tied_embeddings: true, ..LLAMA_1B };
        assert_eq!(q4_k_m.dtype_of(Role::TokenEmbd, 0, 2048, &tied), Q6_K);
    }

    #[test]
    fn the_first_matching_exception_decides() {
        let q3 = level("Q3_K_M");
        assert_eq!(blocks_with(&q3, Role::AttnV, Q5_K, &LLAMA_1B), [0, 1]);
        assert_eq!(blocks_with(&q3, Role::FfnDown, Q5_K, &LLAMA_1B), [0]);
        assert_eq!(q3.dtype_of(Role::AttnV, 9, 2048, &LLAMA_1B), Q4_K);
        let big = Facts { n_blocks: 80, heads_per_kv_head: 8, ..LLAMA_1B };
        assert_eq!(q3.dtype_of(Role::AttnV, 9, 8192, &big), Q5_K);
        assert_eq!(level("Q4_K_M").dtype_of(Role::AttnV, 10, 8192, &big), Q5_K);
        assert_eq!(level("Q4_K_M").dtype_of(Role::AttnV, 12, 8192, &big), Q6_K);
        assert_eq!(blocks_with(&level("IQ3_XS"), Role::FfnUp, IQ3_S, &LLAMA_1B), [0, 1, 19, 20, 21]);
    }

    #[test]
    fn an_importance_matrix_changes_what_is_precious() {
        let weighed = Facts { has_importance: true, ..LLAMA_1B };
        assert_eq!(blocks_with(&level("Q4_0"), Role::FfnDown, Q4_1, &weighed), [0, 1]);
        assert!(blocks_with(&level("Q4_0"), Role::FfnDown, Q4_1, &LLAMA_1B).is_empty());
        assert_eq!(blocks_with(&level("IQ4_XS"), Role::FfnDown, Q5_K, &LLAMA_1B), [0, 1]);
        assert!(blocks_with(&level("IQ4_XS"), Role::FfnDown, Q5_K, &weighed).is_empty());
        let unshared = Facts { heads_per_kv_head: 1, ..weighed };
        assert_eq!(level("IQ3_XXS").dtype_of(Role::AttnV, 0, 2048, &unshared), IQ3_XXS);
    }

    #[test]
    fn rows_that_are_not_whole_blocks_get_smaller_blocks() {
        let cases = [("Q4_K_M", Q5_0), ("Q6_K", Q8_0), ("Q2_K", Q4_0), ("IQ3_S", IQ4_NL), ("Q8_0", Q8_0)];
        for (name, expected) in cases {
            assert_eq!(level(name).dtype_of(Role::AttnQ, 0, 576, &LLAMA_1B), expected, "{name}");
            assert_eq!(level(name).dtype_of(Role::AttnQ, 0, 36, &LLAMA_1B), F16, "{name}");
            assert_eq!(level(name).dtype_of(Role::Output, 0, 576, &LLAMA_1B), Q8_0, "{name}");
        }
    }

    #[test]
    fn roles_come_from_names() {
        assert_eq!(Role::of_tensor("blk.12.ffn_down.weight"), Some((Role::FfnDown, 12)));
        assert_eq!(Role::of_tensor("output.weight"), Some((Role::Output, 0)));
        for other in
            ["blk.1.attn_norm.weight", "blk.1.attn_q.bias", "blk.x.attn_q.weight", "blk.1", "output_norm.weight"]
        {
            assert_eq!(Role::of_tensor(other), None, "{other}");
        }
    }
}
