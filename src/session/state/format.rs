//! The form of a saved state, version 1. All numbers are little-endian.
//!
//! ```text
//! offset  bytes
//!      0      8  "oribi kv"
//!      8      4  version: 1
//!     12      4  type of keys and values, as a GGUF tensor type: 1 f16, 2 q4_0, 8 q8_0
//!     16     16  the model, see Model::identity
//!     32      4  layers
//!     36      4  key heads
//!     40      4  length of a head
//!     44      4  positions of a page
//!     48      8  bytes of a page
//!     56      4  sequences: s
//!     60      4  pages: p
//!     64      8  XXH3 (64 bits, no seed) of the 64 bytes before
//!     72         s times: positions n u32, then for each started page its number u32
//!                p pages: for each layer and key head a tile of keys and one of values, as kernels/oribi_kernels.h has them
//!              8  XXH3 (64 bits, no seed) of everything before
//! ```
//!
//! Pages are numbered from 0 in the order in which the sequences name them first. Sequences that share a page, because one was
//! forked from the other, name the same number. What lies in a page behind its last position is the coding of zeros: equal
//! sequences have equal states, and nothing of other sequences gets into a state.

use twox_hash::XxHash3_64;

use crate::error::{Result, bail};
use crate::fallible;

/// The first bytes of a state.
const MAGIC: &[u8; 8] = b"oribi kv";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Bytes of the header's fields, which its checksum covers.
const FIELD_BYTES: usize = 64;
/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = FIELD_BYTES + CHECKSUM_BYTES;
/// Bytes of the checksum at the end.
pub(super) const CHECKSUM_BYTES: usize = 8;

/// What a state and a session must have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// GGUF tensor type.
    pub kv_type: u32,
    pub model: [u8; 16],
    pub n_layers: u32,
    pub n_kv_heads: u32,
    pub head_dim: u32,
    pub page_len: u32,
    pub page_bytes: u64,
}

/// One sequence: its positions, and the numbers of its pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub n_positions: u32,
    pub pages: Vec<u32>,
}

/// A state but for the content of its pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub shape: Shape,
    pub sequences: Vec<Saved>,
    pub n_pages: u32,
}

impl Index {
    /// Bytes of the header and the table of sequences.
    pub fn n_bytes(&self) -> usize {
        HEADER_BYTES + self.sequences.iter().map(|s| size_of::<u32>() * (1 + s.pages.len())).sum::<usize>()
    }

    /// Bytes of the whole state.
    pub fn state_bytes(&self) -> u64 {
        let pages = u64::from(self.n_pages).saturating_mul(self.shape.page_bytes);
        pages.saturating_add((self.n_bytes() + CHECKSUM_BYTES) as u64)
    }

    /// Header and table.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let s = &self.shape;
        let mut out = fallible::with_capacity(self.n_bytes(), "the table of a state")?;
        out.extend(MAGIC);
        out.extend([VERSION, s.kv_type].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(s.model);
        out.extend([s.n_layers, s.n_kv_heads, s.head_dim, s.page_len].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(s.page_bytes.to_le_bytes());
        out.extend([self.sequences.len() as u32, self.n_pages].iter().flat_map(|n| n.to_le_bytes()));
        out.extend(XxHash3_64::oneshot(&out).to_le_bytes());
        for sequence in &self.sequences {
            out.extend([sequence.n_positions].iter().chain(&sequence.pages).flat_map(|n| n.to_le_bytes()));
        }
        Ok(out)
    }

    /// The index of a state, and its pages one after the other; all of it checked but for what `expect` decides: whether this
    /// shape and number of sequences are welcome. That is asked before anything is allocated for them.
    pub fn decode(state: &[u8], expect: impl FnOnce(&Shape, usize) -> Result<()>) -> Result<(Index, &[u8])> {
        let mut reader = Reader { bytes: state };
        let (shape, n_sequences, n_pages) = read_header(&mut reader)?;
        expect(&shape, n_sequences as usize)?;
        let mut sequences = fallible::with_capacity(n_sequences as usize, "the sequences of a state")?;
        for _ in 0..n_sequences {
            sequences.push(read_sequence(&mut reader, shape.page_len)?);
        }
        let index = Index { shape, sequences, n_pages };
        match (state.len() as u64).cmp(&index.state_bytes()) {
            std::cmp::Ordering::Less => return reader.too_short(),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => {
                bail!(InvalidFile, "the state ends at byte {}, but {} are there", index.state_bytes(), state.len())
            }
        }
        let (content, checksum) = state.split_at(state.len() - CHECKSUM_BYTES);
        if XxHash3_64::oneshot(content).to_le_bytes() != checksum {
            bail!(InvalidFile, "the state is damaged: its checksum is another");
        }
        index.check_numbers()?;
        Ok((index, &content[content.len() - reader.bytes.len() + CHECKSUM_BYTES..]))
    }

    /// Pages are numbered in the order of their first use.
    fn check_numbers(&self) -> Result<()> {
        let mut known = 0;
        for &page in self.sequences.iter().flat_map(|s| &s.pages) {
            if page > known || page >= self.n_pages {
                bail!(InvalidFile, "the state names page {page} where page {known} of {} is next", self.n_pages);
            }
            known += u32::from(page == known);
        }
        if known != self.n_pages {
            bail!(InvalidFile, "the state has {} pages and uses {known}", self.n_pages);
        }
        Ok(())
    }
}

/// The shape, the number of sequences and that of pages.
fn read_header(reader: &mut Reader<'_>) -> Result<(Shape, u32, u32)> {
    let state = reader.bytes;
    if !state.starts_with(MAGIC) && !MAGIC.starts_with(state) {
        let start = &state[..MAGIC.len().min(state.len())];
        bail!(InvalidFile, "this is no saved state: it begins with \"{}\"", start.escape_ascii());
    }
    reader.take(MAGIC.len())?;
    let version = reader.u32()?;
    if version != VERSION {
        bail!(UnsupportedVersion, "the state has version {version}, only {VERSION} is supported");
    }
    let kv_type = reader.u32()?;
    let model = reader.array()?;
    let [n_layers, n_kv_heads, head_dim, page_len] = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
    let page_bytes = u64::from_le_bytes(reader.array()?);
    let (n_sequences, n_pages) = (reader.u32()?, reader.u32()?);
    let fields = &state[..FIELD_BYTES]; // just read
    if XxHash3_64::oneshot(fields) != u64::from_le_bytes(reader.array()?) {
        bail!(InvalidFile, "the state's header is damaged: its checksum is another");
    }
    Ok((Shape { kv_type, model, n_layers, n_kv_heads, head_dim, page_len, page_bytes }, n_sequences, n_pages))
}

fn read_sequence(reader: &mut Reader<'_>, page_len: u32) -> Result<Saved> {
    let n_positions = reader.u32()?;
    let n_pages = n_positions.div_ceil(page_len.max(1)) as usize;
    let numbers = reader.take(n_pages.saturating_mul(size_of::<u32>()))?;
    let mut pages = fallible::with_capacity(n_pages, "the pages of a sequence")?;
    pages.extend(numbers.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)));
    Ok(Saved { n_positions, pages })
}

/// What is left of a state.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.bytes.split_at_checked(n) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => self.too_short(),
        }
    }

    fn too_short<T>(&self) -> Result<T> {
        bail!(Truncated, "the state stops early: it was not written or copied to its end")
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }
}
