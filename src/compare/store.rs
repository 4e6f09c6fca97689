//! The cache of what was measured: one small file per result, in a folder of the host's choice.
//!
//! A result is found by its [`Key`], all of what it depends on: hashes of files, settings, versions. The key is in the file in full, so
//! that two keys of the same name are not taken for each other. Files are a cache: one that is damaged, or of another version, counts
//! as absent, and nothing is lost but time. Small records are JSON, written whole; scores grow chunk by chunk while an
//! evaluation runs ([`ScoreFile`]), so that an interruption costs one chunk.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result, bail};
use crate::eval::{Comparison, PairScore};

/// First bytes of a file of scores; the number is the version of its format.
const MAGIC: &[u8] = b"oribi scores 1\n";
/// Bytes of the scores of one position: three float64 and two bytes.
const POSITION_BYTES: usize = 26;
/// Positions that a record may claim: more than any chunk has.
const MAX_POSITIONS: usize = 1 << 24;
/// Bytes that a record of JSON may have.
const MAX_JSON: u64 = 1 << 24;

/// All that a result depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    kind: &'static str,
    text: String,
}

impl Key {
    /// A key of a kind (a word that file names may have), of named parts.
    pub fn new(kind: &'static str, parts: &[(&str, &dyn Display)]) -> Key {
        let text = parts.iter().map(|(name, value)| format!("{name}={}\n", value.to_string().escape_default()));
        Key { kind, text: text.collect() }
    }

    fn file_name(&self, ending: &str) -> String {
        format!("{}-{:032x}.{ending}", self.kind, XxHash3_128::oneshot(self.text.as_bytes()))
    }
}

/// A record as it lies in a file.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    key: String,
    value: T,
}

/// A folder of results.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// The results of a folder, which is created where it is absent.
    ///
    /// # Errors
    /// `Io` if it cannot be created.
    pub fn open(folder: &Path) -> Result<Store> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(format!("create {}", folder.display()), e))?;
        Ok(Store { folder: folder.to_path_buf() })
    }

    /// A small record; `None` if it is absent, damaged or of another form.
    pub fn read<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        let file = File::open(self.folder.join(key.file_name("json"))).ok()?;
        let mut text = String::new();
        file.take(MAX_JSON).read_to_string(&mut text).ok()?;
        let record: Record<T> = serde_json::from_str(&text).ok()?;
        (record.key == key.text).then_some(record.value)
    }

    /// Writes a small record, in place of any earlier one.
    ///
    /// # Errors
    /// `Io`.
    pub fn write<T: Serialize>(&self, key: &Key, value: &T) -> Result<()> {
        let path = self.folder.join(key.file_name("json"));
        let text = match serde_json::to_string_pretty(&Record { key: key.text.clone(), value }) {
            Ok(text) => text,
            Err(e) => bail!(Internal, "{}: {e}", path.display()),
        };
        let mut file = AtomicFile::create(&path)?;
        file.write_all(text.as_bytes()).map_err(|e| Error::io(format!("write {}", path.display()), e))?;
        file.commit()
    }

    /// Removes what is known under a key.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget(&self, key: &Key) -> Result<()> {
        for path in ["json", "scores"].map(|ending| self.folder.join(key.file_name(ending))) {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove {}", path.display()), e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The scores of a text of `n_chunks` chunks, as far as they are known, and open for more.
    ///
    /// # Errors
    /// `Io`.
    pub fn scores(&self, key: &Key, n_chunks: usize) -> Result<ScoreFile> {
        ScoreFile::open(self.folder.join(key.file_name("scores")), key, n_chunks)
    }
}

/// What was measured at every position of the chunks of a text, chunk by chunk, in a file that grows.
///
/// ```text
/// MAGIC | length of the key u32 | key | records
/// record: chunk u32 | n u32 | n x { reference nll f64 | candidate nll f64 | KLD f64 | same top u8 | common top u8 } | XXH3 u64 of the record
/// ```
#[derive(Debug)]
pub struct ScoreFile {
    path: PathBuf,
    file: File,
    chunks: Vec<Option<Vec<PairScore>>>,
}

