//! Code of the kernels that is part of the library, for machines without NVIDIA's compiler library: PTX for sm_80, which the driver
//! compiles for its GPU. `make cuda-builtin` makes it, and a test holds it to the sources.

use std::io::{BufRead, BufReader};

use ruzstd::decoding::StreamingDecoder;

use super::sources::Module;
use crate::error::{Error, ErrorKind, Result, bail};

/// The modules' texts one after another, each after a line [`MODULE`] with its name; compressed as one, since they are much alike.
static TEXTS: &[u8] = include_bytes!("../../../kernels/cuda/builtin.ptx.zst");
const MODULE: &str = "// module ";

/// The text of a module, as the driver takes it: it ends with zero.
///
/// # Errors
/// `Internal`: it is not there.
pub(super) fn code(module: &Module) -> Result<Vec<u8>> {
    let damaged = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, format!("the built-in CUDA code: {e}"));
    let decoder = StreamingDecoder::new(TEXTS).map_err(|e| damaged(&e))?;
    let (name, mut text, mut is_found) = (module.name(), Vec::new(), false);
    for line in BufReader::new(decoder).lines() {
        let line = line.map_err(|e| damaged(&e))?;
        match line.strip_prefix(MODULE) {
            Some(_) if is_found => break,
            Some(other) => is_found = other == name,
            None if is_found => {
                text.extend_from_slice(line.as_bytes());
                text.push(b'\n');
            }
            None => {}
        }
    }
    if !is_found {
        bail!(Internal, "there is no built-in CUDA code of {name}");
    }
    text.push(0);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every module's text is there and has all of its kernels.
    #[test]
    fn every_kernel_is_built_in() {
        let kernels = [
            "oribi_norm",
            "oribi_attend_merge",
            "oribi_attend_split_q8_0_4",
            "oribi_embed_iq1_s",
            "oribi_matmul_f32_prompt",
            "oribi_matmul_q4_k_8",
            "oribi_probe_mma",
            "oribi_softcap",
        ];
        for kernel in kernels {
            let text = String::from_utf8(code(&Module::with_kernel(kernel).unwrap()).unwrap()).unwrap();
            assert!(text.contains(&format!(".entry {kernel}(")), "{kernel}");
            assert!(text.contains(".version 8.0") && text.contains(".target sm_80"), "{kernel}");
            assert!(text.ends_with("}\n\0"), "{kernel}");
        }
    }
}
