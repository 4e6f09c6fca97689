//! All tensors of a plan into a file that can be gone on with.

use std::path::Path;

use super::rows::{Rows, Seen};
use super::{Counts, NonFinite, Options, Plan, Planned};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::gguf::{Found, Gguf, ResumableWriter};
use crate::model::Progress;
use crate::quant;
use rayon::ThreadPool;
use twox_hash::XxHash3_128;

/// What was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorReport>,
    /// What an interrupted run had left.
    pub found: Found,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// What was made of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its format before.
    pub from: DType,
    /// Its format now.
    pub to: DType,
    /// What was found in its values.
    pub counts: Counts,
}

/// Carries out the plan that was made of `gguf` with `options`, into a file that takes the name `path` when it is whole. `progress` gets
/// the bytes of the input that are done and those of all, on the thread of the call; `false` stops the work, which a later call goes on with, as it does
/// after `kill -9`. Any other error leaves nothing behind.
///
/// # Errors
/// `InvalidModel` for values that are not finite, naming the tensor ([`NonFinite::Refuse`]); `InvalidArgument` for an importance of
/// another shape; `InvalidState` if another process writes the same file; `Cancelled`; `Io`.
pub fn run(gguf: &Gguf, plan: &Plan, options: &Options<'_>, path: &Path, progress: Progress<'_>) -> Result<Report> {
    let mut pool = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("oribi-quantize-{i}"));
    if let Some(n_threads) = options.n_threads {
        pool = pool.num_threads(n_threads);
    }
    let pool = pool.build().map_err(|e| Error::new(ErrorKind::Device, format!("could not start threads: {e}")))?;
    Work { gguf, plan, options, progress, pool: &pool, total: plan.source_bytes() }.run(path)
}

struct Work<'a, 'i> {
    gguf: &'a Gguf,
    plan: &'a Plan,
    options: &'a Options<'i>,
    progress: Progress<'a>,
    pool: &'a ThreadPool,
    total: u64,
}

impl Work<'_, '_> {
    fn run(&self, path: &Path) -> Result<Report> {
        let mut tensors = Vec::with_capacity(self.plan.tensors.len());
        let mut done = 0;
        let mut still_holds = |index: usize, mark: u128| {
            let planned = &self.plan.tensors[index];
            let seen = self.rows(planned)?.look(|n_bytes| self.advance(&mut done, n_bytes))?;
            let holds = seen.hash == mark && seen.counts.check(self.options.non_finite).is_ok();
            if holds {
                tensors.push(report(planned, seen.counts));
            }
            Ok(holds)
        };
        let builder = self.plan.builder.clone();
        let job = self.job()?;
        let (mut writer, found) = builder.resume(path, &job, self.options.restart, &mut still_holds)?;
        match self.write_rest(&mut writer, &mut tensors) {
            Ok(()) => writer.commit()?,
            Err(e) => {
                if e.kind() == ErrorKind::Cancelled {
                    writer.suspend();
                }
                return Err(e);
            }
        }
        Ok(Report { tensors, found, file_bytes: self.plan.file_bytes })
    }

    fn write_rest(&self, writer: &mut ResumableWriter, tensors: &mut Vec<TensorReport>) -> Result<()> {
        // Bytes of what was kept, whatever was looked at in vain.
        let mut done: u64 = self.plan.tensors[..tensors.len()].iter().map(|t| t.from_bytes).sum();
        for planned in &self.plan.tensors[tensors.len()..] {
            let rows = self.rows(planned)?;
            let row_bytes = |dtype: DType| dtype.row_bytes(rows.k).unwrap_or(1).max(1);
            let (from_bytes, to_bytes) = (row_bytes(planned.from), row_bytes(planned.to));
            let mut seen = Seen::default();
            writer.stream_tensor(&planned.name, |sink| {
                seen = rows.encode(|bytes| {
                    sink(bytes)?;
                    self.advance(&mut done, bytes.len() / to_bytes * from_bytes)
                })?;
                seen.counts.check(self.options.non_finite)?;
                Ok(seen.hash)
            })?;
            tensors.push(report(planned, seen.counts));
        }
        Ok(())
    }

    fn advance(&self, done: &mut u64, n_bytes: usize) -> Result<()> {
        *done += n_bytes as u64;
        if !(self.progress)((*done).min(self.total), self.total) {
            bail!(Cancelled, "interrupted after {} of {} bytes", done, self.total);
        }
        Ok(())
    }

    fn rows(&self, planned: &Planned) -> Result<Rows<'_>> {
        let Some(tensor) = self.gguf.tensor(&planned.name) else {
            bail!(InvalidArgument, "tensor {} is not of this file: the plan was made of another", planned.name);
        };
        // The sizes of a tensor in a file that was opened fit.
        let dim = |i: usize| tensor.shape.get(i).copied().unwrap_or(1) as usize;
        let k = dim(0);
        let importance = self.options.importance.filter(|_| planned.is_matrix).and_then(|of| of(&planned.name));
        Ok(Rows {
            bytes: self.gguf.tensor_bytes(tensor)?,
            from: planned.from,
            to: planned.to,
            k,
            n_rows: (tensor.n_elems() / k as u64) as usize,
            matrix_rows: dim(1),
            importance,
            non_finite: self.options.non_finite,
            pool: self.pool,
        })
    }

    /// What decides the bytes of the new file, besides its header and the tensors of the input: the encoders, as what they make of
    /// some values, the importance, and what is done with values that are not finite.
    fn job(&self) -> Result<String> {
        let mut hash = XxHash3_128::new();
        let mut dtypes: Vec<DType> = self.plan.tensors.iter().filter(|t| t.from != t.to).map(|t| t.to).collect();
        dtypes.sort_unstable();
        dtypes.dedup();
        for dtype in dtypes {
            hash.write(&fingerprint(dtype)?);
        }
        if let Some(of) = self.options.importance {
            for planned in self.plan.tensors.iter().filter(|t| t.is_matrix) {
                let importance = of(&planned.name).unwrap_or_default();
                hash.write(&(importance.len() as u64).to_le_bytes());
                importance.iter().for_each(|x| hash.write(&x.to_le_bytes()));
            }
        }
        let repair = self.options.non_finite == NonFinite::Repair;
        Ok(format!("quantize {:032x} {repair}", hash.finish_128()))
    }
}

/// What an encoder makes of a row of values that rise and fall, with an importance and without.
fn fingerprint(dtype: DType) -> Result<Vec<u8>> {
    let k = 256;
    let values: Vec<f32> = (0..k).map(|i| ((i * i * 37 + i * 11) % 509) as f32 / 255.0 - 1.0).collect();
    let importance: Vec<f32> = (0..k).map(|i| 1.0 + (i % 7) as f32).collect();
    let n_bytes = dtype.row_bytes(k).unwrap_or(0);
    let mut out = vec![0; 2 * n_bytes];
    let (plain, weighed) = out.split_at_mut(n_bytes);
    quant::quantize(dtype, &values, k, None, plain)?;
    quant::quantize(dtype, &values, k, Some(&importance), weighed)?;
    Ok(out)
}

fn report(planned: &Planned, counts: Counts) -> TensorReport {
    TensorReport { name: planned.name.clone(), from: planned.from, to: planned.to, counts }
}
