//! Writing that goes on where it was interrupted, even by `kill -9`.
//!
//! The file grows under a name of its own beside its destination, `.NAME.part`, and gets its name when it is whole. Beside it
//! a journal, `.NAME.journal`, has one line per finished tensor:
//!
//! ```text
//! oribi journal 1
//! job 3f0c..                      what is being made: the hash of the caller's description and of the header
//! 0 5f1e.. 88a0..                 tensor 0: the hash of its bytes as written, and the caller's mark of what they were made from
//! ```
//!
//! Nothing is taken on trust: who goes on with a file has its header compared and the bytes of each tensor hashed, in
//! order, and the caller is asked whether its mark still holds; the first tensor that fails any of this is written again, and
//! all that follow. So neither a line torn in two nor pages that never reached the disk do harm, and nothing needs to be synchronized
//! on the way. A journal of another job is no error: the work begins again, and [`Found`] says why.
//!
//! The journal is locked while it is used, so that a second process of the same destination is refused.

use super::writer::{GgufBuilder, GgufWriter, TensorSink};
use crate::atomic_file;
use crate::error::{Error, Result, bail};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use twox_hash::XxHash3_128;

/// The journal's first line.
const TITLE: &str = "oribi journal 1";
/// Bytes read at once while a tensor is hashed.
const READ_BYTES: usize = 1 << 20;

/// What an earlier run had left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// So many finished tensors of the same job, which are kept.
    Finished {
        /// Tensors that need not be written again, the first of the file.
        n_tensors: usize,
    },
    /// Something that is of no use, for this reason; it was thrown away.
    Useless(String),
}

/// Whether the mark of a finished tensor (its index, the mark) still holds, see [`ResumableWriter::stream_tensor`].
pub type StillHolds<'a> = &'a mut dyn FnMut(usize, u128) -> Result<bool>;

/// Takes the bytes of a tensor, piece by piece.
pub type Sink<'a> = &'a mut (dyn FnMut(&[u8]) -> Result<()> + Send);

/// A GGUF file being written that can be gone on with. Dropped before [`commit`](Self::commit) or [`suspend`](Self::suspend),
/// it removes what it has written: an ordinary error leaves nothing behind.
#[derive(Debug)]
pub struct ResumableWriter {
    /// `None` once closed.
    writer: Option<GgufWriter<Part>>,
    journal: Option<File>,
    names: Names,
}

/// The names of the three files.
#[derive(Debug)]
struct Names {
    path: PathBuf,
    part: PathBuf,
    journal: PathBuf,
}

/// The growing file, hashing what passes.
struct Part {
    file: File,
    hash: XxHash3_128,
}

/// A line of the journal.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    hash: u128,
    mark: u128,
}

impl GgufBuilder {
    /// Begins a file that will take the name `path`, or goes on with one. `job` describes what it is made from and how, as far
    /// as the header does not say it; `still_holds` is asked about every finished tensor, in order. With `fresh` nothing is
    /// kept of an earlier run.
    ///
    /// # Errors
    /// `InvalidState` if another process is writing the same file; `Io`; those of [`write_to`](Self::write_to) and of `still_holds`.
    pub fn resume(
        self,
        path: &Path,
        job: &str,
        fresh: bool,
        still_holds: StillHolds<'_>,
    ) -> Result<(ResumableWriter, Found)> {
        let names = Names::new(path)?;
        let header = self.header_bytes()?;
        let job = job_hash(job, &header);
        let mut journal = lock(&names)?;
        let mut text = Vec::new();
        journal.read_to_end(&mut text).map_err(|e| io("read", &names.journal, e))?;
        let lines = match () {
            () if text.is_empty() => Ok(Vec::new()),
            () if fresh => Err("it was to begin again".to_owned()),
            () => parse(&text, job),
        };
        let mut file = open_part(&names.part)?;
        let places = self.tensor_places(header.len() as u64);
        let kept = match &lines {
            Ok(lines) if begins_with(&mut file, &header)? => verify(&mut file, &places, lines, still_holds)?,
            _ => 0,
        };
        let found = match lines {
            Err(reason) => Found::Useless(reason),
            Ok(lines) if lines.is_empty() => Found::Nothing,
            Ok(_) if kept == 0 => Found::Useless("what it had written has changed".to_owned()),
            Ok(lines) => {
                write_journal(&mut journal, &names, job, &lines[..kept])?;
                Found::Finished { n_tensors: kept }
            }
        };
        if kept == 0 {
            write_journal(&mut journal, &names, job, &[])?;
        }
        let end = if kept == 0 { 0 } else { places[kept - 1].end };
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(|e| io("write", &names.part, e))?;
        let part = Part { file, hash: XxHash3_128::new() };
        let writer = if kept == 0 { self.write_to(part)? } else { self.go_on(part, kept) };
        let mut resumable = ResumableWriter { writer: Some(writer), journal: Some(journal), names };
        resumable.part()?.take_hash()?; // of the header
        Ok((resumable, found))
    }
}

