//! What the header declares, and a stand-in library with exactly that: every function exported with its types, none with a body.
//! The binary interface is compared on stand-ins, because a library of Rust carries no types that the comparison understands.
#![allow(dead_code, reason = "each test binary uses some of the helpers")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installed::output;

/// A declaration `TYPE oribi_NAME(PARAMETERS)`, on one line, and its name.
pub struct Function {
    pub name: String,
    pub declaration: String,
}

/// The functions that a header declares, in its order.
pub fn functions(header: &str) -> Vec<Function> {
    let statements = bare(header);
    let declared =
        statements.split(';').map(|statement| statement.rsplit(['{', '}']).next().unwrap_or_default().trim());
    declared.filter(|text| text.ends_with(')') && !text.starts_with("typedef")).map(function).collect()
}

fn function(declaration: &str) -> Function {
    let before = declaration.split('(').next().unwrap();
    let name = before.rsplit([' ', '*']).next().unwrap();
    assert!(name.starts_with("oribi_"), "not a function of oribi: {declaration}");
    Function { name: name.to_owned(), declaration: declaration.to_owned() }
}

/// The names of a header's functions.
pub fn names(header: &str) -> BTreeSet<String> {
    functions(header).into_iter().map(|function| function.name).collect()
}

/// A header without comments, lines of the preprocessor and line ends.
fn bare(header: &str) -> String {
    let code =
        header.split("/*").enumerate().map(|(i, part)| if i == 0 { part } else { part.split_once("*/").unwrap().1 });
    let code: String = code.collect();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| line.split_whitespace().chain([" "])).collect::<Vec<_>>().join(" ")
}

/// The names behind a word at the beginning of lines: `enum NAME`, `#define NAME VALUE`.
fn after<'a>(header: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    header.lines().filter_map(move |line| line.strip_prefix(word)?.split_whitespace().next())
}

/// The source of the stand-in: the functions, and a variable of each enum, as functions take their values as plain integers. The
/// macros that are numbers become an enum, too; the versions are not part of the binary interface.
pub fn stand_in(header: &str) -> String {
    let mut source = "#include \"oribi.h\"\n".to_owned();
    for function in functions(header) {
        writeln!(source, "{} {{ __builtin_trap(); }}", function.declaration).unwrap();
    }
    for name in after(header, "enum ") {
        writeln!(source, "enum {name} values_of_{name};").unwrap();
    }
    let numbers: Vec<&str> = after(header, "#define ")
        .filter(|name| header.lines().any(|line| is_number(line.strip_prefix("#define ").unwrap_or_default(), name)))
        .filter(|name| !name.contains("VERSION"))
        .collect();
    if !numbers.is_empty() {
        let rows: Vec<String> = numbers.iter().map(|name| format!("value_of_{name} = {name}")).collect();
        writeln!(source, "enum values_of_macros {{ {} }} values_of_macros;", rows.join(", ")).unwrap();
    }
    source
}

fn is_number(definition: &str, name: &str) -> bool {
    definition.strip_prefix(name).is_some_and(|value| value.trim().parse::<i64>().is_ok())
}

/// Compiles the stand-in of a header to `folder/liboribi.so`, with debug information and the SONAME of an interface's version.
/// `more` is put behind its source.
pub fn build_stand_in(compiler: &str, header: &str, more: &str, abi: &str, folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("oribi.h"), header).unwrap();
    std::fs::write(folder.join("stand_in.c"), stand_in(header) + more).unwrap();
    let library = folder.join("liboribi.so");
    // A source named without its place: the place would become part of the recorded interface.
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-gdwarf-4", "-O0", "-fPIC", "-shared", "-w", &format!("-Wl,-soname,liboribi.so.{abi}")]);
    output(command.current_dir(folder).arg("stand_in.c").arg("-o").arg(&library));
    library
}

/// The functions and variables that a shared library gives to others.
pub fn exported(library: &Path) -> BTreeSet<String> {
    let text = output(Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(library));
    text.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}
