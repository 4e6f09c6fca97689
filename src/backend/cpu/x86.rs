//! What the standard library does not tell of an x86 CPU: AVX-VNNI, and whether AMX may be used.

use std::arch::x86_64::{__cpuid_count, __get_cpuid_max, _xgetbv};

/// Whether the CPU has AVX-VNNI (Intel's manual, volume 2, CPUID leaf 7.1, EAX bit 4). The caller knows that it has AVX2.
pub(super) fn has_avx_vnni() -> bool {
    leaf(7, 1).is_some_and(|leaf| leaf.eax & 1 << 4 != 0)
}

/// Whether the CPU is one of AMD's (CPUID leaf 0, which spells the maker's name in EBX, EDX, ECX; Hygon's are of the same design).
pub(super) fn is_amd() -> bool {
    let name = leaf(0, 0).map(|leaf| [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat());
    name.is_some_and(|name| name == b"AuthenticAMD" || name == b"HygonGenuine")
}

/// Whether the CPU has AMX tiles with int8 and bf16 products, its state is enabled, and this process may use it. On Linux a
/// process must ask once; the permission holds for all its threads.
pub(super) fn enable_amx() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const XCR0_TILES: u64 = 3 << 17;
    let features = leaf(7, 0).map_or(0, |leaf| leaf.edx);
    if features & (BF16 | TILE | INT8) != BF16 | TILE | INT8 || leaf(1, 0).is_none_or(|leaf| leaf.ecx & 1 << 27 == 0) {
        return false;
    }
    // SAFETY: OSXSAVE, checked above, says that the instruction exists.
    let enabled = unsafe { xcr0() };
    enabled & XCR0_TILES == XCR0_TILES && ask_for_tiles()
}

/// # Safety
/// The CPU must have the instruction `xgetbv`.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: the caller's promise; register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

/// Ask the kernel for the tile data state (Linux, Documentation/arch/x86/xstate.rst).
#[cfg(target_os = "linux")]
fn ask_for_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes what this process may do, nothing in its memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Elsewhere nobody has tried.
#[cfg(not(target_os = "linux"))]
fn ask_for_tiles() -> bool {
    false
}

/// A leaf of CPUID, if the CPU has it.
fn leaf(number: u32, sub: u32) -> Option<std::arch::x86_64::CpuidResult> {
    // SAFETY: every x86-64 CPU has the instruction.
    #[allow(unused_unsafe)]
    unsafe {
        (__get_cpuid_max(0).0 >= number).then(|| __cpuid_count(number, sub))
    }
}
