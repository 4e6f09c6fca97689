//! Model files with random weights: they load, run, are what was asked for, and are the same for the same seed.

mod common;

use std::path::Path;

use oribi::backend::cpu::CpuOptions;
use oribi::dtype::{DType, TABLE};
use oribi::gguf::Gguf;
use oribi::model::{HyperParams, Model, ModelOptions};
use oribi::quant;
use oribi::quant::recipes::{Facts, Recipe, Role};
use oribi::session::{Batch, Session, SessionOptions};
use oribi::synth::{self, PRESETS, Shape, ShapeOptions};
use oribi::{Error, ErrorKind};

fn small(arch: &'static str) -> Shape {
    let options = ShapeOptions { arch: Some(arch), n_blocks: Some(7), n_kv_heads: Some(2), ..Default::default() };
    options.resolve().expect("a possible shape")
}

fn level(name: &str) -> Recipe {
    Recipe::find(name).expect("a known level")
}

fn create(shape: &Shape, level: &Recipe, seed: u64, path: &Path) -> synth::Summary {
    synth::create(shape, level, seed, path, &|_, _| true).unwrap_or_else(|e| panic!("{}: {e}", level.name))
}

/// The logits after a prompt, all of them finite and not all the same.
fn check_logits(path: &Path, what: &str) {
    let cpu = CpuOptions { n_threads: Some(2), ..Default::default() };
    let model = Model::open(path, ModelOptions { cpu, ..Default::default() }).unwrap_or_else(|e| panic!("{what}: {e}"));
    let ids = model.tokenizer().encode("Any text at all: naïve, 12.", true, false).expect("a prompt");
    assert!(ids.len() > 10, "{what}");
    let mut session = Session::new(&model, &SessionOptions { n_ctx: 100, ..Default::default() }).expect("a session");
    let sequence = session.new_sequence().expect("a sequence");
    session.decode(&Batch::prompt(sequence, &ids)).expect("logits");
    let logits = session.logits(0).expect("logits");
    let mean_square = logits.iter().map(|l| l * l).sum::<f32>() / logits.len() as f32;
    assert!(mean_square.is_finite(), "{what}: a logit is not finite");
    assert!((0.1..10.0).contains(&mean_square), "{what}: the mean square of the logits is {mean_square}");
}

#[test]
fn every_level_loads_and_runs_in_every_architecture() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for arch in ["llama", "qwen2", "gemma3"] {
        for name in [
            "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q2_K", "Q3_K_L", "IQ4_XS", "BF16", "F32", "IQ1_M", "IQ2_XS",
            "IQ3_XXS", "TQ1_0",
        ] {
            let path = folder.path().join(format!("{arch}-{name}.gguf"));
            create(&small(arch), &level(name), 1, &path);
            check_logits(&path, &format!("{arch} {name}"));
        }
    }
}

#[test]
fn weights_lie_around_zero_with_the_deviation_of_their_row_length() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let shape = Shape { n_blocks: 1, ..small("llama") };
    for row in TABLE.iter().filter(|row| quant::is_supported(row.dtype)) {
        create(&shape, &Recipe::pure(row.dtype), 3, &path);
        let gguf = Gguf::open(&path).expect("a valid file");
        for name in ["blk.0.ffn_up.weight", "blk.0.ffn_down.weight"] {
            let tensor = gguf.tensor(name).expect("a tensor");
            assert_eq!(tensor.dtype, row.dtype);
            let mut values = vec![0.0; tensor.n_elems() as usize];
            quant::dequantize(row.dtype, gguf.tensor_data(tensor).expect("bytes"), &mut values).expect("values");
            let n = values.len() as f64;
            let mean = values.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
            let deviation = (values.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / n).sqrt();
            let wanted = 1.0 / (tensor.shape[0] as f64).sqrt();
            // A power of two, the scale of MXFP4, can be off by a factor of sqrt(2).
            let off = if row.dtype == DType::MXFP4 { 0.42 } else { 0.1 };
            assert!((deviation / wanted - 1.0).abs() < off, "{} {name}: {deviation} for {wanted}", row.name);
            assert!(mean.abs() < 0.15 * deviation, "{} {name}: mean {mean} with deviation {deviation}", row.name);
        }
    }
}

