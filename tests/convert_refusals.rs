//! Checkpoints that are incomplete, contradict themselves, or want what is not computed: each is refused by an error that
//! names the thing.

#![cfg(feature = "convert")]

#[path = "common/checkpoints.rs"]
mod checkpoints;

use checkpoints::{Copy, Tensor, convert, folder, refuses};
use oribi::ErrorKind;
use oribi::convert::{Conversion, Options};
use oribi::gguf::Gguf;
use oribi::quant::recipes::Recipe;
use serde_json::{Value, json};

const FILE: &str = "model.safetensors";

/// A llama without a tensor, or with another one in its place.
fn with_tensors(change: impl FnOnce(&mut Vec<Tensor>)) -> Copy {
    let copy = Copy::of("llama");
    let mut tensors = copy.tensors(FILE);
    change(&mut tensors);
    copy.write(FILE, &tensors);
    copy
}

fn find<'a>(tensors: &'a mut [Tensor], name: &str) -> &'a mut Tensor {
    tensors.iter_mut().find(|t| t.name == name).unwrap()
}

/// A checkpoint whose configuration has another value of a key.
fn with_config(name: &str, key: &str, value: Value) -> Copy {
    let copy = Copy::of(name);
    copy.config(|config| config[key] = value);
    copy
}

#[test]
fn a_missing_tensor() {
    let name = "model.layers.1.mlp.up_proj.weight";
    with_tensors(|t| t.retain(|t| t.name != name)).refuses(ErrorKind::InvalidModel, &[name, "missing"]);
    // A bias that the architecture demands is one.
    let copy = Copy::of("qwen2");
    let bias = "model.layers.0.self_attn.k_proj.bias";
    for file in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        let mut tensors = copy.tensors(file);
        tensors.retain(|t| t.name != bias);
        copy.write(file, &tensors);
    }
    copy.json("model.safetensors.index.json", |index| {
        index["weight_map"].as_object_mut().unwrap().remove(bias);
    });
    copy.refuses(ErrorKind::InvalidModel, &[bias, "missing"]);
}

#[test]
fn a_missing_output_head_that_is_not_tied() {
    let copy = with_tensors(|t| t.retain(|t| t.name != "lm_head.weight"));
    copy.refuses(ErrorKind::InvalidModel, &["lm_head.weight", "tie_word_embeddings"]);
}

#[test]
fn a_tensor_of_another_shape() {
    let name = "model.layers.0.self_attn.k_proj.weight";
    let copy = with_tensors(|t| find(t, name).shape = vec![32, 16]);
    copy.refuses(ErrorKind::InvalidModel, &[name, "[32, 16]", "[16, 32]"]);
}

#[test]
fn a_tensor_of_a_type_that_is_not_read() {
    let name = "model.layers.0.self_attn.k_proj.weight";
    let copy = with_tensors(|t| find(t, name).dtype = safetensors::Dtype::I32);
    copy.refuses(ErrorKind::Unsupported, &[name, "I32"]);
}

#[test]
fn a_tensor_without_a_place() {
    for name in ["model.layers.0.self_attn.o_proj.bias", "model.layers.2.mlp.up_proj.weight", "score.weight"] {
        with_tensors(|t| t.push(checkpoints::tensor(name, &[4]))).refuses(ErrorKind::Unsupported, &[name]);
    }
    // What older versions saved and nobody reads.
    let ignored = "model.layers.0.self_attn.rotary_emb.inv_freq";
    let copy = with_tensors(|t| t.push(checkpoints::tensor(ignored, &[4])));
    Conversion::new(copy.path(), &Options::default()).unwrap();
}

#[test]
fn two_tensors_of_the_same_part() {
    let copy = with_tensors(|t| t.push(checkpoints::tensor("language_model.model.norm.weight", &[32])));
    copy.refuses(ErrorKind::InvalidModel, &["model.norm.weight", "language_model.model.norm.weight"]);
}

#[test]
fn an_index_that_names_a_file_that_is_not_there() {
    let copy = Copy::of("qwen2");
    copy.remove("model-00002-of-00002.safetensors");
    copy.refuses(ErrorKind::InvalidModel, &["model-00002-of-00002.safetensors", "not there"]);
    // And none outside of the folder.
    copy.json("model.safetensors.index.json", |index| {
        index["weight_map"]["model.norm.weight"] = json!("../qwen2/model-00001-of-00002.safetensors");
    });
    copy.refuses(ErrorKind::InvalidModel, &["../qwen2", "model.norm.weight"]);
}

