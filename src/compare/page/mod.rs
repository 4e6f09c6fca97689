//! The page: one HTML file that needs nothing else, no script, no font, no picture from elsewhere.
//!
//! What comes from outside (names of models, levels and texts) is escaped by the template engine, which escapes everything.

mod labels;
mod plot;
mod scale;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;

use self::plot::{FORMS, Plot, Subject, short_names};
use super::advice::{Axis, knee, pareto_front};
use super::report::{Level, Report, human_bytes, human_kld};
use crate::error::{Error, ErrorKind, Result};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// What the template is given.
#[derive(Serialize)]
struct Content<'a> {
    style: &'static str,
    report: &'a Report,
    machine: String,
    facts: Vec<(&'static str, String)>,
    figures: [Figure; 2],
    headings: Vec<&'static str>,
    rows: Vec<Row>,
}

/// A plot with its words.
#[derive(Serialize)]
struct Figure {
    id: &'static str,
    title: &'static str,
    /// The points in words, for those who do not see them.
    description: String,
    caption: &'static str,
    forms: Vec<Plot>,
    /// Levels that have no place in it.
    absent: Vec<String>,
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    name: String,
    is_reference: bool,
    is_knee: bool,
    is_beaten: bool,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    heading: &'static str,
    text: String,
    /// In smaller print behind it.
    note: String,
}

/// The page of a report.
///
/// # Errors
/// `Internal` if the template fails, which would be a defect.
pub fn html(report: &Report) -> Result<String> {
    let fail = |e: minijinja::Error| Error::new(ErrorKind::Internal, format!("the page: {e:#}"));
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(fail)?);
    environment.add_template("page", TEMPLATE).map_err(fail)?;
    let rows = rows(report);
    let page = environment.get_template("page").map_err(fail)?;
    let headings = rows.first().map_or(Vec::new(), |row| row.cells.iter().map(|cell| cell.heading).collect());
    let content = Content {
        style: STYLE,
        report,
        machine: machine_facts(report),
        facts: facts(report),
        figures: [figure(report, Axis::Size), figure(report, Axis::Speed)],
        headings,
        rows,
    };
    page.render(Serde(&content)).map_err(fail)
}

/// The reference outside of the levels has no point: its size would press all others together.
fn figure(report: &Report, axis: Axis) -> Figure {
    let drawable = |level: &&Level| level.kld.mean.is_finite() && axis.of(level).is_finite();
    let levels: Vec<&Level> = report.levels.iter().filter(drawable).collect();
    let full: Vec<&str> = levels.iter().map(|level| level.level.as_str()).collect();
    let names = short_names(&full);
    let is_reference: Vec<bool> = levels.iter().map(|level| report.is_reference(level)).collect();
    let knee = knee_of(report).and_then(|knee| levels.iter().position(|level| std::ptr::eq(*level, knee)));
    let subject = Subject { axis, levels: &levels, names: &names, is_reference: &is_reference, knee };
    let front: Vec<&str> = subject.front().into_iter().map(|i| full[i]).collect();
    let points: Vec<String> = (0..levels.len()).map(|i| subject.tip(i)).collect();
    let (id, title, caption, what) = match axis {
        Axis::Size => (
            "size",
            "Size against divergence",
            "Filled points joined by the line are the Pareto front: no other level is both smaller and closer to the reference.",
            "File size",
        ),
        Axis::Speed => (
            "speed",
            "Speed against divergence",
            "Filled points joined by the line are the Pareto front: no other level is both faster and closer to the reference.",
            "Speed of generation",
        ),
    };
    let description = format!(
        "{what} on the horizontal axis, mean KL divergence from the reference on a logarithmic vertical axis. {}. On the Pareto front: {}.",
        points.join("; "),
        if front.is_empty() { "none".to_string() } else { front.join(", ") }
    );
    let absent = report.levels.iter().filter(|level| !drawable(level)).map(|level| level.level.clone()).collect();
    Figure { id, title, description, caption, forms: FORMS.map(|form| subject.plot(form)).into(), absent }
}

