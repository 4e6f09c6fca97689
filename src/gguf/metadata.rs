//! The key-value part of a header, with typed access that never panics.

use super::reader::{Quoted, Reader};
use super::source::Source;
use super::value::{Array, Value, ValueType};
use crate::error::{Result, bail};
use crate::fallible;
use std::ops::Range;

/// Bytes of the smallest entry after its key's length: one byte of key, the type, one byte of value.
const MIN_ENTRY_BYTES: usize = 1 + 4 + 1;

/// The metadata of a file: keys with values, in the file's order.
///
/// Scalars and strings are decoded when the file is opened; arrays stay in the file's bytes. String values are UTF-8. The
/// strings of an array may be any bytes (vocabularies hold partial characters): [`byte_strings`](Self::byte_strings) gives
/// them as they are, [`strings`](Self::strings) makes an element that is not UTF-8 an error.
///
/// Typed access accepts an integer of any width whose value fits, and a float of either width. An absent key is
/// [`MissingKey`](crate::ErrorKind::MissingKey), another type is [`WrongType`](crate::ErrorKind::WrongType); the `opt_` forms give `None` for an absent key.
#[derive(Debug)]
pub struct Metadata {
    source: Source,
    count_bytes: usize,
    entries: Vec<Entry>,
    /// Indices of `entries` in order of key.
    by_key: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    key: Box<str>,
    value: Stored,
}

#[derive(Debug)]
enum Stored {
    Fixed(Value<'static>),
    Str(Box<str>),
    Array { element_type: ValueType, len: usize, bytes: Range<usize> },
}

impl Metadata {
    /// Reads `n` entries. `source` holds the bytes that `reader` walks.
    pub(super) fn read(reader: &mut Reader<'_>, n: u64, source: &Source) -> Result<Metadata> {
        reader.expect_room(n, reader.count_bytes() + MIN_ENTRY_BYTES, "metadata entries")?;
        let mut entries = fallible::with_capacity(n as usize, "the table of metadata")?;
        for i in 0..n {
            let key = reader.name("a key").map_err(|e| e.within(format_args!("metadata entry {i} of {n}")))?;
            let value = read_value(reader).map_err(|e| e.within(format_args!("metadata key {}", Quoted(key))))?;
            entries.push(Entry { key: fallible::text(key, "a metadata key")?.into(), value });
        }
        let mut by_key = fallible::collect(0..entries.len() as u32, "the table of metadata")?;
        by_key.sort_unstable_by(|&a, &b| entries[a as usize].key.cmp(&entries[b as usize].key));
        for pair in by_key.windows(2) {
            if entries[pair[0] as usize].key == entries[pair[1] as usize].key {
                bail!(InvalidFile, "metadata key {} is there twice", Quoted(&entries[pair[0] as usize].key));
            }
        }
        Ok(Metadata { source: source.clone(), count_bytes: reader.count_bytes(), entries, by_key })
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.find(key).map(|entry| self.value(entry))
    }

    /// All keys and values, in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> {
        self.entries.iter().map(|entry| (&*entry.key, self.value(entry)))
    }

    fn find(&self, key: &str) -> Option<&Entry> {
        let at = self.by_key.binary_search_by(|&i| (*self.entries[i as usize].key).cmp(key)).ok()?;
        Some(&self.entries[self.by_key[at] as usize])
    }

    fn value<'a>(&'a self, entry: &'a Entry) -> Value<'a> {
        match &entry.value {
            Stored::Fixed(value) => *value,
            Stored::Str(text) => Value::Str(text),
            Stored::Array { element_type, len, bytes } => Value::Array(Array::new(
                *element_type,
                *len,
                &self.source.first_bytes()[bytes.clone()],
                self.count_bytes,
            )),
        }
    }

    fn opt<T>(&self, key: &str, want: &str, convert: impl FnOnce(Value<'_>) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => bail!(WrongType, "metadata key {} must be {want}, but is {}", Quoted(key), described(&value)),
        }
    }

