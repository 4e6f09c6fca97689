//! The examples in C, C++, Python and Node are built and run on the real model, and say what the Rust library says.

#![cfg(all(target_os = "linux", feature = "capi"))]

#[path = "common/c_program.rs"]
mod c_program;
mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use c_program::{C99, CPP17};
use oribi::chat::{ChatTemplate, Message};
use oribi::generate::{GenerateOptions, Generation, SequenceForward, ban_end_of_generation};
use oribi::model::{Model, ModelOptions};
use oribi::sampler::{Sampler, SamplerOptions};
use oribi::session::{SequenceId, Session, SessionOptions};

const PROMPT: &str = "The capital of France is";
const QUESTIONS: [&str; 2] = ["What is the capital of France?", "And of Italy?"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn model_file() -> PathBuf {
    common::model("SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// What the Rust library gives.
mod rust {
    use super::*;

    fn model() -> &'static Arc<Model> {
        static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
        MODEL.get_or_init(|| Model::open(model_file(), ModelOptions::default()).unwrap())
    }

    /// Greedy, at most so many tokens: the text, and the tokens.
    fn generate(
        session: &mut Session,
        sequence: SequenceId,
        prompt: &[u32],
        max_tokens: usize,
        endless: bool,
    ) -> (String, Vec<u32>) {
        let tokenizer = model().tokenizer();
        let mut chain = SamplerOptions::greedy();
        if endless {
            ban_end_of_generation(&mut chain, tokenizer);
        }
        let mut sampler = Sampler::new(&chain, tokenizer.n_vocab()).unwrap();
        let mut forward = SequenceForward::new(session, sequence).unwrap();
        let options = GenerateOptions { max_tokens: Some(max_tokens), ..GenerateOptions::default() };
        let pieces = Generation::new(&mut forward, &mut sampler, tokenizer, prompt, options).unwrap();
        let (mut text, mut tokens) = (String::new(), Vec::new());
        for piece in pieces {
            let piece = piece.unwrap();
            text += &piece.text;
            tokens.push(piece.token);
        }
        (text, tokens)
    }

    /// The continuation of a prompt; `endless` bans the tokens that would end it.
    pub fn continued(prompt: &str, max_tokens: usize, endless: bool) -> String {
        let mut session = Session::new(model(), &SessionOptions::default()).unwrap();
        let sequence = session.new_sequence().unwrap();
        let tokens = model().tokenizer().encode(prompt, true, false).unwrap();
        generate(&mut session, sequence, &tokens, max_tokens, endless).0
    }

    /// The answers to questions, each after those before it. As in the examples, a sequence keeps what it has in common with the
    /// next prompt.
    pub fn answers(questions: &[&str]) -> Vec<String> {
        let template = ChatTemplate::choose(model().gguf(), None).unwrap();
        let mut session = Session::new(model(), &SessionOptions::default()).unwrap();
        let sequence = session.new_sequence().unwrap();
        let (mut messages, mut held, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for &question in questions {
            messages.push(Message::new("user", question));
            let prompt = model().tokenizer().encode_prompt(&template.render(&messages, true).unwrap()).unwrap();
            let most = session.len(sequence).unwrap().min(prompt.len() - 1);
            let n_kept = held.iter().zip(&prompt).take(most).take_while(|(a, b)| a == b).count();
            session.truncate(sequence, n_kept).unwrap();
            let (answer, tokens) = generate(&mut session, sequence, &prompt[n_kept..], 256, false);
            held = [prompt, tokens].concat();
            messages.push(Message::new("assistant", answer.as_str()));
            answers.push(answer);
        }
        answers
    }
}

/// The compiled examples, made once: those in C with the static library, those in C++ with the shared one, which lies beside them.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let shared = c_program::shared_library(folder.path());
        let compile = |dialect, library: &Path, name: &str, flags: &[&str]| {
            let program = folder.path().join(name.replace('/', "-"));
            c_program::build_as(dialect, library, &[root().join("examples").join(name)], flags, &program);
        };
        for name in ["c/generate.c", "c/chat.c", "c/embed_loop.c", "c/sessions_on_threads.c"] {
            compile(&C99, &c_program::static_library(), name, &["-pthread"]);
        }
        for name in ["cpp/generate.cpp", "cpp/chat.cpp"] {
            compile(&CPP17, &shared, name, &[]);
        }
        folder
    };
    FOLDER.get_or_init(make).path()
}

/// A compiled example.
fn compiled(source: &str) -> Command {
    Command::new(folder().join(source.replace('/', "-")))
}

/// An example that an interpreter runs, with the shared library.
fn interpreted(interpreter: &str, source: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(root().join("examples").join(source)).env("ORIBI_LIBRARY", c_program::shared_library(folder()));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Node, whose package scripts/setup installs.
fn node(source: &str) -> Command {
    assert!(root().join("examples/node/node_modules/koffi").is_dir(), "koffi is absent: run scripts/setup --tests");
    interpreted("node", source)
}

/// `generate` in every language.
fn generators() -> [(&'static str, Command); 4] {
    [
        ("C", compiled("c/generate.c")),
        ("C++", compiled("cpp/generate.cpp")),
        ("Python", interpreted("python3", "python/generate.py")),
        ("Node", node("node/generate.js")),
    ]
}

/// Runs a program with text on its standard input.
fn run(mut program: Command, args: &[&str], input: &str) -> Output {
    program.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = program.get_program().to_owned();
    let mut child = program.spawn().unwrap_or_else(|e| panic!("{}: {e}; run scripts/setup --tests", name.display()));
    // A program that reads nothing may have ended.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// The same for a program that is to succeed, silently on standard error.
fn output(program: Command, args: &[&str], input: &str) -> String {
    let Output { status, stdout, stderr } = run(program, args, input);
    assert!(status.success(), "{status}\n{}", String::from_utf8_lossy(&stderr));
    assert_eq!(String::from_utf8_lossy(&stderr), "");
    String::from_utf8(stdout).unwrap()
}

#[test]
fn every_language_generates_what_rust_does() {
    let expected = rust::continued(PROMPT, 24, false) + "\n";
    assert!(expected.len() > 24);
    for (language, program) in generators() {
        assert_eq!(output(program, &[model_file().to_str().unwrap(), PROMPT], ""), expected, "{language}");
    }
}

#[test]
fn every_language_says_why_it_failed() {
    for (language, program) in generators() {
        let Output { status, stdout, stderr } = run(program, &["no/such/model.gguf", PROMPT], "");
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{language}: {stderr}");
        assert!(stdout.is_empty(), "{language}");
        let words = ["no/such/model.gguf", "No such file", "ORIBI_STATUS_IO"];
        assert!(words.iter().all(|word| stderr.contains(word)) && stderr.lines().count() == 1, "{language}: {stderr}");
    }
}

#[test]
fn conversations_are_those_of_rust() {
    let expected = rust::answers(&QUESTIONS).join("\n") + "\n";
    assert!(expected.contains("Paris") && expected.contains("Rome"), "{expected}");
    let programs = [
        ("C", compiled("c/chat.c")),
        ("C++", compiled("cpp/chat.cpp")),
        ("Python", interpreted("python3", "python/chat.py")),
    ];
    let input = QUESTIONS.map(|question| format!("{question}\n")).concat();
    for (language, program) in programs {
        assert_eq!(output(program, &[model_file().to_str().unwrap()], &input), expected, "{language}");
    }
}

#[test]
fn sessions_on_threads_give_what_each_gives_alone() {
    let prompts = [PROMPT, "Once upon a time", "The capital of Italy is", "def add(a, b):", "Water boils at"];
    let expected: String = prompts.iter().map(|p| format!("{p}{}\n", rust::continued(p, 24, false))).collect();
    let model = model_file();
    let args = [&[model.to_str().unwrap()], prompts.as_slice()].concat();
    assert_eq!(output(compiled("c/sessions_on_threads.c"), &args, ""), expected);
}

/// The text of a generation that a timer ended, and the line behind it.
fn cancelled(program: Command, milliseconds: &str) -> (String, String) {
    let printed = output(program, &[model_file().to_str().unwrap(), "Once upon a time", milliseconds], "");
    let (text, last) = printed.trim_end_matches('\n').rsplit_once('\n').unwrap();
    assert!(last.starts_with("cancelled"), "{last}");
    (text.to_owned(), last.to_owned())
}

fn numbers(text: &str) -> Vec<usize> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn a_timer_ends_a_generation_in_the_hosts_loop() {
    let (text, last) = cancelled(compiled("c/embed_loop.c"), "1500");
    let [n_frames, n_pieces, n_held] = numbers(&last)[..] else { panic!("{last}") };
    // The frame in which it was cancelled had no piece; the last piece's token was perhaps evaluated, the prompt's 4 were.
    assert!(n_pieces > 0 && n_frames == n_pieces + 1, "{last}");
    assert!(n_held == 4 + n_pieces || n_held == 4 + n_pieces - 1, "{last}");
    assert!(!text.is_empty() && rust::continued("Once upon a time", n_pieces, true).starts_with(&text), "{text}");
}

#[test]
fn a_timer_ends_a_stream_while_the_event_loop_goes_on() {
    let (text, last) = cancelled(node("node/stream.js"), "1500");
    let [n_pieces, n_turns] = numbers(&last)[..] else { panic!("{last}") };
    assert!(n_pieces > 0 && n_turns > 10, "{last}");
    assert!(!text.is_empty() && rust::continued("Once upon a time", n_pieces, true).starts_with(&text), "{text}");
}

#[test]
fn a_long_prompt_is_cancelled_while_it_is_read() {
    let prompt = "word ".repeat(7000);
    let printed = output(compiled("c/embed_loop.c"), &[model_file().to_str().unwrap(), &prompt, "10"], "");
    assert_eq!(printed, "\ncancelled after 1 frames, 0 pieces; the sequence holds 0 tokens\n");
}

/// The functions of oribi.h with their numbers of arguments.
fn functions() -> Vec<(String, usize)> {
    let header = std::fs::read_to_string(root().join("include/oribi.h")).unwrap();
    let mut parts = header.split("/*");
    let first = parts.next().unwrap();
    let code: String = std::iter::once(first).chain(parts.map(|part| part.split_once("*/").unwrap().1)).collect();
    let code = code.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let declared = code.split(';').filter_map(|declaration| {
        let (head, args) = declaration.split_once('(')?;
        let name = head.split([' ', '*']).next_back()?.strip_prefix("oribi_")?;
        let n_args = if args.starts_with("void)") { 0 } else { args.split(',').count() };
        Some((name.to_owned(), n_args))
    });
    declared.collect()
}

/// Every declaration that Python and Node repeat has a function of that name and number of arguments.
#[test]
fn declarations_are_those_of_the_header() {
    let functions = functions();
    assert!(functions.len() > 100 && functions.contains(&("generation_new".to_owned(), 7)), "{functions:?}");
    let read = |file: &str| std::fs::read_to_string(root().join("examples").join(file)).unwrap();

    let python = read("python/oribi.py");
    let table = python.split_once("_FUNCTIONS = {").unwrap().1.split_once("\n}").unwrap().0;
    let joined = table.replace("(\n        ", "(").replace("\n    )", ")").replace("*_lent", "a, b");
    let mut declared: Vec<(String, usize)> = Vec::new();
    for line in joined.lines().map(str::trim).filter(|line| line.starts_with('"')) {
        let (name, row) = line.split_once(": (").unwrap();
        declared.push((name.trim_matches('"').to_owned(), row.trim_end_matches([',', ')']).matches(',').count()));
    }
    let n_python = declared.len();

    let node = read("node/oribi.js").replace("' +\n      '", "");
    for part in node.split("oribi_").skip(1) {
        let Some((name, args)) = part.split_once('(') else { continue };
        let args = args.split_once(')').unwrap().0;
        declared.push((name.to_owned(), if args.is_empty() { 0 } else { args.split(',').count() }));
    }
    assert!(n_python > 40 && declared.len() > n_python + 25, "{declared:?}");
    for one in declared {
        assert!(functions.contains(&one), "oribi.h has no oribi_{} with {} arguments", one.0, one.1);
    }
}

/// The C++ header leaves no function out.
#[test]
fn the_cpp_header_covers_the_c_header() {
    let header = std::fs::read_to_string(root().join("include/oribi.hpp")).unwrap();
    let words: Vec<&str> = header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let absent: Vec<String> =
        functions().into_iter().map(|(name, _)| format!("oribi_{name}")).filter(|f| !words.contains(&&**f)).collect();
    assert!(absent.is_empty(), "oribi.hpp leaves out {absent:?}");
}
