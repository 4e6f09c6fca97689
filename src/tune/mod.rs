//! The format of every tensor under a budget of bytes: what to give bits to, by what it costs to take them away.
//!
//! Two figures per tensor decide. Its *sensitivity* is measured: the divergence KL(original || model) in nats when it alone is
//! rounded to four bits, divided by the (importance-weighted) square error of that rounding. The *error* of every format is
//! measured on a sample of its rows, without the model. To first order the divergence of small errors in many tensors is the
//! sum of those of each, and each is proportional to its square error; so the expected divergence of a choice is
//!
//! ```text
//! sum over tensors t of sensitivity(t) * error(t, format(t))
//! ```
//!
//! and what minimises it under a sum of bytes is found by taking, again and again, the step to a larger format that saves
//! most divergence per byte, along the lower convex hull of each tensor's choices ([`allocate`]).
//!
//! | file | does |
//! |---|---|
//! | `sensitivity.rs` | the measurement that takes time: one evaluation per tensor, to be kept |
//! | `errors.rs` | the error of every format for every tensor |
//! | `allocate.rs` | the choice |

mod allocate;
mod errors;
mod sensitivity;

pub use allocate::{Choice, allocate};
pub use errors::{TensorErrors, candidates, errors};
pub use sensitivity::{Sensitivity, measure, measured_model};
