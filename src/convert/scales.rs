//! Weights of 8-bit floats with scales, as `quantization_config` describes them.

use std::sync::LazyLock;

use safetensors::Dtype;
use serde_json::Value;

use super::checkpoint::Stored;
use super::json::{CONFIG, Config};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::quant;

/// Largest side of a block of weights with one scale.
const MAX_BLOCK: u64 = 1 << 20;

/// How the checkpoint's weights are scaled.
pub(super) struct Scaling {
    suffix: &'static str,
    /// Rows and columns of a block; `None` for one scale a tensor or a row, by the scales' shape.
    block: Option<[usize; 2]>,
}

/// The scales of one tensor: weight `[r, c]` is multiplied by `values[r / block_rows][c / block_cols]`.
pub(super) struct Scales {
    values: Vec<f32>, // (ceil(n_rows / block_rows), n_cols)
    n_cols: usize,
    block_rows: usize,
    block_cols: usize,
}

impl Scaling {
    /// What the configuration says; `None` for weights that are what they are.
    pub fn of(config: &Config) -> Result<Option<Scaling>> {
        let Some(quantization) = config.get("quantization_config") else { return Ok(None) };
        let text = |key: &str| quantization.get(key).and_then(Value::as_str).unwrap_or_default();
        match (text("quant_method"), text("format")) {
            ("fp8", _) => {
                let block = block(quantization.get("weight_block_size"), "weight_block_size")?;
                Ok(Some(Scaling { suffix: "_scale_inv", block }))
            }
            ("compressed-tensors", "float-quantized") => {
                let groups = quantization.get("config_groups").and_then(Value::as_object);
                let weights = match groups.map(|groups| groups.values().collect::<Vec<_>>()).as_deref() {
                    Some([group]) => group.get("weights"),
                    _ => bail!(Unsupported, "{CONFIG}: quantization_config.config_groups is not one group"),
                };
                let block = block(weights.and_then(|weights| weights.get("block_structure")), "block_structure")?;
                Ok(Some(Scaling { suffix: "_scale", block }))
            }
            (method, format) => bail!(
                Unsupported,
                "{CONFIG}: quantization_config of method {method:?} and format {format:?} cannot be read; \
                 \"fp8\" and \"compressed-tensors\" with \"float-quantized\" can"
            ),
        }
    }

    /// What is added to a tensor's name for its scales.
    pub fn suffix(&self) -> &'static str {
        self.suffix
    }

    /// The scales of `weight` from the bytes of their tensor.
    pub fn read(&self, bytes: &[u8], scales: &Stored, weight: &Stored) -> Result<Scales> {
        let [n_rows, k] = weight.shape[..] else {
            bail!(InvalidModel, "scales of a tensor of {} dimensions", weight.shape.len());
        };
        let mut values = vec![0.0; scales.n_elems()];
        decode(scales.dtype, bytes, &mut values)?;
        let all = usize::MAX;
        let (n_cols, block_rows, block_cols, fits) = match (self.block, &scales.shape[..]) {
            (Some([rows, cols]), shape) => {
                let wanted = [n_rows.div_ceil(rows), k.div_ceil(cols)];
                (wanted[1], rows, cols, *shape == wanted)
            }
            (None, [] | [1]) => (1, all, all, true),
            (None, [n] | [n, 1]) => (1, 1, all, *n == n_rows),
            (None, _) => (1, 1, all, false),
        };
        if !fits {
            bail!(InvalidModel, "shape {:?} does not fit weights of {:?}", scales.shape, weight.shape);
        }
        Ok(Scales { values, n_cols, block_rows, block_cols })
    }
}

impl Scales {
    /// Multiplies row `r` of the weights.
    pub fn apply(&self, r: usize, row: &mut [f32]) {
        let scales = &self.values[r / self.block_rows * self.n_cols..][..self.n_cols];
        for (block, scale) in row.chunks_mut(self.block_cols.min(row.len())).zip(scales) {
            block.iter_mut().for_each(|w| *w *= scale);
        }
    }
}

fn block(value: Option<&Value>, key: &str) -> Result<Option<[usize; 2]>> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let side = |value: &Value| value.as_u64().filter(|n| (1..=MAX_BLOCK).contains(n)).map(|n| n as usize);
    match value.as_array().map(Vec::as_slice) {
        Some([rows, cols]) if side(rows).is_some() && side(cols).is_some() => {
            Ok(side(rows).zip(side(cols)).map(|(r, c)| [r, c]))
        }
        _ => bail!(InvalidModel, "{CONFIG}: quantization_config.{key} is {value}, not the two sides of a block"),
    }
}

/// Elements as float32, exactly. `bytes` are those of `out.len()` elements.
pub(super) fn decode(dtype: Dtype, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    match dtype {
        Dtype::F32 => quant::dequantize(DType::F32, bytes, out),
        Dtype::F16 => quant::dequantize(DType::F16, bytes, out),
        Dtype::BF16 => quant::dequantize(DType::BF16, bytes, out),
        Dtype::F8_E4M3 => {
            out.iter_mut().zip(bytes).for_each(|(w, &code)| *w = E4M3[usize::from(code)]);
            Ok(())
        }
        other => bail!(Unsupported, "type {other:?} cannot be read"),
    }
}

/// The value of every code of four bits of exponent and three of fraction (Micikevicius et al. 2022): no infinity, one NaN a sign.
static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|code| {
        let (exponent, fraction) = ((code >> 3 & 15) as i32, (code & 7) as f32);
        let magnitude = match (exponent, code & 7) {
            (15, 7) => f32::NAN,
            (0, _) => fraction / 8.0 * 2f32.powi(-6),
            _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
        };
        if code >> 7 == 1 { -magnitude } else { magnitude }
    })
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_published_values() {
        let value = |code: u8| E4M3[usize::from(code)];
        assert_eq!((value(0x7e), value(0xfe), value(0x38)), (448.0, -448.0, 1.0));
        assert_eq!((value(0x01), value(0x07), value(0x08)), (2f32.powi(-9), 7.0 * 2f32.powi(-9), 2f32.powi(-6)));
        assert!(value(0x7f).is_nan() && value(0xff).is_nan());
        assert!(value(0x80) == 0.0 && value(0x80).is_sign_negative());
        // Within a sign they ascend with the code.
        assert!((1..0x7f).all(|code| value(code) > value(code - 1)));
    }

    #[test]
    fn every_weight_gets_the_scale_of_its_block() {
        let scales = Scales { values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], n_cols: 3, block_rows: 2, block_cols: 2 };
        let row = |r: usize| {
            let mut row = [1.0; 5];
            scales.apply(r, &mut row);
            row
        };
        assert_eq!(row(1), [1.0, 1.0, 2.0, 2.0, 3.0]);
        assert_eq!(row(2), [4.0, 4.0, 5.0, 5.0, 6.0]);
        let one = Scales { values: vec![7.0], n_cols: 1, block_rows: usize::MAX, block_cols: usize::MAX };
        let mut row = [1.0; 3];
        one.apply(9, &mut row);
        assert_eq!(row, [7.0; 3]);
    }
}
