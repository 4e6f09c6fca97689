//! Options that several subcommands share. Names are llama.cpp's where they mean the same.

/// Which model.
#[derive(clap::Args)]
pub struct ModelArg {
    /// GGUF file, or the name of a cached model [default: the cached default model]
    #[arg(value_name = "MODEL")]
    positional: Option<String>,
    /// The same as MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "positional")]
    flag: Option<String>,
}

impl ModelArg {
    /// What the user wrote, if anything.
    pub fn name(&self) -> Option<&str> {
        self.positional.as_deref().or(self.flag.as_deref())
    }
}
