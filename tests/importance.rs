//! Importance matrices: what is measured against the float reference, files, and a measurement that is killed.

#![cfg(feature = "eval")]

mod common;
#[path = "common/tiny.rs"]
mod tiny;

use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::eval::reference::Reference;
use oribi::eval::{ChunkOptions, Chunks, ImportanceOptions, ImportanceRun};
use oribi::gguf::{Gguf, GgufBuilder};
use oribi::importance::{Entry, ImportanceMatrix};
use oribi::model::{Model, ModelOptions};
use oribi::session::Numerics;
use oribi::{ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tiny::{Shape, tiny, write};

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

const PORTABLE: ImportanceOptions =
    ImportanceOptions { numerics: Numerics::Portable, kv_type: oribi::session::KvType::F16, with_output: true };

fn never() -> bool {
    false
}

fn text() -> String {
    std::fs::read_to_string(common::data("eval-en.txt")).unwrap()
}

fn chunks(model: &Model, chunk_len: usize, n_chunks: usize) -> Chunks {
    let options = ChunkOptions { chunk_len, stride: None, n_chunks: Some(n_chunks) };
    Chunks::of_text(model.tokenizer(), &text(), &options).unwrap()
}

fn measure(mut run: ImportanceRun) -> ImportanceMatrix {
    while run.step(&never).unwrap() {}
    run.finish("genesis")
}

/// The mean of the squares of what goes into each product, by the float64 evaluation.
fn reference_means(gguf: &Gguf, chunks: &Chunks) -> BTreeMap<String, Vec<f64>> {
    let reference = Reference::new(gguf).unwrap();
    let mut means: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for chunk in chunks.iter() {
        let add = &mut |name: &str, x: &[f64]| {
            let k = x.len() / chunk.len();
            let sums = means.entry(name.to_owned()).or_insert_with(|| vec![0.0; k]);
            x.chunks_exact(k).for_each(|row| sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x));
        };
        reference.hidden_with(chunk, add).unwrap();
    }
    let n_rows = (chunks.len() * chunks.chunk_len()) as f64;
    means.values_mut().flatten().for_each(|sum| *sum /= n_rows);
    means
}

/// The difference of two rows of weights: of the whole, as a share of it, and of the worst column, as a share of that column, or of a
/// hundredth of the mean where that is more.
fn difference(got: &[f32], want: &[f64]) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let mean = want.iter().sum::<f64>() / want.len() as f64;
    let off = || got.iter().zip(want).map(|(&got, want)| (f64::from(got) - want).abs());
    let worst = off().zip(want).map(|(off, want)| off / want.max(mean / 100.0)).fold(0.0, f64::max);
    (off().sum::<f64>() / (mean * want.len() as f64), worst)
}

fn check_against_reference(name: &str, n_tokens: usize, most: (f64, f64)) {
    let gguf = Gguf::open(&common::model(name)).unwrap();
    let model = Model::load(gguf.clone(), ModelOptions::default()).unwrap();
    let chunks = chunks(&model, n_tokens, 1);
    let matrix = measure(ImportanceRun::new(&model, chunks.clone(), &PORTABLE).unwrap());
    let want = reference_means(&gguf, &chunks);
    let mut largest = (0f64, 0f64);
    for (tensor, want) in &want {
        let (mean, worst) = difference(matrix.get(tensor).unwrap(), want);
        largest = (largest.0.max(mean), largest.1.max(worst));
    }
    println!(
        "{name}: {} tensors differ by {:.1e} in the mean, {:.1e} in the worst column",
        want.len(),
        largest.0,
        largest.1
    );
    assert!(largest.0 <= most.0 && largest.1 <= most.1, "{largest:?}");
    // Matrices that share an input share its weights, and every matrix of a layer is there.
    let tensors = gguf.tensors().iter().filter(|t| t.name.starts_with("blk.") && t.shape.len() == 2);
    for tensor in tensors {
        let weights = matrix.get(&tensor.name).unwrap_or_else(|| panic!("{} was not measured", tensor.name));
        assert_eq!(weights.len() as u64, tensor.shape[0], "{}", tensor.name);
    }
    assert_eq!(matrix.get("blk.0.attn_q.weight"), matrix.get("blk.0.attn_v.weight"));
    assert_eq!(matrix.get("blk.0.ffn_gate.weight"), matrix.get("blk.0.ffn_up.weight"));
}

#[test]
fn what_is_measured_is_the_reference_s_on_smollm2() {
    check_against_reference(SMOLLM2, if common::test_all() { 512 } else { 48 }, (1e-3, 2e-2));
}

