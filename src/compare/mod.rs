//! What the quantization levels of a model cost and gain: the report of a comparison, what it advises, and the page that shows it.

mod advice;
mod page;
mod report;

pub use advice::{Axis, Limits, advise, knee, pareto_front};
pub use page::html;
pub use report::{Level, MachineInfo, Report, Settings};
