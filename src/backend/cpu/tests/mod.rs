//! Tests of the kernels, which see the kernel table.

mod selection;
