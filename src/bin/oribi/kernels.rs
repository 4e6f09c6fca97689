//! `oribi inspect --kernels`: which kernel this CPU would use for what.

use std::collections::BTreeMap;

use oribi::Result;
use oribi::backend::cpu::choice::{MatmulChoice, PackedBits};
use oribi::backend::cpu::kernels::{Acts, Isa, Kernel, KernelSet};
use oribi::dtype::{DType, TABLE};
use oribi::gguf::Gguf;
use oribi::quant;
use serde_json::json;

use crate::inspect::{Totals, plain_table, section};
use crate::{cache, output};

/// One format's kernels, and how much of a model is in it.
struct Format {
    dtype: DType,
    totals: Option<Totals>,
    bits: PackedBits,
    choice: MatmulChoice,
}

/// Prints the kernels for a model's formats, or for all.
pub fn run(model: Option<&str>, json: bool) -> Result<()> {
    let kernels = KernelSet::new(Isa::choose(None)?)?;
    let formats = match model {
        Some(model) => formats_of(&Gguf::open(&cache::resolve(Some(model))?)?, &kernels)?,
        None => TABLE
            .iter()
            .filter(|row| quant::is_supported(row.dtype))
            .map(|row| format(row.dtype, None, &kernels))
            .collect::<Result<_>>()?,
    };
    if json { output::print_json(&as_json(&kernels, &formats)) } else { output::print(&as_text(&kernels, &formats)) }
}

/// The formats of a file's matrices. Vectors are read as float32 and meet no kernel of their own.
fn formats_of(gguf: &Gguf, kernels: &KernelSet) -> Result<Vec<Format>> {
    let mut groups: BTreeMap<DType, Vec<_>> = BTreeMap::new();
    for tensor in gguf.tensors().iter().filter(|tensor| tensor.shape.len() == 2) {
        groups.entry(tensor.dtype).or_default().push(tensor);
    }
    groups.into_iter().map(|(dtype, tensors)| format(dtype, Some(Totals::of(tensors)), kernels)).collect()
}

fn format(dtype: DType, totals: Option<Totals>, kernels: &KernelSet) -> Result<Format> {
    let choice = kernels.matmul_choice(dtype)?;
    // A format with kernels has a size.
    let bits = PackedBits::of(dtype).unwrap_or(PackedBits { file: 0.0, packed: 0.0 });
    Ok(Format { dtype, totals, bits, choice })
}

fn as_text(kernels: &KernelSet, formats: &[Format]) -> String {
    let isa = kernels.isa();
    let mut text = format!("kernels for {isa}: {}\n", isa.features());
    let with_totals = formats.iter().any(|format| format.totals.is_some());
    let mut head: Vec<&str> = vec!["format"];
    if with_totals {
        head.extend(["tensors", "size"]);
    }
    head.extend(["bits", "packed", "1 row", "few rows", "many rows", "native prompts"]);
    let rows = std::iter::once(head.into_iter().map(String::from).collect()).chain(formats.iter().map(format_row));
    let right: &[usize] = if with_totals { &[1, 2, 3] } else { &[1] };
    text += &section("matrix products, by rows of activations", plain_table(rows.collect(), right));
    let rows =
        operations(kernels).into_iter().map(|op| vec![op.name.to_string(), op.of, op.kernels, op.isa.to_string()]);
    text += &section("other operations", plain_table(rows.collect(), &[]));
    text
}

fn format_row(format: &Format) -> Vec<String> {
    let Format { dtype, totals, bits, choice } = format;
    let mut row = vec![dtype.to_string()];
    if let Some(totals) = totals {
        row.extend([totals.n_tensors.to_string(), output::human_bytes(totals.n_bytes)]);
    }
    let expanded = if bits.is_expanded() { "expanded to " } else { "" };
    row.push(format!("{:.2}", bits.file));
    row.push(format!("{expanded}{:.2}", bits.packed));
    row.push(short_name(choice.one_row));
    row.push(match choice.n_few {
        0 | 1 => "as many".to_string(),
        n_few => format!("2..{n_few} {}", short_name(choice.few_rows)),
    });
    row.push(format!("{}.. {}", choice.n_few.max(1) + 1, short_name(choice.many_rows)));
    row.push(choice.native.map_or("as portable".to_string(), short_name));
    row
}

/// A matmul kernel's name without what every one of them begins with; the scalar ones are called so.
fn short_name(kernel: Kernel) -> String {
    let name = kernel.name().trim_start_matches("oribi_matmul_");
    if kernel.isa() == Isa::Scalar { format!("{name} (scalar)") } else { name.to_string() }
}

/// Kernels of one operation and instruction set.
struct Operation {
    name: &'static str,
    /// What they are for: a layout, a cache format, or how many formats.
    of: String,
    kernels: String,
    isa: Isa,
}

/// Operations besides the products; of those with a kernel per weight format one line.
fn operations(kernels: &KernelSet) -> Vec<Operation> {
    let mut found: Vec<Operation> = Vec::new();
    let others = kernels.other_kernels();
    for kernel in &others {
        let name = kernel.operation();
        let per_format = matches!(name, "pack" | "unpack_row");
        if per_format && found.iter().any(|op| op.name == name && op.isa == kernel.isa()) {
            continue;
        }
        let n_formats = others.iter().filter(|k| k.operation() == name && k.isa() == kernel.isa()).count();
        found.push(Operation {
            name,
            of: match kernel.dtype() {
                _ if per_format => format!("{n_formats} formats"),
                Some(dtype) if kernel.is_native() => format!("{dtype}, native prompts"),
                Some(dtype) => dtype.to_string(),
                None if kernel.acts() != Acts::None => format!("to {:?}", kernel.acts()).to_lowercase(),
                None => String::new(),
            },
            kernels: if per_format { format!("oribi_{name}_*") } else { kernel.name().to_string() },
            isa: kernel.isa(),
        });
    }
    found
}

fn as_json(kernels: &KernelSet, formats: &[Format]) -> serde_json::Value {
    let operation = |k: Kernel| {
        json!({
            "operation": k.operation(),
            "format": k.dtype().map(DType::name),
            "numerics": if k.is_native() { "native" } else { "portable" },
            "kernel": k.name(),
            "isa": k.isa().name(),
        })
    };
    let operations: Vec<_> = kernels.other_kernels().into_iter().map(operation).collect();
    json!({
        "isa": kernels.isa().name(),
        "features": kernels.isa().features(),
        "formats": formats.iter().map(format_json).collect::<Vec<_>>(),
        "operations": operations,
    })
}

fn format_json(format: &Format) -> serde_json::Value {
    let Format { dtype, totals, bits, choice } = format;
    let kernel = |rows: String, kernel: Kernel, numerics: &str| json!({"rows": rows, "numerics": numerics, "kernel": kernel.name(), "isa": kernel.isa().name()});
    let mut classes = vec![kernel("1".to_string(), choice.one_row, "portable")];
    if choice.n_few > 1 {
        classes.push(kernel(format!("2..{}", choice.n_few), choice.few_rows, "portable"));
    }
    classes.push(kernel(format!("{}..", choice.n_few.max(1) + 1), choice.many_rows, "portable"));
    classes.extend(choice.native.map(|native| kernel("prompt".to_string(), native, "native")));
    let mut object = json!({
        "format": dtype.name(),
        "bits_per_weight": bits.file,
        "packed_bits_per_weight": bits.packed,
        "expanded": bits.is_expanded(),
        "kernels": classes,
    });
    if let Some(totals) = totals {
        object["n_tensors"] = json!(totals.n_tensors);
        object["n_bytes"] = json!(totals.n_bytes);
    }
    object
}
