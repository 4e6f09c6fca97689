//! Code of the kernels that is part of the library, for machines without NVIDIA's compiler library: PTX for sm_80, which the driver
//! compiles for its GPU. `make cuda-builtin` makes it, and a test holds it to the sources.

use std::io::{BufRead, BufReader};

use ruzstd::decoding::StreamingDecoder;

use super::sources::Module;
use crate::error::{Error, ErrorKind, Result, bail};

/// The modules' texts one after another, each after a line [`MODULE`] with its name; compressed as one, since they are much alike.
static TEXTS: &[u8] = include_bytes!("../../../kernels/cuda/builtin.ptx.zst");
const MODULE: &str = "// module ";

/// The texts of modules, as the driver takes them: each ends with zero.
///
/// # Errors
/// `Internal`: one is not there.
pub(super) fn codes(modules: &[Module]) -> Result<Vec<Vec<u8>>> {
    let damaged = |e: &dyn std::fmt::Display| Error::new(ErrorKind::Internal, format!("the built-in CUDA code: {e}"));
    let decoder = StreamingDecoder::new(TEXTS).map_err(|e| damaged(&e))?;
    let names: Vec<String> = modules.iter().map(Module::name).collect();
    let mut texts = vec![Vec::new(); modules.len()];
    let mut current = None;
    for line in BufReader::new(decoder).lines() {
        let line = line.map_err(|e| damaged(&e))?;
        if let Some(name) = line.strip_prefix(MODULE) {
            current = names.iter().position(|known| known == name);
        } else if let Some(i) = current {
            texts[i].extend_from_slice(line.as_bytes());
            texts[i].push(b'\n');
        }
    }
    for (text, name) in texts.iter_mut().zip(&names) {
        if text.is_empty() {
            bail!(Internal, "there is no built-in CUDA code of {name}");
        }
        text.push(0);
    }
    Ok(texts)
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
        let modules = kernels.map(|kernel| Module::with_kernel(kernel).unwrap());
        for (kernel, text) in kernels.into_iter().zip(codes(&modules).unwrap()) {
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(&format!(".entry {kernel}(")), "{kernel}");
            assert!(text.contains(".version 8.0") && text.contains(".target sm_80"), "{kernel}");
            assert!(text.ends_with("}\n\0"), "{kernel}");
        }
    }
}
