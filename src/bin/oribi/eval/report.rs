//! What an evaluation found, as text and as JSON.

use std::path::Path;

use oribi::eval::logits_file::SavedLogits;
use oribi::eval::{ChoiceScores, Chunks, Comparison, Estimate, Perplexity};
use oribi::model::Model;
use serde_json::{Value, json};

use crate::inspect::plain_table;
use crate::loading::{EvaluationArgs, Text, device_name, file_name, hex};
use crate::output::human_count;

/// What was evaluated, and how.
pub struct Header {
    model: String,
    path: String,
    identity: String,
    numerics: &'static str,
    kv_type: String,
    isa: String,
    device: String,
    text: Option<(String, String)>,
    chunks: Chunks,
}

impl Header {
    pub fn new(args: &EvaluationArgs, path: &Path, model: &Model, chunks: &Chunks) -> Header {
        Header {
            model: file_name(path),
            path: path.to_string_lossy().into_owned(),
            identity: hex(&model.identity()),
            numerics: args.numerics_of(model),
            kv_type: args.kv_type.to_string(),
            isa: model.cpu().kernels().isa().name().to_string(),
            device: device_name(model),
            text: None,
            chunks: chunks.clone(),
        }
    }

    pub fn set_text(&mut self, text: &Text) {
        self.text = Some((text.path.to_string_lossy().into_owned(), text.hash()));
    }

    fn tokens_hash(&self) -> String {
        hex(&self.chunks.hash().to_be_bytes())
    }

    /// The first lines of a report.
    fn lines(&self) -> String {
        let c = &self.chunks;
        let (text, hash) = match &self.text {
            Some((path, hash)) => (file_name(path.as_ref()), format!("text {}", &hash[..16])),
            None => ("saved logits".to_string(), format!("tokens {}", &self.tokens_hash()[..16])),
        };
        format!(
            "{} on {text}\n{} numerics, {} keys and values; {} chunks of {} tokens, {} of them scored; {hash}, model {}\n\n",
            self.model,
            self.numerics,
            self.kv_type,
            c.len(),
            c.chunk_len(),
            human_count(c.n_scored() as u64),
            &self.identity[..16],
        )
    }

    fn json(&self) -> Value {
        let c = &self.chunks;
        let (text, hash) = self.text.clone().unzip();
        json!({
            "model": self.path,
            "model_hash": self.identity,
            "text": text,
            "text_hash": hash,
            "tokens_hash": self.tokens_hash(),
            "numerics": self.numerics,
            "isa": self.isa,
            "device": self.device,
            "kv_type": self.kv_type,
            "n_chunks": c.len(),
            "chunk_len": c.chunk_len(),
            "n_tokens": c.tokens().len(),
            "n_scored": c.n_scored(),
        })
    }

    pub fn perplexity_text(&self, found: &Perplexity) -> String {
        self.lines() + &rows(vec![("perplexity", plus_minus(found.value, 4), String::new())])
    }

    pub fn perplexity_json(&self, found: &Perplexity) -> Value {
        with(self.json(), json!({"perplexity": found.value}))
    }

    pub fn comparison_text(&self, reference: &Reference, found: &Comparison) -> String {
        let k = &found.kld;
        let nats = |x: f64| format!("{x:.6}");
        let mean = Estimate { mean: k.mean, stderr: k.stderr };
        let top1 = plus_minus(percent(found.top1), 2);
        let top5 = plus_minus(percent(found.top5), 2);
        self.lines()
            + &rows(vec![
                ("perplexity", plus_minus(found.candidate.value, 4), String::new()),
                ("of the reference", plus_minus(found.reference.value, 4), reference.name.clone()),
                ("ratio", plus_minus(found.perplexity_ratio, 5), String::new()),
                ("KL divergence, mean", plus_minus(mean, 6), format!("nats{}", reference.bound())),
                ("median", nats(k.median), String::new()),
                ("99 % below", nats(k.p99), String::new()),
                ("largest", nats(k.max), String::new()),
                ("same first choice", top1, "%".to_string()),
                ("first five in common", top5, "%".to_string()),
            ])
    }

    pub fn comparison_json(&self, reference: &Reference, found: &Comparison) -> Value {
        let more = json!({
            "perplexity": found.candidate.value,
            "reference": with(reference.json.clone(), json!({"perplexity": found.reference.value})),
            "perplexity_ratio": found.perplexity_ratio,
            "kld": found.kld,
            "top1": found.top1.mean,
            "top1_stderr": found.top1.stderr,
            "top5": found.top5.mean,
            "top5_stderr": found.top5.stderr,
        });
        with(self.json(), more)
    }
}

/// What a model is compared with.
pub struct Reference {
    name: String,
    json: Value,
    /// The mean probability that saved logits do not tell apart.
    tail: Option<f64>,
}

impl Reference {
    pub fn of_model(path: &Path, model: &Model) -> Reference {
        let json = json!({"model": path.to_string_lossy(), "model_hash": hex(&model.identity())});
        Reference { name: file_name(path), json, tail: None }
    }

    pub fn of_logits(path: &Path, saved: &SavedLogits) -> Reference {
        let tail = saved.mean_tail();
        let json = json!({
            "logits": path.to_string_lossy(),
            "model": saved.name(),
            "model_hash": hex(&saved.model()),
            "top": saved.k(),
            "mean_tail": tail,
        });
        Reference { name: format!("{}, from {}", saved.name(), file_name(path)), json, tail: Some(tail) }
    }

    /// How the divergence may be wrong.
    fn bound(&self) -> String {
        let tail =
            self.tail.map(|tail| format!(", at least: {:.2} % of probability is taken as one token", tail * 100.0));
        tail.unwrap_or_default()
    }
}

pub fn choices_text(path: &Path, tasks: &Text, numerics: &str, found: &ChoiceScores) -> String {
    format!(
        "{} on {}\n{numerics} numerics; {} tasks, {}\n\n{}",
        file_name(path),
        file_name(&tasks.path),
        human_count(found.picks.len() as u64),
        &tasks.hash()[..16],
        rows(vec![
            ("acc", plus_minus(percent(found.acc), 2), "%".to_string()),
            ("acc_norm", plus_minus(percent(found.acc_norm), 2), "%".to_string()),
        ])
    )
}

pub fn choices_json(path: &Path, identity: &str, tasks: &Text, numerics: &str, found: &ChoiceScores) -> Value {
    json!({
        "model": path.to_string_lossy(),
        "model_hash": identity,
        "choices": tasks.path.to_string_lossy(),
        "choices_hash": tasks.hash(),
        "numerics": numerics,
        "n_tasks": found.picks.len(),
        "acc": found.acc,
        "acc_norm": found.acc_norm,
    })
}

fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

fn percent(share: Estimate) -> Estimate {
    Estimate { mean: share.mean * 100.0, stderr: share.stderr * 100.0 }
}

fn plus_minus(x: Estimate, decimals: usize) -> String {
    format!("{:.decimals$} ± {:.decimals$}", x.mean, x.stderr)
}

fn rows(rows: Vec<(&str, String, String)>) -> String {
    let table =
        plain_table(rows.into_iter().map(|(name, value, note)| vec![name.to_string(), value, note]).collect(), &[]);
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