impl ScoreFile {
    fn open(path: PathBuf, key: &Key, n_chunks: usize) -> Result<ScoreFile> {
        let fail = |e| Error::io(format!("open {}", path.display()), e);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map(|_| ()).map_err(fail)?,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(fail(e)),
        }
        let head = header(key);
        let mut chunks = vec![None; n_chunks];
        let mut whole = 0;
        if bytes.starts_with(&head) {
            whole = head.len();
            while let Some((chunk, scores, len)) = record(&bytes[whole..]) {
                if let Some(place) = chunks.get_mut(chunk) {
                    *place = Some(scores);
                }
                whole += len;
            }
        }
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).append(false).open(&path).map_err(fail)?;
        // A record that an interruption has torn, or a foreign file, goes.
        file.set_len(whole as u64).map_err(fail)?;
        drop(file);
        let mut file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
        if whole == 0 {
            file.write_all(&head).map_err(fail)?;
        }
        Ok(ScoreFile { path, file, chunks })
    }

    /// The scores of a chunk, if they are known.
    pub fn chunk(&self, i: usize) -> Option<&[PairScore]> {
        self.chunks.get(i)?.as_deref()
    }

    /// Chunks whose scores are not known.
    pub fn n_missing(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.is_none()).count()
    }

    /// Adds the scores of a chunk; they last from here on.
    ///
    /// # Errors
    /// `Io`; `InvalidArgument` for a chunk that the text does not have.
    pub fn add(&mut self, chunk: usize, scores: Vec<PairScore>) -> Result<()> {
        let n_chunks = self.chunks.len();
        let Some(place) = self.chunks.get_mut(chunk) else {
            bail!(InvalidArgument, "chunk {chunk} of {n_chunks}");
        };
        let bytes = encode(chunk, &scores);
        // In one piece, so that records of two processes do not mix.
        self.file.write_all(&bytes).map_err(|e| Error::io(format!("write {}", self.path.display()), e))?;
        *place = Some(scores);
        Ok(())
    }

    /// The figures of the whole text.
    ///
    /// # Errors
    /// `InvalidState` while chunks are missing.
    pub fn comparison(&self) -> Result<Comparison> {
        let known: Option<Vec<&[PairScore]>> = self.chunks.iter().map(Option::as_deref).collect();
        let Some(known) = known.filter(|known| !known.is_empty()) else {
            bail!(InvalidState, "{} of {} chunks are not evaluated", self.n_missing(), self.chunks.len());
        };
        Ok(Comparison::of(known.concat(), known[0].len()))
    }
}

