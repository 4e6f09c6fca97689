//! Metadata changed in a file that is there, which is never half written.
//!
//! In order of preference:
//!
//! 1. Entries keep their length, and all bytes that change lie in one sector: one write.
//! 2. The header has room (`room.rs`): the new entries are written where no reader looks, and one write makes them live.
//! 3. The file is written anew beside the old one, with room, and takes its name when it is whole.
//!
//! A write within a sector is never cut in two by a kill of the process: the kernel copies at least a page between looks at
//! signals. Disks keep sectors whole through a power failure.

use super::encode::{MetadataValue, put_string};
use super::header::{ALIGNMENT_KEY, Header};
use super::metadata::next_entry;
use super::reader::{Quoted, Reader};
use super::room::{ENTRIES_AT, Front, is_large, is_room};
use super::source::Source;
use super::writer::GgufBuilder;
use super::{Gguf, tensor_range};
use crate::error::{Error, Result, bail};
use crate::mapped_file::MappedFile;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Bytes that reach the disk together or not at all.
const SECTOR_BYTES: usize = 512;
/// Bytes copied at once.
const COPY_BYTES: usize = 4 << 20;

/// Changes of metadata, in order; the last of a key counts.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The key, and the type and value to set; `None` to remove it.
    list: Vec<(String, Option<Vec<u8>>)>,
}

/// What was done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// Nothing: it says so already.
    Unchanged,
    /// It was changed in place.
    InPlace,
    /// It was written anew.
    Rewritten,
}

impl Changes {
    /// None.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Sets a key.
    ///
    /// # Errors
    /// Those of [`GgufBuilder::set`].
    pub fn set(&mut self, key: &str, value: impl MetadataValue) -> Result<()> {
        GgufBuilder::new().set(key, &value)?; // whether it could be written at all
        let mut bytes = (value.value_type() as u32).to_le_bytes().to_vec();
        value.encode(&mut bytes)?;
        self.put(key, Some(bytes));
        Ok(())
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.put(key, None);
    }

    fn put(&mut self, key: &str, value: Option<Vec<u8>>) {
        self.list.retain(|(k, _)| k != key);
        self.list.push((key.to_owned(), value));
    }

    fn of(&self, key: &str) -> Option<&Option<Vec<u8>>> {
        self.list.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }
}

/// The header of a file that is to be changed.
struct Old {
    source: Source,
    header: Header,
}

impl Old {
    fn open(path: &Path) -> Result<Old> {
        let source = Source::Mapped(Arc::new(MappedFile::open(path)?));
        let header = Header::read(&source, 0)?;
        Ok(Old { source, header })
    }

    fn bytes(&self) -> &[u8] {
        let bytes = self.source.first_bytes();
        &bytes[..bytes.len().min(self.header.data_start as usize)]
    }

    /// Every entry: key and place. For versions whose entries are those of version 3.
    fn entries(&self) -> Result<Vec<(&str, Range<usize>)>> {
        let mut reader = Reader::new(self.bytes(), 8);
        reader.take(ENTRIES_AT as u64, "the counts")?;
        (0..self.header.metadata.len()).map(|_| next_entry(&mut reader)).collect()
    }

    /// The header of the changed file, written anew.
    fn builder(&self, changes: &Changes) -> Result<GgufBuilder> {
        let mut builder = GgufBuilder::new();
        builder.set_all(&self.header.metadata)?;
        for (key, value) in &changes.list {
            match value {
                Some(bytes) => builder.set_encoded(key, bytes),
                None if is_room(key) => bail!(InvalidArgument, "key {} is for room in the header", Quoted(key)),
                None if !builder.remove(key) => bail!(MissingKey, "metadata key {} is missing", Quoted(key)),
                None => {}
            }
        }
        for tensor in &self.header.tensors {
            builder.add_tensor(&tensor.name, tensor.dtype, &tensor.shape)?;
        }
        Ok(builder)
    }
}

/// What the file would be with these changes: its header as it would be, and zeros for the tensors. For checks whether the model in it
/// still makes sense.
///
/// # Errors
/// `MissingKey` for a key to remove that is not there; those of reading and writing headers.
pub fn preview(path: &Path, changes: &Changes) -> Result<Gguf> {
    let builder = Old::open(path)?.builder(changes)?;
    let header = builder.header_bytes()?;
    Gguf::from_read_at(builder.file_bytes()?, move |offset, into| {
        let from = header.get(offset as usize..).unwrap_or_default();
        let n = from.len().min(into.len());
        into[..n].copy_from_slice(&from[..n]);
        into[n..].fill(0);
        Ok(into.len())
    })
}

/// Changes the metadata of a file. Of a split model this changes one file. `progress` gets the bytes that were written and those of
/// all, if the file is written anew; `false` ends that, and the file stays as it was.
///
/// Whoever has the file open keeps what it has read; but who maps a file must not see its header change (see
/// [`mapped_file`](crate::mapped_file)): do this with files that are not in use.
///
/// # Errors
/// `MissingKey` for a key to remove that is not there; `InvalidState` while another process changes the file; `Cancelled`; `Io`.
pub fn edit(path: &Path, changes: &Changes, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<Edited> {
    // A link stays a link.
    let path = &path.canonicalize().map_err(|e| Error::io(format_args!("open {}", path.display()), e))?;
    let lock = File::open(path).map_err(|e| Error::io(format_args!("open {}", path.display()), e))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        bail!(InvalidState, "another process is changing {}", path.display());
    }
    let edited = edit_locked(path, changes, progress);
    // Not by closing alone: a child that this process is starting on another thread has a copy until it begins to run.
    let _ = lock.unlock();
    edited
}

