//! What a scaled element can be.

use super::lanes::Lanes;

/// The values that `x / scale` is rounded to.
pub(super) trait Levels: Copy {
    /// The nearest level to every number.
    fn nearest<V: Lanes>(self, v: V) -> V;
}

/// The integers from `low` to `high`.
#[derive(Clone, Copy)]
pub(super) struct Integers {
    pub low: f32,
    pub high: f32,
}

impl Integers {
    pub(super) const fn new(low: i16, high: i16) -> Integers {
        Integers { low: low as f32, high: high as f32 }
    }
}

impl Levels for Integers {
    #[inline(always)]
    fn nearest<V: Lanes>(self, v: V) -> V {
        v.max(V::splat(self.low)).min(V::splat(self.high)).round()
    }
}

/// Any levels, in ascending order.
#[derive(Clone, Copy)]
pub(super) struct Table<const N: usize>(pub &'static [i8; N]);

impl<const N: usize> Levels for Table<N> {
    /// The lowest level, and one difference more for every midpoint that is passed: no look-up, so the lanes stay together.
    #[inline(always)]
    fn nearest<V: Lanes>(self, v: V) -> V {
        let mut level = V::splat(f32::from(self.0[0]));
        for pair in self.0.windows(2) {
            let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
            level = level + V::splat((low + high) / 2.0).if_less(v, V::splat(high - low), V::zero());
        }
        level
    }
}

/// The code of every level of a table of codes: entry `level as u8`; the first code of equals.
pub(super) const fn codes_of(table: &[i8; 16]) -> [u8; 256] {
    let mut codes = [0; 256];
    let mut code = 16;
    while code > 0 {
        code -= 1;
        codes[table[code] as u8 as usize] = code as u8;
    }
    codes
}
