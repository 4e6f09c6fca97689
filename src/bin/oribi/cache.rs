//! The cache folder: which models are there, and which file a MODEL argument means.

use std::path::{Path, PathBuf};

use oribi::{Error, ErrorKind, Result};

/// The model that is used when none is named.
pub const DEFAULT_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// `ORIBI_CACHE`, or `~/.cache/oribi`.
pub fn folder() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("ORIBI_CACHE").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    let home = home.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "no home folder: set ORIBI_CACHE"))?;
    Ok(home.join(".cache").join("oribi"))
}

/// The cached models: every `.gguf` file of the cache's `models` folder, in order of name.
pub fn models() -> Result<Vec<PathBuf>> {
    let folder = folder()?.join("models");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(format!("read {}", folder.display()), error)),
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")))
        .collect();
    found.sort();
    Ok(found)
}

/// The file that a MODEL argument means: a path, else the name of a cached model with or without `.gguf`, else (nothing
/// given) the cached default model.
pub fn resolve(model: Option<&str>) -> Result<PathBuf> {
    let cached = folder().map(|folder| folder.join("models"));
    let Some(model) = model else {
        let default = cached?.join(DEFAULT_MODEL);
        return if default.is_file() { Ok(default) } else { Err(no_default(&default)) };
    };
    let path = PathBuf::from(model);
    if path.exists() || path.components().count() > 1 {
        return Ok(path); // opening it says what is wrong with it
    }
    let candidates = cached.iter().flat_map(|dir| [dir.join(model), dir.join(format!("{model}.gguf"))]);
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let text = format!("{model}: no such file, and no cached model has that name (`oribi models` lists them)");
        Error::new(ErrorKind::Io, text)
    })
}

fn no_default(path: &Path) -> Error {
    let text = format!(
        "no model was given, and the default model is not in the cache ({}); get it with `scripts/fetch-models --default` \
         in oribi's source tree, or name a GGUF file: oribi run FILE",
        path.display()
    );
    Error::new(ErrorKind::InvalidArgument, text)
}
