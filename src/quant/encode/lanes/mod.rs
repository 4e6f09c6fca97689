//! Eight groups at a time: lane `n` of every vector belongs to group `n`.
//!
//! A search over scales does the same to every group of a block, so groups lie across the lanes and elements follow one
//! another. Sums then run over the elements in order, without a horizontal step. Vectors do to eight floats what `portable.rs` does
//! to each of them, one rounding per operation, so all give the same bits.

// The definition: the others are tested against it.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::{Add, Div, Mul, Sub};

#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Sse2};

/// Groups that are worked on together.
pub(super) const LANES: usize = 8;

/// A number of every group, aligned for any vector.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct PerGroup(pub [f32; LANES]);

/// A number of every group, in registers.
pub(super) trait Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    fn load(from: &PerGroup) -> Self;
    fn store(self) -> PerGroup;
    /// The magnitude.
    fn abs(self) -> Self;
    /// The larger; `other` of equals.
    fn max(self, other: Self) -> Self;
    /// The smaller; `other` of equals.
    fn min(self, other: Self) -> Self;
    /// `yes` where `self < than`, else `no`.
    fn if_less(self, than: Self, yes: Self, no: Self) -> Self;
    /// The quotient, 0 where the divisor is 0.
    fn over(self, divisor: Self) -> Self;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self::load(&PerGroup([x; LANES]))
    }

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    /// To the nearest integer, ties to even. For magnitudes below 2^22: adding 1.5 * 2^23 leaves no bits for a fraction.
    #[inline(always)]
    fn round(self) -> Self {
        let shift = Self::splat(12_582_912.0);
        (self + shift) - shift
    }

    /// The sum of all lanes, in order.
    #[inline(always)]
    fn sum(self) -> f64 {
        self.store().0.iter().map(|&x| f64::from(x)).sum()
    }
}

/// What there is for any CPU of the architecture.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Baseline = Portable;
/// What there is for any CPU of the architecture.
#[cfg(target_arch = "x86_64")]
pub(super) type Baseline = Sse2;
