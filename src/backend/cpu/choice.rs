//! Which kernel does what, for people who ask: nothing falls back silently.

use super::bindings as c;
use super::kernels::{Acts, Kernel, KernelSet, panel_bytes, table};
use crate::dtype::DType;
use crate::error::Result;

/// Inputs of a row that are whole blocks of every format.
const WHOLE_BLOCKS: usize = 1 << 12;
/// A panel above this many times the file's size is an expanded one.
const EXPANDED: f64 = 1.04;

/// The kernels that multiply by weights of one format, by number of activation rows.
#[derive(Clone, Copy, Debug)]
pub struct MatmulChoice {
    /// One row: a generated token.
    pub one_row: Kernel,
    /// From two to `n_few` rows: parallel sequences, speculation. The weights are read once.
    pub few_rows: Kernel,
    /// Where few rows end.
    pub n_few: usize,
    /// More rows: prompts.
    pub many_rows: Kernel,
    /// Prompts in native numerics; `None` where they are computed like any others.
    pub native: Option<Kernel>,
}

impl KernelSet {
    /// The kernels for weights of a format.
    ///
    /// Errors: `Unsupported` if the format has none.
    pub fn matmul_choice(&self, dtype: DType) -> Result<MatmulChoice> {
        let kernel = self.weight(c::ORIBI_OP_MATMUL, dtype)?;
        let (limit, below) = (kernel.few_rows(), kernel_below(kernel).unwrap_or(kernel));
        Ok(MatmulChoice {
            one_row: if limit >= 1 { below } else { kernel },
            few_rows: if limit >= 2 { below } else { kernel },
            n_few: if limit >= 2 { limit } else { kernel.max_rows() },
            many_rows: kernel,
            native: self.native(c::ORIBI_OP_MATMUL, dtype),
        })
    }

    /// The kernels of every other operation, in the order of the table; of the quantizers those whose results the products read.
    pub fn other_kernels(&self) -> Vec<Kernel> {
        let reads = |acts: Acts| self.chosen().iter().any(|k| k.op() == c::ORIBI_OP_MATMUL && k.acts() == acts);
        let is_other = |kernel: &&Kernel| match kernel.op() {
            c::ORIBI_OP_MATMUL => false,
            c::ORIBI_OP_QUANTIZE_ACTS => reads(kernel.acts()),
            _ => true,
        };
        self.chosen().iter().filter(is_other).copied().collect()
    }
}

/// The kernel that `kernel` hands few rows to: the same product of the same activations, of the next lower instruction set.
fn kernel_below(kernel: Kernel) -> Option<Kernel> {
    let same = |k: &&Kernel| k.op() == kernel.op() && k.dtype() == kernel.dtype() && k.acts() == kernel.acts();
    table().iter().filter(same).filter(|k| k.isa() < kernel.isa()).max_by_key(|k| k.isa()).copied()
}

impl Kernel {
    /// What it computes, for people.
    pub fn operation(self) -> &'static str {
        match self.op() {
            c::ORIBI_OP_PACK => "pack",
            c::ORIBI_OP_UNPACK_ROW => "unpack_row",
            c::ORIBI_OP_QUANTIZE_ACTS => "quantize_acts",
            c::ORIBI_OP_MATMUL => "matmul",
            c::ORIBI_OP_RMS_NORM => "rms_norm",
            c::ORIBI_OP_ROPE => "rope",
            c::ORIBI_OP_GLU => "glu",
            c::ORIBI_OP_ADD => "add",
            c::ORIBI_OP_SCALE => "scale",
            c::ORIBI_OP_SOFTCAP => "softcap",
            c::ORIBI_OP_KV_STORE => "kv_store",
            c::ORIBI_OP_ATTENTION => "attention",
            c::ORIBI_OP_ATTENTION_MERGE => "attention_merge",
            _ => "unnamed",
        }
    }
}

/// What packing makes of a format's size, in bits per weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedBits {
    /// In the file.
    pub file: f64,
    /// In memory.
    pub packed: f64,
}

impl PackedBits {
    /// Those of a format; `None` where it cannot be packed.
    pub fn of(dtype: DType) -> Option<PackedBits> {
        let per_weight = |n_bytes: usize, n_rows: usize| (8 * n_bytes) as f64 / (n_rows * WHOLE_BLOCKS) as f64;
        let file = per_weight(dtype.row_bytes(WHOLE_BLOCKS)?, 1);
        Some(PackedBits { file, packed: per_weight(panel_bytes(dtype, WHOLE_BLOCKS)?, c::ORIBI_PANEL_ROWS as usize) })
    }

    /// Whether packing expands the file's codes to others that are faster to read.
    pub fn is_expanded(&self) -> bool {
        self.packed > EXPANDED * self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::Isa;
    use crate::dtype::TABLE;
    use crate::quant;

    #[test]
    fn every_format_that_can_be_dequantized_has_kernels_on_every_instruction_set() {
        for isa in Isa::ALL.iter().copied().filter(|isa| isa.is_available()) {
            let kernels = KernelSet::new(isa).unwrap();
            for row in TABLE {
                let choice = kernels.matmul_choice(row.dtype);
                assert_eq!(choice.is_ok(), quant::is_supported(row.dtype), "{}", row.name);
                assert_eq!(PackedBits::of(row.dtype).is_some(), choice.is_ok(), "{}", row.name);
                let Ok(choice) = choice else { continue };
                for kernel in [choice.one_row, choice.few_rows, choice.many_rows] {
                    assert_eq!((kernel.dtype(), kernel.operation()), (Some(row.dtype), "matmul"));
                    assert!(kernel.isa() <= isa && !kernel.is_native(), "{kernel:?}");
                    assert_eq!(kernel.acts(), choice.many_rows.acts(), "{kernel:?} takes other activations");
                }
                assert!(choice.native.is_none_or(|kernel| kernel.is_native() && kernel.isa() <= isa));
                // A matrix unit hands over what is too little for it.
                let hands_over = choice.many_rows.few_rows() > 0;
                assert_eq!(choice.one_row.isa() < choice.many_rows.isa(), hands_over, "{isa} {}", row.name);
            }
            assert!(kernels.other_kernels().iter().all(|kernel| kernel.operation() != "unnamed"));
        }
    }

    #[test]
    fn formats_that_name_points_are_expanded_and_no_others() {
        let expanded: Vec<_> =
            TABLE.iter().filter(|row| PackedBits::of(row.dtype).is_some_and(|bits| bits.is_expanded())).collect();
        let names: Vec<_> = expanded.iter().map(|row| row.name).collect();
        assert_eq!(names, ["IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ3_S", "IQ2_S", "IQ1_M", "TQ1_0"]);
        assert_eq!(PackedBits::of(DType::IQ2_XXS), Some(PackedBits { file: 2.0625, packed: 3.375 }));
    }
}
