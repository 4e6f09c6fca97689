//! From GGUF to GGUF: the tensors of a file in other formats, everything else as it was.
//!
//! A [`Plan`] says which tensor gets which format and how large the file will be, from the header alone; [`run`] carries it
//! out. Memory stays at a few megabytes a thread: tensors are read, encoded and written in pieces of whole rows, on all
//! threads, and the pages of the mapped input are given back behind. What is made is a pure function of the input and the options,
//! whatever the number of threads, and whether it was made in one go or gone on with after an interruption.
//!
//! | file | does |
//! |---|---|
//! | `rules.rs` | formats of tensors by name |
//! | `recipe_file.rs` | the same in a file, to be edited and replayed |
//! | `plan.rs` | which tensor gets which format: level, rules, what does not fit |
//! | `values.rs` | values that no format can hold, and rows of zeros: counted, refused or repaired |
//! | `rows.rs` | one tensor, in pieces |
//! | `run.rs` | all tensors into a file that can be gone on with |

mod plan;
mod recipe_file;
mod rows;
mod rules;
mod run;
mod values;

pub use plan::{Note, Options, Plan, Planned};
pub use recipe_file::RecipeFile;
pub use rules::Rule;
pub use run::{Report, TensorReport, run};
pub use values::{Counts, NonFinite};

/// Importance by name of a tensor: a weight of zero or more for every column, or for those of each matrix of a tensor of more than
/// two dimensions, one after the other; `None` for a tensor that has none.
pub type Importance<'a> = &'a (dyn Fn(&str) -> Option<&'a [f32]> + Sync);
