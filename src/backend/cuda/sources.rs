//! The kernels' sources, which are part of the library, and the table of the modules that are made of them.

use crate::error::{Result, bail};

/// `sources!("name", ...)`: names as they are included, and the texts of the files.
macro_rules! sources {
    ($($name:literal: $path:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../kernels/", $path)))),*]
    };
}

/// Files that are compiled.
const MODULES: &[(&str, &str)] = sources![
    "attend_fused.cu": "cuda/attend_fused.cu",
    "attend_merge.cu": "cuda/attend_merge.cu",
    "attend_project.cu": "cuda/attend_project.cu",
    "attend_prompt.cu": "cuda/attend_prompt.cu",
    "attend_split.cu": "cuda/attend_split.cu",
    "embed.cu": "cuda/embed.cu",
    "glu.cu": "cuda/glu.cu",
    "matmul.cu": "cuda/matmul.cu",
    "norm.cu": "cuda/norm.cu",
    "probe.cu": "cuda/probe.cu",
    "rope_table.cu": "cuda/rope_table.cu",
    "softcap.cu": "cuda/softcap.cu",
    "sum_squares.cu": "cuda/sum_squares.cu",
    "top.cu": "cuda/top.cu",
];

/// Files that they include.
pub(super) const HEADERS: &[(&str, &str)] = sources![
    "acts.cuh": "cuda/acts.cuh",
    "attend_fused.cuh": "cuda/attend_fused.cuh",
    "attend_merge.cuh": "cuda/attend_merge.cuh",
    "attend_project.cuh": "cuda/attend_project.cuh",
    "attend_prompt.cuh": "cuda/attend_prompt.cuh",
    "attend_split.cuh": "cuda/attend_split.cuh",
    "codes.cuh": "cuda/codes.cuh",
    "device.cuh": "cuda/device.cuh",
    "group.cuh": "cuda/group.cuh",
    "math.cuh": "cuda/math.cuh",
    "matmul_few.cuh": "cuda/matmul_few.cuh",
    "matmul_fused.cuh": "cuda/matmul_fused.cuh",
    "matmul_many.cuh": "cuda/matmul_many.cuh",
    "norm.cuh": "cuda/norm.cuh",
    "pages.cuh": "cuda/pages.cuh",
    "weights.cuh": "cuda/weights.cuh",
    "oribi_cuda.h": "cuda/oribi_cuda.h",
    "shapes.h": "cuda/shapes.h",
    "../cpu/packed.h": "cpu/packed.h",
    "../oribi_kernels.h": "oribi_kernels.h",
    "simd/scalar.h": "cpu/simd/scalar.h",
    "stddef.h": "cuda/nvrtc/stddef.h",
    "stdint.h": "cuda/nvrtc/stdint.h",
    "string.h": "cuda/nvrtc/string.h",
];

/// The table of modules.
const LIST: &str = include_str!("../../../kernels/cuda/modules.list");

/// A module: a file, compiled for one format or type of keys and values where it is for many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Module {
    /// The file's name.
    pub file: &'static str,
    /// What it is compiled for, with the macro that says so.
    pub variant: Option<(&'static str, String)>,
}

impl Module {
    /// The module with the kernel of that name.
    ///
    /// # Errors
    /// `Internal`: the table has none.
    pub fn with_kernel(name: &str) -> Result<Module> {
        for line in LIST.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let (Some(file), Some(variants)) = (words.next(), words.next()) else { continue };
            let macro_name = match variants {
                "format" => Some("ORIBI_FORMAT"),
                "kv" => Some("ORIBI_KV"),
                _ => None,
            };
            for entry in words {
                match (macro_name, entry.split_once('@')) {
                    (Some(macro_name), Some((before, after))) => {
                        let variant = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                        if let Some(variant) = variant.filter(|variant| !variant.is_empty()) {
                            return Ok(Module { file, variant: Some((macro_name, variant.to_string())) });
                        }
                    }
                    _ if entry == name => return Ok(Module { file, variant: None }),
                    _ => {}
                }
            }
        }
        bail!(Internal, "there is no CUDA kernel {name}")
    }

    /// Its source.
    pub fn source(&self) -> &'static str {
        MODULES.iter().find(|(file, _)| *file == self.file).map_or("", |(_, text)| text)
    }

    /// Its name, for files and messages.
    pub fn name(&self) -> String {
        let stem = self.file.trim_end_matches(".cu");
        self.variant.as_ref().map_or(stem.to_string(), |(_, variant)| format!("{stem}-{variant}"))
    }

    /// The definition that makes the variant, as the compiler takes it.
    pub fn definition(&self) -> Option<String> {
        self.variant.as_ref().map(|(macro_name, variant)| format!("-D{macro_name}={variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_in_their_modules() {
        let module = |name| Module::with_kernel(name).unwrap();
        assert_eq!(module("oribi_norm"), Module { file: "norm.cu", variant: None });
        let q4_k = Some(("ORIBI_FORMAT", "q4_k".to_string()));
        for name in ["oribi_matmul_q4_k_8", "oribi_matmul_q4_k_prompt"] {
            assert_eq!(module(name), Module { file: "matmul.cu", variant: q4_k.clone() });
        }
        let split = module("oribi_attend_split_q8_0_16");
        assert_eq!((split.name(), split.definition()), ("attend_split-q8_0".into(), Some("-DORIBI_KV=q8_0".into())));
        assert!(Module::with_kernel("oribi_matmul_q4_k_9").is_err() && Module::with_kernel("oribi_nothing").is_err());
    }

    #[test]
    fn every_file_of_the_table_and_every_included_file_is_here() {
        for line in LIST.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let file = line.split_whitespace().next().unwrap();
            assert!(MODULES.iter().any(|(name, _)| *name == file), "{file}");
        }
        for (file, text) in MODULES.iter().chain(HEADERS) {
            for line in text.lines().filter_map(|line| line.trim().strip_prefix("#include ")) {
                let name = line.trim_matches(['"', '<', '>']);
                // What the emulation includes instead of the GPU's own.
                let is_known = HEADERS.iter().any(|(known, _)| *known == name) || name.starts_with("host/");
                assert!(is_known, "{file} includes {name}");
            }
        }
    }
}
