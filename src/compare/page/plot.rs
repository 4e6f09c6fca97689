//! The geometry of a plot: where axes, points, names and the front lie. The template draws it.
//!
//! Each plot exists in two forms, for a wide and for a narrow screen, because text in a picture that is scaled to a phone cannot be
//! read; the style sheet shows one of them. A charting crate was no help here: those that write SVG (plotters, poloto, charming's
//! renderer) fix colours and sizes where this page leaves them to the reader's colour scheme, and none of them places labels.

use serde::Serialize;

use super::labels::{Ground, Rect, Request, text_width};
use super::scale::Scale;
use crate::compare::advice::{Axis, pareto_front};
use crate::compare::report::{Level, human_bytes, human_kld};

/// Names longer than this are cut in the plots; the table has them in full.
const NAME_CHARS: usize = 18;
/// The room for what is exactly the reference, below the logarithmic axis.
const ZERO_LANE: f64 = 30.0;

/// The size of a form.
#[derive(Clone, Copy)]
pub struct Form {
    pub name: &'static str,
    width: f64,
    height: f64,
    font_size: f64,
    n_ticks: usize,
}

/// The forms of every plot.
pub const FORMS: [Form; 2] = [
    Form { name: "wide", width: 560.0, height: 420.0, font_size: 13.0, n_ticks: 6 },
    Form { name: "narrow", width: 340.0, height: 360.0, font_size: 12.0, n_ticks: 4 },
];

/// A plot in one form. Lengths are in pixels.
#[derive(Serialize)]
pub struct Plot {
    form: &'static str,
    width: f64,
    height: f64,
    font_size: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<TickMark>,
    y_ticks: Vec<TickMark>,
    x_title: String,
    /// The dashed line above what is exact.
    zero_line: Option<f64>,
    better: Better,
    /// Corners of the front, as SVG writes them.
    front: String,
    points: Vec<Dot>,
}

#[derive(Serialize)]
struct TickMark {
    at: f64,
    label: String,
}

/// Where the corner is that everybody wants.
#[derive(Serialize)]
struct Better {
    x: f64,
    y: f64,
    anchor: &'static str,
    text: &'static str,
}

#[derive(Serialize)]
struct Dot {
    x: f64,
    y: f64,
    /// `front`, `beaten`, `reference`.
    class: &'static str,
    is_knee: bool,
    name: String,
    tip: String,
    label: Option<Label>,
}

#[derive(Serialize)]
struct Label {
    x: f64,
    y: f64,
    text: String,
    leader: Option<(f64, f64)>,
}

/// What a plot shows.
pub struct Subject<'a> {
    pub axis: Axis,
    /// Those with a place on both axes.
    pub levels: &'a [&'a Level],
    /// The names to write beside the points, one per level.
    pub names: &'a [String],
    /// Which levels are the reference itself.
    pub is_reference: &'a [bool],
    pub knee: Option<usize>,
}

