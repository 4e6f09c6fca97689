//! Runs a template that nobody has vouched for. A template comes with a model file, so it may be written to harm the host.
//!
//! What it can reach: the values it is given, and the filters, tests, methods and functions of [`filters`]. No files, no other
//! templates, no host objects. What it can use: a number of steps (the engine's fuel), an amount of text and of items (the
//! [`Meter`], through which every operation that makes or walks a value goes), a nesting depth, and the stack of a thread of
//! its own. Products of constants and plain text, which the engine would not report, are rewritten first ([`rewrite`]).

use std::sync::{Arc, Mutex};

use minijinja::machinery::{CompiledTemplate, Instructions, TemplateConfig, eval, make_string_output};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{AutoEscape, Environment, Error, State, UndefinedBehavior, context, functions};

use super::meter::{Meter, invalid, is_container};
use super::{clock, filters, operators, rewrite};

/// The limits of one rendering.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Instructions of the compiled template. A conversation of a thousand messages takes some hundred thousand.
    pub steps: u64,
    /// Bytes of text made on the way, the result included; short-lived and repeated ones count each time.
    pub text_bytes: u64,
    /// Bytes of the template's source.
    pub source_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { steps: 4_000_000, text_bytes: 512 << 20, source_bytes: 1 << 20 }
    }
}

/// Enough for the deepest nesting that the engine and the limits allow, in a build without optimisation.
const STACK_BYTES: usize = 32 << 20;

/// Renders `source` with the variables in `root`. The outer error is that of starting a thread.
pub(super) fn render(source: &str, root: Value, limits: &Limits) -> std::io::Result<Result<String, Error>> {
    on_own_stack(|| run(source, root, limits))
}

/// Compiles `source` only.
pub(super) fn check(source: &str, limits: &Limits) -> std::io::Result<Result<(), Error>> {
    on_own_stack(|| compile(&prepare(source, limits)?).map(drop))
}

fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> std::io::Result<Result<T, Error>> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chat template".to_owned()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work)?;
        Ok(running.join().unwrap_or_else(|_| Err(invalid("the template engine panicked"))))
    })
}

/// Blocks and line ends as transformers treats them.
fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

fn prepare(source: &str, limits: &Limits) -> Result<String, Error> {
    if source.len() > limits.source_bytes {
        return Err(rewrite::too_long(limits.source_bytes));
    }
    rewrite::check_lines(source)?;
    let rewritten = rewrite::rewrite(source, &syntax()?)?;
    rewrite::check_lines(&rewritten)?;
    Ok(rewritten)
}

fn compile(source: &str) -> Result<CompiledTemplate<'_>, Error> {
    let config = TemplateConfig { syntax_config: syntax()?, default_auto_escape: Arc::new(|_| AutoEscape::None) };
    let mut compiled = CompiledTemplate::new("template", source, &config)?;
    meter_instructions(&mut compiled.instructions)?;
    compiled.blocks.values_mut().try_for_each(meter_instructions)?;
    Ok(compiled)
}

fn meter_instructions(instructions: &mut Instructions<'_>) -> Result<(), Error> {
    let mut at = 0;
    while let Some(instruction) = instructions.get_mut(at) {
        if let Some(replacement) = operators::replacement(instruction)? {
            *instruction = replacement;
        }
        at += 1;
    }
    Ok(())
}

fn run(source: &str, root: Value, limits: &Limits) -> Result<String, Error> {
    let source = prepare(source, limits)?;
    let meter = Arc::new(Meter::new(limits.text_bytes));
    let namespaces = Arc::new(Namespaces::default());
    let mut out = String::new();
    let result = {
        let mut env = environment(&meter, &namespaces);
        env.set_fuel(Some(limits.steps));
        let compiled = compile(&source)?;
        evaluate(&env, &compiled, root, &mut out)
    };
    namespaces.clear();
    result.map(|()| out)
}

fn evaluate<'env>(
    env: &'env Environment<'env>,
    compiled: &CompiledTemplate<'env>,
    root: Value,
    out: &mut String,
) -> Result<(), Error> {
    eval(env, &compiled.instructions, root, &compiled.blocks, &mut make_string_output(out), AutoEscape::None).map(drop)
}

fn environment(meter: &Arc<Meter>, namespaces: &Arc<Namespaces>) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_debug(false);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.add_global(rewrite::ONE, 1);
    operators::add(&mut env, meter);
    filters::add(&mut env, meter);

    let of = meter.clone();
    env.set_formatter(move |out, _, value| {
        of.charge_text(value)?;
        match value.as_str() {
            Some(text) => out.write_str(text)?,
            None if value.is_undefined() => {}
            None => write!(out, "{value}")?,
        }
        Ok(())
    });
    let of = meter.clone();
    env.add_function("strftime_now", move |format: String| -> Result<String, Error> {
        of.charge((format.len() as u64).saturating_mul(clock::MAX_DIRECTIVE as u64))?;
        Ok(clock::strftime(&format, clock::now()))
    });
    let (of, all) = (meter.clone(), namespaces.clone());
    env.add_function(
        "namespace",
        move |state: &mut State, args: Rest<Value>, kwargs: Kwargs| -> Result<Value, Error> {
            let args = filters::joined(args, kwargs);
            args.iter().filter(|arg| is_container(arg)).try_for_each(|arg| of.charge_shape(arg))?;
            let namespace = Value::from_function(functions::namespace).call(state, &args)?;
            of.charge(64)?;
            all.add(&namespace);
            Ok(namespace)
        },
    );
    env
}

/// The namespaces that a template made. They are the only values that can change, so they can refer to each other in circles
/// and in chains of any length: they are emptied before they are dropped.
#[derive(Default)]
struct Namespaces(Mutex<Vec<Value>>);

impl Namespaces {
    fn add(&self, namespace: &Value) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(namespace.clone());
    }

    fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let env = Environment::empty();
        for namespace in &all {
            let keys: Vec<Value> = namespace.try_iter().into_iter().flatten().collect();
            for key in keys.iter().filter_map(Value::as_str) {
                let is_name = key.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
                let holds_values = namespace.get_attr(key).is_ok_and(|value| is_container(&value));
                if is_name && holds_values {
                    // Only a template can change a namespace. That it fails for an odd key leaves memory, nothing else.
                    let _ = env.render_str(&format!("{{% set n.{key} = none %}}"), context! { n => namespace });
                }
            }
        }
    }
}