impl ResumableWriter {
    /// The name of the tensor that must be written next; `None` when all are.
    pub fn next_tensor(&self) -> Option<&str> {
        self.writer.as_ref().and_then(GgufWriter::next_tensor)
    }

    /// [`GgufWriter::stream_tensor`], where `fill` returns a mark of what the tensor was made from (a hash of its source,
    /// say), which the journal keeps.
    pub fn stream_tensor(&mut self, name: &str, fill: impl FnOnce(Sink<'_>) -> Result<u128>) -> Result<()> {
        let Some(writer) = &mut self.writer else { bail!(InvalidState, "the file is closed") };
        let index = writer.n_written();
        let mut mark = 0;
        writer.stream_tensor(name, |sink: &mut TensorSink<'_, Part>| {
            mark = fill(&mut |bytes| sink.write(bytes))?;
            Ok(())
        })?;
        let hash = self.part()?.take_hash()?;
        let Some(journal) = &mut self.journal else { bail!(InvalidState, "the file is closed") };
        let line = Line { hash, mark }.text(index);
        journal.write_all(line.as_bytes()).map_err(|e| io("write", &self.names.journal, e))
    }

    /// Finishes the file, waits until it is on the disk, gives it its name, and removes the journal.
    pub fn commit(mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { bail!(InvalidState, "the file is closed") };
        let committed = writer.finish().and_then(|part| {
            part.file.sync_all().map_err(|e| io("write", &self.names.part, e))?;
            drop(part); // some systems do not rename an open file
            atomic_file::rename(&self.names.part, &self.names.path)
        });
        if committed.is_err() {
            let _ = std::fs::remove_file(&self.names.part);
        }
        self.remove_journal();
        committed
    }

    /// Leaves what was written, for [`GgufBuilder::resume`] to go on with. A tensor that was begun counts for nothing.
    pub fn suspend(mut self) {
        self.writer = None;
        // Not by closing alone: a child that this process is starting on another thread has a copy until it begins to run.
        self.journal.take().map(|journal| journal.unlock());
    }

    fn part(&mut self) -> Result<PartHandle<'_>> {
        match &mut self.writer {
            Some(writer) => Ok(PartHandle(writer)),
            None => bail!(InvalidState, "the file is closed"),
        }
    }

    fn remove_journal(&mut self) {
        if self.journal.take().is_some() {
            let _ = std::fs::remove_file(&self.names.journal);
        }
    }
}

impl Drop for ResumableWriter {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.abandon());
            let _ = std::fs::remove_file(&self.names.part);
        }
        self.remove_journal();
    }
}

/// The growing file behind its buffer.
struct PartHandle<'a>(&'a mut GgufWriter<Part>);

