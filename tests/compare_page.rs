//! The page of `oribi compare`: what comes from outside is escaped, nothing is fetched, every level is in table and plots; and with
//! ORIBI_TEST_ALL=1 in a real browser, at the width of a phone and of a desk, in both colour schemes (`tests/browser/page.mjs`).

mod common;

use std::path::Path;
use std::process::Command;

use oribi::compare::{Level, Limits, MachineInfo, Report, Settings, advise, html};
use oribi::eval::{Estimate, Kld};

/// A level with figures as they are measured on a small model.
fn level(name: &str, mib: f64, kld: f64, speed: f64) -> Level {
    Level {
        level: name.to_string(),
        file_hash: format!("hash of {name}"),
        file_bytes: (mib * 1024.0 * 1024.0) as u64,
        bits_per_weight: mib * 8.0 * 1024.0 * 1024.0 / 134_515_008.0,
        load_ms: 61.0,
        prompt_tokens_per_second: 10.0 * speed,
        prompt_range: [9.0 * speed, 11.0 * speed],
        generated_tokens_per_second: speed,
        generated_range: [0.9 * speed, 1.05 * speed],
        peak_bytes: Some((1.3 * mib * 1024.0 * 1024.0) as u64),
        perplexity: Estimate { mean: 7.5 * (1.0 + kld), stderr: 0.14 },
        kld: Kld { mean: kld, stderr: kld / 20.0, median: kld / 2.0, p99: 9.0 * kld, max: 20.0 * kld },
        top1: 1.0 - kld.sqrt().min(0.9),
    }
}

fn report(model: &str, reference: Level, levels: Vec<Level>) -> Report {
    let mut report = Report {
        oribi: "0.1.0".to_string(),
        model: model.to_string(),
        machine: MachineInfo {
            cpu: "Intel(R) Xeon(R) Processor @ 2.10GHz".to_string(),
            isa: "amx".to_string(),
            threads: 2,
            system: "linux x86_64".to_string(),
        },
        settings: Settings {
            text: "eval-en.txt".to_string(),
            text_hash: "7f3a9c0d5e2b41668891aa02cc37d410".to_string(),
            chunk_tokens: 512,
            n_chunks: 20,
            n_scored: 5100,
            quality_numerics: "portable".to_string(),
            speed_numerics: "native".to_string(),
            kv_type: "f16".to_string(),
            prompt_tokens: 512,
            generated_tokens: 64,
            rounds: 5,
        },
        reference,
        levels,
        advice: Vec::new(),
    };
    report.advice = advise(&report, &[Limits { file_bytes: Some(100 << 20), ..Limits::default() }]);
    report
}

/// The usual levels, made from a file that is not among them.
fn usual() -> Report {
    let levels = vec![
        level("Q8_0", 138.1, 0.00041, 128.0),
        level("Q6_K", 132.0, 0.0024, 121.0),
        level("Q5_K_M", 107.2, 0.0094, 139.0),
        level("Q4_K_M", 100.6, 0.031, 148.0),
        level("Q4_0", 87.5, 0.082, 178.0),
        level("Q3_K_M", 89.2, 0.095, 155.0),
        level("Q2_K", 84.1, 0.26, 160.0),
    ];
    report("SmolLM2-135M-Instruct", level("F32", 513.1, 0.0, 55.0), levels)
}

/// More levels than anybody needs, many of them close together, one exactly the reference, one broken.
fn crowded() -> Report {
    let reference = level("gemma-3-270m-BF16", 511.0, 0.0, 40.0);
    let near = |i: u32| {
        let (x, wobble) = (f64::from(i), f64::from(i * 7 % 5));
        level(&format!("gemma-3-270m-IQ{i}_XXS"), 180.0 + 6.0 * x + wobble, 0.9 / (1.35f64).powf(x), 90.0 - x - wobble)
    };
    let mut levels = vec![reference.clone()];
    levels.extend((0..14).map(near));
    levels.push(level("gemma-3-270m-broken", 200.0, f64::NAN, 50.0));
    report("gemma-3-270m", reference, levels)
}

