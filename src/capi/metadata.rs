//! A file's metadata: keys with values, by index.
//!
//! A value is one element or an array of them; both are read the same way, all elements at once.

use std::ffi::c_char;

use super::boundary::{Out, call, check_array, fill, handle, name, value};
use super::file::oribi_file;
use super::status::oribi_status;
use super::text::Lent;
use crate::error::{Result, bail};
use crate::fallible;
use crate::gguf::{Value, ValueType};

/// The type of a metadata value's elements; the numbers are those of the GGUF format.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_value_type {
    /// An unsigned integer of 8 bits.
    U8 = 0,
    /// A signed integer of 8 bits.
    I8 = 1,
    /// An unsigned integer of 16 bits.
    U16 = 2,
    /// A signed integer of 16 bits.
    I16 = 3,
    /// An unsigned integer of 32 bits.
    U32 = 4,
    /// A signed integer of 32 bits.
    I32 = 5,
    /// A float of 32 bits.
    F32 = 6,
    /// A bool.
    BOOL = 7,
    /// A text. Elements of an array may be any bytes, for example parts of characters in a vocabulary.
    TEXT = 8,
    /// An unsigned integer of 64 bits.
    U64 = 10,
    /// A signed integer of 64 bits.
    I64 = 11,
    /// A float of 64 bits.
    F64 = 12,
}

fn c_type(value_type: ValueType) -> Result<oribi_value_type> {
    Ok(match value_type {
        ValueType::U8 => oribi_value_type::U8,
        ValueType::I8 => oribi_value_type::I8,
        ValueType::U16 => oribi_value_type::U16,
        ValueType::I16 => oribi_value_type::I16,
        ValueType::U32 => oribi_value_type::U32,
        ValueType::I32 => oribi_value_type::I32,
        ValueType::F32 => oribi_value_type::F32,
        ValueType::Bool => oribi_value_type::BOOL,
        ValueType::Str => oribi_value_type::TEXT,
        ValueType::U64 => oribi_value_type::U64,
        ValueType::I64 => oribi_value_type::I64,
        ValueType::F64 => oribi_value_type::F64,
        ValueType::Array => bail!(Internal, "an array of arrays, which no open file has"),
    })
}

/// The entry of an index.
fn entry(file: &oribi_file, index: usize) -> Result<(&str, Value<'_>)> {
    let metadata = file.0.metadata();
    match metadata.iter().nth(index) {
        Some(entry) => Ok(entry),
        None => bail!(InvalidArgument, "metadata index {index} is past the {} keys of the file", metadata.len()),
    }
}

fn n_elems(value: &Value<'_>) -> usize {
    value.as_array().map_or(1, |array| array.len())
}

/// All elements of a value that `convert` accepts, `n` of them as the caller says.
fn elements<T>(
    file: &oribi_file,
    index: usize,
    n: usize,
    convert: impl Fn(Value<'_>) -> Option<T>,
    what: &str,
) -> Result<Vec<T>> {
    let (key, value) = entry(file, index)?;
    expect_length(key, &value, n)?;
    let mut values = fallible::with_capacity(n, "the values of a metadata key")?;
    match value.as_array() {
        None => values.extend(convert(value)),
        Some(array) => values.extend(array.scalars().map_while(convert)),
    }
    if values.len() != n {
        bail!(WrongType, "metadata key {key:?} is not {what}");
    }
    Ok(values)
}

fn expect_length(key: &str, value: &Value<'_>, n: usize) -> Result<()> {
    let has = n_elems(value);
    if has != n {
        bail!(InvalidArgument, "metadata key {key:?} has {has} elements, not {n}");
    }
    Ok(())
}

/// The number of metadata keys. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_n_metadata(file: *const oribi_file) -> usize {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(file, "file") }.ok()?.0.metadata().len()))
}

/// The key of metadata entry `index`, in the file's order: `len_bytes` bytes without a NUL behind them.
///
/// Lent until the file is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_metadata_key(
    file: *const oribi_file,
    index: usize,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (file, out) = unsafe { (handle(file, "file")?, Lent::new(text, len_bytes)?) };
        out.set(entry(file, index)?.0.as_bytes());
        Ok(())
    })
}

/// The index of a metadata key.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY; ORIBI_STATUS_INVALID_ARGUMENT.
///
/// @code
/// size_t index;
/// int64_t n_blocks;
/// if (oribi_file_metadata_find(file, "llama.block_count", &index) == ORIBI_STATUS_OK)
///     oribi_file_metadata_ints(file, index, &n_blocks, 1);
/// @endcode
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_metadata_find(
    file: *const oribi_file,
    key: *const c_char,
    index: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (file, key, out) = unsafe { (handle(file, "file")?, name(key, "key")?, Out::new(index, "index")?) };
        match file.0.metadata().iter().position(|(known, _)| known == key) {
            Some(index) => out.set(index),
            None => bail!(MissingKey, "metadata key {key:?} is missing"),
        }
        Ok(())
    })
}

