//! What a header can be given as a metadata value, and how it is laid out in the file (version 3).

use super::value::{Array, Value, ValueType};
use crate::error::{Result, bail};

/// A value to write under a metadata key: numbers, bools, strings, arrays of them ([`Vec`], slice, array), and a [`Value`]
/// read from another file.
pub trait MetadataValue {
    /// The type that is written.
    fn value_type(&self) -> ValueType;

    /// Appends the value, without its type. An error only for an [`Array`] whose file changed after it was opened.
    fn encode(&self, out: &mut Vec<u8>) -> Result<()>;
}

/// An element of an array to write, or a scalar.
pub trait MetadataScalar {
    /// The type that is written.
    const TYPE: ValueType;

    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
}

/// A string of bytes that need not be UTF-8, as an element of an array: vocabularies hold partial characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawStr<'a>(pub &'a [u8]);

macro_rules! numbers {
    ($($type:ty => $variant:ident),* $(,)?) => { $(
        impl MetadataScalar for $type {
            const TYPE: ValueType = ValueType::$variant;

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )* };
}

numbers! {
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, u64 => U64, i64 => I64, f64 => F64,
}

/// Implements [`MetadataValue`] for types that are a [`MetadataScalar`].
macro_rules! values_of_scalars {
    ($($type:ty),*) => { $(
        impl MetadataValue for $type {
            fn value_type(&self) -> ValueType {
                <$type as MetadataScalar>::TYPE
            }

            fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
                self.put(out);
                Ok(())
            }
        }
    )* };
}

values_of_scalars!(u8, i8, u16, i16, u32, i32, f32, u64, i64, f64, bool, str, String);

impl MetadataScalar for bool {
    const TYPE: ValueType = ValueType::Bool;

    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl MetadataScalar for str {
    const TYPE: ValueType = ValueType::Str;

    fn put(&self, out: &mut Vec<u8>) {
        put_string(self.as_bytes(), out);
    }
}

impl MetadataScalar for String {
    const TYPE: ValueType = ValueType::Str;

    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().put(out);
    }
}

impl MetadataScalar for RawStr<'_> {
    const TYPE: ValueType = ValueType::Str;

    fn put(&self, out: &mut Vec<u8>) {
        put_string(self.0, out);
    }
}

impl<T: MetadataScalar + ?Sized> MetadataScalar for &T {
    const TYPE: ValueType = T::TYPE;

    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

impl<V: MetadataValue + ?Sized> MetadataValue for &V {
    fn value_type(&self) -> ValueType {
        (**self).value_type()
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        (**self).encode(out)
    }
}

impl<T: MetadataScalar> MetadataValue for [T] {
    fn value_type(&self) -> ValueType {
        ValueType::Array
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        put_array_head(T::TYPE, self.len(), out);
        for element in self {
            element.put(out);
        }
        Ok(())
    }
}

impl<T: MetadataScalar> MetadataValue for Vec<T> {
    fn value_type(&self) -> ValueType {
        ValueType::Array
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.as_slice().encode(out)
    }
}

impl<T: MetadataScalar, const N: usize> MetadataValue for [T; N] {
    fn value_type(&self) -> ValueType {
        ValueType::Array
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        self.as_slice().encode(out)
    }
}

impl MetadataValue for Value<'_> {
    fn value_type(&self) -> ValueType {
        Value::value_type(self)
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Value::U8(v) => v.encode(out),
            Value::I8(v) => v.encode(out),
            Value::U16(v) => v.encode(out),
            Value::I16(v) => v.encode(out),
            Value::U32(v) => v.encode(out),
            Value::I32(v) => v.encode(out),
            Value::F32(v) => v.encode(out),
            Value::Bool(v) => v.encode(out),
            Value::Str(v) => v.encode(out),
            Value::Array(v) => put_array(v, out),
            Value::U64(v) => v.encode(out),
            Value::I64(v) => v.encode(out),
            Value::F64(v) => v.encode(out),
        }
    }
}

fn put_array(array: &Array<'_>, out: &mut Vec<u8>) -> Result<()> {
    put_array_head(array.element_type(), array.len(), out);
    if array.element_type() == ValueType::Str {
        // Walked, because the width of a length depends on the version that the array was read from.
        for bytes in array.byte_strings() {
            put_string(bytes?, out);
        }
        return Ok(());
    }
    let n = array.scalars().map(|value| value.encode(out)).count();
    if n != array.len() {
        bail!(InvalidFile, "the file changed while it was open: {n} of {} elements are valid", array.len());
    }
    Ok(())
}

fn put_array_head(element_type: ValueType, len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(element_type as u32).to_le_bytes());
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

pub(super) fn put_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}
