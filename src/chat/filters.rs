//! The filters, tests, methods and functions of a template, metered. Only those of Jinja2 and of Python's text and map
//! types are there; nothing reaches the host.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, ErrorKind, State, filters, functions, tests};

use super::meter::{Meter, invalid, is_container, text_len};

/// What an operation costs beyond its result.
#[derive(Clone, Copy, PartialEq)]
enum Cost {
    /// Nothing: it picks a part of a value.
    Light,
    /// It walks the items of its arguments.
    Items,
    /// It walks or writes the texts in its arguments.
    Text,
}

/// Adds everything to an environment that has nothing yet.
pub(super) fn add(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    use Cost::{Items, Light, Text};
    macro_rules! filter {
        ($($cost:ident: $($name:literal => $f:path),+;)+) => {
            $($( add_filter(env, meter, $name, $cost, Value::from_function($f)); )+)+
        };
    }
    filter! {
        Light:
            "length" => filters::length, "count" => filters::length, "first" => filters::first, "last" => filters::last,
            "default" => filters::default, "d" => filters::default, "int" => filters::int, "float" => filters::float,
            "abs" => filters::abs, "round" => filters::round, "bool" => filters::bool, "attr" => filters::attr;
        Items:
            "list" => filters::list, "map" => filters::map, "select" => filters::select, "reject" => filters::reject,
            "selectattr" => filters::selectattr, "rejectattr" => filters::rejectattr, "items" => filters::items,
            "reverse" => filters::reverse, "batch" => filters::batch, "slice" => filters::slice, "sum" => filters::sum;
        Text:
            "safe" => filters::safe, "escape" => filters::escape, "e" => filters::escape, "lower" => filters::lower,
            "upper" => filters::upper, "title" => filters::title, "capitalize" => filters::capitalize, "trim" => filters::trim,
            "replace" => filters::replace, "join" => filters::join, "indent" => filters::indent, "format" => filters::format,
            "string" => filters::string, "dictsort" => filters::dictsort, "sort" => filters::sort, "unique" => filters::unique,
            "groupby" => filters::groupby, "min" => filters::min, "max" => filters::max, "tojson" => super::json::tojson;
    }
    macro_rules! test {
        ($($cost:ident: $($name:literal => $f:path),+;)+) => {
            $($( add_test(env, meter, $name, $cost, Value::from_function($f)); )+)+
        };
    }
    test! {
        Light:
            "undefined" => tests::is_undefined, "defined" => tests::is_defined, "none" => tests::is_none,
            "boolean" => tests::is_boolean, "odd" => tests::is_odd, "even" => tests::is_even,
            "divisibleby" => tests::is_divisibleby, "number" => tests::is_number, "integer" => tests::is_integer,
            "float" => tests::is_float, "string" => tests::is_string, "sequence" => tests::is_sequence,
            "iterable" => is_iterable, "mapping" => tests::is_mapping, "lower" => tests::is_lower,
            "upper" => tests::is_upper, "sameas" => tests::is_sameas, "true" => tests::is_true, "false" => tests::is_false;
        Items:
            "eq" => tests::is_eq, "equalto" => tests::is_eq, "==" => tests::is_eq, "ne" => tests::is_ne, "!=" => tests::is_ne,
            "lt" => tests::is_lt, "lessthan" => tests::is_lt, "<" => tests::is_lt, "le" => tests::is_le, "<=" => tests::is_le,
            "gt" => tests::is_gt, "greaterthan" => tests::is_gt, ">" => tests::is_gt, "ge" => tests::is_ge, ">=" => tests::is_ge,
            "in" => tests::is_in;
    }
    add_function(env, meter, "range", Value::from_function(functions::range));
    add_function(env, meter, "dict", Value::from_function(functions::dict));
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("the template refuses: {message}")))
    });
    let meter = meter.clone();
    env.set_unknown_method_callback(move |state, value, method, args| call_method(&meter, state, value, method, args));
}

/// In Python nothing can be iterated over in `None`.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && tests::is_iterable(value)
}

fn add_filter(env: &mut Environment<'_>, meter: &Arc<Meter>, name: &'static str, cost: Cost, inner: Value) {
    let meter = meter.clone();
    env.add_filter(name, move |state: &mut State, args: Rest<Value>, kwargs: Kwargs| -> Result<Value, Error> {
        let args = joined(args, kwargs);
        if cost == Cost::Light {
            return inner.call(state, &args);
        }
        charge(&meter, cost, &args)?;
        charge_growth(&meter, name, &args)?;
        meter.charge_result(inner.call(state, &args)?)
    });
}

