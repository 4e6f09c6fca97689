//! The instruction sets that kernels are written for, and which of them this CPU has.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use super::bindings as c;
use crate::error::{Error, ErrorKind, Result, bail};

/// An instruction set that kernels are written for; of each architecture worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable C.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX2 and AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
    /// x86-64 with AVX-512, and its VBMI and BF16 parts.
    Avx512Bf16,
    /// The same, and AMX tiles of int8 and bf16.
    Amx,
    /// aarch64, every CPU of which has NEON.
    Neon,
    /// aarch64 with the dot product instructions.
    DotProd,
    /// aarch64 with dot products and 8-bit matrix multiplication.
    I8mm,
}

/// What is known of an instruction set; the rows of `ISAS` are in the order of [`Isa`].
struct IsaRow {
    name: &'static str,
    features: &'static str,
    /// The `ORIBI_ISA_*` bits that its kernels may need.
    bits: u32,
}

const X86_AVX2: u32 = c::ORIBI_ISA_AVX2;
const X86_AVX512: u32 = X86_AVX2 | c::ORIBI_ISA_AVX512;
const X86_AVX512BF16: u32 = X86_AVX512 | c::ORIBI_ISA_AVX512BF16;
const ARM_DOTPROD: u32 = c::ORIBI_ISA_NEON | c::ORIBI_ISA_DOTPROD;

const ISAS: &[IsaRow] = &[
    IsaRow { name: "scalar", features: "portable code", bits: c::ORIBI_ISA_SCALAR },
    IsaRow { name: "avx2", features: "AVX2, FMA, F16C", bits: X86_AVX2 },
    IsaRow { name: "avxvnni", features: "AVX2, AVX-VNNI", bits: X86_AVX2 | c::ORIBI_ISA_AVXVNNI },
    IsaRow { name: "avx512", features: "AVX-512 F, BW, VL, DQ, VNNI", bits: X86_AVX512 },
    IsaRow { name: "avx512bf16", features: "AVX-512 with VNNI, VBMI and BF16", bits: X86_AVX512BF16 },
    IsaRow {
        name: "amx",
        features: "AVX-512 with VNNI, VBMI and BF16, AMX int8 and bf16",
        bits: X86_AVX512BF16 | c::ORIBI_ISA_AMX,
    },
    IsaRow { name: "neon", features: "NEON", bits: c::ORIBI_ISA_NEON },
    IsaRow { name: "dotprod", features: "NEON, dotprod", bits: ARM_DOTPROD },
    IsaRow { name: "i8mm", features: "NEON, dotprod, i8mm", bits: ARM_DOTPROD | c::ORIBI_ISA_I8MM },
];

impl Isa {
    /// Every instruction set; of each architecture worst first.
    pub const ALL: &[Isa] = &[
        Isa::Scalar,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512,
        Isa::Avx512Bf16,
        Isa::Amx,
        Isa::Neon,
        Isa::DotProd,
        Isa::I8mm,
    ];

    /// The best that this CPU and operating system offer.
    pub fn detect() -> Isa {
        let mut offered = Isa::ALL.iter().copied().rev().filter(|isa| isa.is_available());
        offered.find(|isa| isa.is_worthwhile()).unwrap_or(Isa::Scalar)
    }

    /// Whether it makes this CPU, which has it, faster. On AMD's CPUs a product of bfloat16 vectors takes as long as one of byte vectors, of which
    /// portable arithmetic needs two; on Intel's it takes twice as long as one of float32.
    fn is_worthwhile(self) -> bool {
        self != Isa::Avx512Bf16 || is_amd()
    }

    /// Whether this CPU and operating system can run its kernels.
    pub fn is_available(self) -> bool {
        static AVAILABLE: OnceLock<u32> = OnceLock::new();
        let available = *AVAILABLE.get_or_init(available_bits);
        self.bits() & !available == 0
    }

    /// The one to use: `wanted`, else the one named by the environment variable `ORIBI_ISA`, else the best.
    ///
    /// Errors: `Device` for one that this CPU lacks, `InvalidArgument` for an unknown name in `ORIBI_ISA`.
    pub fn choose(wanted: Option<Isa>) -> Result<Isa> {
        let named = std::env::var_os("ORIBI_ISA").unwrap_or_default();
        Isa::choose_from(wanted, &named.to_string_lossy())
    }

    /// [`Isa::choose`] with the content of the variable, which counts as absent when it is empty.
    pub(super) fn choose_from(wanted: Option<Isa>, named: &str) -> Result<Isa> {
        let isa = match wanted {
            Some(isa) => isa,
            None if named.is_empty() => Isa::detect(),
            None => named.parse::<Isa>().map_err(|e| e.within("ORIBI_ISA"))?,
        };
        if !isa.is_available() {
            bail!(
                Device,
                "this cpu cannot run {isa} kernels, which need {}; its best is {}",
                isa.row().features,
                Isa::detect()
            );
        }
        Ok(isa)
    }

    /// Whether kernels for it run wherever those for `other` do.
    pub fn is_part_of(self, other: Isa) -> bool {
        self.bits() & !other.bits() == 0
    }

    fn row(self) -> &'static IsaRow {
        &ISAS[self as usize]
    }

    /// Its name: `scalar`, `avx2`, `avxvnni`, `avx512`, `avx512bf16`, `amx`, `neon`, `dotprod`, `i8mm`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What a CPU must have to run its kernels, for people.
    pub fn features(self) -> &'static str {
        self.row().features
    }

    pub(super) fn bits(self) -> u32 {
        self.row().bits
    }

    /// The least instruction set with all of `bits`, if there is one.
    pub(super) fn of_bits(bits: u32) -> Option<Isa> {
        Isa::ALL.iter().copied().find(|isa| isa.bits() & bits == bits)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Isa> {
        Isa::ALL.iter().copied().find(|isa| isa.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names: Vec<_> = Isa::ALL.iter().map(|isa| isa.name()).collect();
            let text = format!("no instruction set is called \"{name}\" (there are {})", names.join(", "));
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }
}

/// The `ORIBI_ISA_*` bits of this CPU, as far as the operating system allows.
#[cfg(target_arch = "x86_64")]
fn available_bits() -> u32 {
    use std::arch::is_x86_feature_detected as has;
    let mut bits = 0;
    if has!("avx2") && has!("fma") && has!("f16c") {
        bits |= c::ORIBI_ISA_AVX2;
        if super::x86::has_avx_vnni() {
            bits |= c::ORIBI_ISA_AVXVNNI;
        }
        if has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq") && has!("avx512vnni") {
            bits |= c::ORIBI_ISA_AVX512;
            if has!("avx512bf16") && has!("avx512vbmi") {
                bits |= c::ORIBI_ISA_AVX512BF16;
                if super::x86::enable_amx() {
                    bits |= c::ORIBI_ISA_AMX;
                }
            }
        }
    }
    bits
}

#[cfg(target_arch = "x86_64")]
pub(super) fn is_amd() -> bool {
    super::x86::is_amd()
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn is_amd() -> bool {
    false
}

#[cfg(target_arch = "aarch64")]
fn available_bits() -> u32 {
    use std::arch::is_aarch64_feature_detected as has;
    let mut bits = c::ORIBI_ISA_NEON;
    if has!("dotprod") {
        bits |= c::ORIBI_ISA_DOTPROD;
        if has!("i8mm") {
            bits |= c::ORIBI_ISA_I8MM;
        }
    }
    bits
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn available_bits() -> u32 {
    0
}
