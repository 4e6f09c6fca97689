//! GGUF to GGUF: what is planned is what is made, whatever the threads, the input, the interruptions.

mod common;
#[path = "common/tiny.rs"]
#[allow(dead_code, reason = "each test binary uses some of the helpers")]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use oribi::dtype::DType;
use oribi::gguf::{Found, Gguf, GgufBuilder, Value};
use oribi::quant;
use oribi::quant::recipes::{RECIPES, Recipe};
use oribi::quantize::{self, NonFinite, Options, Plan, Report, Rule};
use oribi::{ErrorKind, Result};
use tiny::Shape;

/// A format for every matrix.
fn level(name: &str) -> Options<'static> {
    Options::new(Recipe::pure(DType::from_name(name).unwrap()))
}

fn tiny_gguf(arch: &'static str, dtype: DType) -> Gguf {
    Gguf::from_bytes(tiny::write(tiny::tiny(Shape::new(arch, dtype)))).unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.gguf");
    (folder, path)
}

fn make(gguf: &Gguf, options: &Options<'_>, path: &Path) -> Result<(Plan, Report)> {
    let plan = Plan::new(gguf, options)?;
    let report = quantize::run(gguf, &plan, options, path, &|_, _| true)?;
    Ok((plan, report))
}

/// The bytes that a job makes.
fn bytes(gguf: &Gguf, options: &Options<'_>) -> Vec<u8> {
    let (_folder, path) = place();
    make(gguf, options, &path).unwrap();
    fs::read(path).unwrap()
}

fn listed(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn values(gguf: &Gguf, name: &str) -> Vec<f32> {
    let tensor = gguf.tensor(name).unwrap();
    let mut values = vec![0.0; tensor.n_elems() as usize];
    quant::dequantize(tensor.dtype, gguf.tensor_data(tensor).unwrap(), &mut values).unwrap();
    values
}

fn dtype_of(gguf: &Gguf, name: &str) -> DType {
    gguf.tensor(name).unwrap().dtype
}

#[test]
fn every_level_makes_what_its_plan_says() {
    let mut n_made = 0;
    for (arch, source) in [("llama", DType::F32), ("gemma3", DType::BF16)] {
        let gguf = tiny_gguf(arch, source);
        for recipe in RECIPES {
            let options = Options::new(*recipe);
            let (_folder, path) = place();
            let (plan, report) = match make(&gguf, &options, &path) {
                Err(e) if e.kind() == ErrorKind::Unsupported => continue,
                made => made.unwrap_or_else(|e| panic!("{}: {e}", recipe.name)),
            };
            let made = Gguf::open(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), plan.file_bytes, "{}", recipe.name);
            assert_eq!(report.file_bytes, plan.file_bytes);
            assert_eq!(report.found, Found::Nothing);
            assert_eq!(made.metadata().opt_u32("general.file_type").unwrap(), recipe.file_type);
            for (key, value) in gguf.metadata().iter() {
                let kept = made.metadata().get(key).unwrap();
                match value.as_array() {
                    None => assert_eq!(kept, value, "{key}"),
                    Some(array) => assert_eq!(kept.as_array().unwrap().len(), array.len(), "{key}"),
                }
            }
            for ((a, b), planned) in gguf.tensors().iter().zip(made.tensors()).zip(&plan.tensors) {
                assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
                assert_eq!((&a.name, a.dtype, b.dtype), (&planned.name, planned.from, planned.to));
                assert_eq!(b.n_bytes(), planned.to_bytes);
                if a.dtype == b.dtype {
                    assert_eq!(gguf.tensor_data(a).unwrap(), made.tensor_data(b).unwrap(), "{}", a.name);
                } else {
                    let (old, new) = (values(&gguf, &a.name), values(&made, &a.name));
                    let power = |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>();
                    let error = power(&mut old.iter().zip(&new).map(|(x, y)| x - y)) / power(&mut old.iter().copied());
                    // Three levels of a uniform distribution leave a ninth of its power, or a little less.
                    let limit = if matches!(b.dtype, DType::TQ1_0 | DType::TQ2_0) { 0.15 } else { 0.05 };
                    assert!(error < limit, "{} {}: relative error {error}", recipe.name, a.name);
                }
            }
            n_made += 1;
        }
    }
    assert!(n_made >= 40, "{n_made}");
}