fn add_test(env: &mut Environment<'_>, meter: &Arc<Meter>, name: &'static str, cost: Cost, inner: Value) {
    let meter = meter.clone();
    env.add_test(name, move |state: &mut State, args: Rest<Value>, kwargs: Kwargs| -> Result<bool, Error> {
        let args = joined(args, kwargs);
        charge(&meter, cost, &args)?;
        Ok(inner.call(state, &args)?.is_true())
    });
}

fn add_function(env: &mut Environment<'_>, meter: &Arc<Meter>, name: &'static str, inner: Value) {
    let meter = meter.clone();
    env.add_function(name, move |state: &mut State, args: Rest<Value>, kwargs: Kwargs| -> Result<Value, Error> {
        let args = joined(args, kwargs);
        charge(&meter, Cost::Items, &args)?;
        inner.call(state, &args)
    });
}

/// All arguments as one list, keyword arguments last, as the engine passes them.
pub(super) fn joined(args: Rest<Value>, kwargs: Kwargs) -> Vec<Value> {
    let mut args = args.0;
    if kwargs.args().next().is_some() {
        args.push(kwargs.into());
    }
    args
}

fn charge(meter: &Meter, cost: Cost, args: &[Value]) -> Result<(), Error> {
    for arg in args {
        match cost {
            Cost::Light => {}
            Cost::Items if is_container(arg) => meter.charge_shape(arg)?,
            Cost::Items => {}
            Cost::Text => drop(meter.charge_text(arg)?),
        }
    }
    Ok(())
}

/// Charges for results that are much larger than the arguments. The first argument is the value that the filter or
/// method is applied to.
fn charge_growth(meter: &Meter, name: &str, args: &[Value]) -> Result<(), Error> {
    let len = |i: usize| args.get(i).and_then(text_len).unwrap_or(0);
    let text = |i: usize| args.get(i).and_then(Value::as_str).unwrap_or_default();
    let numbers = || args.iter().skip(1).flat_map(numbers_in).fold(0, u64::saturating_add);
    let growth = match name {
        "replace" => (text(0).matches(text(1)).count() as u64).saturating_mul(len(2)),
        // `text | join(separator)` and `separator.join(items)`: whichever is the text is the separator.
        "join" => {
            let n_items: u64 =
                args.iter().take(2).filter_map(Value::len).map(|n| n as u64).fold(0, u64::saturating_add);
            n_items.saturating_mul(len(0).saturating_add(len(1)))
        }
        "indent" => (text(0).matches('\n').count() as u64 + 1).saturating_mul(numbers()),
        "batch" | "slice" => numbers().saturating_mul(16),
        // Widths are numbers in the text, or arguments where the text says so.
        "format" => {
            let widths = numbers_in_text(text(0));
            let has_dynamic = text(0).contains('*') || text(0).contains(":{") || text(0).contains(".{");
            if has_dynamic { widths.saturating_add(numbers()) } else { widths }
        }
        "escape" | "e" => len(0).saturating_mul(5),
        _ => 0,
    };
    meter.charge(growth)
}

/// The sizes among an argument, keyword arguments included.
fn numbers_in(arg: &Value) -> Vec<u64> {
    let size = |value: &Value| value.as_i64().map_or(0, i64::unsigned_abs);
    if arg.is_kwargs() {
        let values = arg.try_iter().into_iter().flatten().filter_map(|key| arg.get_item(&key).ok());
        return values.map(|value| size(&value)).collect();
    }
    vec![size(arg)]
}

/// The sum of the decimal numbers in a format.
fn numbers_in_text(text: &str) -> u64 {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers.map(|digits| digits.parse().unwrap_or(u64::MAX)).fold(0, u64::saturating_add)
}

/// Python's methods of texts, lists and maps.
fn call_method(meter: &Meter, state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let all: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
    let cost = match method {
        "get" => Cost::Light,
        "items" | "keys" | "values" | "count" => Cost::Items,
        _ => Cost::Text,
    };
    if method == "get" && args.first().is_some_and(is_container) {
        return Err(invalid("a list or a map is used as a key"));
    }
    charge(meter, cost, &all)?;
    charge_growth(meter, method, &all)?;
    let result = minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)?;
    if cost == Cost::Light { Ok(result) } else { meter.charge_result(result) }
}
