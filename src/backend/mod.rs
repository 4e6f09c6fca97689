//! The seam between the model and the hardware: packed tensors, buffers and the operations on them.

pub mod cpu;
