//! What the quantization levels of a model cost and gain: measured, kept, reported, and shown on a page.
//!
//! | file | does |
//! |---|---|
//! | `quality.rs` | divergence and perplexity of several models in one pass over a text |
//! | `store.rs` | the cache: results by what they depend on, so that an interrupted comparison goes on |
//! | `report.rs` | the report: machine, settings, a row a level; its serialized form is the JSON form |
//! | `advice.rs` | the Pareto front, its knee, and what the figures mean in sentences |
//! | `page/` | the report as one HTML file with plots |
//!
//! Speed, load time and peak memory are measured by the program, in processes of their own, so that one level does not colour
//! another.

mod advice;
mod page;
mod quality;
mod report;
mod store;

pub use advice::{Axis, Limits, advise, knee, pareto_front};
pub use page::html;
pub use quality::{Contestant, quality};
pub use report::{Level, MachineInfo, Report, Settings, human_bytes, human_kld};
pub use store::{Key, ScoreFile, Store};