#[test]
fn what_is_measured_is_the_reference_s_on_gemma3() {
    check_against_reference("gemma-3-270m-q4_k_m.gguf", if common::test_all() { 512 } else { 24 }, (1e-3, 2e-2));
}

/// Two blocks of random weights.
fn tiny_model() -> Arc<Model> {
    tiny_model_on(None)
}

fn tiny_model_on(n_threads: Option<usize>) -> Arc<Model> {
    let bytes = write(tiny(Shape { n_blocks: 2, ..Shape::new("gemma3", DType::Q8_0) }));
    let cpu = CpuOptions { n_threads, ..CpuOptions::default() };
    Model::load(Gguf::from_bytes(bytes).unwrap(), ModelOptions { cpu, ..ModelOptions::default() }).unwrap()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let of = |n_threads| {
        let model = tiny_model_on(Some(n_threads));
        measure(ImportanceRun::new(&model, chunks(&model, 300, 1), &PORTABLE).unwrap())
    };
    let one = of(1);
    assert_eq!(one.len(), 15); // seven matrices of two blocks, and the head
    [2, 3, 7].iter().for_each(|&n_threads| assert_eq!(of(n_threads), one, "{n_threads} threads"));
}

#[test]
fn going_on_from_a_checkpoint_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny_model();
    let chunks = chunks(&model, 50, 6);
    let whole = measure(ImportanceRun::new(&model, chunks.clone(), &PORTABLE).unwrap());
    assert_eq!((whole.chunk_count(), whole.chunk_size(), whole.datasets()), (6, 50, &["genesis".to_string()][..]));
    let path = folder.path().join("c");
    let mut run = ImportanceRun::new(&model, chunks.clone(), &PORTABLE).unwrap();
    for done in 1..=6 {
        // A chunk that is stopped leaves nothing behind.
        assert_eq!(run.step(&|| true).unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(run.step(&never).unwrap());
        run.save(&path).unwrap();
        run = ImportanceRun::new(&model, chunks.clone(), &PORTABLE).unwrap();
        assert!(run.resume(&path).unwrap() && run.n_done() == done);
    }
    assert_eq!(measure(run), whole);
    // A checkpoint is an importance matrix itself; another measurement does not go on from it.
    assert_eq!(ImportanceMatrix::open(&path).unwrap().get("blk.1.ffn_down.weight"), whole.get("blk.1.ffn_down.weight"));
    let other = ImportanceOptions { with_output: false, ..PORTABLE };
    assert!(!ImportanceRun::new(&model, chunks.clone(), &other).unwrap().resume(&path).unwrap());
    let mut broken = std::fs::read(&path).unwrap();
    broken.truncate(1000);
    std::fs::write(&path, broken).unwrap();
    assert!(ImportanceRun::new(&model, chunks, &PORTABLE).unwrap().resume(&path).is_err());
}

#[test]
fn merging_two_texts_is_measuring_both() {
    let model = tiny_model();
    let both = chunks(&model, 50, 2);
    let whole = measure(ImportanceRun::new(&model, both.clone(), &PORTABLE).unwrap());
    let part = |i: usize| {
        let tokens = both.iter().nth(i).unwrap();
        let one = Chunks::new(tokens, None, &ChunkOptions { chunk_len: 50, ..Default::default() }).unwrap();
        measure(ImportanceRun::new(&model, one, &PORTABLE).unwrap())
    };
    let mut merged = part(0);
    merged.merge(part(1)).unwrap();
    assert!(whole.iter().all(|(name, entry)| merged.entry(name) == Some(entry)));
    // The head's input is the final hidden state.
    assert_eq!(whole.get("token_embd.weight").unwrap().len(), 256);
}

fn matrix() -> ImportanceMatrix {
    let mut matrix = ImportanceMatrix::new(16);
    matrix.add("blk.0.ffn_down.weight", Entry::new(vec![1.0, 2.5, 0.0, 4.0], vec![32]).unwrap()).unwrap();
    matrix.add("blk.0.ffn_up_exps.weight", Entry::new(vec![1.0, 2.0, 0.0, 0.0], vec![8, 0]).unwrap()).unwrap();
    matrix.add_dataset("a text");
    matrix
}

