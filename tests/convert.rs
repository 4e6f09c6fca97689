//! Tiny checkpoints, made by `tests/data/make_checkpoints.py` with `transformers`: conversion against the reference converter
//! byte for byte, logits against `transformers`, vocabularies against their own tokenizers.

#![cfg(all(feature = "convert", feature = "reference"))]

#[path = "common/checkpoints.rs"]
mod checkpoints;
mod common;

use checkpoints::{Copy, convert, expected, folder};
use oribi::ErrorKind;
use oribi::convert::{Conversion, Found, Options};
use oribi::dtype::DType;
use oribi::eval::reference::Reference;
use oribi::eval::{LogitSource, Runtime, collect_logits};
use oribi::gguf::{Gguf, Value};
use oribi::model::{Model, ModelOptions};
use oribi::quant::recipes::Recipe;
use oribi::session::Numerics;
use oribi::tokenizer::Tokenizer;
use serde_json::json;
use sha2::{Digest, Sha256};

const ALL: [&str; 5] = ["llama", "llama3", "qwen2", "gemma3", "fp8"];

fn made(name: &str, level: &str) -> Gguf {
    let options = Options { level: Recipe::find(level), ..Default::default() };
    Gguf::from_bytes(convert(&folder(name), &options).unwrap_or_else(|e| panic!("{name} {level}: {e}"))).unwrap()
}