/// The levels that are not the reference.
fn candidates(report: &Report) -> Vec<&Level> {
    report.levels.iter().filter(|level| !report.is_reference(level)).collect()
}

fn knee_of(report: &Report) -> Option<&Level> {
    let levels = candidates(report);
    knee(&levels).map(|i| levels[i])
}

fn rows(report: &Report) -> Vec<Row> {
    let levels = candidates(report);
    let front: Vec<&Level> = pareto_front(&levels, Axis::Size).into_iter().map(|i| levels[i]).collect();
    let knee = knee_of(report);
    let row = |level: &Level| Row {
        name: level.level.clone(),
        is_reference: report.is_reference(level),
        is_knee: knee.is_some_and(|knee| std::ptr::eq(knee, level)),
        is_beaten: level.kld.mean.is_finite() && !front.iter().any(|other| std::ptr::eq(*other, level)),
        cells: cells(report, level),
    };
    report.rows().map(row).collect()
}

fn cells(report: &Report, level: &Level) -> Vec<Cell> {
    let cell = |heading, text: String, note: String| Cell { heading, text, note };
    let share = 100.0 * level.file_bytes as f64 / report.reference.file_bytes.max(1) as f64;
    let range = |[least, most]: [f64; 2]| format!("{least:.0}–{most:.0}");
    let load = if level.load_ms < 10_000.0 {
        format!("{:.0} ms", level.load_ms)
    } else {
        format!("{:.1} s", level.load_ms / 1000.0)
    };
    let peak = level.peak_bytes.map_or("unknown".to_string(), human_bytes);
    let perplexity = level.perplexity;
    let (prompt, generated) = (level.prompt_tokens_per_second, level.generated_tokens_per_second);
    vec![
        cell("Size", human_bytes(level.file_bytes), format!("{share:.0} %")),
        cell("Bits per weight", format!("{:.2}", level.bits_per_weight), String::new()),
        cell("KLD, mean", human_kld(level.kld.mean), String::new()),
        cell("KLD, 99 %", human_kld(level.kld.p99), String::new()),
        cell("Same first choice", format!("{:.1} %", 100.0 * level.top1), String::new()),
        cell("Perplexity", number(perplexity.mean, 3), format!("± {}", number(perplexity.stderr, 3))),
        cell("Prompt, tokens/s", format!("{prompt:.0}"), range(level.prompt_range)),
        cell("Generation, tokens/s", format!("{generated:.1}"), range(level.generated_range)),
        cell("Load", load, String::new()),
        cell("Peak memory", peak, String::new()),
    ]
}

fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "not a number".to_string() }
}

/// Where the speeds were measured, in one line.
fn machine_facts(report: &Report) -> String {
    let machine = &report.machine;
    let threads = if machine.threads == 1 { "1 thread".to_string() } else { format!("{} threads", machine.threads) };
    format!("{}, {threads}, {} instructions, {}", machine.cpu, machine.isa, machine.system)
}

/// How it was measured: names and values.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let s = &report.settings;
    vec![
        ("Reference", format!("{}, {}", report.reference.level, human_bytes(report.reference.file_bytes))),
        ("Text", format!("{} (xxh3 {})", s.text, s.text_hash)),
        (
            "Quality",
            format!(
                "{} chunks of {} tokens, the {} tokens of their second halves scored, {} arithmetic",
                s.n_chunks, s.chunk_tokens, s.n_scored, s.quality_numerics
            ),
        ),
        (
            "Speed",
            format!(
                "a prompt of {} tokens and {} generated tokens, {} cache, {} arithmetic; medians of {} rounds in turns, each in a new process",
                s.prompt_tokens, s.generated_tokens, s.kv_type, s.speed_numerics, s.rounds
            ),
        ),
        ("Machine", machine_facts(report)),
        ("Program", format!("oribi {}", report.oribi)),
    ]
}