#[test]
fn an_index_that_does_not_agree_with_its_files() {
    let index = "model.safetensors.index.json";
    let copy = Copy::of("qwen2");
    copy.json(index, |index| index["weight_map"]["model.new.weight"] = json!("model-00001-of-00002.safetensors"));
    copy.refuses(ErrorKind::InvalidModel, &["model.new.weight", "model-00001-of-00002.safetensors"]);
    let copy = Copy::of("qwen2");
    copy.json(index, |index| {
        index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight");
    });
    copy.refuses(ErrorKind::InvalidModel, &["model.norm.weight", "does not name"]);
}

#[test]
fn a_tensor_in_two_files() {
    let copy = Copy::of("qwen2");
    let mut tensors = copy.tensors("model-00002-of-00002.safetensors");
    tensors.push(copy.tensors("model-00001-of-00002.safetensors").remove(0));
    copy.write("model-00002-of-00002.safetensors", &tensors);
    let name = tensors.last().unwrap().name.clone();
    copy.refuses(
        ErrorKind::InvalidModel,
        &[&name, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    );
}

#[test]
fn a_file_that_lies() {
    let copy = Copy::of("llama");
    let path = copy.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut lies: Vec<(Vec<u8>, ErrorKind)> = vec![
        (whole[..whole.len() - 1].to_vec(), ErrorKind::InvalidFile),
        (whole[..200].to_vec(), ErrorKind::InvalidFile),
        (whole[..7].to_vec(), ErrorKind::Truncated),
        (Vec::new(), ErrorKind::Truncated),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), ErrorKind::InvalidFile),
    ];
    for length in [u64::MAX, 1 << 40, 0] {
        lies.push(([&length.to_le_bytes(), &whole[8..]].concat(), ErrorKind::InvalidFile));
    }
    // A tensor that begins inside of the one before.
    let text = String::from_utf8_lossy(&whole[8..600]).into_owned();
    let at = text.find("\"data_offsets\":[").unwrap() + "\"data_offsets\":[".len();
    let mut shifted = whole.clone();
    shifted[8 + at] = if shifted[8 + at] == b'9' { b'8' } else { b'9' };
    lies.push((shifted, ErrorKind::InvalidFile));
    for (bytes, kind) in lies {
        std::fs::write(&path, &bytes).unwrap();
        copy.refuses(kind, &[FILE]);
    }
}

#[test]
fn files_that_are_not_there() {
    let copy = Copy::of("llama");
    copy.remove("tokenizer.model");
    copy.refuses(ErrorKind::MissingKey, &["tokenizer.model", "tokenizer.json"]);
    copy.remove("config.json");
    copy.refuses(ErrorKind::MissingKey, &["config.json"]);
    copy.remove(FILE);
    copy.refuses(ErrorKind::Io, &["no safetensors file"]);
    std::fs::write(copy.path().join("pytorch_model.bin"), "x").unwrap();
    copy.refuses(ErrorKind::Unsupported, &["pytorch_model.bin"]);
    for name in ["a", "b"] {
        std::fs::copy(folder("llama").join(FILE), copy.path().join(format!("{name}.safetensors"))).unwrap();
    }
    copy.refuses(ErrorKind::InvalidModel, &["2 safetensors files", "a.safetensors"]);
    refuses(&copy.path().join("nowhere"), ErrorKind::Io, &["nowhere"]);
}

#[test]
fn a_gguf_file_is_for_another_command() {
    let copy = Copy::of("llama");
    let path = copy.path().join("model.gguf");
    std::fs::write(&path, convert(copy.path(), &Options::default()).unwrap()).unwrap();
    refuses(&path, ErrorKind::InvalidArgument, &["model.gguf", "oribi quantize"]);
    refuses(&copy.path().join("config.json"), ErrorKind::Unsupported, &["config.json"]);
}

#[test]
fn an_architecture_that_does_not_run() {
    let copy = with_config("llama", "architectures", json!(["MambaForCausalLM"]));
    copy.refuses(ErrorKind::Unsupported, &["MambaForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM"]);
    with_config("llama", "architectures", json!([])).refuses(ErrorKind::WrongType, &["architectures"]);
    with_config("llama", "architectures", Value::Null).refuses(ErrorKind::MissingKey, &["architectures"]);
}