    fn required<T>(&self, key: &str, value: Result<Option<T>>) -> Result<T> {
        match value? {
            Some(value) => Ok(value),
            None => bail!(MissingKey, "metadata key {} is missing", Quoted(key)),
        }
    }

    /// The array under a key; `None` if the key is absent.
    pub fn opt_array(&self, key: &str) -> Result<Option<Array<'_>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(value) => {
                bail!(WrongType, "metadata key {} must be an array, but is {}", Quoted(key), described(&value))
            }
        }
    }

    /// The array under a key.
    pub fn array(&self, key: &str) -> Result<Array<'_>> {
        self.required(key, self.opt_array(key))
    }

    /// The string under a key; `None` if the key is absent.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(value) => bail!(WrongType, "metadata key {} must be str, but is {}", Quoted(key), described(&value)),
        }
    }

    /// The string under a key.
    pub fn str(&self, key: &str) -> Result<&str> {
        self.required(key, self.opt_str(key))
    }

    /// The strings of the array under a key, as bytes of whatever encoding; `None` if the key is absent.
    pub fn opt_byte_strings(&self, key: &str) -> Result<Option<Vec<&[u8]>>> {
        let Some(array) = self.opt_array(key)? else { return Ok(None) };
        collect(array, array.byte_strings(), key)
    }

    /// The strings of the array under a key, as bytes of whatever encoding.
    pub fn byte_strings(&self, key: &str) -> Result<Vec<&[u8]>> {
        self.required(key, self.opt_byte_strings(key))
    }

    /// The strings of the array under a key; one that is not UTF-8 is an error. `None` if the key is absent.
    pub fn opt_strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(array) = self.opt_array(key)? else { return Ok(None) };
        collect(array, array.strings(), key)
    }

    /// The strings of the array under a key; one that is not UTF-8 is an error.
    pub fn strings(&self, key: &str) -> Result<Vec<&str>> {
        self.required(key, self.opt_strings(key))
    }

    fn opt_scalars<T>(
        &self,
        key: &str,
        want: &str,
        convert: impl Fn(Value<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(array) = self.opt_array(key)? else { return Ok(None) };
        // As many as were found in the file, unless these are strings, which are refused below.
        let n = if array.element_type() == ValueType::Str { 0 } else { array.len() };
        let mut out = fallible::with_capacity(n, key)?;
        for (i, value) in array.scalars().enumerate() {
            match convert(value) {
                Some(converted) => out.push(converted),
                None => bail!(
                    WrongType,
                    "metadata key {} must hold {want}, but element {i} is {}",
                    Quoted(key),
                    described(&value)
                ),
            }
        }
        if out.len() != array.len() {
            bail!(WrongType, "metadata key {} must hold {want}, but holds {}", Quoted(key), array.element_type());
        }
        Ok(Some(out))
    }
}

/// Typed access to one type: scalar, optional scalar, array, optional array.
macro_rules! typed_access {
    ($($type:ty, $want:literal, $convert:expr, $one:ident, $opt_one:ident, $many:ident, $opt_many:ident;)*) => {
        impl Metadata { $(
            #[doc = concat!("The value of a key as `", stringify!($type), "`.")]
            pub fn $one(&self, key: &str) -> Result<$type> {
                self.required(key, self.$opt_one(key))
            }

            #[doc = concat!("The value of a key as `", stringify!($type), "`; `None` if the key is absent.")]
            pub fn $opt_one(&self, key: &str) -> Result<Option<$type>> {
                self.opt(key, $want, $convert)
            }

            #[doc = concat!("The elements of the array under a key as `", stringify!($type), "`.")]
            pub fn $many(&self, key: &str) -> Result<Vec<$type>> {
                self.required(key, self.$opt_many(key))
            }

            #[doc = concat!("The elements of the array under a key as `", stringify!($type), "`; `None` if the key is absent.")]
            pub fn $opt_many(&self, key: &str) -> Result<Option<Vec<$type>>> {
                self.opt_scalars(key, $want, $convert)
            }
        )* }
    };
}

