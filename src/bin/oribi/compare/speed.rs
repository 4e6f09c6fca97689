//! Load time, speed and peak memory, in rounds: every model in turn, each time in a process of its own.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use oribi::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::bar::Bar;
use super::entry::Field;
use super::{Args, Batch, probe};
use crate::interrupt;

/// How often a running process is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Weights that are packed, and multiplied for a prompt, in a millisecond; bytes that are read for a generated token.
const PACKED_PER_MS: f64 = 2e6;
const MACS_PER_MS: f64 = 2e8;
const BYTES_PER_MS: f64 = 1.2e7;

/// What one process measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// From opening the file to being ready for a prompt.
    pub load_ms: f64,
    pub prompt_tokens_per_second: f64,
    pub generated_tokens_per_second: f64,
    /// The most memory that the process held; `None` where the system does not say.
    pub peak_bytes: Option<u64>,
    pub isa: String,
    pub threads: usize,
}

/// Brings every entry of a batch to as many samples as there are rounds.
pub fn measure(field: &mut Field, batch: &Batch, args: &Args, bar: &mut Bar) -> Result<()> {
    for round in 0..args.speed.rounds {
        for &i in batch {
            if field.entries[i].samples.len() > round {
                continue;
            }
            bar.say(format!("timing {}, round {}", field.entries[i].name, round + 1));
            let sample = sample(field.entries[i].path()?, args)?;
            field.add_sample(i, sample)?;
            bar.advance(work_of_one(field, i, args));
        }
    }
    Ok(())
}

/// How long that takes.
pub fn work(field: &Field, i: usize, args: &Args) -> f64 {
    args.speed.rounds.saturating_sub(field.entries[i].samples.len()) as f64 * work_of_one(field, i, args)
}

fn work_of_one(field: &Field, i: usize, args: &Args) -> f64 {
    let n_elems = field.n_elems as f64;
    // A level that is to be made has about five bits a weight.
    let n_bytes = field.entries[i].identity.as_ref().map_or(0.6 * n_elems, |identity| identity.file_bytes as f64);
    n_elems / PACKED_PER_MS
        + n_elems * args.speed.n_prompt as f64 / MACS_PER_MS
        + n_bytes * args.speed.n_gen as f64 / BYTES_PER_MS
}

/// Runs one process and waits for what it prints.
fn sample(path: &Path, args: &Args) -> Result<Sample> {
    let program = std::env::current_exe().map_err(|e| Error::io("the path of this program", e))?;
    let child = Command::new(program)
        .arg(probe::NAME)
        .arg(path)
        .args(probe::arguments(&args.speed, &args.evaluation))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = Running(child.map_err(|e| Error::io(format!("measure {}", path.display()), e))?);
    let output = child.wait()?;
    let fail =
        |why: &str| Error::new(ErrorKind::InvalidState, format!("{}: measuring its speed: {why}", path.display()));
    if !output.is_success {
        return Err(fail(output.stderr.trim()));
    }
    serde_json::from_str(&output.stdout).map_err(|e| fail(&e.to_string()))
}

/// A process that does not outlive its measurement.
struct Running(Child);

struct Output {
    is_success: bool,
    stdout: String,
    stderr: String,
}

impl Running {
    /// What it prints is far less than a pipe holds, so that it can be read at the end.
    fn wait(&mut self) -> Result<Output> {
        let fail = |e| Error::io("wait for a measurement", e);
        let status = loop {
            match self.0.try_wait().map_err(fail)? {
                Some(status) => break status,
                None if interrupt::requested() => return Err(Error::new(ErrorKind::Cancelled, "interrupted")),
                None => std::thread::sleep(LOOK),
            }
        };
        // Ctrl-C on a terminal reaches both.
        if interrupt::requested() {
            return Err(Error::new(ErrorKind::Cancelled, "interrupted"));
        }
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let Some(pipe) = &mut self.0.stdout {
            pipe.read_to_string(&mut stdout).map_err(fail)?;
        }
        if let Some(pipe) = &mut self.0.stderr {
            pipe.read_to_string(&mut stderr).map_err(fail)?;
        }
        Ok(Output { is_success: status.success(), stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or is of no use any more; either way it is waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
