//! The paged cache of keys and values: sequences share, fork, truncate and grow by pages.
//!
//! A sequence is a length and a list of pages. Pages are counted by reference; a page that is written belongs to one
//! sequence alone, so growing a sequence whose last, partly filled page is shared copies that page first. What lies in a
//! page beyond the length of its sequence means nothing.

use super::SequenceId;
use crate::backend::{Backend, CacheShape};
use crate::error::{Result, bail};

/// Positions of a page; the layout is the kernels'.
pub(super) const PAGE_LEN: usize = crate::backend::cpu::PAGE_LEN;

/// One sequence.
#[derive(Clone, Debug, Default)]
struct Sequence {
    len: usize,
    pages: Vec<u32>,
}

/// All sequences of a session and their pages.
pub(super) struct Cache<B: Backend> {
    pages: B::Pages,
    /// Sequences that hold page i.
    holders: Vec<u32>,
    free: Vec<u32>,
    sequences: Vec<Option<Sequence>>,
    max_pages: usize,
}

impl<B: Backend> Cache<B> {
    /// An empty cache of at most `n_sequences` sequences and `max_pages` pages.
    pub fn new(backend: &B, shape: CacheShape, n_sequences: usize, max_pages: usize) -> Cache<B> {
        Cache {
            pages: backend.pages(shape),
            holders: Vec::new(),
            free: Vec::new(),
            sequences: (0..n_sequences).map(|_| None).collect(),
            max_pages,
        }
    }

    pub fn pages(&self) -> &B::Pages {
        &self.pages
    }

    pub fn pages_mut(&mut self) -> &mut B::Pages {
        &mut self.pages
    }

    /// The sequences that exist.
    pub fn ids(&self) -> impl Iterator<Item = SequenceId> {
        (0u32..).zip(&self.sequences).filter(|(_, slot)| slot.is_some()).map(|(id, _)| SequenceId(id))
    }

    /// Sequences that can still be created.
    pub fn n_unused(&self) -> usize {
        self.sequences.iter().filter(|slot| slot.is_none()).count()
    }

    /// Pages allocated so far.
    pub fn n_pages(&self) -> usize {
        self.holders.len()
    }

    /// A new, empty sequence.
    pub fn create(&mut self) -> Result<SequenceId> {
        let n = self.sequences.len();
        match self.sequences.iter_mut().enumerate().find(|(_, slot)| slot.is_none()) {
            Some((id, slot)) => {
                *slot = Some(Sequence::default());
                Ok(SequenceId(id as u32))
            }
            None => bail!(InvalidState, "all {n} sequences of the session are in use"),
        }
    }

    fn get(&self, id: SequenceId) -> Result<&Sequence> {
        match self.sequences.get(id.0 as usize) {
            Some(Some(sequence)) => Ok(sequence),
            _ => bail!(InvalidArgument, "sequence {} does not exist", id.0),
        }
    }

    fn get_mut(&mut self, id: SequenceId) -> Result<&mut Sequence> {
        match self.sequences.get_mut(id.0 as usize) {
            Some(Some(sequence)) => Ok(sequence),
            _ => bail!(InvalidArgument, "sequence {} does not exist", id.0),
        }
    }

    /// Positions of a sequence.
    pub fn len(&self, id: SequenceId) -> Result<usize> {
        Ok(self.get(id)?.len)
    }

    /// The pages of a sequence.
    pub fn pages_of(&self, id: SequenceId) -> Result<&[u32]> {
        Ok(&self.get(id)?.pages)
    }

    /// A new sequence with the same content; it shares all pages.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId> {
        let copy = self.get(id)?.clone();
        let new = self.create()?;
        for &page in &copy.pages {
            self.holders[page as usize] += 1;
        }
        *self.get_mut(new)? = copy;
        Ok(new)
    }

    /// A new sequence of `len` positions on pages that are held already; it holds each once more.
    pub fn adopt(&mut self, len: usize, pages: Vec<u32>) -> Result<SequenceId> {
        debug_assert_eq!(pages.len(), len.div_ceil(PAGE_LEN));
        let id = self.create()?;
        for &page in &pages {
            self.holders[page as usize] += 1;
        }
        *self.get_mut(id)? = Sequence { len, pages };
        Ok(id)
    }

    /// Keep the first `len` positions.
    pub fn truncate(&mut self, id: SequenceId, len: usize) -> Result<()> {
        let sequence = self.get_mut(id)?;
        if len > sequence.len {
            bail!(InvalidArgument, "sequence {} has {} positions, fewer than {len}", id.0, sequence.len);
        }
        sequence.len = len;
        self.drop_unused_pages(id)
    }

    /// Remove a sequence.
    pub fn remove(&mut self, id: SequenceId) -> Result<()> {
        self.truncate(id, 0)?;
        self.sequences[id.0 as usize] = None;
        Ok(())
    }

    /// Give back the pages beyond the length.
    fn drop_unused_pages(&mut self, id: SequenceId) -> Result<()> {
        let sequence = self.get_mut(id)?;
        let dropped = sequence.pages.split_off(sequence.len.div_ceil(PAGE_LEN).min(sequence.pages.len()));
        for page in dropped {
            self.release(page);
        }
        Ok(())
    }

    /// Give back a page that is held.
    pub fn release(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        *holders -= 1;
        if *holders == 0 {
            self.free.push(page);
        }
    }

    /// A page that nobody holds, now held once.
    pub fn acquire(&mut self, backend: &B) -> Result<u32> {
        if let Some(page) = self.free.pop() {
            self.holders[page as usize] = 1;
            return Ok(page);
        }
        if self.holders.len() >= self.max_pages {
            bail!(ContextFull, "all {} pages of {PAGE_LEN} positions are in use", self.max_pages);
        }
        backend.grow_pages(&mut self.pages)?;
        self.holders.push(1);
        Ok((self.holders.len() - 1) as u32)
    }

    /// Make room for `n` more positions, on pages that the sequence holds alone. The length does not change yet; after an
    /// error the sequence is as before.
    pub fn reserve(&mut self, backend: &B, id: SequenceId, n: usize) -> Result<()> {
        let result = self.try_reserve(backend, id, n);
        if result.is_err() {
            self.drop_unused_pages(id)?;
        }
        result
    }

    fn try_reserve(&mut self, backend: &B, id: SequenceId, n: usize) -> Result<()> {
        let sequence = self.get(id)?;
        let (len, n_pages) = (sequence.len, sequence.pages.len());
        if let Some(&last) = sequence.pages.last()
            && !len.is_multiple_of(PAGE_LEN)
            && self.holders[last as usize] > 1
        {
            let own = self.acquire(backend)?;
            if let Err(e) = backend.copy_page(&mut self.pages, last, own) {
                self.release(own);
                return Err(e);
            }
            self.release(last);
            self.get_mut(id)?.pages[n_pages - 1] = own;
        }
        for _ in n_pages..(len + n).div_ceil(PAGE_LEN) {
            let page = self.acquire(backend)?;
            self.get_mut(id)?.pages.push(page);
        }
        Ok(())
    }

    /// The `n` positions that room was made for are filled.
    pub fn commit(&mut self, id: SequenceId, n: usize) -> Result<()> {
        let sequence = self.get_mut(id)?;
        debug_assert!(sequence.len + n <= sequence.pages.len() * PAGE_LEN);
        sequence.len += n;
        Ok(())
    }
}