#[test]
fn a_seed_decides_every_byte_and_threads_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // More than one piece of a mebibyte in a tensor.
    let shape = ShapeOptions { dim: Some(512), ffn_dim: Some(8192), n_blocks: Some(2), ..Default::default() };
    let shape = shape.resolve().expect("a possible shape");
    let made = |seed: u64, n_threads: usize| {
        let path = folder.path().join(format!("{seed}-{n_threads}.gguf"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
        pool.install(|| create(&shape, &level("Q4_K_M"), seed, &path));
        std::fs::read(&path).expect("the file")
    };
    let first = made(7, 1);
    assert!(first == made(7, 3), "the file depends on the number of threads");
    assert!(first != made(8, 1), "the seed decides nothing");
}

#[test]
fn the_file_has_the_sizes_that_were_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let options = ShapeOptions {
        arch: Some("gemma3"),
        n_blocks: Some(13),
        dim: Some(96),
        n_heads: Some(6),
        n_kv_heads: Some(3),
        head_dim: Some(18),
        ffn_dim: Some(64),
        n_vocab: Some(260),
        n_ctx: Some(77),
        window: Some(9),
        tied_embeddings: Some(true),
        preset: None,
    };
    let summary = create(&options.resolve().expect("a possible shape"), &level("Q4_K_M"), 0, &path);
    let gguf = Gguf::open(&path).expect("a valid file");
    let h = HyperParams::from_gguf(&gguf).expect("hyperparameters");
    assert_eq!((h.arch.name, h.n_blocks, h.dim, h.n_heads, h.n_kv_heads), ("gemma3", 13, 96, 6, 3));
    assert_eq!((h.head_dim, h.ffn_dim, h.n_vocab, h.n_ctx_train, h.sliding_window), (18, 64, 260, 77, Some(9)));
    assert!(gguf.tensor("output.weight").is_none());
    assert_eq!(summary.n_elems, gguf.tensors().iter().map(|t| t.n_elems()).sum::<u64>());
    assert_eq!(summary.n_bytes, gguf.tensors().iter().map(|t| t.n_bytes()).sum::<u64>());
    // Rows of 96, 64 and 108: blocks of 32 fit the first two, none fits 6 heads of 18.
    assert_eq!(summary.n_refitted, 1 + 13 * 7);
    let dtype = |name: &str| gguf.tensor(name).expect("a tensor").dtype;
    assert_eq!(dtype("blk.0.attn_q.weight"), DType::Q5_0);
    assert_eq!(dtype("blk.0.attn_v.weight"), DType::Q8_0);
    assert_eq!(dtype("blk.0.attn_output.weight"), DType::F16);
    check_logits(&path, "odd sizes");
}

/// The level's rule gives every matrix of a published file the format that it has there.
#[test]
fn q4_k_m_is_what_the_field_calls_so() {
    let gguf = Gguf::open(&common::model("gemma-3-270m-q4_k_m.gguf")).expect("a valid file");
    let h = HyperParams::from_gguf(&gguf).expect("hyperparameters");
    let facts = Facts {
        n_blocks: h.n_blocks,
        heads_per_kv_head: h.n_heads / h.n_kv_heads,
        tied_embeddings: gguf.tensor("output.weight").is_none(),
        has_importance: false,
    };
    let mut n_matrices = 0;
    for tensor in gguf.tensors() {
        let Some((role, block)) = Role::of_tensor(&tensor.name) else { continue };
        let wanted = level("Q4_K_M").dtype_of(role, block, tensor.shape[0] as usize, &facts);
        assert_eq!(tensor.dtype, wanted, "{}", tensor.name);
        n_matrices += 1;
    }
    assert_eq!(n_matrices, 1 + 7 * 18);
}

#[test]
fn presets_are_possible_and_single_sizes_change_them() {
    for preset in PRESETS {
        ShapeOptions { preset: Some(preset.name), ..Default::default() }.resolve().expect("a possible shape");
    }
    let changed =
        ShapeOptions { preset: Some("1B"), n_blocks: Some(3), ..Default::default() }.resolve().expect("a shape");
    assert_eq!((changed.n_blocks, changed.dim, changed.n_kv_heads, changed.ffn_dim), (3, 2048, 4, 5632));
}

#[test]
fn impossible_shapes_are_refused_by_name() {
    let none = ShapeOptions::default();
    let cases = [
        (ShapeOptions { arch: Some("mamba"), ..none }, "arch \"mamba\""),
        (ShapeOptions { preset: Some("9000b"), ..none }, "preset \"9000b\""),
        (ShapeOptions { n_blocks: Some(0), ..none }, "layers 0"),
        (ShapeOptions { n_blocks: Some(513), ..none }, "layers 513"),
        (ShapeOptions { dim: Some(0), ..none }, "dim 0"),
        (ShapeOptions { dim: Some(usize::MAX), ..none }, "dim 18446744073709551615"),
        (ShapeOptions { dim: Some(100), n_heads: Some(3), ..none }, "head-dim must be given"),
        (ShapeOptions { n_heads: Some(0), ..none }, "heads 0"),
        (ShapeOptions { n_kv_heads: Some(0), ..none }, "kv-heads 0"),
        (ShapeOptions { n_kv_heads: Some(3), ..none }, "not a multiple of kv-heads 3"),
        (ShapeOptions { head_dim: Some(63), ..none }, "head-dim 63 is odd"),
        (ShapeOptions { head_dim: Some(514), ..none }, "head-dim 514"),
        (ShapeOptions { ffn_dim: Some(0), ..none }, "ffn 0"),
        (ShapeOptions { n_vocab: Some(258), ..none }, "vocab 258"),
        (ShapeOptions { n_ctx: Some(0), ..none }, "ctx 0"),
        (ShapeOptions { arch: Some("gemma3"), window: Some(0), ..none }, "window 0"),
    ];
    for (options, words) in cases {
        let error = options.resolve().map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(words), "{error} does not say {words:?}");
    }
}

#[test]
fn what_fails_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let refused = |level: &Recipe, path: &Path, go_on: bool| -> Error {
        synth::create(&small("llama"), level, 0, path, &|_, _| go_on).map(|_| ()).unwrap_err()
    };
    assert_eq!(refused(&level("Q4_0"), &path, false).kind(), ErrorKind::Cancelled);
    let unsupported = refused(&Recipe::pure(DType::I32), &path, true);
    assert_eq!(unsupported.kind(), ErrorKind::Unsupported);
    assert!(unsupported.to_string().contains("I32"), "{unsupported}");
    assert_eq!(refused(&level("Q4_0"), folder.path(), true).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refused(&level("Q4_0"), &path.join("below/a.gguf"), true).kind(), ErrorKind::Io);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
