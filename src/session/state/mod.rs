//! Saving sequences, and getting them back, here or in another process: all or nothing.
//!
//! A state holds the keys and values of sequences, and what says where they belong: the model, the type of keys and values, the
//! layout of pages. A restored sequence continues to the same bits as the one that was saved, with any number of threads. What a
//! state does not hold: tokens, which a session does not keep (a host that compares prompts keeps them beside the state); logits
//! of the last batch (to get them, [truncate](Session::truncate) by one and decode the last token again, which gives the same
//! bits); options such as sizes and [`Numerics`](super::Numerics).
//!
//! A state is untrusted input, like a file. Checksums find damage; they do not prove who wrote it.

mod format;

use std::hash::Hasher;
use std::io::Write;
use std::path::Path;

use twox_hash::XxHash3_64;

use self::format::{CHECKSUM_BYTES, Index, Saved, Shape};
use super::cache::PAGE_LEN;
use super::{SequenceId, Session, cache_shape};
use crate::atomic_file::AtomicFile;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Footprint};
use crate::error::{Error, Result, bail};
use crate::fallible;
use crate::mapped_file::MappedFile;

/// A state to be written: its index, and for each of its pages the session's page and the positions in it that count.
struct Plan {
    index: Index,
    pages: Vec<(u32, usize)>,
}

impl Session {
    /// The sequences that exist, in order of their names.
    pub fn sequences(&self) -> Vec<SequenceId> {
        self.cache.ids().collect()
    }

    /// Bytes that [`save`](Self::save) would write.
    ///
    /// # Errors
    /// `InvalidArgument` if a sequence does not exist, `OutOfMemory`.
    pub fn state_bytes(&self, sequences: &[SequenceId]) -> Result<u64> {
        Ok(self.plan(sequences)?.index.state_bytes())
    }

    /// Write the state of sequences, in the order given. Pages that they share are written once. The form is documented in
    /// `src/session/state/format.rs`; see also the text of that module's parent on what a state does not hold.
    ///
    /// # Errors
    /// `InvalidArgument` if a sequence does not exist, `OutOfMemory`, `Io` with the reason of `to`.
    pub fn save(&self, sequences: &[SequenceId], to: &mut dyn Write) -> Result<()> {
        let plan = self.plan(sequences)?;
        let mut checksum = XxHash3_64::new();
        let mut put = |bytes: &[u8]| {
            checksum.write(bytes);
            to.write_all(bytes).map_err(|e| Error::io("write a state", e))
        };
        put(&plan.index.encode()?)?;
        let cpu = &**self.model.cpu();
        let page_bytes = plan.index.shape.page_bytes as usize;
        let mut bytes = fallible::filled(0, page_bytes, "a page of a state")?;
        // Where, in the host's memory, the slots that do not count are cleared: the session's own page may hold another sequence's there.
        let mut desk = cpu.pages(cache_shape(self.model.hparams(), &self.options));
        for &(page, n_positions) in &plan.pages {
            self.cache.read_page(page, &mut bytes)?;
            if n_positions < PAGE_LEN {
                if desk.is_empty() {
                    cpu.grow_pages(&mut desk)?;
                }
                cpu.write_page(&mut desk, 0, &bytes)?;
                cpu.clear_page(&mut desk, 0, n_positions)?;
                cpu.read_page(&desk, 0, &mut bytes)?;
            }
            put(&bytes)?;
        }
        let checksum: [u8; CHECKSUM_BYTES] = checksum.finish().to_le_bytes();
        to.write_all(&checksum).and_then(|()| to.flush()).map_err(|e| Error::io("write a state", e))
    }

    /// [`save`](Self::save) to memory.
    ///
    /// # Errors
    /// Those of [`save`](Self::save).
    pub fn save_to_vec(&self, sequences: &[SequenceId]) -> Result<Vec<u8>> {
        let n_bytes = usize::try_from(self.state_bytes(sequences)?).unwrap_or(usize::MAX);
        let mut state = fallible::with_capacity(n_bytes, "a state")?;
        self.save(sequences, &mut state)?;
        Ok(state)
    }