/// The type of a metadata value, whether it is an array, and its number of elements, which is 1 unless it is an array.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_metadata_type(
    file: *const oribi_file,
    index: usize,
    value_type: *mut oribi_value_type,
    is_array: *mut bool,
    n_elems: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (file, out_type, out_array, out_n) = unsafe {
            (
                handle(file, "file")?,
                Out::new(value_type, "value_type")?,
                Out::new(is_array, "is_array")?,
                Out::new(n_elems, "n_elems")?,
            )
        };
        let (_, value) = entry(file, index)?;
        let array = value.as_array();
        out_type.set(c_type(array.map_or(value.value_type(), |array| array.element_type()))?);
        out_array.set(array.is_some());
        out_n.set(self::n_elems(&value));
        Ok(())
    })
}

/// All elements of a metadata value of integers into `values`, whose length `n` must be the number of elements.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_WRONG_TYPE for another type, and for a number that does not fit;
/// ORIBI_STATUS_INVALID_ARGUMENT for another length, naming the right one; ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_metadata_ints(
    file: *const oribi_file,
    index: usize,
    values: *mut i64,
    n: usize,
) -> oribi_status {
    let convert = |value: Value<'_>| value.as_integer().and_then(|v| i64::try_from(v).ok());
    // SAFETY: NULL or a live handle, NULL or room for the values.
    unsafe { read_elements(file, index, values, n, convert, "made of integers that fit 64 bits with a sign") }
}

/// All elements of a metadata value of floats into `values`, as oribi_file_metadata_ints() does.
///
/// Threads and errors as for oribi_file_metadata_ints().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_metadata_floats(
    file: *const oribi_file,
    index: usize,
    values: *mut f64,
    n: usize,
) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or room for the values.
    unsafe { read_elements(file, index, values, n, |value| value.as_float(), "made of floats") }
}

/// All elements of a metadata value of bools into `values`, as oribi_file_metadata_ints() does.
///
/// Threads and errors as for oribi_file_metadata_ints().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_metadata_bools(
    file: *const oribi_file,
    index: usize,
    values: *mut bool,
    n: usize,
) -> oribi_status {
    let convert = |value: Value<'_>| if let Value::Bool(v) = value { Some(v) } else { None };
    // SAFETY: NULL or a live handle, NULL or room for the values.
    unsafe { read_elements(file, index, values, n, convert, "made of bools") }
}

/// Elements into an array of the host.
///
/// # Safety
/// `file` is NULL or a live handle, `values` NULL or room for `n` values.
unsafe fn read_elements<T: Copy>(
    file: *const oribi_file,
    index: usize,
    values: *mut T,
    n: usize,
    convert: impl Fn(Value<'_>) -> Option<T>,
    what: &str,
) -> oribi_status {
    call(|| {
        check_array(values, n, "values")?;
        // SAFETY: the caller's promise.
        let file = unsafe { handle(file, "file") }?;
        let found = elements(file, index, n, convert, what)?;
        // SAFETY: the array was checked, and has room for `n` by the caller's promise.
        unsafe { fill(values, &found) }
        Ok(())
    })
}

/// All elements of a metadata value of texts: their places into `texts` and their lengths in bytes into `lens_bytes`, both of
/// length `n`, which must be the number of elements. There is no NUL behind a text. A single text is UTF-8; elements of an array
/// may be any bytes.
///
/// Lent until the file is freed. Threads and errors as for oribi_file_metadata_ints().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_metadata_texts(
    file: *const oribi_file,
    index: usize,
    texts: *mut *const c_char,
    lens_bytes: *mut usize,
    n: usize,
) -> oribi_status {
    call(|| {
        check_array(texts, n, "texts")?;
        check_array(lens_bytes, n, "lens_bytes")?;
        // SAFETY: NULL or a live handle.
        let file = unsafe { handle(file, "file") }?;
        let (key, value) = entry(file, index)?;
        expect_length(key, &value, n)?;
        let mut found: Vec<&[u8]> = fallible::with_capacity(n, "the texts of a metadata key")?;
        match (value.as_str(), value.as_array()) {
            (Some(text), _) => found.push(text.as_bytes()),
            (None, Some(array)) => {
                for text in array.byte_strings() {
                    found.push(text.map_err(|e| e.within(format_args!("metadata key {key:?}")))?);
                }
            }
            (None, None) => bail!(WrongType, "metadata key {key:?} is not made of texts"),
        }
        for (i, text) in found.into_iter().enumerate() {
            // SAFETY: both arrays were checked, and have room for `n` by the host's promise.
            unsafe {
                texts.add(i).write(text.as_ptr().cast());
                lens_bytes.add(i).write(text.len());
            }
        }
        Ok(())
    })
}