fn header(key: &Key) -> Vec<u8> {
    let text = format!("{}\n{}", key.kind, key.text);
    [MAGIC, &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn encode(chunk: usize, scores: &[PairScore]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + scores.len() * POSITION_BYTES);
    bytes.extend_from_slice(&(chunk as u32).to_le_bytes());
    bytes.extend_from_slice(&(scores.len() as u32).to_le_bytes());
    for score in scores {
        for value in [score.reference_nll, score.candidate_nll, score.kld] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&[u8::from(score.is_same_top), score.n_common_top]);
    }
    let sum = XxHash3_64::oneshot(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The first record of `bytes`: its chunk, its scores, its length; `None` if there is no whole one.
fn record(bytes: &[u8]) -> Option<(usize, Vec<PairScore>, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let (chunk, n) = (number(0)?, number(4)?);
    if n == 0 || n > MAX_POSITIONS {
        return None;
    }
    let end = 8 + n * POSITION_BYTES;
    let sum = u64::from_le_bytes(bytes.get(end..end + 8)?.try_into().ok()?);
    if XxHash3_64::oneshot(&bytes[..end]) != sum {
        return None;
    }
    let value = |b: &[u8], i: usize| f64::from_le_bytes(b[8 * i..8 * i + 8].try_into().unwrap_or_default());
    let scores = bytes[8..end].chunks_exact(POSITION_BYTES).map(|b| PairScore {
        reference_nll: value(b, 0),
        candidate_nll: value(b, 1),
        kld: value(b, 2),
        is_same_top: b[24] != 0,
        n_common_top: b[25],
    });
    Some((chunk, scores.collect(), end + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(seed: f64) -> Vec<PairScore> {
        let score = |i: u8| PairScore {
            reference_nll: seed + f64::from(i),
            candidate_nll: seed - f64::from(i),
            kld: if i == 1 { 1e-300 } else { 0.25 },
            is_same_top: i != 2,
            n_common_top: i,
        };
        (0..4).map(score).collect()
    }

    fn key(level: &str) -> Key {
        Key::new("quality", &[("level", &level), ("chunks", &3)])
    }

    #[test]
    fn records_are_found_by_the_whole_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(store.read::<Vec<u32>>(&key("x")), None);
        store.write(&key("x"), &vec![1, 2]).unwrap();
        assert_eq!(store.read::<Vec<u32>>(&key("x")), Some(vec![1, 2]));
        assert_eq!(store.read::<Vec<u32>>(&key("y")), None);
        assert_eq!(store.read::<String>(&key("x")), None);
        // A file of that name with another key in it.
        let path = |level| folder.path().join("a/b").join(key(level).file_name("json"));
        std::fs::copy(path("x"), path("y")).unwrap();
        assert_eq!(store.read::<Vec<u32>>(&key("y")), None);
        std::fs::write(path("x"), "{").unwrap();
        assert_eq!(store.read::<Vec<u32>>(&key("x")), None);
        // No value can pass for two parts.
        let two = Key::new("k", &[("a", &"1"), ("b", &"2")]);
        assert_ne!(Key::new("k", &[("a", &"1\nb=2")]), two);
    }

    #[test]
    fn scores_outlive_the_process_and_a_torn_end_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let path = folder.path().join(key("x").file_name("scores"));
        let mut file = store.scores(&key("x"), 3).unwrap();
        assert!(file.comparison().is_err() && file.n_missing() == 3);
        file.add(0, scores(1.0)).unwrap();
        file.add(2, scores(3.0)).unwrap();
        assert!(file.add(3, scores(0.0)).is_err());
        drop(file);
        let whole = std::fs::read(&path).unwrap();

        // Cut anywhere in the second record, the first is there; cut in the header, nothing is.
        let second = encode(2, &scores(3.0)).len();
        for lost in [1, 9, second - 1, second] {
            std::fs::write(&path, &whole[..whole.len() - lost]).unwrap();
            let mut file = store.scores(&key("x"), 3).unwrap();
            assert_eq!((file.chunk(0), file.chunk(2)), (Some(&scores(1.0)[..]), None), "{lost}");
            file.add(2, scores(3.0)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{lost}");
        }
        std::fs::write(&path, &whole[..10]).unwrap();
        assert_eq!(store.scores(&key("x"), 3).unwrap().n_missing(), 3);

        // A flipped bit ends what is believed.
        let mut bent = whole.clone();
        let at = bent.len() - second + 20;
        bent[at] ^= 1;
        std::fs::write(&path, &bent).unwrap();
        let mut file = store.scores(&key("x"), 3).unwrap();
        assert_eq!(file.n_missing(), 2);
        file.add(1, scores(2.0)).unwrap();
        file.add(2, scores(3.0)).unwrap();
        let found = store.scores(&key("x"), 3).unwrap().comparison().unwrap();
        assert_eq!(found.n_positions(), 12);
        assert_eq!(found.top1.mean, 0.75);
        assert!(store.scores(&key("y"), 3).unwrap().n_missing() == 3);
    }
}
