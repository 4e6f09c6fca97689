//! Versions: of the library, and of the binary interface.

use std::ffi::{CStr, c_char};

/// The version of the binary interface: the macro of the header, from `package.metadata.capi.library` in Cargo.toml.
pub const ORIBI_ABI_VERSION: u32 = match u32::from_str_radix(env!("ORIBI_ABI_VERSION"), 10) {
    Ok(version) => version,
    Err(_) => panic!("the first number of package.metadata.capi.library.version"),
};

/// The crate's version with its NUL.
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library that runs, for example "0.1.0"; ORIBI_VERSION is the one that was compiled against.
///
/// Lent for ever. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn oribi_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The version of the binary interface of the library that runs; see ORIBI_ABI_VERSION.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn oribi_abi_version() -> u32 {
    ORIBI_ABI_VERSION
}
