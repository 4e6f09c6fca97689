//! Eight groups at a time: lane `n` of every vector belongs to group `n`.
//!
//! A search over scales does the same to every group of a block, so groups lie across the lanes and elements follow one
//! another. Sums then run over the elements in order, without a horizontal step. [`Avx2`] does to eight floats what
//! [`Portable`] does to each of them, one rounding per operation, so both give the same bits.

use std::ops::{Add, Div, Mul, Sub};

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

/// The lanes one by one.
#[derive(Clone, Copy)]
pub(super) struct Portable(PerGroup);

impl Portable {
    #[inline(always)]
    fn with(self, other: Portable, op: impl Fn(f32, f32) -> f32) -> Portable {
        Portable(PerGroup(std::array::from_fn(|l| op(self.0.0[l], other.0.0[l]))))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    fn load(from: &PerGroup) -> Portable {
        Portable(*from)
    }

    #[inline(always)]
    fn store(self) -> PerGroup {
        self.0
    }

    #[inline(always)]
    fn abs(self) -> Portable {
        Portable(PerGroup(self.0.0.map(f32::abs)))
    }

    #[inline(always)]
    fn max(self, other: Portable) -> Portable {
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Portable) -> Portable {
        self.with(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn if_less(self, than: Portable, yes: Portable, no: Portable) -> Portable {
        let pick = |l: usize| if self.0.0[l] < than.0.0[l] { yes.0.0[l] } else { no.0.0[l] };
        Portable(PerGroup(std::array::from_fn(pick)))
    }

    #[inline(always)]
    fn over(self, divisor: Portable) -> Portable {
        self.with(divisor, |a, b| if b == 0.0 { 0.0 } else { a / b })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Avx2;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, PerGroup};

    /// The lanes in one register. Only what is compiled for AVX2, and runs where the CPU has it, may name this type.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256);

    impl Lanes for Avx2 {
        #[inline(always)]
        fn load(from: &PerGroup) -> Avx2 {
            // SAFETY: the CPU has AVX2, see the type; `PerGroup` is eight floats, aligned to 32 bytes.
            Avx2(unsafe { _mm256_load_ps(from.0.as_ptr()) })
        }

        #[inline(always)]
        fn store(self) -> PerGroup {
            let mut to = PerGroup([0.0; 8]);
            // SAFETY: as for `load`.
            unsafe { _mm256_store_ps(to.0.as_mut_ptr(), self.0) };
            to
        }

        #[inline(always)]
        fn abs(self) -> Avx2 {
            // SAFETY: the CPU has AVX2, see the type.
            Avx2(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
        }

        #[inline(always)]
        fn max(self, other: Avx2) -> Avx2 {
            // SAFETY: the CPU has AVX2, see the type.
            Avx2(unsafe { _mm256_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn min(self, other: Avx2) -> Avx2 {
            // SAFETY: the CPU has AVX2, see the type.
            Avx2(unsafe { _mm256_min_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn if_less(self, than: Avx2, yes: Avx2, no: Avx2) -> Avx2 {
            // SAFETY: the CPU has AVX2, see the type.
            Avx2(unsafe { _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, than.0)) })
        }

        #[inline(always)]
        fn over(self, divisor: Avx2) -> Avx2 {
            // SAFETY: the CPU has AVX2, see the type. Not equal, or not comparable: a NaN stays one.
            Avx2(unsafe {
                let divides = _mm256_cmp_ps::<_CMP_NEQ_UQ>(divisor.0, _mm256_setzero_ps());
                _mm256_and_ps(divides, _mm256_div_ps(self.0, divisor.0))
            })
        }
    }

    /// One operator by one instruction.
    macro_rules! operator {
        ($operator:ident, $method:ident, $instruction:ident) => {
            impl std::ops::$operator for Avx2 {
                type Output = Avx2;
                #[inline(always)]
                fn $method(self, other: Avx2) -> Avx2 {
                    // SAFETY: the CPU has AVX2, see the type.
                    Avx2(unsafe { $instruction(self.0, other.0) })
                }
            }
        };
    }
    operator!(Add, add, _mm256_add_ps);
    operator!(Sub, sub, _mm256_sub_ps);
    operator!(Mul, mul, _mm256_mul_ps);
    operator!(Div, div, _mm256_div_ps);
}

/// One operator, lane by lane.
macro_rules! operator {
    ($operator:ident, $method:ident) => {
        impl $operator for Portable {
            type Output = Portable;
            #[inline(always)]
            fn $method(self, other: Portable) -> Portable {
                self.with(other, |a, b| a.$method(b))
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);
