//! A recipe as a file: the format of every tensor, to be read, edited and replayed.
//!
//! ```json
//! {
//!   "oribi_recipe": 1,
//!   "about": "how it came about",
//!   "default": "Q8_0",
//!   "rules": ["ffn_down=Q6_K"],
//!   "tensors": {
//!     "token_embd.weight": "Q6_K"
//!   }
//! }
//! ```
//!
//! A tensor gets what `tensors` says of it, else what the first matching rule says, else `default`. Absent parts are empty.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Rule;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};

/// The version of the form.
const VERSION: u32 = 1;

/// A recipe file's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    oribi_recipe: u32,
    /// How it came about, for people.
    #[serde(default)]
    pub about: String,
    default: String,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    tensors: Map<String, Value>,
}

impl RecipeFile {
    /// A recipe that names tensors, and gives the others a format.
    pub fn new<'a>(about: String, default: DType, tensors: impl IntoIterator<Item = (&'a str, DType)>) -> RecipeFile {
        let tensors = tensors.into_iter().map(|(name, dtype)| (name.to_owned(), dtype.name().into())).collect();
        RecipeFile { oribi_recipe: VERSION, about, default: default.name().to_owned(), rules: Vec::new(), tensors }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `Io`; those of [`parse`](Self::parse).
    pub fn open(path: &Path) -> Result<RecipeFile> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(format_args!("read {}", path.display()), e))?;
        RecipeFile::parse(&text).map_err(|e| e.within(path.display()))
    }

    /// Reads the text of a recipe.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no recipe, an unknown format, a bad rule.
    pub fn parse(text: &str) -> Result<RecipeFile> {
        let recipe: RecipeFile = serde_json::from_str(text)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, format!("not a recipe: {e}")))?;
        if recipe.oribi_recipe != VERSION {
            bail!(InvalidArgument, "a recipe of version {}; this is for version {VERSION}", recipe.oribi_recipe);
        }
        recipe.default()?;
        recipe.rules()?;
        Ok(recipe)
    }

    /// The format of the matrices that it does not name.
    pub fn default(&self) -> Result<DType> {
        dtype("default", &self.default)
    }

    /// What it says, as rules, the first that matches deciding.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        let exact = self.tensors.iter().map(|(name, value)| match value.as_str() {
            Some(text) => Ok(Rule::exact(name, dtype(name, text)?)),
            None => bail!(InvalidArgument, "the format of {name} is {value}, not a string"),
        });
        exact.chain(self.rules.iter().map(|text| Rule::parse(text))).collect()
    }

    /// On many lines, for people.
    pub fn pretty(&self) -> String {
        // Strings and numbers only: nothing that JSON cannot say.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// On one line, for the metadata of a file.
    pub fn compact(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn dtype(what: &str, name: &str) -> Result<DType> {
    match DType::from_name(name) {
        Some(dtype) => Ok(dtype),
        None => bail!(InvalidArgument, "{what}: {name:?} is not a tensor type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let recipe = RecipeFile::new("a test".into(), DType::Q8_0, [("b", DType::Q4_K), ("a", DType::F16)]);
        assert_eq!(RecipeFile::parse(&recipe.pretty()).unwrap(), recipe);
        assert_eq!(RecipeFile::parse(&recipe.compact()).unwrap(), recipe);
        let edited = recipe.pretty().replace("\"rules\": []", "\"rules\": [\"^c=Q5_0\"]");
        let rules = RecipeFile::parse(&edited).unwrap().rules().unwrap();
        let dtype_of = |name: &str| rules.iter().find(|r| r.matches(name)).map(Rule::dtype);
        assert_eq!([dtype_of("a"), dtype_of("cx"), dtype_of("d")], [Some(DType::F16), Some(DType::Q5_0), None]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("{", "not a recipe"),
            (r#"{"oribi_recipe": 2, "default": "F16"}"#, "version 2"),
            (r#"{"oribi_recipe": 1, "default": "F17"}"#, "default: \"F17\" is not"),
            (r#"{"oribi_recipe": 1, "default": "F16", "tensors": {"a": 4}}"#, "the format of a is 4"),
            (r#"{"oribi_recipe": 1, "default": "F16", "rules": ["x"]}"#, "REGEX=TYPE"),
            (r#"{"oribi_recipe": 1, "default": "F16", "tensor": {}}"#, "unknown field"),
        ];
        for (text, what) in cases {
            let error = RecipeFile::parse(text).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
