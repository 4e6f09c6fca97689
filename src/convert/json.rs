//! The JSON files of a checkpoint, and typed access to the configuration whose errors name the key.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result, bail};

/// More than any configuration or vocabulary has.
const MAX_BYTES: u64 = 1 << 30;

/// The name of the configuration, for messages.
pub(super) const CONFIG: &str = "config.json";

/// Reads a file; `None` if it is not there.
pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(None) };
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        bail!(InvalidFile, "{} is not a file of at most {MAX_BYTES} bytes", path.display());
    }
    std::fs::read(path).map(Some).map_err(|e| Error::io(format_args!("read {}", path.display()), e))
}

/// Reads a JSON file; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Value>> {
    let Some(bytes) = read_file(path)? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|e| Error::new(ErrorKind::InvalidFile, format!("{}: {e}", path.display())))
}

/// What a key that the configuration leaves out means: what `transformers` takes then.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    Int(u64),
    Float(f64),
    Bool(bool),
    Str(&'static str),
    /// The value of another key.
    Same(&'static str),
}

/// The configuration of a text model.
pub(super) struct Config {
    keys: Map<String, Value>,
    defaults: &'static [(&'static str, Absent)],
}

impl Config {
    /// A configuration, its `text_config` moved to the top.
    pub fn new(config: Value) -> Result<Config> {
        let Value::Object(mut keys) = config else { bail!(InvalidModel, "{CONFIG} is not an object") };
        match keys.remove("text_config") {
            // The class is that of the whole checkpoint; a null says nothing.
            Some(Value::Object(text)) => {
                keys.extend(text.into_iter().filter(|(key, value)| key != "architectures" && !value.is_null()));
            }
            Some(_) => bail!(InvalidModel, "{CONFIG}: text_config is not an object"),
            None => {}
        }
        Ok(Config { keys, defaults: &[] })
    }

    /// The same with what absent keys mean.
    pub fn with_defaults(self, defaults: &'static [(&'static str, Absent)]) -> Config {
        Config { defaults, ..self }
    }

    /// A value; `None` for null.
    pub fn get(&self, key: &str) -> Option<Value> {
        if let Some(value) = self.keys.get(key).filter(|value| !value.is_null()) {
            return Some(value.clone());
        }
        let (_, default) = self.defaults.iter().find(|(name, _)| *name == key)?;
        match *default {
            Absent::Int(n) => Some(n.into()),
            Absent::Float(x) => Some(x.into()),
            Absent::Bool(b) => Some(b.into()),
            Absent::Str(s) => Some(s.into()),
            Absent::Same(other) => self.get(other),
        }
    }

    pub fn opt_int(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(n) = value.as_u64().and_then(|n| usize::try_from(n).ok()) else {
            return Err(wrong(key, &value, "a whole number"));
        };
        in_range(key, n, range).map(Some)
    }

    pub fn int(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize> {
        self.opt_int(key, range)?.ok_or_else(|| missing(key))
    }

    pub fn opt_float(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(x) = value.as_f64() else { return Err(wrong(key, &value, "a number")) };
        in_range(key, x, range).map(Some)
    }

    pub fn float(&self, key: &str, range: RangeInclusive<f64>) -> Result<f64> {
        self.opt_float(key, range)?.ok_or_else(|| missing(key))
    }

    pub fn bool(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            Some(Value::Bool(b)) => Ok(b),
            Some(other) => Err(wrong(key, &other, "true or false")),
            None => Ok(false),
        }
    }
}

pub(super) fn missing(key: &str) -> Error {
    Error::new(ErrorKind::MissingKey, format!("{CONFIG}: {key} is missing"))
}

pub(super) fn wrong(key: &str, value: &Value, wanted: &str) -> Error {
    Error::new(ErrorKind::WrongType, format!("{CONFIG}: {key} is {value}, not {wanted}"))
}

pub(super) fn in_range<T: PartialOrd + Display>(key: &str, value: T, range: RangeInclusive<T>) -> Result<T> {
    if !range.contains(&value) {
        bail!(InvalidModel, "{CONFIG}: {key} is {value}, outside {}..={}", range.start(), range.end());
    }
    Ok(value)
}
