//! The lanes in registers of x86-64.

use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

use super::{Lanes, PerGroup};

/// Eight lanes in one register. Only what is compiled for AVX2, and runs where the CPU has it, may name this type.
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

/// Eight lanes in two registers, which every CPU of the architecture has.
#[derive(Clone, Copy)]
pub(in super::super) struct Sse2(__m128, __m128);

impl Lanes for Sse2 {
    #[inline(always)]
    fn load(from: &PerGroup) -> Sse2 {
        let at = from.0.as_ptr();
        // SAFETY: `PerGroup` is eight floats, aligned to 32 bytes.
        unsafe { Sse2(_mm_load_ps(at), _mm_load_ps(at.add(4))) }
    }

    #[inline(always)]
    fn store(self) -> PerGroup {
        let mut to = PerGroup([0.0; 8]);
        let at = to.0.as_mut_ptr();
        // SAFETY: as for `load`.
        unsafe {
            _mm_store_ps(at, self.0);
            _mm_store_ps(at.add(4), self.1);
        }
        to
    }

    #[inline(always)]
    fn abs(self) -> Sse2 {
        // SAFETY: x86-64 has SSE2.
        unsafe {
            let sign = _mm_set1_ps(-0.0);
            Sse2(_mm_andnot_ps(sign, self.0), _mm_andnot_ps(sign, self.1))
        }
    }

    #[inline(always)]
    fn max(self, other: Sse2) -> Sse2 {
        // SAFETY: x86-64 has SSE2.
        unsafe { Sse2(_mm_max_ps(self.0, other.0), _mm_max_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn min(self, other: Sse2) -> Sse2 {
        // SAFETY: x86-64 has SSE2.
        unsafe { Sse2(_mm_min_ps(self.0, other.0), _mm_min_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn if_less(self, than: Sse2, yes: Sse2, no: Sse2) -> Sse2 {
        // SAFETY: x86-64 has SSE2.
        unsafe {
            let (first, second) = (_mm_cmplt_ps(self.0, than.0), _mm_cmplt_ps(self.1, than.1));
            Sse2(
                _mm_or_ps(_mm_and_ps(first, yes.0), _mm_andnot_ps(first, no.0)),
                _mm_or_ps(_mm_and_ps(second, yes.1), _mm_andnot_ps(second, no.1)),
            )
        }
    }

    #[inline(always)]
    fn over(self, divisor: Sse2) -> Sse2 {
        // SAFETY: x86-64 has SSE2.
        unsafe {
            let zero = _mm_setzero_ps();
            Sse2(
                _mm_and_ps(_mm_cmpneq_ps(divisor.0, zero), _mm_div_ps(self.0, divisor.0)),
                _mm_and_ps(_mm_cmpneq_ps(divisor.1, zero), _mm_div_ps(self.1, divisor.1)),
            )
        }
    }
}

/// One operator by one instruction per register.
macro_rules! operator {
    ($operator:ident, $method:ident, $eight:ident, $four:ident) => {
        impl $operator for Avx2 {
            type Output = Avx2;
            #[inline(always)]
            fn $method(self, other: Avx2) -> Avx2 {
                // SAFETY: the CPU has AVX2, see the type.
                Avx2(unsafe { $eight(self.0, other.0) })
            }
        }

        impl $operator for Sse2 {
            type Output = Sse2;
            #[inline(always)]
            fn $method(self, other: Sse2) -> Sse2 {
                // SAFETY: x86-64 has SSE2.
                unsafe { Sse2($four(self.0, other.0), $four(self.1, other.1)) }
            }
        }
    };
}
operator!(Add, add, _mm256_add_ps, _mm_add_ps);
operator!(Sub, sub, _mm256_sub_ps, _mm_sub_ps);
operator!(Mul, mul, _mm256_mul_ps, _mm_mul_ps);
operator!(Div, div, _mm256_div_ps, _mm_div_ps);
