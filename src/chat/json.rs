//! `tojson` as templates expect it: Python's `json.dumps(value, ensure_ascii=False)`, not the HTML-safe form of Jinja2.

use std::fmt::Write;

use minijinja::Error;
use minijinja::value::{Kwargs, Value, ValueKind};

use super::meter::invalid;

/// A JSON value as a template sees it.
pub(super) fn to_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(bool) => Value::from(*bool),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::from(items.iter().map(to_value).collect::<Vec<_>>()),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.iter().map(|(key, value)| (key.as_str(), to_value(value))))
        }
    }
}

/// The widest indentation.
const MAX_INDENT: usize = 64;

/// How a value is written.
struct Style {
    /// One level, or none for everything on one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// The filter: `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`. The value was checked to be
/// neither deep nor large.
pub(super) fn tojson(value: &Value, indent: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let style = Style::new(indent, &kwargs)?;
    let mut out = String::new();
    write_value(&mut out, value, &style, 0)?;
    if kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false) {
        out = escape_non_ascii(&out);
    }
    kwargs.assert_all_used()?;
    Ok(Value::from(out))
}

impl Style {
    fn new(indent: Option<Value>, kwargs: &Kwargs) -> Result<Self, Error> {
        let indent = indent.or(kwargs.get::<Option<Value>>("indent")?).filter(|value| !value.is_none());
        let indent = match indent {
            None => None,
            Some(value) => match (value.as_str(), value.as_usize()) {
                (Some(text), _) if text.len() <= MAX_INDENT => Some(text.to_owned()),
                (None, Some(n)) if n <= MAX_INDENT => Some(" ".repeat(n)),
                _ => return Err(invalid(format!("tojson: an indentation is a number up to {MAX_INDENT}"))),
            },
        };
        let default = (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
        let given: Option<Vec<String>> = kwargs.get("separators")?;
        let (item_separator, key_separator) = match given.as_deref() {
            None => default,
            Some([item, key]) if item.len().max(key.len()) <= MAX_INDENT => (item.clone(), key.clone()),
            Some(_) => return Err(invalid("tojson: separators are two short texts")),
        };
        let sort_keys = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
        Ok(Style { indent, item_separator, key_separator, sort_keys })
    }

    fn line(&self, out: &mut String, level: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..level).for_each(|_| out.push_str(indent));
        }
    }
}

fn write_value(out: &mut String, value: &Value, style: &Style, level: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write!(out, "{value}").map_err(|e| invalid(e.to_string()))?,
        ValueKind::String => write_text(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?;
            write_items(out, ('[', ']'), items, style, level, |out, item| write_value(out, &item, style, level + 1))?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            write_items(out, ('{', '}'), keys.into_iter(), style, level, |out, key| {
                write_text(out, &key.to_string());
                out.push_str(&style.key_separator);
                write_value(out, &value.get_item(&key)?, style, level + 1)
            })?;
        }
        kind => return Err(invalid(format!("tojson: a {kind} has no JSON form"))),
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = Value>,
    style: &Style,
    level: usize,
    mut write: impl FnMut(&mut String, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push(open);
    let mut is_empty = true;
    for item in items {
        if !std::mem::replace(&mut is_empty, false) {
            out.push_str(&style.item_separator);
        }
        style.line(out, level + 1);
        write(out, item)?;
    }
    if !is_empty {
        style.line(out, level);
    }
    out.push(close);
    Ok(())
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => push_escape(out, c as u16),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_escape(out: &mut String, unit: u16) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push_str("\\u");
    (0..4).rev().for_each(|i| out.push(char::from(HEX[usize::from(unit >> (4 * i)) & 15])));
}

fn escape_non_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|&unit| push_escape(&mut out, unit));
        }
    }
    out
}