#[test]
fn the_bytes_do_not_depend_on_threads_or_on_where_the_input_is() {
    let file = tiny::write(tiny::tiny(Shape::new("llama", DType::F16)));
    let gguf = Gguf::from_bytes(file.clone()).unwrap();
    let one = bytes(&gguf, &Options { n_threads: Some(1), ..level("Q5_0") });
    assert!(one == bytes(&gguf, &Options { n_threads: Some(3), ..level("Q5_0") }));
    let len = file.len() as u64;
    let read = move |offset: u64, into: &mut [u8]| {
        // As few as a pipe would give.
        let n = into.len().min(1000);
        into[..n].copy_from_slice(&file[offset as usize..offset as usize + n]);
        Ok(n)
    };
    assert!(one == bytes(&Gguf::from_read_at(len, read).unwrap(), &level("Q5_0")));
    let (_folder, path) = place();
    fs::write(&path, &one).unwrap();
    // Everything has its format already.
    assert!(one == bytes(&Gguf::open(&path).unwrap(), &level("Q5_0")));
}

#[test]
fn rules_decide_by_name_the_first_first() {
    let gguf = tiny_gguf("llama", DType::F32);
    let rules = ["blk\\.0\\.attn_q=F16", "attn_(q|k)=Q5_1", "ffn_down=bf16"].map(|text| Rule::parse(text).unwrap());
    let mut options = Options { rules: rules.to_vec(), embedding_type: Some(DType::Q8_0), ..level("Q4_0") };
    let file = Gguf::from_bytes(bytes(&gguf, &options)).unwrap();
    let expected = [
        ("blk.0.attn_q.weight", DType::F16),
        ("blk.1.attn_q.weight", DType::Q5_1),
        ("blk.0.attn_k.weight", DType::Q5_1),
        ("blk.6.ffn_down.weight", DType::BF16),
        ("blk.6.ffn_up.weight", DType::Q4_0),
        ("blk.0.attn_norm.weight", DType::F32),
        ("token_embd.weight", DType::Q8_0),
    ];
    for (name, dtype) in expected {
        assert_eq!(dtype_of(&file, name), dtype, "{name}");
    }
    // The embeddings are the head, too.
    options.embedding_type = None;
    options.output_type = Some(DType::F16);
    assert_eq!(Plan::new(&gguf, &options).unwrap().tensors[0].to, DType::F16);
    options.rules.push(Rule::parse("attn_norm=F16").unwrap());
    let error = Plan::new(&gguf, &options).unwrap_err();
    assert!(error.to_string().contains("\"attn_norm=F16\" matches no matrix"), "{error}");
    options.rules = vec![Rule::exact("blk.3.ffn_up.weight", DType::Q1_0)];
    let error = Plan::new(&gguf, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("tensor blk.3.ffn_up.weight: Q1_0 cannot be made"), "{error}");
}

/// A file of one matrix `a.weight` of so many columns and three rows.
fn one_matrix(k: usize, values: &[f32]) -> Gguf {
    let mut builder = GgufBuilder::new();
    builder.set("general.architecture", "other").unwrap();
    builder.set("general.file_type", 0u32).unwrap();
    builder.add_tensor("a.weight", DType::F32, &[k as u64, values.len() as u64 / k as u64]).unwrap();
    builder.add_tensor("a.bias", DType::F32, &[k as u64]).unwrap();
    let mut writer = builder.write_to(Vec::new()).unwrap();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    writer.write_tensor("a.weight", &bytes(values)).unwrap();
    writer.write_tensor("a.bias", &bytes(&values[..k])).unwrap();
    Gguf::from_bytes(writer.finish().unwrap()).unwrap()
}

fn wave(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.7).sin()).collect()
}

