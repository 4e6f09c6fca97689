//! The paged cache of keys and values: sequences share, fork, truncate and grow by pages.
//!
//! A sequence is a length and a list of pages. Pages are counted by reference; a page that is written belongs to one
//! sequence alone, so growing a sequence whose last, partly filled page is shared copies that page first. What lies in a
//! page beyond the length of its sequence means nothing.

use std::sync::Arc;

use super::SequenceId;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, CacheShape, Footprint};
use crate::error::{Result, bail};

/// Positions of a page; the layout is the kernels'.
pub(super) const PAGE_LEN: usize = crate::backend::cpu::PAGE_LEN;

/// One sequence.
#[derive(Clone, Debug, Default)]
struct Sequence {
    len: usize,
    pages: Vec<u32>,
}

/// The pages of some layers, on the machine that computes them.
struct Pool<B: Backend> {
    backend: Arc<B>,
    pages: B::Pages,
    n_pages: usize,
    page_bytes: usize,
}

/// All sequences of a session and their pages. Where the layers are on several machines a page lies in as many pools, under one
/// number; its bytes are those of the pools one after another, which is the layout of a page of all layers.
pub(super) struct Cache<B: Backend> {
    pools: Vec<Pool<B>>,
    /// Sequences that hold page i.
    holders: Vec<u32>,
    free: Vec<u32>,
    sequences: Vec<Option<Sequence>>,
    max_pages: usize,
}

impl<B: Backend> Cache<B> {
    /// An empty cache of at most `n_sequences` sequences and `max_pages` pages, for layers of these shapes on these machines.
    pub fn new(pools: impl Iterator<Item = (Arc<B>, CacheShape)>, n_sequences: usize, max_pages: usize) -> Cache<B> {
        let pool = |(backend, shape): (Arc<B>, CacheShape)| Pool {
            pages: backend.pages(shape),
            n_pages: 0,
            page_bytes: Cpu::page_bytes(shape) as usize,
            backend,
        };
        Cache {
            pools: pools.map(pool).collect(),
            holders: Vec::new(),
            free: Vec::new(),
            sequences: (0..n_sequences).map(|_| None).collect(),
            max_pages,
        }
    }

    /// The pages of the i-th machine.
    pub fn pages(&self, i: usize) -> &B::Pages {
        &self.pools[i].pages
    }

    /// Copy a page out, `into` as many bytes as it has.
    pub fn read_page(&self, page: u32, mut into: &mut [u8]) -> Result<()> {
        for pool in &self.pools {
            let (own, others) = into.split_at_mut(pool.page_bytes);
            pool.backend.read_page(&pool.pages, page, own)?;
            into = others;
        }
        Ok(())
    }

    /// Copy a page in, and make it zero from slot `n_positions` on.
    pub fn write_page(&mut self, page: u32, mut from: &[u8], n_positions: usize) -> Result<()> {
        for pool in &mut self.pools {
            let (own, others) = from.split_at(pool.page_bytes);
            pool.backend.write_page(&mut pool.pages, page, own)?;
            if n_positions < PAGE_LEN {
                pool.backend.clear_page(&mut pool.pages, page, n_positions)?;
            }
            from = others;
        }
        Ok(())
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
    pub fn acquire(&mut self) -> Result<u32> {
        if let Some(page) = self.free.pop() {
            self.holders[page as usize] = 1;
            return Ok(page);
        }
        if self.holders.len() >= self.max_pages {
            bail!(ContextFull, "all {} pages of {PAGE_LEN} positions are in use", self.max_pages);
        }
        self.grow()?;
        self.holders.push(1);
        Ok((self.holders.len() - 1) as u32)
    }

    /// A page more in every pool. A pool that had grown when a later one could not has its page already the next time.
    fn grow(&mut self) -> Result<()> {
        let n_pages = self.holders.len();
        for pool in self.pools.iter_mut().filter(|pool| pool.n_pages == n_pages) {
            pool.backend.grow_pages(&mut pool.pages)?;
            pool.n_pages += 1;
        }
        Ok(())
    }

    fn copy_page(&mut self, from: u32, to: u32) -> Result<()> {
        self.pools.iter_mut().try_for_each(|pool| pool.backend.copy_page(&mut pool.pages, from, to))
    }

    /// Make room for `n` more positions, on pages that the sequence holds alone. The length does not change yet; after an
    /// error the sequence is as before.
    pub fn reserve(&mut self, id: SequenceId, n: usize) -> Result<()> {
        let result = self.try_reserve(id, n);
        if result.is_err() {
            self.drop_unused_pages(id)?;
        }
        result
    }

    fn try_reserve(&mut self, id: SequenceId, n: usize) -> Result<()> {
        let sequence = self.get(id)?;
        let (len, n_pages) = (sequence.len, sequence.pages.len());
        if let Some(&last) = sequence.pages.last()
            && !len.is_multiple_of(PAGE_LEN)
            && self.holders[last as usize] > 1
        {
            let own = self.acquire()?;
            if let Err(e) = self.copy_page(last, own) {
                self.release(own);
                return Err(e);
            }
            self.release(last);
            self.get_mut(id)?.pages[n_pages - 1] = own;
        }
        for _ in n_pages..(len + n).div_ceil(PAGE_LEN) {
            let page = self.acquire()?;
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