impl Subject<'_> {
    /// The points of the front, from the cheapest on; the reference is not one of them.
    pub fn front(&self) -> Vec<usize> {
        let others: Vec<usize> = (0..self.levels.len()).filter(|&i| !self.is_reference[i]).collect();
        let levels: Vec<&Level> = others.iter().map(|&i| self.levels[i]).collect();
        pareto_front(&levels, self.axis).into_iter().map(|i| others[i]).collect()
    }

    /// What a point stands for, in words.
    pub fn tip(&self, i: usize) -> String {
        let level = self.levels[i];
        let x = match self.axis {
            Axis::Size => human_bytes(level.file_bytes),
            Axis::Speed => format!("{:.1} tokens/s", level.generated_tokens_per_second),
        };
        format!("{}: {x}, KLD {}", level.level, human_kld(level.kld.mean))
    }

    /// The unit of the horizontal axis and its title.
    fn unit(&self) -> (f64, &'static str) {
        let most = self.levels.iter().map(|level| level.file_bytes).max().unwrap_or(0);
        match self.axis {
            Axis::Speed => (1.0, "generated tokens per second"),
            Axis::Size if most >= 3 << 30 => ((1u64 << 30) as f64, "file size, GiB"),
            Axis::Size if most >= 3 << 20 => ((1u64 << 20) as f64, "file size, MiB"),
            Axis::Size => (1024.0, "file size, KiB"),
        }
    }

    /// The geometry in one form.
    pub fn plot(&self, form: Form) -> Plot {
        let font = form.font_size;
        let (unit, x_title) = self.unit();
        let xs: Vec<f64> = self.levels.iter().map(|level| self.axis.of(level) / unit).collect();
        let ys: Vec<f64> = self.levels.iter().map(|level| level.kld.mean).collect();
        let has_zero = ys.iter().any(|&y| y <= 0.0);
        let (top, bottom) = (font * 2.2, form.height - font * 3.6);
        let floor = if has_zero { bottom - ZERO_LANE } else { bottom };
        let y_scale = Scale::logarithmic(ys.iter().copied().filter(|&y| y > 0.0), [floor, top]);
        let y_at = |y: f64| if y > 0.0 { y_scale.at(y) } else { bottom - ZERO_LANE / 2.0 };
        let mut y_ticks: Vec<TickMark> =
            y_scale.ticks(form.n_ticks).into_iter().map(|t| TickMark { at: y_at(t.value), label: t.label }).collect();
        if has_zero {
            y_ticks.push(TickMark { at: y_at(0.0), label: "0".to_string() });
        }
        let widest = y_ticks.iter().map(|tick| text_width(&tick.label, font)).fold(0.0, f64::max);
        let (left, right) = (widest + 8.0, form.width - 10.0);
        let x_scale = Scale::linear(xs.iter().copied(), [left, right]);
        let x_ticks = x_scale.ticks(form.n_ticks).into_iter();
        let x_ticks = x_ticks.map(|tick| TickMark { at: x_scale.at(tick.value), label: tick.label }).collect();

        let at: Vec<(f64, f64)> = xs.iter().zip(&ys).map(|(&x, &y)| (x_scale.at(x), y_at(y))).collect();
        let front = self.front();
        let line: Vec<(f64, f64)> = front.iter().map(|&i| at[i]).collect();
        let better = Better {
            x: if self.axis == Axis::Size { left + 8.0 } else { right - 8.0 },
            y: floor - 9.0,
            anchor: if self.axis == Axis::Size { "start" } else { "end" },
            text: if self.axis == Axis::Size { "↙ better" } else { "better ↘" },
        };
        let area = Rect { left: left + 2.0, top: top + 2.0, right: right - 2.0, bottom: bottom - 2.0 };
        let corner = text_width(better.text, font) + 10.0;
        let taken = Rect {
            left: if self.axis == Axis::Size { left } else { right - corner },
            right: if self.axis == Axis::Size { left + corner } else { right },
            top: floor - 12.0 - font,
            bottom: floor - 2.0,
        };
        let ground = Ground { area, obstacles: &[taken], line: &line, font_size: font, point_radius: 7.0 };
        let names: Vec<String> = self.names.iter().map(|name| cut(name)).collect();
        let requests: Vec<Request> = at.iter().zip(&names).map(|(&at, text)| Request { at, text }).collect();
        let labels = ground.place(&requests);
        let points = (0..self.levels.len()).map(|i| Dot {
            x: round(at[i].0),
            y: round(at[i].1),
            class: match () {
                () if self.is_reference[i] => "reference",
                () if front.contains(&i) => "front",
                () => "beaten",
            },
            is_knee: self.knee == Some(i),
            name: self.levels[i].level.clone(),
            tip: self.tip(i),
            label: labels[i].map(|placed| Label {
                x: round((placed.rect.left + placed.rect.right) / 2.0),
                // The baseline of text that is centred in the rectangle.
                y: round((placed.rect.top + placed.rect.bottom) / 2.0 + 0.35 * font),
                text: names[i].clone(),
                leader: placed.leader.map(|(x, y)| (round(x), round(y))),
            }),
        });
        Plot {
            form: form.name,
            width: form.width,
            height: form.height,
            font_size: font,
            left: round(left),
            right: round(right),
            top: round(top),
            bottom: round(bottom),
            x_ticks,
            y_ticks,
            x_title: x_title.to_string(),
            zero_line: has_zero.then(|| round(floor)),
            better,
            front: line.iter().map(|(x, y)| format!("{:.1},{:.1}", x, y)).collect::<Vec<_>>().join(" "),
            points: points.collect(),
        }
    }
}

/// A tenth of a pixel is enough.
fn round(pixels: f64) -> f64 {
    (pixels * 10.0).round() / 10.0
}

/// A name that fits into a plot: its middle left out if it is long.
fn cut(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= NAME_CHARS {
        return name.to_string();
    }
    let (head, tail) = (NAME_CHARS / 2 - 1, NAME_CHARS / 2);
    chars[..head].iter().chain(&['…']).chain(&chars[chars.len() - tail..]).collect()
}

/// The names without what all of them begin and end with, cut at separators: `m-q4_0` and `m-q8_0` become `q4_0` and `q8_0`.
pub fn short_names(names: &[&str]) -> Vec<String> {
    let whole = || names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let Some((first, rest)) = names.split_first() else { return Vec::new() };
    if rest.is_empty() {
        return whole();
    }
    let is_separator = |c: char| "-. ".contains(c);
    let common = rest.iter().fold(first.len(), |n, name| {
        let same = first.char_indices().zip(name.chars()).take_while(|((_, a), b)| a == b);
        n.min(same.last().map_or(0, |((at, c), _)| at + c.len_utf8()))
    });
    let start = first[..common].rfind(is_separator).map_or(0, |at| at + 1);
    let short: Vec<String> = names.iter().map(|name| name[start..].to_string()).collect();
    if short.iter().any(String::is_empty) { whole() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_all_have() {
        assert_eq!(short_names(&["gemma-3-q4_k_m", "gemma-3-q8_0"]), ["q4_k_m", "q8_0"]);
        assert_eq!(short_names(&["Q4_K_M", "Q4_0"]), ["Q4_K_M", "Q4_0"]);
        assert_eq!(short_names(&["m.Q4_1"]), ["m.Q4_1"]);
        assert_eq!(short_names(&["a-", "a-b"]), ["a-", "a-b"]);
        assert_eq!(short_names(&["é-1", "é-2"]), ["1", "2"]);
        assert_eq!(cut("Q4_K_M"), "Q4_K_M");
        assert_eq!(cut("abcdefghijklmnopqrstuvwxyz").chars().count(), NAME_CHARS);
    }
}