#[test]
fn a_file_holds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    matrix().write(&path).unwrap();
    assert_eq!(ImportanceMatrix::open(&path).unwrap(), matrix());
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.metadata().str("general.type").unwrap(), "imatrix");
    assert_eq!(
        (gguf.metadata().u32("imatrix.chunk_count").unwrap(), gguf.metadata().u32("imatrix.chunk_size").unwrap()),
        (2, 16)
    );
    let shape = |name: &str| gguf.tensor(name).unwrap().shape.clone();
    assert_eq!(shape("blk.0.ffn_down.weight.in_sum2"), [4, 1]);
    assert_eq!(
        (shape("blk.0.ffn_up_exps.weight.in_sum2"), shape("blk.0.ffn_up_exps.weight.counts")),
        (vec![2, 2], vec![1, 2])
    );
}

/// A file of these tensors (name, type, shape, bytes).
fn file(tensors: &[(&str, DType, &[u64], Vec<u8>)], keys: impl Fn(&mut GgufBuilder)) -> Result<ImportanceMatrix> {
    let mut builder = GgufBuilder::new();
    builder.set("general.type", "imatrix").unwrap();
    keys(&mut builder);
    tensors.iter().for_each(|(name, dtype, shape, _)| builder.add_tensor(name, *dtype, shape).unwrap());
    let mut writer = builder.write_to(Vec::new()).unwrap();
    tensors.iter().for_each(|(name, _, _, bytes)| writer.write_tensor(name, bytes).unwrap());
    ImportanceMatrix::from_gguf(&Gguf::from_bytes(writer.finish().unwrap()).unwrap())
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn hostile_files_are_refused_by_name() {
    let sums = |values: &[f32]| ("a.in_sum2", DType::F32, &[2u64, 1][..], floats(values));
    let counts = |value: f32| ("a.counts", DType::F32, &[1u64, 1][..], floats(&[value]));
    let none = |_: &mut GgufBuilder| {};
    // Plain sums and statistics, which others write, are left aside.
    let stats = ("a.stats", DType::F32, &[12u64][..], floats(&[f32::NAN; 12]));
    let plain = ("a.in_sum", DType::F32, &[2u64, 1][..], floats(&[-1.0, 2.0]));
    let good = file(&[sums(&[4.0, 8.0]), counts(4.0), plain, stats], none).unwrap();
    assert_eq!((good.get("a").unwrap(), good.len(), good.chunk_size()), (&[1.0, 2.0][..], 1, 512));

    let wrong = [
        file(&[sums(&[4.0, 8.0])], none),
        file(&[counts(4.0)], none),
        file(&[], none),
        file(&[sums(&[f32::NAN, 8.0]), counts(4.0)], none),
        file(&[sums(&[-1.0, 8.0]), counts(4.0)], none),
        file(&[sums(&[4.0, 8.0]), counts(f32::INFINITY)], none),
        file(&[sums(&[4.0, 8.0]), counts(-1.0)], none),
        file(&[sums(&[4.0, 8.0]), ("a.counts", DType::F32, &[1, 3], floats(&[1.0; 3]))], none),
        file(&[sums(&[4.0, 8.0]), ("a.counts", DType::F16, &[1, 1], vec![0, 0])], none),
        file(&[("a.in_sum2", DType::F16, &[2, 1], vec![0; 4]), counts(1.0)], none),
        file(&[sums(&[4.0, 8.0]), counts(4.0)], |b| b.set("general.type", "model").unwrap()),
        file(&[sums(&[4.0, 8.0]), counts(4.0)], |b| b.set("general.type", 3u32).unwrap()),
        file(&[sums(&[4.0, 8.0]), counts(4.0)], |b| b.set("imatrix.chunk_size", "many").unwrap()),
    ];
    for (i, result) in wrong.into_iter().enumerate() {
        let error = result.map(|_| i).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidFile | ErrorKind::WrongType), "{i}: {error}");
    }
    assert_eq!(
        file(&[sums(&[4.0, 8.0]), counts(0.0)], |b| b.set("imatrix.chunk_size", 0u32).unwrap()).unwrap().chunk_count(),
        0
    );
    let error = ImportanceMatrix::open(&common::model(SMOLLM2)).unwrap_err();
    assert!(error.to_string().contains(SMOLLM2) && error.to_string().contains("no importance matrix"), "{error}");
}