#[test]
fn tensors_equal_those_of_the_reference_converter_byte_for_byte() {
    for name in ALL {
        let expected = expected(name);
        let wanted = expected["tensors"].as_object().unwrap();
        for level in ["f32", "f16", "bf16", "q8_0"] {
            let gguf = made(name, level);
            assert_eq!(gguf.tensors().len(), wanted.len(), "{name} {level}");
            for tensor in gguf.tensors() {
                let wanted = &wanted[&tensor.name];
                let what = format!("{name} {level} {}", tensor.name);
                let shape: Vec<u64> = wanted["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
                assert_eq!(tensor.shape, shape, "{what}");
                assert_eq!(tensor.dtype.name(), wanted[level][0].as_str().unwrap(), "{what}");
                let hash: String =
                    Sha256::digest(gguf.tensor_data(tensor).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(hash, wanted[level][1].as_str().unwrap(), "{what}");
            }
        }
    }
}

/// Everything that the reference writes is there with the same value, but for what only names the file.
#[test]
fn metadata_and_token_lists_equal_those_of_the_reference_converter() {
    // What is put between two texts, which no runtime does here.
    let not_written = ["general.name", "general.file_type", "tokenizer.ggml.add_sep_token"];
    for name in ALL {
        let gguf = made(name, "f32");
        for (key, wanted) in expected(name)["metadata"].as_object().unwrap() {
            if not_written.contains(&key.as_str()) {
                continue;
            }
            let Some(value) = gguf.metadata().get(key) else { panic!("{name}: {key} is missing, not {wanted}") };
            assert!(same(&value, wanted), "{name}: {key} is {value:?}, not {wanted}");
        }
        assert_eq!(gguf.metadata().u32("general.file_type").unwrap(), 0);
    }
}

fn same(value: &Value<'_>, wanted: &serde_json::Value) -> bool {
    if let Some(array) = value.as_array() {
        let wanted = wanted.as_array().unwrap();
        let mut strings = array.byte_strings().map(|s| String::from_utf8(s.unwrap().to_vec()).unwrap());
        return array.len() == wanted.len()
            && match wanted.first().is_some_and(serde_json::Value::is_string) {
                true => wanted.iter().all(|w| w.as_str() == strings.next().as_deref()),
                false => array.scalars().zip(wanted).all(|(value, wanted)| same(&value, wanted)),
            };
    }
    match *value {
        Value::Str(text) => wanted == text,
        Value::Bool(b) => wanted == b,
        Value::F32(x) => wanted.as_f64().unwrap() as f32 == x,
        _ => wanted.as_i64().map(i128::from) == value.as_integer(),
    }
}

/// The largest difference of a logit, relative to the largest logit of its position.
fn difference(source: &mut dyn LogitSource, name: &str) -> f64 {
    let expected = expected(name);
    let tokens: Vec<u32> = expected["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
    let logits = collect_logits(source, &tokens, 0..tokens.len()).unwrap();
    let rows: Vec<&[f32]> = logits.chunks_exact(source.n_vocab()).collect();
    let mut worst = 0f64;
    for (position, wanted) in
        expected["positions"].as_array().unwrap().iter().zip(expected["logits"].as_array().unwrap())
    {
        let wanted: Vec<f64> = wanted.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let got = rows[position.as_u64().unwrap() as usize];
        let scale = wanted.iter().fold(0f64, |most, x| most.max(x.abs()));
        assert!(scale > 1.0 && wanted.len() == got.len(), "{name}");
        worst = got.iter().zip(&wanted).map(|(got, want)| (f64::from(*got) - want).abs() / scale).fold(worst, f64::max);
    }
    worst
}

#[test]
fn logits_equal_those_of_transformers() {
    for name in ALL {
        let gguf = made(name, "F32");
        let reference = difference(&mut Reference::new(&gguf).unwrap(), name);
        let model = Model::load(gguf, ModelOptions::default()).unwrap();
        let runtime = difference(&mut Runtime::new(&model, 64, Numerics::Portable).unwrap(), name);
        println!("{name}: reference {reference:.1e}, portable numerics {runtime:.1e}");
        assert!(reference < 1e-5, "{name}: the float reference is off by {reference}");
        assert!(runtime < 1e-3, "{name}: the runtime is off by {runtime}");
    }
}

#[test]
fn texts_have_the_ids_of_the_checkpoints_own_tokenizer() {
    for name in ALL {
        let tokenizer = Tokenizer::from_gguf(&made(name, "F32")).unwrap();
        let expected = expected(name);
        let wanted: Vec<u32> = expected["ids"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
        let text = expected["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, true, true).unwrap(), wanted, "{name}");
    }
}

/// The SentencePiece vocabulary of `tokenizer.json` alone: without scores, which come from the order of merges.
#[test]
fn tokenizer_json_of_a_sentencepiece_vocabulary_gives_the_same_ids() {
    let copy = Copy::of("llama");
    let text = std::fs::read_to_string(common::data("eval-en.txt")).unwrap();
    let texts = [&text[..20_000], "", " ", "a", "  x\n<s>é 🙂▁▁ z"];
    let ids = |gguf: Vec<u8>| {
        let tokenizer = Tokenizer::from_gguf(&Gguf::from_bytes(gguf).unwrap()).unwrap();
        texts.map(|text| tokenizer.encode(text, true, true).unwrap())
    };
    let wanted = ids(convert(copy.path(), &Options::default()).unwrap());
    copy.remove("tokenizer.model");
    std::fs::copy(folder("llama").join("fast/tokenizer.json"), copy.path().join("tokenizer.json")).unwrap();
    let got = ids(convert(copy.path(), &Options::default()).unwrap());
    for ((got, wanted), text) in got.iter().zip(&wanted).zip(texts) {
        let at = got.iter().zip(wanted).position(|(got, wanted)| got != wanted).unwrap_or(got.len().min(wanted.len()));
        let around = |ids: &[u32]| ids[at.saturating_sub(3)..(at + 3).min(ids.len())].to_vec();
        assert!(got == wanted, "{:?}: {:?} for {:?}", &text[..text.len().min(30)], around(got), around(wanted));
    }
}

/// A code of four bits of exponent and three of fraction is a float16 whose exponent is 8 too small. None here is NaN.
fn e4m3(code: u8) -> f32 {
    half::f16::from_bits(u16::from(code & 0x80) << 8 | u16::from(code & 0x7f) << 7).to_f32() * 256.0
}

/// The FP8 checkpoint with one scale a row or a tensor, under the names of both kinds of quantized checkpoints: every weight is its
/// code times its scale, to the bit.
#[test]
fn eight_bit_floats_with_scales_of_rows_and_tensors() {
    let method = |method: &str| match method {
        "fp8" => json!({"quant_method": "fp8", "activation_scheme": "dynamic"}),
        _ => json!({"quant_method": method, "format": "float-quantized",
                    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}, "targets": ["Linear"]}}}),
    };
    type Shape = fn(usize) -> Vec<usize>;
    let shapes: [(&str, Shape); 4] =
        [("a scalar", |_| vec![]), ("one", |_| vec![1]), ("rows", |n| vec![n]), ("a column", |n| vec![n, 1])];
    for (name, suffix) in [("fp8", "_scale_inv"), ("compressed-tensors", "_scale")] {
        for (what, shape) in shapes {
            let copy = Copy::of("fp8");
            copy.config(|config| config["quantization_config"] = method(name));
            let mut tensors = copy.tensors("model.safetensors");
            tensors.retain(|t| !t.name.ends_with("_scale_inv"));
            let mut scales = Vec::new();
            for weight in tensors.iter().filter(|t| t.dtype == safetensors::Dtype::F8_E4M3) {
                let mut scale = checkpoints::tensor(&format!("{}{suffix}", weight.name), &shape(weight.shape[0]));
                for (i, value) in scale.data.chunks_exact_mut(4).enumerate() {
                    value.copy_from_slice(&(0.01 + 0.003 * i as f32).to_le_bytes());
                }
                scales.push(scale);
            }
            tensors.extend(scales);
            copy.write("model.safetensors", &tensors);
            let options = Options { level: Recipe::find("F32"), ..Default::default() };
            let gguf =
                Gguf::from_bytes(convert(copy.path(), &options).unwrap_or_else(|e| panic!("{name}, {what}: {e}")))
                    .unwrap();
            for (from, to) in
                [("mlp.down_proj", "ffn_down"), ("mlp.up_proj", "ffn_up"), ("self_attn.o_proj", "attn_output")]
            {
                let weight = tensors.iter().find(|t| t.name == format!("model.layers.1.{from}.weight")).unwrap();
                let n_scales = shape(weight.shape[0]).iter().product::<usize>();
                let tensor = gguf.tensor(&format!("blk.1.{to}.weight")).unwrap();
                let got = gguf.tensor_data(tensor).unwrap();
                let wanted: Vec<u8> = weight
                    .data
                    .iter()
                    .enumerate()
                    .map(|(i, &code)| e4m3(code) * (0.01 + 0.003 * (i / weight.shape[1] % n_scales) as f32))
                    .flat_map(f32::to_le_bytes)
                    .collect();
                assert!(got == wanted, "{name}, {what}: {to}");
            }
        }
    }
}

#[test]
fn without_a_level_the_checkpoint_keeps_its_precision() {
    for (name, dtype) in [("llama", DType::F32), ("llama3", DType::F16), ("qwen2", DType::BF16), ("fp8", DType::BF16)] {
        let bytes = convert(&folder(name), &Options::default()).unwrap();
        let gguf = Gguf::from_bytes(bytes).unwrap();
        assert_eq!(gguf.tensor("blk.0.attn_q.weight").unwrap().dtype, dtype, "{name}");
        assert_eq!(gguf.tensor("blk.0.attn_norm.weight").unwrap().dtype, DType::F32, "{name}");
    }
}

#[test]
fn any_level_can_be_made_directly() {
    let made = made("gemma3", "Q4_0");
    let dtype = |name: &str| made.tensor(name).unwrap().dtype;
    // Rows of 32 are no whole blocks of Q6_K, which the level wants for the head.
    assert_eq!((dtype("blk.3.ffn_up.weight"), dtype("token_embd.weight")), (DType::Q4_0, DType::Q8_0));
    let model = Model::load(made, ModelOptions::default()).unwrap();
    let off = difference(&mut Runtime::new(&model, 64, Numerics::Portable).unwrap(), "gemma3");
    assert!(off > 1e-3 && off < 1.0, "{off}");
}

#[test]
fn one_file_finds_the_others_beside_it() {
    let whole = convert(&folder("llama"), &Options::default()).unwrap();
    assert!(convert(&folder("llama").join("model.safetensors"), &Options::default()).unwrap() == whole);
}

/// A model inside of one that also sees: the same file, and a word about the rest.
#[test]
fn the_text_model_of_a_larger_one_is_taken_and_the_rest_is_told() {
    let options = Options { name: Some("x"), ..Default::default() };
    let wanted = convert(&folder("gemma3"), &options).unwrap();
    // The names of both generations of `transformers`.
    for (prefix, head) in [("language_model.model.", "language_model."), ("model.language_model.", "")] {
        let copy = Copy::of("gemma3");
        let mut tensors = copy.tensors("model.safetensors");
        tensors.iter_mut().for_each(|t| t.name = format!("{prefix}{}", t.name.strip_prefix("model.").unwrap()));
        let tower = if head.is_empty() { "model.vision_tower.x.weight" } else { "vision_tower.x.weight" };
        tensors.push(checkpoints::tensor(tower, &[2, 3]));
        tensors.push(checkpoints::tensor("multi_modal_projector.mm.weight", &[5]));
        copy.write("model.safetensors", &tensors);
        copy.config(|config| {
            let text = std::mem::take(config);
            *config = serde_json::json!({
                "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text, "head_dim": 3, "vision_config": {"hidden_size": 9},
            });
        });
        let conversion = Conversion::new(copy.path(), &options).unwrap();
        let notes = conversion.notes().join("\n");
        assert!(notes.contains("left out: 2 tensors of 44 bytes"), "{notes}");
        assert!(notes.contains("multi_modal_projector, vision_tower"), "{notes}");
        assert!(convert(copy.path(), &options).unwrap() == wanted, "{prefix}");
    }
}

#[test]
fn a_head_that_repeats_tied_embeddings_is_left_out_and_another_is_refused() {
    let wanted = convert(&folder("llama3"), &Options { name: Some("x"), ..Default::default() }).unwrap();
    let copy = Copy::of("llama3");
    let mut tensors = copy.tensors("model.safetensors");
    let mut head = tensors.iter().find(|t| t.name == "model.embed_tokens.weight").unwrap().clone();
    head.name = "lm_head.weight".to_owned();
    tensors.push(head);
    copy.write("model.safetensors", &tensors);
    assert!(convert(copy.path(), &Options { name: Some("x"), ..Default::default() }).unwrap() == wanted);
    tensors.last_mut().unwrap().data[7] ^= 1;
    copy.write("model.safetensors", &tensors);
    copy.refuses(ErrorKind::InvalidModel, &["tie_word_embeddings", "lm_head.weight"]);
}

/// What was cancelled is gone on with, and the file is the same.
#[test]
fn a_cancelled_conversion_is_gone_on_with() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("out.gguf");
    let wanted = convert(&folder("gemma3"), &Options::default()).unwrap();
    let conversion = Conversion::new(&folder("gemma3"), &Options::default()).unwrap();
    let mut found = Vec::new();
    for stop_after in [10_000, 60_000, 100_000, u64::MAX] {
        let result = conversion.write(&path, false, &|done, _| done < stop_after);
        match result {
            Ok(summary) => found.push(summary.found),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Cancelled, "{e}");
                assert!(!path.exists());
            }
        }
    }
    assert!(matches!(found[..], [Found::Finished { n_tensors }] if n_tensors > 30), "{found:?}");
    assert!(std::fs::read(&path).unwrap() == wanted);
    // Nothing else is left.
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
}

/// What an earlier run had made is not taken for that of another checkpoint.
#[test]
fn a_checkpoint_that_changed_is_converted_anew_from_there() {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("out.gguf");
    let copy = Copy::of("llama");
    let options = Options { name: Some("x"), ..Default::default() };
    let conversion = Conversion::new(copy.path(), &options).unwrap();
    conversion.write(&path, false, &|done, _| done < 120_000).unwrap_err();
    drop(conversion);
    let mut tensors = copy.tensors("model.safetensors");
    tensors.iter_mut().find(|t| t.name == "model.layers.0.self_attn.q_proj.weight").unwrap().data[0] ^= 1;
    copy.write("model.safetensors", &tensors);
    let summary = Conversion::new(copy.path(), &options).unwrap().write(&path, false, &|_, _| true).unwrap();
    assert!(matches!(summary.found, Found::Finished { n_tensors } if n_tensors < 8), "{:?}", summary.found);
    assert!(std::fs::read(&path).unwrap() == convert(copy.path(), &options).unwrap());
}
