//! The CPU backend: the C kernels of `kernels/`, the choice among them, and what runs them.

pub mod kernels;

/// The C types of `kernels/oribi_kernels.h`.
pub(crate) mod bindings;

#[cfg(test)]
mod tests;
