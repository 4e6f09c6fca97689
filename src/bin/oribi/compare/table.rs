//! The report as a table, for the terminal and for Markdown.

use oribi::compare::{Level, Report, human_kld};

use crate::output::human_bytes;
use crate::table;

const HEADER: [&str; 11] = [
    "level",
    "size",
    "bits",
    "KLD",
    "KLD 99 %",
    "same first",
    "perplexity",
    "prompt t/s",
    "gen. t/s",
    "load",
    "peak memory",
];

/// Title, table, advice.
pub fn text(report: &Report) -> String {
    format!("{}\n\n{}\n{}", title(report), levels(report), lines(&report.advice, ""))
}

/// The same with headings and with how it was measured.
pub fn markdown(report: &Report) -> String {
    let s = &report.settings;
    let notes = [
        format!(
            "Reference: {}. KLD is the mean Kullback-Leibler divergence from it, in nats; 99 % of the positions lie below the second figure. Same first: where both hold the same token for the most likely.",
            escaped(&report.reference.level)
        ),
        format!(
            "Quality: {}, {} chunks of {} tokens, {} of them scored, {} arithmetic.",
            escaped(&s.text),
            s.n_chunks,
            s.chunk_tokens,
            s.n_scored,
            s.quality_numerics
        ),
        format!(
            "Speed: a prompt of {} tokens, {} generated tokens, {} cache, {} arithmetic, medians of {} rounds in turns, each in a new process, on {}, {} threads, {}, {}.",
            s.prompt_tokens,
            s.generated_tokens,
            s.kv_type,
            s.speed_numerics,
            s.rounds,
            escaped(&report.machine.cpu),
            report.machine.threads,
            report.machine.isa,
            report.machine.system
        ),
        format!("Measured by oribi {}.", report.oribi),
    ];
    let advice: Vec<String> = report.advice.iter().map(|sentence| escaped(sentence)).collect();
    format!("# {}\n\n{}\n{}\n{}", escaped(&title(report)), levels(report), lines(&advice, "- "), lines(&notes, "- "))
}

fn title(report: &Report) -> String {
    format!("{}: what each level costs", report.model)
}

fn lines(sentences: &[String], before: &str) -> String {
    sentences.iter().map(|sentence| format!("{before}{sentence}\n")).collect()
}

fn levels(report: &Report) -> String {
    table::markdown(&HEADER, report.rows().map(|level| cells(report, level)).collect(), 1)
}

fn cells(report: &Report, level: &Level) -> Vec<String> {
    let mark = if report.is_reference(level) { " (reference)" } else { "" };
    vec![
        format!("{}{mark}", escaped(&level.level)),
        human_bytes(level.file_bytes),
        format!("{:.2}", level.bits_per_weight),
        human_kld(level.kld.mean),
        human_kld(level.kld.p99),
        format!("{:.1} %", 100.0 * level.top1),
        format!("{:.3} ± {:.3}", level.perplexity.mean, level.perplexity.stderr),
        format!("{:.0}", level.prompt_tokens_per_second),
        format!("{:.1}", level.generated_tokens_per_second),
        format!("{:.0} ms", level.load_ms),
        level.peak_bytes.map_or("unknown".to_string(), human_bytes),
    ]
}

/// A name that is text in Markdown, too: nothing in it ends a cell or begins markup.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            '|' | '`' | '[' | ']' | '*' | '\\' => text.extend(['\\', c]),
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_text() {
        assert_eq!(escaped("Q4_K_M"), "Q4_K_M");
        assert_eq!(escaped("a|b<i>[x](y)&"), "a\\|b&lt;i>\\[x\\](y)&amp;");
    }
}