impl PartHandle<'_> {
    /// The hash of what was written since the last call.
    fn take_hash(&mut self) -> Result<u128> {
        let part = self.0.flushed()?;
        Ok(std::mem::take(&mut part.hash).finish_128())
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.write(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Names {
    fn new(path: &Path) -> Result<Names> {
        let Some(name) = path.file_name() else {
            bail!(InvalidArgument, "{} does not name a file", path.display());
        };
        if path.is_dir() {
            bail!(InvalidArgument, "{} is a folder", path.display());
        }
        let beside = |ending: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(ending);
            path.with_file_name(hidden)
        };
        Ok(Names { path: path.to_owned(), part: beside(".part"), journal: beside(".journal") })
    }
}

impl Line {
    fn text(self, index: usize) -> String {
        format!("{index} {:032x} {:032x}\n", self.hash, self.mark)
    }

    /// The line of tensor `index`; `None` for anything else, such as a line torn in two.
    fn parse(text: &str, index: usize) -> Option<Line> {
        let mut words = text.split(' ');
        let number: usize = words.next()?.parse().ok()?;
        let mut hex = || words.next().filter(|w| w.len() == 32).and_then(|w| u128::from_str_radix(w, 16).ok());
        let line = Line { hash: hex()?, mark: hex()? };
        (number == index && words.next().is_none()).then_some(line)
    }
}

fn job_hash(job: &str, header: &[u8]) -> u128 {
    let mut hash = XxHash3_128::new();
    hash.write(&(job.len() as u64).to_le_bytes());
    hash.write(job.as_bytes());
    hash.write(header);
    hash.finish_128()
}

/// The finished tensors of a journal of this job, or why it is of no use. Ends at the first line that is not whole.
fn parse(text: &[u8], job: u128) -> std::result::Result<Vec<Line>, String> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
    match lines.next() {
        Some(TITLE) => {}
        // Killed before the first line was whole.
        None => return Ok(Vec::new()),
        Some(_) => return Err("its journal is of another version".to_owned()),
    }
    match lines.next() {
        Some(line) if line == format!("job {job:032x}") => {}
        None => return Ok(Vec::new()),
        Some(_) => return Err("it made something else: other input, options or version".to_owned()),
    }
    Ok(lines.enumerate().map_while(|(index, line)| Line::parse(line, index)).collect())
}

fn write_journal(journal: &mut File, names: &Names, job: u128, lines: &[Line]) -> Result<()> {
    let mut text = format!("{TITLE}\njob {job:032x}\n");
    lines.iter().enumerate().for_each(|(index, line)| text += &line.text(index));
    let written = journal.set_len(0).and_then(|()| journal.rewind()).and_then(|()| journal.write_all(text.as_bytes()));
    written.map_err(|e| io("write", &names.journal, e))
}

/// The journal, locked; nobody else has it, and it is the one of that name.
fn lock(names: &Names) -> Result<File> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let journal = options.open(&names.journal).map_err(|e| io("create", &names.journal, e))?;
        match journal.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(InvalidState, "another process is writing {}", names.path.display())
            }
            // A file system without locks: without a second process all is well.
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(io("lock", &names.journal, e)),
        }
        if is_still_named(&journal, &names.journal) {
            return Ok(journal);
        }
        // Whoever had it before has finished and removed it: another takes its place.
    }
}

#[cfg(unix)]
fn is_still_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: std::io::Result<std::fs::Metadata>| metadata.ok().map(|m| (m.dev(), m.ino()));
    place(file.metadata()).is_some_and(|here| Some(here) == place(std::fs::metadata(path)))
}

#[cfg(not(unix))]
fn is_still_named(_: &File, path: &Path) -> bool {
    path.exists()
}

fn open_part(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(|e| io("create", path, e))
}

fn begins_with(file: &mut File, header: &[u8]) -> Result<bool> {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(header.len() as u64).read_to_end(&mut bytes));
    read.map_err(|e| Error::io("read what an earlier run had written", e))?;
    Ok(bytes == header)
}

/// How many of the journal's tensors are in the file as it says.
fn verify(file: &mut File, places: &[Range<u64>], lines: &[Line], still_holds: StillHolds<'_>) -> Result<usize> {
    for (index, (line, place)) in lines.iter().zip(places).enumerate() {
        if hash_range(file, place.start, place.end) != Some(line.hash) || !still_holds(index, line.mark)? {
            return Ok(index);
        }
    }
    Ok(lines.len().min(places.len()))
}

/// The hash of the bytes from `start` to `end`; `None` if they are not there.
fn hash_range(file: &mut File, start: u64, end: u64) -> Option<u128> {
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut hash = XxHash3_128::new();
    let mut buffer = vec![0; READ_BYTES.min((end - start) as usize)];
    let mut left = end - start;
    while left > 0 {
        let n = left.min(READ_BYTES as u64) as usize;
        file.read_exact(&mut buffer[..n]).ok()?;
        hash.write(&buffer[..n]);
        left -= n as u64;
    }
    Some(hash.finish_128())
}

fn io(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::io(format_args!("{what} {}", path.display()), error)
}