    /// [`save`](Self::save) to a file, which appears under its name, in place of another, when all of it is on the disk. After
    /// a crash in the middle the old file is there as it was, and beside it the unfinished one, as `.oribi-*.part`.
    ///
    /// # Errors
    /// Those of [`save`](Self::save).
    pub fn save_file(&self, sequences: &[SequenceId], path: &Path) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        self.save(sequences, &mut file)?;
        file.commit()
    }

    /// Create the sequences of a state beside those that exist; their names, in the order in which they were saved. After an
    /// error the sequences are as before; memory that was taken for pages stays with the session.
    ///
    /// # Errors
    /// `InvalidFile`, `Truncated` and `UnsupportedVersion` for bytes that are no whole state of this version; `InvalidState` for a
    /// state of another model, type of keys and values or layout of pages, or with more sequences than the session has
    /// left; `ContextFull` for a sequence that is longer than the session's context; `OutOfMemory`.
    pub fn restore(&mut self, state: &[u8]) -> Result<Vec<SequenceId>> {
        let (own, n_unused) = (self.state_shape(), self.cache.n_unused());
        let (index, content) = Index::decode(state, |shape, n_sequences| {
            check_shape(shape, &own)?;
            if n_sequences > n_unused {
                bail!(InvalidState, "the state has {n_sequences} sequences, the session has room for {n_unused} more");
            }
            Ok(())
        })?;
        let n_ctx = self.options.n_ctx;
        if let Some(saved) = index.sequences.iter().find(|s| s.n_positions as usize > n_ctx) {
            bail!(
                ContextFull,
                "a sequence of the state has {} positions, the session's context {n_ctx}",
                saved.n_positions
            );
        }
        let mut pages = fallible::with_capacity(index.n_pages as usize, "the pages of a state")?;
        let mut ids = fallible::with_capacity(index.sequences.len(), "the sequences of a state")?;
        let filled = self.fill_pages(&index, content, &mut pages);
        let result = filled.and_then(|()| self.adopt_all(index, &pages, &mut ids));
        // Whatever happened, the sequences alone hold pages from here on.
        if result.is_err() {
            ids.iter().try_for_each(|&id| self.cache.remove(id))?;
        }
        pages.iter().for_each(|&page| self.cache.release(page));
        result.map(|()| ids)
    }

    /// [`restore`](Self::restore) from a file. It must not be shortened or rewritten meanwhile, see
    /// [`mapped_file`](crate::mapped_file); [`save_file`](Self::save_file) does neither.
    ///
    /// # Errors
    /// Those of [`restore`](Self::restore), and `Io`.
    pub fn restore_file(&mut self, path: &Path) -> Result<Vec<SequenceId>> {
        let state = MappedFile::open(path)?;
        self.restore(&state).map_err(|e| e.within(path.display()))
    }

    /// Copy the pages of a state into pages of the session, which are added to `pages`.
    fn fill_pages(&mut self, index: &Index, content: &[u8], pages: &mut Vec<u32>) -> Result<()> {
        let used = used_positions(index)?;
        for (bytes, n_positions) in content.chunks_exact(index.shape.page_bytes as usize).zip(used) {
            let page = self.cache.acquire()?;
            pages.push(page);
            self.cache.write_page(page, bytes, n_positions)?;
        }
        Ok(())
    }

    /// Create the sequences of a state on the session's `pages`; their names are added to `ids`.
    fn adopt_all(&mut self, index: Index, pages: &[u32], ids: &mut Vec<SequenceId>) -> Result<()> {
        for Saved { n_positions, pages: mut numbers } in index.sequences {
            numbers.iter_mut().for_each(|number| *number = pages[*number as usize]);
            ids.push(self.cache.adopt(n_positions as usize, numbers)?);
        }
        Ok(())
    }

    /// What a state of this session says of it.
    fn state_shape(&self) -> Shape {
        let shape = cache_shape(self.model.hparams(), &self.options);
        Shape {
            kv_type: shape.kv_type.dtype() as u32,
            model: self.model.identity(),
            n_layers: shape.n_layers as u32,
            n_kv_heads: shape.heads.n_kv_heads as u32,
            head_dim: shape.heads.head_dim as u32,
            page_len: PAGE_LEN as u32,
            page_bytes: Cpu::page_bytes(shape),
        }
    }

    /// Which pages a state of sequences takes.
    fn plan(&self, sequences: &[SequenceId]) -> Result<Plan> {
        const UNSEEN: u32 = u32::MAX;
        let mut number_of = fallible::filled(UNSEEN, self.cache.n_pages(), "the table of a state")?;
        let mut saved = fallible::with_capacity(sequences.len(), "the table of a state")?;
        let mut pages = Vec::new();
        for &sequence in sequences {
            let n_positions = self.cache.len(sequence)?;
            let own = self.cache.pages_of(sequence)?;
            let own = &own[..n_positions.div_ceil(PAGE_LEN)];
            let mut numbers = fallible::with_capacity(own.len(), "the table of a state")?;
            for &page in own {
                let number = &mut number_of[page as usize];
                if *number == UNSEEN {
                    *number = pages.len() as u32;
                    fallible::reserve(&mut pages, 1, "the table of a state")?;
                    pages.push((page, 0));
                }
                numbers.push(*number);
            }
            saved.push(Saved { n_positions: n_positions as u32, pages: numbers });
        }
        let index = Index { shape: self.state_shape(), sequences: saved, n_pages: pages.len() as u32 };
        for ((_, n_positions), used) in pages.iter_mut().zip(used_positions(&index)?) {
            *n_positions = used;
        }
        Ok(Plan { index, pages })
    }
}

/// For each page of a state the positions in it that some sequence has.
fn used_positions(index: &Index) -> Result<Vec<usize>> {
    let mut used = fallible::filled(0, index.n_pages as usize, "the table of a state")?;
    for sequence in &index.sequences {
        for (i, &number) in sequence.pages.iter().enumerate() {
            let here = (sequence.n_positions as usize - i * PAGE_LEN).min(PAGE_LEN);
            let used = &mut used[number as usize];
            *used = here.max(*used);
        }
    }
    Ok(used)
}

/// Whether a state's shape is the session's.
fn check_shape(state: &Shape, own: &Shape) -> Result<()> {
    if state.model != own.model {
        bail!(InvalidState, "the state is of another model than the session's");
    }
    if state.kv_type != own.kv_type {
        let name = |id| crate::dtype::DType::from_id(id).map_or(format!("type {id}"), |dtype| dtype.to_string());
        let (state, own) = (name(state.kv_type), name(own.kv_type));
        bail!(InvalidState, "the state keeps keys and values as {state}, the session as {own}");
    }
    if state != own {
        bail!(InvalidState, "the state has pages of another layout than the session's");
    }
    Ok(())
}
