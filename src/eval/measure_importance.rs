//! Measuring an importance matrix on a text, chunk by chunk, so that an interrupted measurement can be gone on with.

use super::Chunks;
use crate::error::{Result, bail};
use crate::gguf::{Gguf, GgufBuilder};
use crate::importance::{Entry, ImportanceMatrix};
use crate::model::Model;
use crate::session::{Batch, Control, InputSquares, KvType, Numerics, Role, Session, SessionOptions};
use std::path::Path;
use std::sync::Arc;
use twox_hash::XxHash3_128;

/// Where a checkpoint says what it is of, and how many chunks are done.
const JOB_KEY: &str = "oribi.imatrix.job";
const DONE_KEY: &str = "oribi.imatrix.chunks_done";

/// How an importance matrix is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportanceOptions {
    /// Arithmetic of the products; the inputs are observed before they are rounded for it.
    pub numerics: Numerics,
    /// How keys and values are kept.
    pub kv_type: KvType,
    /// Also observe the input of the output head, which costs the logits of every token.
    pub with_output: bool,
}

/// A measurement in hand.
///
/// The sums of a chunk are float64 and are rounded to float32 when they are added to those before, which are what a file holds: going
/// on from a checkpoint gives the same bits as never having stopped.
pub struct ImportanceRun {
    session: Session,
    chunks: Chunks,
    with_output: bool,
    matrix: ImportanceMatrix,
    n_done: usize,
    job: String,
}

impl ImportanceRun {
    /// A measurement of a model on a text; nothing is computed yet.
    ///
    /// # Errors
    /// Those of [`Session::new`]; `InvalidArgument` for a token beyond the vocabulary.
    pub fn new(model: &Arc<Model>, chunks: Chunks, options: &ImportanceOptions) -> Result<ImportanceRun> {
        let n_vocab = model.hparams().n_vocab;
        if chunks.max_token() as usize >= n_vocab {
            bail!(InvalidArgument, "token {} is beyond the vocabulary of {n_vocab}", chunks.max_token());
        }
        let ImportanceOptions { numerics, kv_type, with_output } = *options;
        let sizes = SessionOptions { n_ctx: chunks.chunk_len(), numerics, kv_type, ..Default::default() };
        let max_outputs = if with_output { super::runtime::max_rows(n_vocab, sizes.n_batch) } else { 0 };
        let mut session = Session::new(model, &SessionOptions { max_outputs, ..sizes })?;
        session.observe(Some(InputSquares::new(model)?));
        let chunk_size = u32::try_from(chunks.chunk_len()).unwrap_or(u32::MAX);
        Ok(ImportanceRun {
            job: job(model, &chunks, options),
            session,
            with_output,
            chunks,
            matrix: ImportanceMatrix::new(chunk_size),
            n_done: 0,
        })
    }

    /// Chunks that are done.
    pub fn n_done(&self) -> usize {
        self.n_done
    }

    /// Chunks of the text.
    pub fn n_chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Measures one more chunk; whether there was one. `stop` is asked all the time, at least every 50 ms; after it, or another
    /// error, the measurement is what it was before the chunk.
    ///
    /// # Errors
    /// Those of [`Session::decode_with`]; `InvalidFile` if an activation is not finite.
    pub fn step(&mut self, stop: &(dyn Fn() -> bool + Sync)) -> Result<bool> {
        let Some(tokens) = self.chunks.iter().nth(self.n_done) else { return Ok(false) };
        let sequence = self.session.new_sequence()?;
        let rows = if self.with_output { self.session.options().max_outputs } else { tokens.len() };
        let mut result = Ok(());
        for block in tokens.chunks(rows) {
            let mut batch = Batch::new();
            block.iter().for_each(|&token| batch.push(sequence, token, Role::Prompt, self.with_output));
            result =
                result.and_then(|()| self.session.decode_with(&batch, Control { stop: Some(stop), progress: None }));
        }
        self.session.remove(sequence)?;
        let Some(squares) = self.session.observed() else { bail!(Internal, "nobody observes the session") };
        let entries = result.and_then(|()| entries(squares));
        squares.clear();
        for (name, entry) in entries? {
            self.matrix.add(&name, entry)?;
        }
        self.n_done += 1;
        Ok(true)
    }

    /// Writes what was measured so far to a file from which [`resume`](Self::resume) goes on. It is an importance matrix of the
    /// chunks done, with two keys more.
    ///
    /// # Errors
    /// `Io`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut file = GgufBuilder::new();
        file.set(JOB_KEY, self.job.as_str())?;
        file.set(DONE_KEY, self.n_done as u64)?;
        self.matrix.write_with(path, file)
    }

    /// Goes on from a checkpoint, if it is one of this very measurement: the same model, text, chunks and options. Says whether it was.
    ///
    /// # Errors
    /// Those of [`Gguf::open`] and [`ImportanceMatrix::from_gguf`] for a file that is broken.
    pub fn resume(&mut self, path: &Path) -> Result<bool> {
        let file = Gguf::open(path)?;
        if file.metadata().opt_str(JOB_KEY)? != Some(self.job.as_str()) {
            return Ok(false);
        }
        let done = file.metadata().u64(DONE_KEY)?;
        let matrix = ImportanceMatrix::from_gguf(&file)?;
        match usize::try_from(done) {
            Ok(done) if done <= self.chunks.len() && matrix.chunk_size() == self.matrix.chunk_size() => {
                (self.n_done, self.matrix) = (done, matrix);
                Ok(true)
            }
            _ => bail!(InvalidFile, "{}: {done} chunks of {} are done", path.display(), self.chunks.len()),
        }
    }

    /// What was measured, with the name of the text for people.
    pub fn finish(mut self, dataset: &str) -> ImportanceMatrix {
        self.matrix.add_dataset(dataset);
        self.matrix
    }
}

fn entries(squares: &InputSquares) -> Result<Vec<(String, Entry)>> {
    let entry = |(name, sums, n_rows): (&str, &[f64], u64)| {
        let sums = sums.iter().map(|&sum| sum as f32).collect();
        let entry = Entry::new(sums, vec![n_rows]).map_err(|e| e.within(format_args!("input of tensor {name}")));
        Ok((name.to_owned(), entry?))
    };
    squares.iter().map(entry).collect()
}

/// What tells this measurement from others.
fn job(model: &Model, chunks: &Chunks, options: &ImportanceOptions) -> String {
    let mut hash = XxHash3_128::new();
    hash.write(&model.identity());
    hash.write(&chunks.hash().to_le_bytes());
    let is_native = options.numerics == Numerics::Native && model.is_native();
    hash.write(&[u8::from(is_native), u8::from(options.with_output)]);
    hash.write(options.kv_type.name().as_bytes());
    format!("{:032x}", hash.finish_128())
}
