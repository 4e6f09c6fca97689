//! A checkpoint's files: which belong to it, and every tensor in them by name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::json;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::mapped_file::MappedFile;

/// What says which file has which tensor, in a checkpoint of more than one.
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// Bytes in front of a file's header: its length.
const LENGTH_BYTES: usize = 8;

/// The open files of a checkpoint.
pub(super) struct Checkpoint {
    pub folder: PathBuf,
    pub shards: Vec<Shard>,
    /// By name as the files have it.
    pub tensors: BTreeMap<String, Stored>,
}

/// One file of tensors.
pub(super) struct Shard {
    pub name: String,
    map: MappedFile,
}

/// A tensor as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub shard: usize,
    range: Range<usize>,
}

impl Checkpoint {
    /// Opens a folder, or one `.safetensors` file with its folder.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let (folder, files, index) = if path.is_dir() {
            let index = read_index(path)?;
            let files = match &index {
                Some(map) => map.values().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
                None => files_without_index(path)?,
            };
            (path.to_owned(), files, index)
        } else {
            let (folder, file) = single_file(path)?;
            (folder, vec![file], None)
        };
        let mut checkpoint = Checkpoint { folder, shards: Vec::new(), tensors: BTreeMap::new() };
        for file in files {
            checkpoint.add(file)?;
        }
        if let Some(map) = index {
            checkpoint.compare(&map)?;
        }
        if checkpoint.tensors.is_empty() {
            bail!(InvalidModel, "{} has no tensors", path.display());
        }
        Ok(checkpoint)
    }

    fn add(&mut self, name: String) -> Result<()> {
        let path = self.folder.join(&name);
        let map = MappedFile::open(&path)?;
        check_kind(&map, &path)?;
        let (header_bytes, header) = SafeTensors::read_metadata(&map).map_err(|e| {
            let kind = if map.len() < LENGTH_BYTES { ErrorKind::Truncated } else { ErrorKind::InvalidFile };
            Error::new(kind, format!("{}: not a sound safetensors file: {e}", path.display()))
        })?;
        let data = LENGTH_BYTES + header_bytes;
        for (tensor, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            let range = data + start..data + end;
            let stored = Stored { dtype: info.dtype, shape: info.shape.clone(), shard: self.shards.len(), range };
            if let Some(other) = self.tensors.insert(tensor.clone(), stored) {
                let first = &self.shards[other.shard].name;
                bail!(InvalidModel, "tensor {tensor} is in two files: {first} and {name}");
            }
        }
        self.shards.push(Shard { name, map });
        Ok(())
    }

    /// The index and the files must agree on every tensor.
    fn compare(&self, index: &BTreeMap<String, String>) -> Result<()> {
        for (tensor, file) in index {
            let found = self.tensors.get(tensor).map(|stored| &self.shards[stored.shard].name);
            match found {
                Some(name) if name == file => {}
                Some(name) => bail!(InvalidModel, "{INDEX}: tensor {tensor} is in {name}, not in {file}"),
                None => bail!(InvalidModel, "{INDEX}: tensor {tensor} is not in {file}"),
            }
        }
        match self.tensors.keys().find(|tensor| !index.contains_key(*tensor)) {
            Some(tensor) => {
                let file = &self.shards[self.tensors[tensor].shard].name;
                bail!(InvalidModel, "{INDEX} does not name tensor {tensor} of {file}")
            }
            None => Ok(()),
        }
    }

    /// The bytes of a tensor.
    pub fn bytes(&self, tensor: &Stored) -> &[u8] {
        &self.shards[tensor.shard].map[tensor.range.clone()]
    }

    /// Tells the system that these bytes of a tensor are not needed for now.
    pub fn release(&self, tensor: &Stored, bytes: Range<usize>) {
        let start = tensor.range.start;
        self.shards[tensor.shard].map.release(start + bytes.start..start + bytes.end);
    }

    /// Reads a JSON file of the folder; `None` if it is not there.
    pub fn json(&self, name: &str) -> Result<Option<serde_json::Value>> {
        json::read(&self.folder.join(name))
    }

    /// Reads a file of the folder; `None` if it is not there.
    pub fn file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        json::read_file(&self.folder.join(name))
    }
}

impl Stored {
    /// Elements.
    pub fn n_elems(&self) -> usize {
        // The file's header was checked against its length.
        self.shape.iter().product()
    }

    /// Bytes.
    pub fn n_bytes(&self) -> usize {
        self.range.len()
    }
}

/// `weight_map` of the index: the file of each tensor.
fn read_index(folder: &Path) -> Result<Option<BTreeMap<String, String>>> {
    let path = folder.join(INDEX);
    let Some(index) = json::read(&path)? else { return Ok(None) };
    let Some(map) = index.get("weight_map").and_then(|map| map.as_object()) else {
        bail!(InvalidModel, "{INDEX}: weight_map is missing");
    };
    let mut files = BTreeMap::new();
    for (tensor, file) in map {
        let Some(file) = file.as_str().filter(|file| is_plain(file)) else {
            bail!(InvalidModel, "{INDEX}: the file of tensor {tensor} is {file}, not the name of a file beside it");
        };
        if !folder.join(file).is_file() {
            bail!(InvalidModel, "{INDEX} names {file}, which is not there (tensor {tensor} is to be in it)");
        }
        files.insert(tensor.clone(), file.to_owned());
    }
    Ok(Some(files))
}

/// A name that leads nowhere else.
fn is_plain(file: &str) -> bool {
    Path::new(file).file_name().is_some_and(|name| name == file)
}

fn files_without_index(folder: &Path) -> Result<Vec<String>> {
    let names = |ending: &str| -> Result<Vec<String>> {
        let entries = std::fs::read_dir(folder).map_err(|e| Error::io(format_args!("read {}", folder.display()), e))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
        names.sort();
        Ok(names)
    };
    let mut found = names(".safetensors")?;
    if found.iter().any(|name| name == SINGLE) {
        return Ok(vec![SINGLE.to_owned()]);
    }
    match found.len() {
        0 => match names(".bin")?.into_iter().chain(names(".pth")?).next() {
            Some(other) => bail!(Unsupported, "{} has {other}, but no safetensors file", folder.display()),
            None => bail!(Io, "{} has no safetensors file", folder.display()),
        },
        1 => Ok(found),
        _ => {
            let first = found.swap_remove(0);
            bail!(
                InvalidModel,
                "{} has {} safetensors files and no {INDEX}: name the one that is meant, for example {first}",
                folder.display(),
                found.len() + 1
            )
        }
    }
}

fn single_file(path: &Path) -> Result<(PathBuf, String)> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        bail!(InvalidArgument, "{} does not name a file or folder", path.display());
    };
    // Whatever it is called: the answer to a GGUF file is not that it has no configuration.
    check_kind(&MappedFile::open(path)?, path)?;
    if !name.ends_with(".safetensors") {
        bail!(Unsupported, "{} is not a safetensors file", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder.to_owned(), name.to_owned()))
}

fn check_kind(bytes: &[u8], path: &Path) -> Result<()> {
    if bytes.starts_with(b"GGUF") {
        bail!(InvalidArgument, "{} is a GGUF file already; `oribi quantize` makes other levels of it", path.display());
    }
    if bytes.starts_with(b"version https://git-lfs") {
        bail!(InvalidFile, "{} is a Git LFS pointer: `git lfs pull` gets the file", path.display());
    }
    Ok(())
}
