//! The tiny checkpoints under `tests/data`, and copies of them to change.
#![allow(dead_code, reason = "each test binary uses some of the helpers")]

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use oribi::convert::{Conversion, Options};
use oribi::{ErrorKind, Result};
use safetensors::{Dtype, SafeTensors, View};
use serde_json::Value;

/// A checkpoint's folder.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints").join(name)
}

/// What is expected of its conversion.
pub fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(&format!("{name}.json"))).unwrap()).unwrap()
}

/// The file that a checkpoint becomes.
pub fn convert(path: &Path, options: &Options<'_>) -> Result<Vec<u8>> {
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("out.gguf");
    let conversion = Conversion::new(path, options)?;
    let summary = conversion.write(&file, false, &|_, _| true)?;
    let bytes = std::fs::read(file).unwrap();
    assert_eq!((bytes.len() as u64, summary.file_bytes), (conversion.file_bytes()?, bytes.len() as u64));
    Ok(bytes)
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// Zeros in float32.
pub fn tensor(name: &str, shape: &[usize]) -> Tensor {
    let n_elems: usize = shape.iter().product();
    Tensor { name: name.to_owned(), dtype: Dtype::F32, shape: shape.to_vec(), data: vec![0; 4 * n_elems] }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// A copy of a checkpoint that a test may change.
pub struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    pub fn of(name: &str) -> Copy {
        let copy = Copy { folder: tempfile::tempdir().unwrap() };
        for entry in std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        copy
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.path().join(file)).unwrap();
    }

    /// The tensors of a file.
    pub fn tensors(&self, file: &str) -> Vec<Tensor> {
        let bytes = std::fs::read(self.path().join(file)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<Tensor> = file
            .iter()
            .map(|(name, view)| Tensor {
                name: name.to_owned(),
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                data: view.data().to_vec(),
            })
            .collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors
    }

    pub fn write(&self, file: &str, tensors: &[Tensor]) {
        let bytes = safetensors::serialize(tensors.iter().map(|t| (t.name.clone(), t)), None).unwrap();
        std::fs::write(self.path().join(file), bytes).unwrap();
    }

    /// Changes a JSON file.
    pub fn json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.path().join(file);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
    }

    pub fn config(&self, change: impl FnOnce(&mut Value)) {
        self.json("config.json", change);
    }

    /// The conversion fails with an error that names all of `names`.
    #[track_caller]
    pub fn refuses(&self, kind: ErrorKind, names: &[&str]) {
        refuses(self.path(), kind, names);
    }
}

/// The conversion of a path fails with an error that names all of `names`.
#[track_caller]
pub fn refuses(path: &Path, kind: ErrorKind, names: &[&str]) {
    let error = Conversion::new(path, &Options::default()).err().expect("the conversion must be refused");
    assert_eq!(error.kind(), kind, "{error}");
    for name in names {
        assert!(error.to_string().contains(name), "{error} does not name {name}");
    }
}
