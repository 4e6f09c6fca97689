//! One block as codes and scales, whatever its format.

/// The longest block of any format, in elements.
pub const MAX_BLOCK_LEN: usize = 256;
/// The most groups that a block of any format has.
pub const MAX_GROUPS: usize = 16;

/// The codes of one block and, per group of consecutive elements, the scale and the minimum: `w = s * q + m`.
#[derive(Clone, Debug)]
pub struct Block {
    pub(super) codes: [i8; MAX_BLOCK_LEN],
    pub(super) scales: [f32; MAX_GROUPS],
    pub(super) mins: [f32; MAX_GROUPS],
    len: usize,
    group_len: usize,
    has_mins: bool,
}

impl Block {
    pub(super) fn new() -> Self {
        Block {
            codes: [0; MAX_BLOCK_LEN],
            scales: [0.0; MAX_GROUPS],
            mins: [0.0; MAX_GROUPS],
            len: 0,
            group_len: 1,
            has_mins: false,
        }
    }

    /// Sets the shape: `len` elements in groups of `group_len`.
    pub(super) fn shape(&mut self, len: usize, group_len: usize, has_mins: bool) {
        debug_assert!(len <= MAX_BLOCK_LEN && len.is_multiple_of(group_len) && len / group_len <= MAX_GROUPS);
        (self.len, self.group_len, self.has_mins) = (len, group_len, has_mins);
    }

    /// The code `q` of every element, in order; for codebook formats the value in the table.
    pub fn codes(&self) -> &[i8] {
        &self.codes[..self.len]
    }

    /// Elements that share a scale: 16 or 32, in Q8_K, TQ1_0 and TQ2_0 256.
    pub fn group_len(&self) -> usize {
        self.group_len
    }

    /// The scale `s` of every group.
    pub fn scales(&self) -> &[f32] {
        &self.scales[..self.len / self.group_len]
    }

    /// The minimum `m` of every group, with its sign as it is added; `None` if the format has no minimum.
    pub fn mins(&self) -> Option<&[f32]> {
        self.has_mins.then(|| &self.mins[..self.len / self.group_len])
    }

    /// The values: `s * q`, then `+ m` where the format has one, each rounded to float32. `out` is as long as the codes.
    pub fn values(&self, out: &mut [f32]) {
        let groups = self.codes().chunks_exact(self.group_len).zip(out.chunks_exact_mut(self.group_len));
        for (g, (codes, out)) in groups.enumerate() {
            let (scale, min) = (self.scales[g], self.mins[g]);
            if self.has_mins {
                codes.iter().zip(out).for_each(|(&q, w)| *w = scale * f32::from(q) + min);
            } else {
                // Not `+ 0.0`: that would turn a negative zero into a positive one.
                codes.iter().zip(out).for_each(|(&q, w)| *w = scale * f32::from(q));
            }
        }
    }
}
