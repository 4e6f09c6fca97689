//! The types of metadata values, and arrays that stay in the file's bytes until somebody asks for an element.

use super::reader::Reader;
use crate::error::{Result, bail};
use std::fmt;

/// The type of a metadata value. The discriminant is the type id in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// Every type, in order of id.
    pub const ALL: [ValueType; 13] = {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64]
    };

    /// The type with a GGUF id.
    pub fn from_id(id: u32) -> Option<ValueType> {
        ValueType::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// Its name: `u8`, `f32`, `bool`, `str`, `array`, ...
    pub fn name(self) -> &'static str {
        use ValueType::*;
        match self {
            U8 => "u8",
            I8 => "i8",
            U16 => "u16",
            I16 => "i16",
            U32 => "u32",
            I32 => "i32",
            F32 => "f32",
            Bool => "bool",
            Str => "str",
            Array => "array",
            U64 => "u64",
            I64 => "i64",
            F64 => "f64",
        }
    }

    /// Bytes of a value in the file; `None` for strings and arrays, whose size varies.
    pub fn fixed_bytes(self) -> Option<usize> {
        use ValueType::*;
        match self {
            U8 | I8 | Bool => Some(1),
            U16 | I16 => Some(2),
            U32 | I32 | F32 => Some(4),
            U64 | I64 | F64 => Some(8),
            Str | Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value, borrowed from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::Str(_) => ValueType::Str,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The number, if it is an integer of any width.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::I8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::U64(v) => Some(v.into()),
            Value::I64(v) => Some(v.into()),
            _ => None,
        }
    }

    /// The number, if it is a floating-point one of either width.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Value::Str(v) => Some(v),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Value::Array(v) => Some(v),
            _ => None,
        }
    }

    /// A value of fixed size from its bytes; `None` for other types, a wrong number of bytes, or a bool that is not 0 or 1.
    pub(super) fn from_fixed(value_type: ValueType, bytes: &[u8]) -> Option<Value<'static>> {
        Some(match value_type {
            ValueType::U8 => Value::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::Bool => match bytes {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            ValueType::Str | ValueType::Array => return None,
        })
    }
}

/// Scalars as they are, strings in quotes, arrays as `[type; len]`.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(v) => write!(f, "{v}"),
            Value::I8(v) => write!(f, "{v}"),
            Value::U16(v) => write!(f, "{v}"),
            Value::I16(v) => write!(f, "{v}"),
            Value::U32(v) => write!(f, "{v}"),
            Value::I32(v) => write!(f, "{v}"),
            Value::F32(v) => write!(f, "{v}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Str(v) => write!(f, "{v:?}"),
            Value::Array(v) => write!(f, "[{}; {}]", v.element_type(), v.len()),
            Value::U64(v) => write!(f, "{v}"),
            Value::I64(v) => write!(f, "{v}"),
            Value::F64(v) => write!(f, "{v}"),
        }
    }
}

/// An array in the metadata: a range of the file's bytes whose structure was validated when the file was opened, and whose
/// elements are decoded on access. Nothing is copied.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    element_type: ValueType,
    len: usize,
    bytes: &'a [u8],
    count_bytes: usize,
}

impl<'a> Array<'a> {
    pub(super) fn new(element_type: ValueType, len: usize, bytes: &'a [u8], count_bytes: usize) -> Self {
        Array { element_type, len, bytes, count_bytes }
    }

    /// The type of every element; never [`ValueType::Array`], which is refused when a file is opened.
    pub fn element_type(&self) -> ValueType {
        self.element_type
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of all texts of an array of strings together; 0 for another type.
    pub(crate) fn text_bytes(&self) -> u64 {
        let lengths = self.len.saturating_mul(self.count_bytes);
        if self.element_type == ValueType::Str { self.bytes.len().saturating_sub(lengths) as u64 } else { 0 }
    }

    /// Element `i` of an array of numbers or bools, in constant time; `None` past the end and for arrays of strings, which
    /// are walked with [`byte_strings`](Self::byte_strings).
    pub fn get(&self, i: usize) -> Option<Value<'static>> {
        let n = self.element_type.fixed_bytes()?;
        let start = i.checked_mul(n)?;
        Value::from_fixed(self.element_type, self.bytes.get(start..start.checked_add(n)?)?)
    }

    /// The elements of an array of numbers or bools; an array of strings gives nothing.
    pub fn scalars(self) -> impl Iterator<Item = Value<'static>> + 'a {
        let n = self.element_type.fixed_bytes();
        let chunks = self.bytes.chunks_exact(n.unwrap_or(1)).take(if n.is_some() { self.len } else { 0 });
        chunks.filter_map(move |bytes| Value::from_fixed(self.element_type, bytes))
    }

    /// The elements of an array of strings as bytes, of whatever encoding; an array of another type
    /// gives one error, unless it is empty.
    pub fn byte_strings(self) -> ByteStrings<'a> {
        ByteStrings {
            reader: Reader::new(self.bytes, self.count_bytes),
            left: if self.element_type == ValueType::Str { self.len } else { self.len.min(1) },
            element_type: self.element_type,
        }
    }

    /// The elements of an array of strings; an element that is not UTF-8 is an error that names its index.
    pub fn strings(self) -> impl Iterator<Item = Result<&'a str>> {
        self.byte_strings().enumerate().map(|(i, bytes)| match std::str::from_utf8(bytes?) {
            Ok(text) => Ok(text),
            Err(e) => bail!(InvalidFile, "string {i} is not UTF-8 from its byte {}", e.valid_up_to()),
        })
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.element_type, self.len)
    }
}

/// Iterator over the strings of an [`Array`], see [`Array::byte_strings`].
#[derive(Clone, Debug)]
pub struct ByteStrings<'a> {
    reader: Reader<'a>,
    left: usize,
    element_type: ValueType,
}

impl<'a> ByteStrings<'a> {
    fn read(&mut self) -> Result<&'a [u8]> {
        if self.element_type != ValueType::Str {
            bail!(WrongType, "the elements are {}, not str", self.element_type);
        }
        self.reader.string("a string")
    }
}

impl<'a> Iterator for ByteStrings<'a> {
    type Item = Result<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let item = self.read();
        if item.is_err() {
            self.left = 0;
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}
