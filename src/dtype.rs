//! The one table of tensor formats: every type that a GGUF file can name.
//!
//! Everything that must know a format's identity, name or size derives it from [`TABLE`]. Source of the figures:
//! `ggml.h` and `ggml-common.h` of ggml (type ids and block structures); the `gguf` Python package lists the same sizes.

use std::fmt;

/// Declares [`DType`] and [`TABLE`] together, so that a format is added by one line.
macro_rules! dtypes {
    ($($variant:ident = $id:literal, $name:literal, $block_len:literal, $block_bytes:literal;)*) => {
        /// The format of a tensor's elements. The discriminant is the type id in a GGUF file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(non_camel_case_types, reason = "the field's own spelling of the formats")]
        #[repr(u32)]
        pub enum DType { $(
            #[doc = concat!("`", $name, "`: ", $block_len, " elements in ", $block_bytes, " bytes.")]
            $variant = $id,
        )* }

        /// One row per format, in order of id.
        pub static TABLE: &[DTypeInfo] = &[ $(
            DTypeInfo { dtype: DType::$variant, id: $id, name: $name, block_len: $block_len, block_bytes: $block_bytes },
        )* ];
    };
}

/// One row of [`TABLE`].
#[derive(Clone, Copy, Debug)]
pub struct DTypeInfo {
    /// The format.
    pub dtype: DType,
    /// Its type id in a GGUF file.
    pub id: u32,
    /// Its name as the field writes it.
    pub name: &'static str,
    /// Elements per block; 1 for formats without blocks.
    pub block_len: usize,
    /// Bytes per block.
    pub block_bytes: usize,
}

dtypes! {
    F32 = 0, "F32", 1, 4;
    F16 = 1, "F16", 1, 2;
    Q4_0 = 2, "Q4_0", 32, 18;
    Q4_1 = 3, "Q4_1", 32, 20;
    Q5_0 = 6, "Q5_0", 32, 22;
    Q5_1 = 7, "Q5_1", 32, 24;
    Q8_0 = 8, "Q8_0", 32, 34;
    Q8_1 = 9, "Q8_1", 32, 36;
    Q2_K = 10, "Q2_K", 256, 84;
    Q3_K = 11, "Q3_K", 256, 110;
    Q4_K = 12, "Q4_K", 256, 144;
    Q5_K = 13, "Q5_K", 256, 176;
    Q6_K = 14, "Q6_K", 256, 210;
    Q8_K = 15, "Q8_K", 256, 292;
    IQ2_XXS = 16, "IQ2_XXS", 256, 66;
    IQ2_XS = 17, "IQ2_XS", 256, 74;
    IQ3_XXS = 18, "IQ3_XXS", 256, 98;
    IQ1_S = 19, "IQ1_S", 256, 50;
    IQ4_NL = 20, "IQ4_NL", 32, 18;
    IQ3_S = 21, "IQ3_S", 256, 110;
    IQ2_S = 22, "IQ2_S", 256, 82;
    IQ4_XS = 23, "IQ4_XS", 256, 136;
    I8 = 24, "I8", 1, 1;
    I16 = 25, "I16", 1, 2;
    I32 = 26, "I32", 1, 4;
    I64 = 27, "I64", 1, 8;
    F64 = 28, "F64", 1, 8;
    IQ1_M = 29, "IQ1_M", 256, 56;
    BF16 = 30, "BF16", 1, 2;
    TQ1_0 = 34, "TQ1_0", 256, 54;
    TQ2_0 = 35, "TQ2_0", 256, 66;
    MXFP4 = 39, "MXFP4", 32, 17;
    NVFP4 = 40, "NVFP4", 64, 36;
    Q1_0 = 41, "Q1_0", 128, 18;
    Q2_0 = 42, "Q2_0", 64, 18;
}

impl DType {
    /// The row of this format.
    pub fn info(self) -> &'static DTypeInfo {
        // The table is in order of id, and every variant has a row.
        let at = TABLE.partition_point(|row| row.id < self as u32);
        &TABLE[at]
    }

    /// The format with a GGUF type id, if today's GGUF names it.
    pub fn from_id(id: u32) -> Option<DType> {
        TABLE.iter().find(|row| row.id == id).map(|row| row.dtype)
    }

    /// The format with a name, whatever its case.
    pub fn from_name(name: &str) -> Option<DType> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.dtype)
    }

    /// Its name as the field writes it.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Elements per block.
    pub fn block_len(self) -> usize {
        self.info().block_len
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.info().block_bytes
    }

    /// Bytes of `n_elems` consecutive elements of a row; `None` if that is not a whole number of blocks or does not fit.
    pub fn row_bytes(self, n_elems: usize) -> Option<usize> {
        let row = self.info();
        n_elems.is_multiple_of(row.block_len).then(|| (n_elems / row.block_len).checked_mul(row.block_bytes))?
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_every_lookup_agrees() {
        assert!(TABLE.windows(2).all(|w| w[0].id < w[1].id));
        for row in TABLE {
            assert_eq!(row.dtype as u32, row.id);
            assert_eq!(row.dtype.info().name, row.name);
            assert_eq!(DType::from_id(row.id), Some(row.dtype));
            assert_eq!(DType::from_name(&row.name.to_lowercase()), Some(row.dtype));
        }
        assert_eq!(DType::from_id(4), None);
        assert_eq!(DType::from_id(u32::MAX), None);
    }

    #[test]
    fn row_bytes_wants_whole_blocks_and_does_not_wrap() {
        assert_eq!(DType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4_K.row_bytes(128), None);
        assert_eq!(DType::F64.row_bytes(usize::MAX), None);
    }
}
