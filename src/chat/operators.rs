//! The operators that make or walk values, as functions that are metered. The compiled template calls them in place of
//! the engine's own instructions (see [`replacement`]).

use std::sync::{Arc, LazyLock};

use minijinja::machinery::Instruction;
use minijinja::value::{Rest, Tuple, Value, ValueKind};
use minijinja::{Environment, Error, Expression, context};

use super::meter::{Meter, invalid, is_container};

/// What replaces an instruction: a call with as many arguments as the instruction takes. The names cannot be written in a template.
/// Nothing for instructions that are harmless; an error for those that cannot be metered.
pub(super) fn replacement(instruction: &Instruction<'_>) -> Result<Option<Instruction<'static>>, Error> {
    let count =
        |n: usize| u16::try_from(n).map(Some).map_err(|_| invalid("a list or map is written with too many items"));
    let call = |name: &'static str, n: Option<u16>| Ok(Some(Instruction::CallFunction(name, n)));
    match instruction {
        Instruction::StringConcat => call("op ~", Some(2)),
        Instruction::Add => call("op +", Some(2)),
        Instruction::Mul => call("op *", Some(2)),
        Instruction::Slice => call("op [:]", Some(4)),
        Instruction::GetItem => call("op []", Some(2)),
        Instruction::In => call("op in", Some(2)),
        Instruction::Eq => call("op ==", Some(2)),
        Instruction::Ne => call("op !=", Some(2)),
        Instruction::Lt => call("op <", Some(2)),
        Instruction::Lte => call("op <=", Some(2)),
        Instruction::Gt => call("op >", Some(2)),
        Instruction::Gte => call("op >=", Some(2)),
        Instruction::BuildList(Some(n)) => call("op list", count(*n)?),
        Instruction::BuildList(None) => call("op list", None),
        Instruction::BuildTuple(Some(n)) => call("op tuple", count(*n)?),
        Instruction::BuildTuple(None) => call("op tuple", None),
        Instruction::BuildMap(n) => call("op map", count(n.saturating_mul(2))?),
        Instruction::CompareAndPreserve(_) => Err(invalid("chained comparisons are not supported")),
        _ => Ok(None),
    }
}

/// Adds the functions to an environment.
pub(super) fn add(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    /// Adds a function of the meter and two operands.
    fn binary(
        env: &mut Environment<'_>,
        meter: &Arc<Meter>,
        name: &'static str,
        f: fn(&Meter, Value, Value) -> Result<Value, Error>,
    ) {
        let meter = meter.clone();
        env.add_function(name, move |a: Value, b: Value| f(&meter, a, b));
    }
    binary(env, meter, "op ~", concat);
    binary(env, meter, "op +", plus);
    binary(env, meter, "op *", times);
    binary(env, meter, "op []", item);
    binary(env, meter, "op in", |meter, a, b| {
        charge_operands(meter, &a, &b)?;
        ENGINE.is_in.eval(context! { a, b })
    });
    binary(env, meter, "op ==", |meter, a, b| charge_operands(meter, &a, &b).map(|()| Value::from(a == b)));
    binary(env, meter, "op !=", |meter, a, b| charge_operands(meter, &a, &b).map(|()| Value::from(a != b)));
    binary(env, meter, "op <", |meter, a, b| charge_operands(meter, &a, &b).map(|()| Value::from(a < b)));
    binary(env, meter, "op <=", |meter, a, b| charge_operands(meter, &a, &b).map(|()| Value::from(a <= b)));
    binary(env, meter, "op >", |meter, a, b| charge_operands(meter, &a, &b).map(|()| Value::from(a > b)));
    binary(env, meter, "op >=", |meter, a, b| charge_operands(meter, &a, &b).map(|()| Value::from(a >= b)));

    let of = meter.clone();
    env.add_function("op [:]", move |args: Rest<Value>| slice(&of, &args));
    let of = meter.clone();
    env.add_function("op list", move |items: Rest<Value>| checked(&of, Value::from(items.0)));
    let of = meter.clone();
    env.add_function("op tuple", move |items: Rest<Value>| checked(&of, Value::from(Tuple::from(items.0))));
    let of = meter.clone();
    env.add_function("op map", move |items: Rest<Value>| {
        if items.0.chunks(2).any(|pair| is_container(&pair[0])) {
            return Err(invalid("a key of a map is a list or a map"));
        }
        checked(&of, Value::from_pairs(items.0.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()))))
    });
}

/// The engine's own operators, for operands that are not texts.
struct Engine {
    plus: Expression<'static, 'static>,
    times: Expression<'static, 'static>,
    slice: Expression<'static, 'static>,
    is_in: Expression<'static, 'static>,
}

static ENGINE_ENV: LazyLock<Environment<'static>> = LazyLock::new(Environment::empty);

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let compile = |expr| ENGINE_ENV.compile_expression(expr).expect("a constant expression of the engine's own syntax");
    Engine { plus: compile("a + b"), times: compile("a * b"), slice: compile("v[a:b:c]"), is_in: compile("a in b") }
});

/// Containers are charged as a whole; texts, which are compared fast, a part of their length.
fn charge_operands(meter: &Meter, a: &Value, b: &Value) -> Result<(), Error> {
    for value in [a, b] {
        match value.as_str() {
            Some(text) => meter.charge(text.len() as u64 / 64)?,
            None if is_container(value) => meter.charge_shape(value)?,
            None => {}
        }
    }
    Ok(())
}

/// A list or map that was just put together.
fn checked(meter: &Meter, value: Value) -> Result<Value, Error> {
    meter.charge_shape(&value)?;
    Ok(value)
}

fn concat(meter: &Meter, a: Value, b: Value) -> Result<Value, Error> {
    meter.charge_text(&a)?;
    meter.charge_text(&b)?;
    Ok(Value::from(format!("{a}{b}")))
}

fn plus(meter: &Meter, a: Value, b: Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        meter.charge(a.len() as u64 + b.len() as u64)?;
        return Ok(Value::from([a, b].concat()));
    }
    let is_sequence = is_container(&a);
    let sum = ENGINE.plus.eval(context! { a, b })?;
    if is_sequence { meter.charge_result(sum) } else { Ok(sum) }
}

fn times(meter: &Meter, a: Value, b: Value) -> Result<Value, Error> {
    let (repeated, n) = if b.as_str().is_some() || is_container(&b) { (&b, &a) } else { (&a, &b) };
    let is_sequence = is_container(repeated);
    if is_sequence || repeated.as_str().is_some() {
        let once = meter.charge_text(repeated)?;
        let n = n.as_i64().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        meter.charge(once.saturating_mul(n))?;
    }
    let product = ENGINE.times.eval(context! { a, b })?;
    if is_sequence { meter.charge_result(product) } else { Ok(product) }
}

fn item(_: &Meter, value: Value, key: Value) -> Result<Value, Error> {
    if is_container(&key) {
        return Err(invalid("a list or a map is used as a key"));
    }
    value.get_item(&key)
}

fn slice(meter: &Meter, args: &[Value]) -> Result<Value, Error> {
    let [v, a, b, c] = args else { return Err(invalid("a slice without its operands")) };
    if let Some(text) = v.as_str() {
        meter.charge(text.len() as u64)?;
    }
    let part = ENGINE.slice.eval(context! { v, a, b, c })?;
    if part.kind() == ValueKind::String { Ok(part) } else { meter.charge_result(part) }
}
