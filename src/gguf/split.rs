//! Models in several files, `NAME-00001-of-000NN.gguf`: found, checked against each other, joined.

use super::Gguf;
use super::header::Header;
use super::metadata::Metadata;
use super::source::Source;
use crate::error::{Result, bail};
use crate::mapped_file::MappedFile;
use std::path::Path;
use std::sync::Arc;

/// The keys that the field's tools write into each file of a split model.
const NO_KEY: &str = "split.no";
const COUNT_KEY: &str = "split.count";
const N_TENSORS_KEY: &str = "split.tensors.count";

/// Which file of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 0.
    pub(super) no: u32,
    pub(super) count: u32,
}

/// What the metadata says about the file's place; `None` in a model of one file.
pub(super) fn place(metadata: &Metadata) -> Result<Option<Place>> {
    let Some(count) = metadata.opt_u32(COUNT_KEY)? else { return Ok(None) };
    let no = metadata.opt_u32(NO_KEY)?.unwrap_or(0);
    // Both are 16-bit in the files that circulate, and five digits in the name.
    if count > u32::from(u16::MAX) || (count > 0 && no >= count) {
        bail!(InvalidFile, "`{NO_KEY}` {no} and `{COUNT_KEY}` {count} do not make sense");
    }
    Ok((count > 0).then_some(Place { no, count }))
}

/// Opens a file and, if it is the first of several, the others.
pub(super) fn open(path: &Path) -> Result<Gguf> {
    let (source, header) = open_one(path, 0)?;
    let of_path = |e: crate::Error| e.within(path.display());
    let parts = match place(&header.metadata).map_err(of_path)? {
        Some(place) if place.count > 1 => open_others(path, place, (source, header)).map_err(of_path)?,
        _ => vec![(source, header)],
    };
    Gguf::assemble(parts).map_err(of_path)
}

fn open_one(path: &Path, shard: usize) -> Result<(Source, Header)> {
    let source = Source::Mapped(Arc::new(MappedFile::open(path)?));
    let header = Header::read(&source, shard).map_err(|e| e.within(path.display()))?;
    Ok((source, header))
}

fn open_others(path: &Path, place: Place, first: (Source, Header)) -> Result<Vec<(Source, Header)>> {
    let Place { no, count } = place;
    let Some(prefix) = name_prefix(path, place) else {
        let suffix = shard_name("NAME", 1, count);
        bail!(
            InvalidFile,
            "this is file {} of {count} of a split model, whose files must be named {suffix} and so on",
            no + 1
        );
    };
    if no != 0 {
        let first_name = shard_name(prefix, 1, count);
        bail!(InvalidArgument, "this is file {} of {count} of a split model; open the first, {first_name}", no + 1);
    }
    let promised = first.1.metadata.opt_u64(N_TENSORS_KEY)?;
    let mut parts = vec![first];
    for i in 1..count {
        let other = path.with_file_name(shard_name(prefix, i + 1, count));
        let part = open_one(&other, i as usize).map_err(|e| e.within(format_args!("file {} of {count}", i + 1)))?;
        check_other(&part.1.metadata, Place { no: i, count }, &other)?;
        parts.push(part);
    }
    let n_tensors: u64 = parts.iter().map(|(_, header)| header.tensors.len() as u64).sum();
    if promised.is_some_and(|promised| promised != n_tensors) {
        bail!(
            InvalidFile,
            "the {count} files hold {n_tensors} tensors, but `{N_TENSORS_KEY}` says {}",
            promised.unwrap_or(0)
        );
    }
    Ok(parts)
}

fn check_other(metadata: &Metadata, expected: Place, path: &Path) -> Result<()> {
    let found = place(metadata).map_err(|e| e.within(path.display()))?;
    if found != Some(expected) {
        let says = found.map_or("nothing".to_owned(), |p| format!("file {} of {}", p.no + 1, p.count));
        let Place { no, count } = expected;
        bail!(InvalidFile, "{} should be file {} of {count}, but says {says}", path.display(), no + 1);
    }
    Ok(())
}

/// The file name of file `no`, from 1.
fn shard_name(prefix: &str, no: u32, count: u32) -> String {
    format!("{prefix}-{no:05}-of-{count:05}.gguf")
}

/// What stands before `-0000N-of-000NN.gguf` in a path's file name, if the numbers are those of `place`.
fn name_prefix(path: &Path, place: Place) -> Option<&str> {
    let suffix = shard_name("", place.no + 1, place.count);
    path.file_name()?.to_str()?.strip_suffix(&suffix)
}