#[test]
fn settings_that_would_be_computed_otherwise() {
    let linear = json!({"rope_type": "linear", "factor": 2.0});
    for (name, key, value, words) in [
        ("llama", "hidden_act", json!("gelu"), "gelu"),
        ("llama", "mlp_bias", json!(true), "mlp_bias"),
        ("llama", "num_local_experts", json!(8), "num_local_experts"),
        ("llama", "sliding_window", json!(64), "sliding_window"),
        ("llama", "rope_parameters", json!({"rope_type": "yarn", "factor": 4.0}), "yarn"),
        ("llama", "rope_parameters", json!({"rope_type": "dynamic", "factor": 4.0}), "dynamic"),
        ("llama", "rope_parameters", json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("llama", "rope_parameters", json!({"mrope_section": [1, 2]}), "mrope_section"),
        ("llama", "quantization_config", json!({"quant_method": "gptq", "bits": 4}), "gptq"),
        ("qwen2", "use_sliding_window", json!(true), "use_sliding_window"),
        ("qwen2", "rope_scaling", json!({"type": "yarn", "factor": 4.0}), "yarn"),
        ("gemma3", "hidden_activation", json!("relu"), "relu"),
        ("gemma3", "attn_logit_softcapping", json!(50.0), "attn_logit_softcapping"),
        ("gemma3", "use_bidirectional_attention", json!(true), "use_bidirectional_attention"),
        ("gemma3", "query_pre_attn_scalar", json!(17), "query_pre_attn_scalar"),
        ("gemma3", "sliding_window_pattern", json!(4), "sliding_window_pattern"),
        ("gemma3", "layer_types", json!(vec!["full_attention"; 7]), "layer_types[0]"),
        ("gemma3", "rope_parameters", json!({"full_attention": {}, "sliding_attention": linear}), "sliding_attention"),
    ] {
        with_config(name, key, value).refuses(ErrorKind::Unsupported, &["config.json", words]);
    }
}

#[test]
fn numbers_that_are_missing_wrong_or_contradictory() {
    for (key, value, kind) in [
        ("hidden_size", Value::Null, ErrorKind::MissingKey),
        ("num_hidden_layers", json!("2"), ErrorKind::WrongType),
        ("num_hidden_layers", json!(100_000), ErrorKind::InvalidModel),
        ("num_attention_heads", json!(0), ErrorKind::InvalidModel),
        ("num_key_value_heads", json!(3), ErrorKind::InvalidModel),
        ("head_dim", json!(7), ErrorKind::InvalidModel),
        ("rms_norm_eps", json!(-1.0), ErrorKind::InvalidModel),
        ("intermediate_size", json!(1.5), ErrorKind::WrongType),
        ("tie_word_embeddings", json!("no"), ErrorKind::WrongType),
        ("rope_parameters", json!(3), ErrorKind::WrongType),
        ("rope_parameters", json!({"rope_type": "linear"}), ErrorKind::MissingKey),
        ("rope_parameters", json!({"rope_theta": 0.0}), ErrorKind::WrongType),
        ("eos_token_id", json!(336), ErrorKind::InvalidModel),
    ] {
        let copy = with_config("llama", key, value);
        if key == "eos_token_id" {
            copy.json("tokenizer_config.json", |own| own["eos_token"] = Value::Null);
        }
        copy.refuses(kind, &["config.json", if key == "head_dim" { "heads of 7" } else { key }]);
    }
    with_config("llama", "vocab_size", json!(300)).refuses(ErrorKind::InvalidModel, &["embed_tokens", "[300, 32]"]);
    with_config("llama", "num_hidden_layers", json!(1)).refuses(ErrorKind::Unsupported, &["model.layers.1."]);
    let rope = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 32});
    with_config("llama3", "rope_parameters", rope).refuses(ErrorKind::InvalidModel, &["low_freq_factor"]);
    let copy = Copy::of("llama");
    std::fs::write(copy.path().join("config.json"), "{\"a\": ").unwrap();
    copy.refuses(ErrorKind::InvalidFile, &["config.json", "EOF"]);
}

#[test]
fn scales_that_are_missing_or_do_not_fit() {
    let weight = "model.layers.0.mlp.up_proj.weight";
    let scale = format!("{weight}_scale_inv");
    let change = |change: &dyn Fn(&mut Vec<Tensor>)| {
        let copy = Copy::of("fp8");
        let mut tensors = copy.tensors(FILE);
        change(&mut tensors);
        copy.write(FILE, &tensors);
        copy
    };
    change(&|t| t.retain(|t| t.name != scale)).refuses(ErrorKind::InvalidModel, &[&scale, "missing"]);
    let copy = change(&|t| find(t, &scale).shape = vec![2, 3]);
    copy.refuses(ErrorKind::InvalidModel, &[&scale, "[2, 3]", "[64, 32]"]);
    let block = json!({"quant_method": "fp8", "weight_block_size": [0, 16]});
    with_config("fp8", "quantization_config", block).refuses(ErrorKind::InvalidModel, &["weight_block_size"]);
}

