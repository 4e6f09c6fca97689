//! Perplexity and divergence: as many models at once as memory holds, so that the reference is evaluated seldom.

use std::path::Path;
use std::sync::Arc;

use oribi::backend::Device;
use oribi::backend::cpu::cores;
use oribi::compare::{Contestant, quality};
use oribi::eval::{Baseline, Chunks, Runtime, same_vocabulary};
use oribi::gguf::Gguf;
use oribi::model::{HyperParams, Model};
use oribi::session::{predict_gpu_memory, predict_memory};
use oribi::{Error, ErrorKind, Result};

use super::bar::Bar;
use super::entry::{Entry, Field};
use super::{Args, Batch};
use crate::{interrupt, memory};

/// Weights that are multiplied in a millisecond.
const MACS_PER_MS: f64 = 1e8;

/// Completes the scores of the entries of a batch.
pub fn measure(field: &mut Field, batch: &Batch, args: &Args, bar: &mut Bar) -> Result<()> {
    let among = field.contestants();
    let is_wanting = |&i: &usize| {
        among.contains(&i) && field.entries[i].scores.as_ref().is_some_and(|scores| scores.n_missing() > 0)
    };
    let mut left: Vec<usize> = batch.iter().copied().filter(is_wanting).collect();
    if left.is_empty() {
        return Ok(());
    }
    let path = field.entries[field.reference].path()?.to_path_buf();
    bar.say(format!("loading {}", field.entries[field.reference].name));
    let gguf = Gguf::open(&path)?;
    let own = needed(&gguf, args).map_err(|e| e.within(path.display()))?;
    let reference = bar.around(|| args.evaluation.load(&path))?;
    let n_vocab = reference.hparams().n_vocab;
    let chunks = field.chunks.clone();
    let one_chunk = chunks.iter().next().map_or(&[][..], |chunk| chunk);
    let baseline = Baseline::bytes(&Chunks::single(one_chunk, chunks.scored())?, n_vocab, 1);
    let budget = args.evaluation.max_memory.or_else(|| memory::available().map(|bytes| bytes.saturating_add(own)));
    let mut source = runtime(&reference, &chunks, args)?;
    while !left.is_empty() {
        let mut used = own.saturating_add(baseline);
        let mut group: Vec<(usize, Runtime)> = Vec::new();
        while let Some(&i) = left.first() {
            let path = field.entries[i].path()?.to_path_buf();
            let bytes = needed(&Gguf::open(&path)?, args).map_err(|e| e.within(path.display()))?;
            used = used.saturating_add(bytes);
            if !group.is_empty() && budget.is_some_and(|budget| used > budget) {
                break;
            }
            bar.say(format!("loading {}", field.entries[i].name));
            let same = i == field.reference;
            let model = if same { Arc::clone(&reference) } else { bar.around(|| load(&path, &reference, args))? };
            group.push((i, runtime(&model, &chunks, args)?));
            left.remove(0);
        }
        evaluate(field, &mut source, group, &chunks, bar)?;
    }
    Ok(())
}

/// How long that takes: what is missing, and the reference once.
pub fn work(field: &Field) -> f64 {
    let missing = |entry: &Entry| entry.scores.as_ref().map_or(field.chunks.len(), |scores| scores.n_missing());
    let missing: Vec<usize> = field.contestants().into_iter().map(|i| missing(&field.entries[i])).collect();
    let n = missing.iter().sum::<usize>() + missing.iter().max().copied().unwrap_or(0);
    n as f64 * work_of_chunk(field)
}

fn work_of_chunk(field: &Field) -> f64 {
    field.n_elems as f64 * field.chunks.chunk_len() as f64 / MACS_PER_MS
}

fn needed(gguf: &Gguf, args: &Args) -> Result<u64> {
    let n_vocab = HyperParams::from_gguf(gguf)?.n_vocab;
    let options = Runtime::sizes(args.evaluation.session_options(args.evaluation.ctx), n_vocab);
    let n_threads = args.evaluation.threads.unwrap_or_else(cores::default_threads);
    let storage = args.evaluation.storage();
    if args.evaluation.device.device.resolved() == Device::Cpu {
        Ok(predict_memory(gguf, storage, &options, n_threads)?.total)
    } else {
        let gpu_layers = args.evaluation.device.gpu_layers;
        Ok(predict_gpu_memory(gguf, storage, &options, n_threads, gpu_layers)?.host.total)
    }
}

fn load(path: &Path, reference: &Model, args: &Args) -> Result<Arc<Model>> {
    let model = args.evaluation.load(path)?;
    same_vocabulary(reference, &model).map_err(|e| e.within(format!("{} and the reference", path.display())))?;
    Ok(model)
}

fn runtime(model: &Arc<Model>, chunks: &Chunks, args: &Args) -> Result<Runtime> {
    let runtime = Runtime::with(model, args.evaluation.session_options(chunks.chunk_len()))?;
    Ok(runtime.with_stop(interrupt::requested))
}

fn evaluate(
    field: &mut Field,
    reference: &mut Runtime,
    mut group: Vec<(usize, Runtime)>,
    chunks: &Chunks,
    bar: &mut Bar,
) -> Result<()> {
    let work = work_of_chunk(field);
    bar.say(match group.len() {
        1 => format!("evaluating {}", field.entries[group[0].0].name),
        n => format!("evaluating {n} models"),
    });
    let mut each = || {
        bar.advance(work);
        if interrupt::requested() { Err(Error::new(ErrorKind::Cancelled, "interrupted")) } else { Ok(()) }
    };
    let mut contestants = Vec::new();
    // A group is in order of index, so that each entry meets its runtime.
    let mut runtimes = group.iter_mut().peekable();
    for (i, entry) in field.entries.iter_mut().enumerate() {
        let Some((_, source)) = runtimes.next_if(|(of, _)| *of == i) else { continue };
        if let Some(scores) = &mut entry.scores {
            contestants.push(Contestant { source, scores });
        }
    }
    quality(reference, &mut contestants, chunks, &mut each)
}
