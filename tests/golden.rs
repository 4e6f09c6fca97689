//! Logits and greedy continuations of both real models, against float32 reference results: on the CPU, or on the device that
//! `ORIBI_TEST_DEVICE` names.

mod common;

use oribi::backend::Device;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Numerics, Session, SessionOptions};
use serde_json::Value;

/// Tolerance of a logit.
const LOGIT_TOLERANCE: f32 = 0.02;
/// Where the reference's first and second choice are closer than this, another choice may follow.
const NEAR_TIE: f64 = 0.01;

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap() as u32
}

fn check(golden: &str) {
    let golden = common::golden(golden);
    let device = std::env::var("ORIBI_TEST_DEVICE").map_or(Device::Cpu, |name| name.parse().unwrap());
    let options = ModelOptions { device, ..Default::default() };
    let model = Model::open(common::model(golden["file"].as_str().unwrap()), options).unwrap();
    let mut session =
        Session::new(&model, &SessionOptions { n_ctx: 256, numerics: Numerics::Portable, ..Default::default() })
            .unwrap();
    let mut worst = 0.0f32;
    for prompt in golden["prompts"].as_array().unwrap() {
        let text = prompt["text"].as_str().unwrap();
        let prompt_ids = ids(&prompt["ids"]);
        assert_eq!(model.tokenizer().encode(text, true, true).unwrap(), prompt_ids, "{text:?}");
        let sequence = session.new_sequence().unwrap();
        session.decode(&Batch::prompt(sequence, &prompt_ids)).unwrap();
        for pair in prompt["top10"].as_array().unwrap() {
            let (id, expected) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap() as f32);
            let got = session.logits(0).unwrap()[id];
            worst = worst.max((got - expected).abs());
            assert!((got - expected).abs() <= LOGIT_TOLERANCE, "{text:?}: logit of {id} is {got}, expected {expected}");
        }
        for (i, &expected) in ids(&prompt["greedy24"]).iter().enumerate() {
            let token = argmax(session.logits(0).unwrap());
            if token != expected {
                let margin = prompt["smallest_margin"].as_f64().unwrap();
                assert!(margin < NEAR_TIE, "{text:?}: token {i} is {token}, expected {expected}; margin {margin}");
                println!("{text:?}: leaves the reference at token {i}, a near tie ({margin})");
                break;
            }
            session.decode(&Batch::generated(sequence, token)).unwrap();
        }
        session.remove(sequence).unwrap();
    }
    println!("largest difference of a logit: {worst}");
}

#[test]
fn smollm2_equals_the_reference() {
    check("smollm2-135m-instruct-q4_1");
}

#[test]
fn gemma3_equals_the_reference() {
    check("gemma-3-270m-q4_k_m");
}
