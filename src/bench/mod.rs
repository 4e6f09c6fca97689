//! Measuring speed: what tests a model is given ([`Test`]), how long they take ([`Bench`]), what they make the machine do
//! ([`Work`]), and what the machine could do at best ([`Machine`]).
//!
//! A test is llama-bench's, so that figures compare: a prompt of random tokens that is computed in one batch, or tokens that
//! are generated one by one, after so many tokens of context. Generated tokens are random too: every one is computed with its
//! logits, and no sampler looks at them.

mod limits;
mod machine;
mod runner;
mod spread;
mod test;
mod work;

pub use limits::Limits;
pub use machine::{Bandwidth, Machine, Peak};
pub use runner::{Bench, BenchOptions};
pub use spread::Spread;
pub use test::{Kind, Test, tests};
pub use work::Work;