#[test]
fn a_value_that_a_format_cannot_hold_is_named() {
    let name = "model.layers.1.mlp.down_proj.weight";
    let copy = with_tensors(|t| find(t, name).data[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    let options = Options { level: Recipe::find("Q8_0"), ..Default::default() };
    let error = convert(copy.path(), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains(name) && error.to_string().contains("NaN"), "{error}");
    // Float formats hold it.
    convert(copy.path(), &Options::default()).unwrap();
}

/// Rules that nobody knows are shown, with the way to name some.
#[test]
fn an_unknown_pre_tokenizer() {
    let copy = Copy::of("qwen2");
    let pattern = r"[a-q]+|[^a-q]+";
    copy.json("tokenizer.json", |json| {
        json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(pattern);
    });
    copy.refuses(ErrorKind::Unsupported, &[pattern, "NFC", "--pre-tokenizer"]);
    let named = |name| Conversion::new(copy.path(), &Options { pre_tokenizer: Some(name), ..Default::default() });
    assert_eq!(named("nonsense").err().unwrap().kind(), ErrorKind::InvalidArgument);
    let options = Options { pre_tokenizer: Some("gpt-2"), ..Default::default() };
    let gguf = Gguf::from_bytes(convert(copy.path(), &options).unwrap()).unwrap();
    assert_eq!(gguf.metadata().str("tokenizer.ggml.pre").unwrap(), "gpt-2");
    // A normalizer that changes texts.
    let copy = Copy::of("qwen2");
    copy.json("tokenizer.json", |json| json["normalizer"] = json!({"type": "Lowercase"}));
    copy.refuses(ErrorKind::Unsupported, &["Lowercase", "--pre-tokenizer"]);
}

/// The same rules in other words are the same rules.
#[test]
fn a_pre_tokenizer_is_recognised_by_what_it_does() {
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let level =
        |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let sequence = |steps: &[Value]| json!({"type": "Sequence", "pretokenizers": steps});
    let ending = r"|\s+(?!\S)|\s+";
    let case = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
    let upper = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
    let lower = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
    let gpt4o = format!(
        r"{upper}*{lower}+{case}|{upper}+{lower}*{case}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+{ending}"
    );
    let tekken =
        format!(r"{upper}*{lower}+|{upper}+{lower}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+{ending}");
    let qwen = format!(
        r"'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}{{1,}}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+{ending}"
    );
    let deepseek = [
        split(r"\p{N}{1,3}"),
        split("[一-龥\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+"),
        split(concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )),
        level(false),
    ];
    for (name, pre_tokenizer, ignore_merges) in [
        ("gpt-2", level(true), false),
        ("smollm", sequence(&[json!({"type": "Digits", "individual_digits": true}), level(true)]), false),
        ("qwen2", sequence(&[split(&qwen), level(false)]), false),
        ("deepseek-v3", sequence(&deepseek), false),
        ("gpt-4o", sequence(&[split(&gpt4o), level(false)]), false),
        ("tekken", sequence(&[split(&tekken), level(false)]), true),
    ] {
        let copy = Copy::of("qwen2");
        copy.json("tokenizer.json", |json| {
            json["pre_tokenizer"] = pre_tokenizer;
            json["model"]["ignore_merges"] = json!(ignore_merges);
        });
        let gguf = Gguf::from_bytes(convert(copy.path(), &Options::default()).unwrap()).unwrap();
        assert_eq!(gguf.metadata().str("tokenizer.ggml.pre").unwrap(), name);
    }
}

#[test]
fn a_vocabulary_that_contradicts_the_model_or_itself() {
    let change = |change: &dyn Fn(&mut Value)| {
        let copy = Copy::of("qwen2");
        copy.json("tokenizer.json", |json| change(json));
        copy
    };
    change(&|json| json["model"]["vocab"]["zzz"] = json!(336)).refuses(ErrorKind::InvalidModel, &["zzz", "336"]);
    change(&|json| json["model"]["vocab"]["zzz"] = json!(5)).refuses(ErrorKind::InvalidModel, &["zzz", "same id 5"]);
    change(&|json| json["model"]["merges"] = json!([])).refuses(ErrorKind::InvalidModel, &["merges"]);
    change(&|json| json["model"]["type"] = json!("Unigram")).refuses(ErrorKind::Unsupported, &["Unigram"]);
    change(&|json| json["model"]["vocab"] = json!([1])).refuses(ErrorKind::InvalidFile, &["tokenizer.json", "model"]);
    let copy = Copy::of("llama");
    std::fs::write(copy.path().join("tokenizer.model"), b"\x0a\xff\xff\xff\xff\x0f").unwrap();
    copy.refuses(ErrorKind::InvalidFile, &["tokenizer.model"]);
    // A field 2 with a message whose field 3 is 1: a model of the likeliest pieces, not of merges.
    let mut bytes = std::fs::read(folder("llama").join("tokenizer.model")).unwrap();
    bytes.extend([0x12, 0x02, 0x18, 0x01]);
    std::fs::write(copy.path().join("tokenizer.model"), bytes).unwrap();
    copy.refuses(ErrorKind::Unsupported, &["tokenizer.model", "type 1", "--pre-tokenizer"]);
    let options = Options { pre_tokenizer: Some("default"), ..Default::default() };
    Conversion::new(copy.path(), &options).unwrap();
}
