//! Names of quantization levels.

use oribi::dtype::{DType, TABLE};
use oribi::quant::recipes::{RECIPES, Recipe};
use oribi::{Error, ErrorKind, Result};

/// The level or format of a name; `is_usable` says for which formats of every matrix an error offers the names.
pub fn find(name: &str, pure: bool, is_usable: impl Fn(DType) -> bool) -> Result<Recipe> {
    let Some(level) = Recipe::find(name) else {
        let levels = RECIPES.iter().filter(|recipe| is_usable(recipe.base)).map(|recipe| recipe.name);
        let is_level = |name: &str| RECIPES.iter().any(|recipe| recipe.name == name);
        let formats = TABLE.iter().filter(|row| is_usable(row.dtype) && !is_level(row.name));
        let known: Vec<_> = levels.chain(formats.map(|row| row.name)).collect();
        let text = format!("type {name:?} is not known; there are {}", known.join(", "));
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    };
    Ok(if pure { Recipe::pure(level.base) } else { level })
}

/// The tensor format of a name.
pub fn dtype(name: &str) -> Result<DType> {
    DType::from_name(name)
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("{name:?} is not a tensor type")))
}