#[test]
fn rows_that_are_no_whole_blocks_get_another_format() {
    for (k, level_name, expected) in
        [(96, "Q8_0", DType::Q8_0), (40, "Q8_0", DType::F16), (96, "Q4_K", DType::Q5_0), (96, "Q6_K", DType::Q8_0)]
    {
        let plan = Plan::new(&one_matrix(k, &wave(3 * k)), &level(level_name)).unwrap();
        assert_eq!(plan.tensors[0].to, expected, "{k} {level_name}");
        assert_eq!(plan.n_refitted(), usize::from(level_name != expected.name()));
        assert_eq!(plan.tensors[1].to, DType::F32);
    }
    // A format that is no level has no number, and the input's would not be true.
    let file = Gguf::from_bytes(bytes(&one_matrix(96, &wave(288)), &level("Q4_K"))).unwrap();
    assert_eq!(file.metadata().get("general.file_type"), None);
    assert_eq!(file.metadata().get("general.quantization_version"), Some(Value::U32(2)));
}

#[test]
fn values_that_are_not_finite_are_refused_by_name_or_repaired() {
    let mut values = wave(3 * 64);
    values[64 + 5] = f32::NAN;
    values[64 + 9] = f32::NEG_INFINITY;
    values[64 + 1] = 2.0;
    values[128..].fill(0.0);
    let gguf = one_matrix(64, &values);
    for to in ["Q4_0", "F16", "F32"] {
        let (_folder, path) = place();
        let error = make(&gguf, &level(to), &path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel);
        let text = "tensor `a.weight`: 1 values are NaN, 1 values are infinite, the first in row 1, column 5";
        assert!(error.to_string().contains(text), "{error}");
        assert!(listed(&path).is_empty(), "{:?}", listed(&path));

        let options = Options { non_finite: NonFinite::Repair, ..level(to) };
        let (_, report) = make(&gguf, &options, &path).unwrap();
        let counts = report.tensors[0].counts;
        assert_eq!((counts.n_nan, counts.n_infinite, counts.n_zero_rows), (1, 1, 1));
        let made = self::values(&Gguf::open(&path).unwrap(), "a.weight");
        assert!(made[64 + 5].abs() < 0.01 && (made[64 + 9] + 2.0).abs() < 0.3, "{to} {:?}", &made[64..128]);
        assert!(made[128..].iter().all(|&x| x == 0.0), "{to}");
    }
    let gguf = one_matrix(32, &[1e6; 64]);
    let (_folder, path) = place();
    let error = make(&gguf, &level("F16"), &path).unwrap_err().to_string();
    assert!(error.contains("64 values are too large for F16") && error.contains("BF16 has room"), "{error}");
    make(&gguf, &level("BF16"), &path).unwrap();
}

