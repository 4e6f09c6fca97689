//! A file's tensors: names, formats, shapes, sizes.

use std::ffi::c_char;

use super::boundary::{Out, call, check_array, fill, handle, name, value};
use super::file::oribi_file;
use super::status::oribi_status;
use super::text::Lent;
use crate::error::{Result, bail};
use crate::gguf::TensorInfo;

/// The most dimensions of a tensor.
pub const ORIBI_MAX_DIMS: usize = 4;

fn tensor(file: &oribi_file, index: usize) -> Result<&TensorInfo> {
    let tensors = file.0.tensors();
    match tensors.get(index) {
        Some(tensor) => Ok(tensor),
        None => bail!(InvalidArgument, "tensor index {index} is past the {} tensors of the file", tensors.len()),
    }
}

/// The number of tensors. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_n_tensors(file: *const oribi_file) -> usize {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(file, "file") }.ok()?.0.tensors().len()))
}

/// The name of tensor `index`, in the file's order: `len_bytes` bytes without a NUL behind them.
///
/// Lent until the file is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_tensor_name(
    file: *const oribi_file,
    index: usize,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (file, out) = unsafe { (handle(file, "file")?, Lent::new(text, len_bytes)?) };
        out.set(tensor(file, index)?.name.as_bytes());
        Ok(())
    })
}

/// The index of the tensor of a name.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_MISSING_KEY; ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_tensor_find(
    file: *const oribi_file,
    tensor_name: *const c_char,
    index: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (file, wanted, out) =
            unsafe { (handle(file, "file")?, name(tensor_name, "tensor_name")?, Out::new(index, "index")?) };
        match file.0.tensors().iter().position(|tensor| tensor.name == wanted) {
            Some(index) => out.set(index),
            None => bail!(MissingKey, "tensor {wanted:?} is missing"),
        }
        Ok(())
    })
}

/// The format of tensor `index` as the field writes it, for example "Q4_K".
///
/// Lent for ever. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_tensor_dtype(
    file: *const oribi_file,
    index: usize,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (file, out) = unsafe { (handle(file, "file")?, Lent::new(text, len_bytes)?) };
        out.set(tensor(file, index)?.dtype.name().as_bytes());
        Ok(())
    })
}

/// The shape of tensor `index`: `shape` has room for ORIBI_MAX_DIMS dimensions, of which `n_dims` are written. The first is the
/// contiguous one, the inputs of a weight matrix.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_tensor_shape(
    file: *const oribi_file,
    index: usize,
    shape: *mut u64,
    n_dims: *mut usize,
) -> oribi_status {
    call(|| {
        check_array(shape, ORIBI_MAX_DIMS, "shape")?;
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (file, out) = unsafe { (handle(file, "file")?, Out::new(n_dims, "n_dims")?) };
        let dims = &tensor(file, index)?.shape;
        // SAFETY: the array was checked, and an open file's tensors have no more dimensions.
        unsafe { fill(shape, &dims[..dims.len().min(ORIBI_MAX_DIMS)]) }
        out.set(dims.len());
        Ok(())
    })
}

/// The bytes of tensor `index` in the file.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_file_tensor_len(
    file: *const oribi_file,
    index: usize,
    n_bytes: *mut u64,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (file, out) = unsafe { (handle(file, "file")?, Out::new(n_bytes, "n_bytes")?) };
        out.set(tensor(file, index)?.n_bytes());
        Ok(())
    })
}