typed_access! {
    u32, "an integer that fits u32", |v| v.as_integer()?.try_into().ok(), u32, opt_u32, u32s, opt_u32s;
    i32, "an integer that fits i32", |v| v.as_integer()?.try_into().ok(), i32, opt_i32, i32s, opt_i32s;
    u64, "an integer that fits u64", |v| v.as_integer()?.try_into().ok(), u64, opt_u64, u64s, opt_u64s;
    i64, "an integer that fits i64", |v| v.as_integer()?.try_into().ok(), i64, opt_i64, i64s, opt_i64s;
    f32, "a float", |v| v.as_float().map(|v| v as f32), f32, opt_f32, f32s, opt_f32s;
    f64, "a float", |v| v.as_float(), f64, opt_f64, f64s, opt_f64s;
    bool, "a bool", |v| if let Value::Bool(v) = v { Some(v) } else { None }, bool, opt_bool, bools, opt_bools;
}

/// Collects what an array's iterator gives.
fn collect<T>(array: Array<'_>, strings: impl Iterator<Item = Result<T>>, key: &str) -> Result<Option<Vec<T>>> {
    // As many as were found in the file, unless these are no strings, which is the iterator's first error.
    let n = if array.element_type() == ValueType::Str { array.len() } else { 0 };
    let mut out = fallible::with_capacity(n, key)?;
    for string in strings {
        out.push(string.map_err(|e| e.within(format_args!("metadata key {}", Quoted(key))))?);
    }
    Ok(Some(out))
}

/// Where the next entry is, and its key.
pub(super) fn next_entry<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, Range<usize>)> {
    let start = reader.at();
    let key = reader.name("a key")?;
    read_value(reader)?;
    Ok((key, start..reader.at()))
}

/// A value for an error text: its type, and for numbers the number.
fn described(value: &Value<'_>) -> String {
    match value {
        Value::Str(_) => "str".into(),
        Value::Array(_) => format!("an array {value}"),
        _ => format!("{} {value}", value.value_type()),
    }
}

fn read_value(reader: &mut Reader<'_>) -> Result<Stored> {
    let value_type = reader.value_type()?;
    match value_type {
        ValueType::Str => {
            let bytes = reader.string("a string")?;
            match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Stored::Str(fallible::text(text, "a string of the metadata")?.into())),
                Err(e) => bail!(InvalidFile, "the string is not UTF-8 from its byte {}", e.valid_up_to()),
            }
        }
        ValueType::Array => read_array(reader),
        _ => {
            let at = reader.at();
            let bytes = reader.take(value_type.fixed_bytes().unwrap_or(0) as u64, value_type.name())?;
            match Value::from_fixed(value_type, bytes) {
                Some(value) => Ok(Stored::Fixed(value)),
                None => bail!(InvalidFile, "{value_type} at byte {at} is {bytes:?}"),
            }
        }
    }
}

/// Walks an array once, so that a later access meets no surprise, and keeps only where it is.
fn read_array(reader: &mut Reader<'_>) -> Result<Stored> {
    let element_type = reader.value_type()?;
    let len = reader.count("an array's length")?;
    let start = reader.at();
    match element_type {
        ValueType::Array => bail!(Unsupported, "arrays of arrays are not supported"),
        ValueType::Str => {
            reader.expect_room(len, reader.count_bytes(), "strings")?;
            for i in 0..len {
                reader.string("a string").map_err(|e| e.within(format_args!("string {i} of {len}")))?;
            }
        }
        _ => {
            let element_bytes = element_type.fixed_bytes().unwrap_or(1);
            reader.expect_room(len, element_bytes, "array elements")?;
            let bytes = reader.take(len * element_bytes as u64, "an array")?;
            if element_type == ValueType::Bool
                && let Some(i) = bytes.iter().position(|&b| b > 1)
            {
                bail!(InvalidFile, "bool {i} of {len} is {}", bytes[i]);
            }
        }
    }
    // `len` items of at least one byte each were found in memory, so it fits.
    Ok(Stored::Array { element_type, len: len as usize, bytes: start..reader.at() })
}