#[test]
fn quantized_input_wants_a_word_but_float32_is_exact() {
    let gguf = tiny_gguf("llama", DType::Q8_0);
    let error = Plan::new(&gguf, &level("Q4_0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("tensor token_embd.weight: it is Q8_0 already"), "{error}");
    bytes(&gguf, &Options { requantize: true, ..level("Q4_0") });
    let floats = Gguf::from_bytes(bytes(&gguf, &level("F32"))).unwrap();
    assert_eq!(values(&floats, "blk.2.ffn_up.weight"), values(&gguf, "blk.2.ffn_up.weight"));
}

#[test]
fn importance_is_checked_and_changes_the_codes() {
    let gguf = one_matrix(64, &wave(3 * 64));
    let importance: Vec<f32> = (0..64).map(|i| if i % 8 == 0 { 100.0 } else { 0.01 }).collect();
    let right = |_: &str| Some(&importance[..]);
    let (_folder, path) = place();
    let weighed = Options { importance: Some(&right), ..level("Q4_0") };
    make(&gguf, &weighed, &path).unwrap();
    let error_at = |file: &Gguf| -> f64 {
        let (old, new) = (values(&gguf, "a.weight"), values(file, "a.weight"));
        let errors = old.iter().zip(&new).enumerate().filter(|(i, _)| i % 8 == 0);
        errors.map(|(_, (x, y))| f64::from(x - y).powi(2)).sum()
    };
    let plain = Gguf::from_bytes(bytes(&gguf, &level("Q4_0"))).unwrap();
    assert!(error_at(&Gguf::open(&path).unwrap()) < error_at(&plain));
    let wrong = |_: &str| Some(&importance[..63]);
    let error = make(&gguf, &Options { importance: Some(&wrong), ..level("Q4_0") }, &path).unwrap_err();
    assert!(error.to_string().contains("63 columns"), "{error}");
}

#[test]
fn a_split_model_becomes_one_file() {
    let (folder, path) = place();
    for no in 0..2u16 {
        let mut builder = GgufBuilder::new();
        builder.set("general.architecture", "other").unwrap();
        builder.set("split.no", no).unwrap();
        builder.set("split.count", 2u16).unwrap();
        builder.set("split.tensors.count", 2i32).unwrap();
        let name = format!("blk.{no}.ffn_up.weight");
        builder.add_tensor(&name, DType::F32, &[64, 4]).unwrap();
        let shard = folder.path().join(format!("m-{:05}-of-00002.gguf", no + 1));
        let mut writer = builder.create(&shard).unwrap();
        writer.write_tensor(&name, &wave(256).iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        writer.commit().unwrap();
    }
    let gguf = Gguf::open(&folder.path().join("m-00001-of-00002.gguf")).unwrap();
    make(&gguf, &level("Q8_0"), &path).unwrap();
    let made = Gguf::open(&path).unwrap();
    assert_eq!((made.n_shards(), made.tensors().len(), made.metadata().contains("split.count")), (1, 2, false));
}

/// Stopped by its caller after any step, a job goes on and makes the same file; what was found in the values is the same, too.
#[test]
fn an_interrupted_job_goes_on_to_the_same_file() {
    let gguf = tiny_gguf("gemma3", DType::F32);
    let options = level("Q4_1");
    let plan = Plan::new(&gguf, &options).unwrap();
    let (_folder, path) = place();
    let (_, expected) = make(&gguf, &options, &path).unwrap();
    let whole = fs::read(&path).unwrap();
    for stop_after in (0..90).step_by(13) {
        fs::remove_file(&path).unwrap();
        let calls = AtomicUsize::new(0);
        let go_on = |_, _| calls.fetch_add(1, Ordering::Relaxed) < stop_after;
        let error = quantize::run(&gguf, &plan, &options, &path, &go_on).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(listed(&path), [".out.gguf.journal", ".out.gguf.part"]);
        let (_, report) = make(&gguf, &options, &path).unwrap();
        assert_eq!(report.tensors, expected.tensors);
        assert_eq!(matches!(report.found, Found::Finished { .. }), stop_after > 0, "{stop_after}: {:?}", report.found);
        assert!(fs::read(&path).unwrap() == whole);
        assert_eq!(listed(&path), ["out.gguf"]);
    }
    // Other options, and another input under the same header, begin again.
    let interrupt = || {
        let calls = AtomicUsize::new(0);
        let go_on = |_, _| calls.fetch_add(1, Ordering::Relaxed) < 50;
        assert!(quantize::run(&gguf, &plan, &options, &path, &go_on).is_err());
    };
    interrupt();
    let (_, report) = make(&gguf, &level("Q8_0"), &path).unwrap();
    assert!(matches!(report.found, Found::Useless(_)), "{:?}", report.found);
    interrupt();
    let mut file = tiny::write(tiny::tiny(Shape::new("gemma3", DType::F32)));
    let end = file.len();
    file[end / 2..].iter_mut().step_by(4).for_each(|byte| *byte ^= 1);
    let other = Gguf::from_bytes(file).unwrap();
    make(&other, &options, &path).unwrap();
    assert!(fs::read(&path).unwrap() == bytes(&other, &options));
    interrupt();
    let (_, report) = make(&gguf, &Options { restart: true, ..level("Q4_1") }, &path).unwrap();
    assert!(matches!(report.found, Found::Useless(_)));
    assert!(fs::read(&path).unwrap() == whole);
}