/// `tests/data/imatrix/llama.*` are what llama-imatrix (b11434, `-c 64 -b 64 --chunks 3 --no-ppl`, either `--output-format`) measured on the
/// evaluation text with the model that is made here. Its weights are floats, so that program rounds no activations either.
#[test]
fn both_forms_of_llama_imatrix_are_read_and_hold_what_is_measured_here() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().join("tiny.gguf"), folder.path().join("m.gguf"));
    let oribi = || Command::new(env!("CARGO_BIN_EXE_oribi"));
    let shape = "synth --layers 1 --dim 64 --heads 2 --kv-heads 1 --ffn 96 --vocab 300 --type F32 -o";
    assert!(oribi().args(shape.split(' ')).arg(&model).output().unwrap().status.success());
    let text = common::data("eval-en.txt");
    let settings = ["-c", "64", "--chunks", "3", "-o"];
    let done = oribi().arg("imatrix").arg(&model).arg("-f").arg(&text).args(settings).arg(&out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let own = ImportanceMatrix::open(&out).unwrap();
    for (name, chunk_size) in [("imatrix/llama.gguf", 64), ("imatrix/llama.dat", 512)] {
        let theirs = ImportanceMatrix::open(&common::data(name)).unwrap();
        assert_eq!((theirs.chunk_count(), theirs.chunk_size()), (3, chunk_size), "{name}");
        assert_eq!(theirs.datasets(), ["tests/data/eval-en.txt"], "{name}");
        let names = |matrix: &ImportanceMatrix| matrix.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&theirs), names(&own), "{name}");
        for (tensor, entry) in own.iter() {
            let want: Vec<f64> = theirs.get(tensor).unwrap().iter().map(|&mean| f64::from(mean)).collect();
            let (mean, worst) = difference(entry.means(), &want);
            assert!(mean < 1e-5 && worst < 1e-3, "{name} {tensor}: {mean:e} {worst:e}");
        }
    }
}

const FEW: [&str; 4] = ["--chunks", "24", "--save-every", "2"];

/// `oribi imatrix` of the text, in chunks of 32 tokens, into `out`.
fn command(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oribi"));
    command.arg("imatrix").arg(common::model(SMOLLM2)).arg("-f").arg(common::data("eval-en.txt")).arg("-o").arg(out);
    command.args(["-c", "32"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_killed_measurement_leaves_nothing_half_and_goes_on_to_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.gguf");
    let done = command(&whole, &FEW).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a checkpoint is left over");

    let out = folder.path().join("killed.gguf");
    let mut random = tiny::Random(std::process::id().into());
    for _ in 0..8 {
        let mut child = command(&out, &FEW).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200 + random.next() % 900));
        child.kill().unwrap();
        child.wait().unwrap();
        if out.exists() {
            ImportanceMatrix::open(&out).unwrap();
        }
    }
    let done = command(&out, &FEW).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&whole).unwrap(), "the resumed file differs");
    assert!(!folder.path().join("killed.gguf.checkpoint").exists());
}

#[test]
#[cfg(unix)]
fn ctrl_c_saves_what_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let (out, checkpoint) = (folder.path().join("m.gguf"), folder.path().join("m.gguf.checkpoint"));
    let many = ["--chunks", "800", "--save-every", "1"];
    let mut child = command(&out, &many).spawn().unwrap();
    while !checkpoint.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended without a checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let done = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(130) && error.contains("are saved in"), "{error}");
    assert!(!out.exists() && ImportanceMatrix::open(&checkpoint).unwrap().chunk_count() > 0);
}

#[test]
fn a_checkpoint_of_something_else_is_not_overwritten_and_files_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let (out, merged) = (folder.path().join("m.gguf"), folder.path().join("merged.gguf"));
    let checkpoint = folder.path().join("m.gguf.checkpoint");
    matrix().write(&checkpoint).unwrap();
    let refused = command(&out, &FEW).output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && error.contains("m.gguf.checkpoint") && error.contains("--restart"), "{error}");
    assert!(!out.exists() && ImportanceMatrix::open(&checkpoint).unwrap() == matrix());

    let done = command(&out, &[&FEW[..], &["--restart"]].concat()).output().unwrap();
    assert!(done.status.success() && !checkpoint.exists(), "{}", String::from_utf8_lossy(&done.stderr));
    let one = ImportanceMatrix::open(&out).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_oribi"))
        .args(["imatrix", "--merge"])
        .arg(format!("{},{}", out.display(), out.display()))
        .arg("-o")
        .arg(&merged)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let twice = ImportanceMatrix::open(&merged).unwrap();
    assert_eq!((one.chunk_count(), twice.chunk_count(), twice.datasets().len()), (24, 48, 2));
    assert!(one.iter().all(|(name, entry)| twice.get(name) == Some(entry.means())));
}
