//! Results as Markdown tables, JSON and CSV.

use std::path::Path;

use oribi::bench::Spread;
use serde_json::{Value, json};

use super::measure::{Pair, Row};
use crate::table::markdown;

/// A file's name without its folder.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn range(spread: &Spread, decimals: usize) -> String {
    format!("{:.decimals$}..{:.decimals$}", spread.min, spread.max)
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_string(), |share| format!("{:.0} %", share * 100.0))
}

/// The columns that say how a model ran.
fn setting(row: &Row) -> [String; 4] {
    let machine = if row.device == "cpu" { row.isa } else { &row.device };
    [row.threads.to_string(), machine.to_string(), row.numerics.to_string(), row.kv_type.to_string()]
}

pub fn rows_markdown(path: &Path, rows: &[Row]) -> String {
    let header = ["test", "threads", "isa", "numerics", "kv", "tokens/s", "least..most", "GB/s", "GMAC/s", "of limit"];
    let cells = |row: &Row| {
        let speed = &row.tokens_per_second;
        let numbers = [
            format!("{:.1}", speed.median),
            range(speed, 1),
            format!("{:.1}", row.gb_per_second),
            format!("{:.1}", row.gmac_per_second),
            percent(row.share_of_limit),
        ];
        [row.test.clone()].into_iter().chain(setting(row)).chain(numbers).collect()
    };
    format!("{}\n\n{}", name(path), markdown(&header, rows.iter().map(cells).collect(), 5))
}

/// A list of rows.
pub fn rows_json(rows: &[Row]) -> String {
    json!(rows).to_string()
}

pub fn rows_csv(rows: &[Row]) -> String {
    csv(rows.iter().map(|row| flat("", row)).collect())
}

/// What each side of a comparison is: the model where the models differ, and the settings.
fn sides(paths: [&Path; 2], pair: &Pair) -> [String; 2] {
    let [a, b] = [0, 1].map(|i| {
        let setting = setting(&pair.rows[i]);
        let model = if paths[0] == paths[1] { Vec::new() } else { vec![name(paths[i])] };
        (model, setting)
    });
    [(a.0, &a.1, &b.1), (b.0, &b.1, &a.1)].map(|(mut words, own, other)| {
        let labels = ["threads", "", "", "kv"];
        for i in (0..own.len()).filter(|&i| own[i] != other[i]) {
            words.push(format!("{} {}", labels[i], own[i]).trim().to_string());
        }
        if words.is_empty() { "the same".to_string() } else { words.join(", ") }
    })
}

pub fn pairs_markdown(paths: [&Path; 2], pairs: &[Pair]) -> String {
    let header = ["test", "A", "B", "A tokens/s", "B tokens/s", "A / B", "least..most", "A of limit", "B of limit"];
    let cells = |pair: &Pair| {
        let [a, b] = &pair.rows;
        let [side_a, side_b] = sides(paths, pair);
        vec![
            a.test.clone(),
            side_a,
            side_b,
            format!("{:.1}", a.tokens_per_second.median),
            format!("{:.1}", b.tokens_per_second.median),
            format!("{:.2}", pair.ratio.median),
            range(&pair.ratio, 2),
            percent(a.share_of_limit),
            percent(b.share_of_limit),
        ]
    };
    let title = if paths[0] == paths[1] { name(paths[0]) } else { format!("{} / {}", name(paths[0]), name(paths[1])) };
    format!("{title}\n\n{}", markdown(&header, pairs.iter().map(cells).collect(), 3))
}

/// A list of `{a, b, ratio}`; `a` and `b` are rows with the model's file before.
pub fn pairs_json(paths: [&Path; 2], pairs: &[Pair]) -> String {
    let row = |i: usize, pair: &Pair| {
        let mut object = json!({"model": paths[i].to_string_lossy()});
        if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), json!(pair.rows[i])) {
            object.extend(fields);
        }
        object
    };
    let pairs: Vec<Value> =
        pairs.iter().map(|pair| json!({"a": row(0, pair), "b": row(1, pair), "ratio": pair.ratio})).collect();
    json!(pairs).to_string()
}

pub fn pairs_csv(paths: [&Path; 2], pairs: &[Pair]) -> String {
    let line = |pair: &Pair| {
        let mut fields = Vec::new();
        for (i, prefix) in ["a_", "b_"].into_iter().enumerate() {
            fields.push((format!("{prefix}model"), quoted(&paths[i].to_string_lossy())));
            fields.extend(flat(prefix, &pair.rows[i]));
        }
        let Spread { median, min, max } = pair.ratio;
        for (name, value) in [("ratio", median), ("ratio_min", min), ("ratio_max", max)] {
            fields.push((name.to_string(), value.to_string()));
        }
        fields
    };
    csv(pairs.iter().map(line).collect())
}

/// The fields of a row's JSON form, the speed's in three columns.
fn flat(prefix: &str, row: &Row) -> Vec<(String, String)> {
    let Value::Object(fields) = json!(row) else { return Vec::new() };
    let mut columns = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Object(spread) => {
                columns.extend(spread.into_iter().map(|(part, v)| (format!("{prefix}{name}_{part}"), v.to_string())));
            }
            Value::String(text) => columns.push((format!("{prefix}{name}"), quoted(&text))),
            Value::Null => columns.push((format!("{prefix}{name}"), String::new())),
            other => columns.push((format!("{prefix}{name}"), other.to_string())),
        }
    }
    columns
}

/// A field of RFC 4180, in quotes where it needs them.
fn quoted(text: &str) -> String {
    let needed = text.contains([',', '"', '\n', '\r']);
    if needed { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

/// A header line and a line for each list of named fields, which all have the same names.
fn csv(lines: Vec<Vec<(String, String)>>) -> String {
    let header: Vec<&str> =
        lines.first().map_or(Vec::new(), |line| line.iter().map(|(name, _)| name.as_str()).collect());
    let mut text = header.join(",") + "\n";
    for line in &lines {
        text += &line.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(",");
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("a b"), "a b");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        let line = |value: &str| vec![("x".to_string(), value.to_string()), ("y".to_string(), "2".to_string())];
        assert_eq!(csv(vec![line("1"), line("")]), "x,y\n1,2\n,2\n");
    }
}