/// Names that want to be markup.
fn hostile() -> Report {
    let mut report = report(
        "</title><script>document.title='owned'</script>",
        level("\"><img src=x onerror=alert(1)>", 300.0, 0.0, 10.0),
        vec![
            level("<svg onload=alert(2)>", 100.0, 0.02, 20.0),
            level("'\"&amp;</style></svg><script>fetch('http://example.com')</script>", 90.0, 0.05, 30.0),
            level("{{ 7 * 7 }}{% raw %}", 80.0, 0.2, 25.0),
            level(&"very-long-name-without-any-end-".repeat(8), 85.0, 0.1, 27.0),
            level("名前の長いモデルの量子化レベル", 95.0, 0.03, 24.0),
        ],
    );
    report.settings.text = "</dd><script>alert(3)</script>".to_string();
    report.machine.cpu = "<b>CPU</b>".to_string();
    report
}

fn alone() -> Report {
    report("one", level("F16", 10.0, 0.0, 10.0), vec![level("Q8_0", 5.0, 0.001, 12.0)])
}

fn pages() -> Vec<(&'static str, Report)> {
    vec![("usual", usual()), ("crowded", crowded()), ("hostile", hostile()), ("alone", alone())]
}

#[test]
fn every_level_is_in_the_table_and_in_both_forms_of_both_plots() {
    let page = html(&usual()).unwrap();
    for level in usual().levels {
        let point = format!("data-level=\"{}\"", level.level);
        assert_eq!(page.matches(&point).count(), 4, "{}", level.level);
        assert!(page.contains(&format!("scope=\"row\">{}", level.level)), "{}", level.level);
    }
    for word in
        ["scope=\"row\">F32", "Best under 100.0 MiB: Q4_0", "best balance", "512 tokens", "role=\"img\"", "<desc"]
    {
        assert!(page.contains(word), "{word}");
    }
}

#[test]
fn names_are_text_and_nothing_is_fetched() {
    let page = html(&hostile()).unwrap();
    for markup in ["<script", "<img", "onerror=alert(1)>", "<svg onload", "<b>", ">49<"] {
        assert!(!page.contains(markup), "{markup}");
    }
    for (name, report) in pages() {
        let page = html(&report).unwrap();
        for outside in ["http://", "https://", "url(", "@import", "src=\"", "<script", "{{", "{%"] {
            let of_name = name == "hostile" && !outside.starts_with('<') && !outside.starts_with("src");
            assert!(of_name || !page.contains(outside), "{name}: {outside}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf\""), "{name}");
    }
}

#[test]
fn a_level_without_numbers_is_named_and_not_drawn() {
    let page = html(&crowded()).unwrap();
    assert!(page.contains("Not drawn, because it is no number: gemma-3-270m-broken."));
    assert!(page.contains("Do not use gemma-3-270m-broken"));
    assert!(!page.contains("data-level=\"gemma-3-270m-broken\""));
    // The reference is a level here: a point in each plot, and a mark in each legend.
    assert_eq!(page.matches("class=\"point reference\"").count(), 6);
}

#[test]
fn the_page_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    // For looking at it: ORIBI_PAGES names a folder where pages and pictures stay.
    let kept = std::env::var_os("ORIBI_PAGES").filter(|dir| !dir.is_empty());
    let folder = kept.as_ref().map_or(folder.path(), Path::new);
    let mut files = Vec::new();
    for (name, report) in pages() {
        let file = folder.join(format!("{name}.html"));
        std::fs::write(&file, html(&report).unwrap()).unwrap();
        files.push(file);
    }
    if !common::test_all() {
        println!("skipped: looking at the page in a browser (ORIBI_TEST_ALL=1)");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/page.mjs");
    let output = Command::new("node").arg(script).args(&files).output().expect("node is there: scripts/setup --tests");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    println!("{stdout}");
}