fn edit_locked(path: &Path, changes: &Changes, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<Edited> {
    let old = Old::open(path)?;
    let builder = old.builder(changes)?;
    // Another alignment moves the tensors.
    if old.header.version >= 2 && changes.of(ALIGNMENT_KEY).is_none() {
        let entries = old.entries()?;
        match in_one_sector(&old, &entries, changes) {
            Some((_, bytes)) if bytes.is_empty() => return Ok(Edited::Unchanged),
            Some((at, bytes)) => {
                let file = writable(path)?;
                put(&file, path, at, &bytes)?;
                return Ok(Edited::InPlace);
            }
            None => {}
        }
        if switch(&old, &entries, changes, path)? {
            return Ok(Edited::InPlace);
        }
    }
    rewrite(&old, builder, path, progress)?;
    Ok(Edited::Rewritten)
}

/// The one write that does it all, if there is one: its place and bytes, which are none where nothing changes.
fn in_one_sector(old: &Old, entries: &[(&str, Range<usize>)], changes: &Changes) -> Option<(usize, Vec<u8>)> {
    let bytes = old.bytes();
    let (mut changed, mut start, mut end) = (bytes.to_vec(), usize::MAX, 0);
    for (key, value) in &changes.list {
        let (_, place) = entries.iter().find(|(k, _)| k == key)?;
        let new = entry(key, value.as_ref()?);
        if new.len() != place.len() {
            return None;
        }
        let differs = |i: &usize| new[*i] != bytes[place.start + i];
        if let Some(first) = (0..new.len()).find(differs) {
            start = start.min(place.start + first);
            end = (0..new.len()).rfind(differs).map_or(end, |last| end.max(place.start + last + 1));
        }
        changed[place.clone()].copy_from_slice(&new);
    }
    if end == 0 {
        return Some((0, Vec::new()));
    }
    (start / SECTOR_BYTES == (end - 1) / SECTOR_BYTES).then(|| (start, changed[start..end].to_vec()))
}

/// Makes the changes in the header's room; `false` where that cannot be.
fn switch(old: &Old, entries: &[(&str, Range<usize>)], changes: &Changes, path: &Path) -> Result<bool> {
    let bytes = old.bytes();
    let Some(front) = Front::of(entries, bytes) else { return Ok(false) };
    let is_live = |place: &Range<usize>| place.start >= front.live.start && place.end <= front.live.end;
    let others = entries.iter().filter(|(key, place)| !is_live(place) && !is_room(key));
    if others.clone().any(|(key, _)| changes.of(key).is_some()) {
        return Ok(false);
    }
    let (mut small, mut n_small) = (Vec::new(), 0);
    for (key, place) in entries.iter().filter(|(_, place)| is_live(place)) {
        match changes.of(key) {
            None => small.extend_from_slice(&bytes[place.clone()]),
            Some(Some(value)) => small.extend(entry(key, value)),
            Some(None) => continue,
        }
        n_small += 1;
    }
    for (key, value) in changes.list.iter().filter(|(key, _)| !entries.iter().any(|(k, _)| k == key)) {
        let Some(value) = value else { continue };
        small.extend(entry(key, value));
        n_small += 1;
    }
    if changes.list.iter().any(|(_, value)| value.as_ref().is_some_and(|value| is_large(value))) {
        return Ok(false); // large arrays lie behind the room, and do not move
    }
    let Some(switch) = front.switch(&small, n_small, others.count()) else { return Ok(false) };
    let file = writable(path)?;
    put(&file, path, switch.hidden.0, &switch.hidden.1)?;
    put(&file, path, switch.switch.0, &switch.switch.1)?;
    put(&file, path, switch.dead.start, &vec![0; switch.dead.len()])?;
    Ok(true)
}

/// An entry as it is in the file.
fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_string(key.as_bytes(), &mut bytes);
    bytes.extend_from_slice(value);
    bytes
}

fn writable(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).open(path).map_err(|e| Error::io(format_args!("change {}", path.display()), e))
}

/// Writes bytes by one call, and waits until they are on the disk.
fn put(mut file: &File, path: &Path, at: usize, bytes: &[u8]) -> Result<()> {
    let done =
        file.seek(SeekFrom::Start(at as u64)).and_then(|_| file.write_all(bytes)).and_then(|()| file.sync_data());
    done.map_err(|e| Error::io(format_args!("change {}", path.display()), e))
}

fn rewrite(old: &Old, mut builder: GgufBuilder, path: &Path, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<()> {
    builder.leave_room();
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(format_args!("open {}", path.display()), e))?;
    let mut writer = builder.create(path)?;
    let total = old.header.tensors.iter().map(|tensor| tensor.n_bytes).sum();
    let (mut done, mut buffer) = (0, vec![0; COPY_BYTES]);
    for tensor in &old.header.tensors {
        let place = tensor_range(old.header.data_start, tensor);
        writer.stream_tensor(&tensor.name, |sink| {
            let mut at = place.start;
            while at < place.end {
                let n = (place.end - at).min(COPY_BYTES as u64);
                let piece = &mut buffer[..n as usize];
                old.source.read(at, piece)?;
                sink.write(piece)?;
                old.source.release(at as usize..(at + n) as usize);
                (at, done) = (at + n, done + n);
                if !progress(done, total) {
                    bail!(Cancelled, "interrupted; the file is as it was");
                }
            }
            Ok(())
        })?;
    }
    let file = writer.finish()?;
    file.set_permissions(metadata.permissions())?;
    file.commit()
}
