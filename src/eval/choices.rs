//! Multiple choice: of several endings of a text the model should find the right one the likeliest.
//!
//! The endings of a task are scored as `lm-evaluation-harness` does it: each is appended to the context after a space, and its score is
//! the log-likelihood of its tokens; `acc` takes the best sum, `acc_norm` the best sum divided by the ending's length in characters.

use super::{Estimate, OnChunk, scores};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::model::Model;
use crate::session::{Batch, Control, Role, SequenceId, Session, SessionOptions};
use crate::tokenizer::Tokenizer;
use rayon::prelude::*;
use serde_json::Value;
use std::sync::Arc;

/// The most endings of a task.
const MAX_ENDINGS: usize = 64;
/// Tasks that are computed together: their short texts fill a batch.
const GROUP: usize = 4;

/// A text, its possible endings, and which of them is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What the endings follow.
    pub context: String,
    /// Two or more.
    pub endings: Vec<String>,
    /// Index of the right one.
    pub label: usize,
}

impl Task {
    /// Tasks from lines of JSON. Of each object these fields count: `ctx` (or `query`), `endings` (or `choices`), a list of texts, and
    /// `label` (or `gold`), the index of the right one as a number or a string. In the records of HellaSwag, which also have an
    /// `activity_label`, that comes first, and marks in brackets are taken out, as is usual for this task.
    ///
    /// # Errors
    /// `InvalidFile` naming the line and the field.
    pub fn parse_lines(text: &str) -> Result<Vec<Task>> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let tasks: Vec<Task> = lines
            .map(|(i, line)| Task::parse(line).map_err(|e| e.within(format_args!("line {}", i + 1))))
            .collect::<Result<_>>()?;
        if tasks.is_empty() {
            bail!(InvalidFile, "there are no tasks");
        }
        Ok(tasks)
    }

    fn parse(line: &str) -> Result<Task> {
        let object: Value =
            serde_json::from_str(line).map_err(|e| Error::new(ErrorKind::InvalidFile, format!("not JSON: {e}")))?;
        let field = |names: [&str; 2]| match names.iter().find_map(|name| object.get(name)) {
            Some(value) => Ok(value),
            None => bail!(InvalidFile, "the fields `{}` and `{}` are missing", names[0], names[1]),
        };
        let Some(context) = field(["ctx", "query"])?.as_str() else { bail!(InvalidFile, "the context is no text") };
        let endings = field(["endings", "choices"])?.as_array();
        let texts: Option<Option<Vec<String>>> =
            endings.map(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        let Some(Some(mut endings)) = texts else {
            bail!(InvalidFile, "the endings are no list of texts");
        };
        let label = field(["label", "gold"])?;
        let label = label.as_u64().or_else(|| label.as_str()?.trim().parse().ok());
        let label = label.and_then(|label| usize::try_from(label).ok()).filter(|&label| label < endings.len());
        let Some(label) = label else {
            bail!(InvalidFile, "the label is not the index of one of {} endings", endings.len());
        };
        if !(2..=MAX_ENDINGS).contains(&endings.len()) || endings.iter().any(|ending| ending.trim().is_empty()) {
            bail!(InvalidFile, "{} endings, or an empty one, are no choice (2..={MAX_ENDINGS})", endings.len());
        }
        let mut context = context.to_owned();
        if let Some(activity) = object.get("activity_label").and_then(Value::as_str) {
            context = without_marks(&format!("{activity}: {context}"));
            endings.iter_mut().for_each(|ending| *ending = without_marks(ending));
        }
        Ok(Task { context, endings, label })
    }
}

/// HellaSwag's marks taken out: " [title]" ends a sentence, what else is in brackets goes.
fn without_marks(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        let Some((_, behind)) = after.split_once(']') else { break };
        out.push_str(before);
        rest = behind;
    }
    out.push_str(rest);
    out.replace("  ", " ")
}

/// The result of [`score_choices`].
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceScores {
    /// The share of tasks whose right ending has the largest log-likelihood.
    pub acc: Estimate,
    /// The same, log-likelihoods divided by the endings' lengths in characters.
    pub acc_norm: Estimate,
    /// For every task, what was picked by either measure.
    pub picks: Vec<[usize; 2]>,
}

/// Scores tasks with a model, in a session of these options but as large as the tasks need. `stop` is asked all the time, at least every 50 ms.
///
/// # Errors
/// `InvalidArgument` for a task whose ending has no tokens of its own; those of [`Session::new`] and [`Session::decode_with`], and of
/// `on_task`.
pub fn score_choices(
    model: &Arc<Model>,
    tasks: &[Task],
    options: &SessionOptions,
    stop: &(dyn Fn() -> bool + Sync),
    on_task: OnChunk<'_>,
) -> Result<ChoiceScores> {
    let encode =
        |(i, task)| Encoded::new(model.tokenizer(), task).map_err(|e| e.within(format_args!("task {}", i + 1)));
    let encoded = tasks.iter().enumerate().map(encode).collect::<Result<Vec<_>>>()?;
    let n_ctx = encoded.iter().flat_map(|task| task.texts.iter().map(Vec::len)).max().unwrap_or(1);
    let n_sequences = GROUP * (1 + encoded.iter().map(|task| task.texts.len()).max().unwrap_or(0));
    let sizes = SessionOptions { n_ctx, n_sequences, ..options.clone() };
    let max_outputs = super::runtime::max_rows(model.hparams().n_vocab, sizes.n_batch);
    let mut scorer = Scorer { session: Session::new(model, &SessionOptions { max_outputs, ..sizes })?, stop };
    let (mut picks, mut is_right, mut is_right_norm) = (Vec::new(), Vec::new(), Vec::new());
    for (group, tasks) in encoded.chunks(GROUP).zip(tasks.chunks(GROUP)) {
        for (task, sums) in tasks.iter().zip(scorer.score(group)?) {
            let n_chars = |i: usize| task.endings[i].chars().count() as f64;
            let norms: Vec<f64> = sums.iter().enumerate().map(|(i, sum)| sum / n_chars(i)).collect();
            let pick = [best(&sums), best(&norms)];
            is_right.push(pick[0] == task.label);
            is_right_norm.push(pick[1] == task.label);
            picks.push(pick);
        }
        on_task(picks.len(), encoded.len())?;
    }
    Ok(ChoiceScores {
        acc: Estimate::of_share(is_right.into_iter()),
        acc_norm: Estimate::of_share(is_right_norm.into_iter()),
        picks,
    })
}

/// The index of the largest, the first of equals.
fn best(scores: &[f64]) -> usize {
    (0..scores.len()).reduce(|best, i| if scores[i] > scores[best] { i } else { best }).unwrap_or(0)
}

/// A task in tokens.
struct Encoded {
    /// The context with each ending.
    texts: Vec<Vec<u32>>,
    /// Tokens at the beginning that are the context in all of them.
    n_context: usize,
}

impl Encoded {
    fn new(tokenizer: &Tokenizer, task: &Task) -> Result<Encoded> {
        let context = tokenizer.encode(&task.context, true, false)?;
        let whole = |ending: &String| tokenizer.encode(&format!("{} {ending}", task.context), true, false);
        let texts = task.endings.iter().map(whole).collect::<Result<Vec<_>>>()?;
        // A tokenizer may join the end of the context to what follows.
        let common = |text: &Vec<u32>| text.iter().zip(&context).take_while(|(a, b)| a == b).count();
        let n_context = texts.iter().map(common).min().unwrap_or(0);
        if n_context == 0 || texts.iter().any(|text| text.len() == n_context) {
            bail!(InvalidArgument, "the context or an ending has no tokens of its own");
        }
        Ok(Encoded { texts, n_context })
    }

    fn context(&self) -> &[u32] {
        &self.texts[0][..self.n_context]
    }
}

/// A token of an ending whose logits predict the next one.
#[derive(Clone, Copy)]
struct Step {
    sequence: SequenceId,
    token: u32,
    next: u32,
    /// Task of the group, and ending.
    at: (usize, usize),
}

struct Scorer<'a> {
    session: Session,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Scorer<'_> {
    /// The log-likelihood of each ending of each task.
    fn score(&mut self, group: &[Encoded]) -> Result<Vec<Vec<f64>>> {
        let mut sequences = Vec::new();
        let sums = self.score_in(group, &mut sequences);
        sequences.into_iter().try_for_each(|sequence| self.session.remove(sequence))?;
        sums
    }

    fn score_in(&mut self, group: &[Encoded], sequences: &mut Vec<SequenceId>) -> Result<Vec<Vec<f64>>> {
        let mut batch = Batch::new();
        for task in group {
            let sequence = self.session.new_sequence()?;
            sequences.push(sequence);
            let last = task.n_context - 1;
            let tokens = task.context().iter().enumerate();
            tokens.for_each(|(i, &token)| batch.push(sequence, token, Role::Prompt, i == last));
        }
        self.decode(&batch)?;
        let mut sums = Vec::new();
        for (i, task) in group.iter().enumerate() {
            let logits = self.logits(i)?;
            let first = |text: &Vec<u32>| scores::nll(logits, text[task.n_context]).map(|nll| -nll);
            sums.push(task.texts.iter().map(first).collect::<Result<Vec<f64>>>()?);
        }
        let mut steps = Vec::new();
        for (i, task) in group.iter().enumerate() {
            for (j, text) in task.texts.iter().enumerate() {
                let sequence = self.session.fork(sequences[i])?;
                sequences.push(sequence);
                let ending = &text[task.n_context..];
                let pairs = ending.windows(2);
                steps.extend(pairs.map(|pair| Step { sequence, token: pair[0], next: pair[1], at: (i, j) }));
            }
        }
        for steps in steps.chunks(self.session.options().max_outputs) {
            let mut batch = Batch::new();
            steps.iter().for_each(|step| batch.push(step.sequence, step.token, Role::Prompt, true));
            self.decode(&batch)?;
            let nll = self.nll(steps)?;
            steps.iter().zip(nll).for_each(|(step, nll)| sums[step.at.0][step.at.1] -= nll);
        }
        Ok(sums)
    }

    /// The negative log-likelihoods of the next tokens, after a batch of these steps.
    fn nll(&self, steps: &[Step]) -> Result<Vec<f64>> {
        let rows = (0..steps.len()).map(|i| self.logits(i)).collect::<Result<Vec<_>>>()?;
        rows.par_iter().zip(steps).map(|(row, step)| scores::nll(row, step.next)).collect()
    }

    fn decode(&mut self, batch: &Batch) -> Result<()> {
        self.session.decode_with(batch, Control { stop: Some(self.stop), progress: None })
    }

    fn logits(&self, i: usize) -> Result<&[f32]> {
        match self.session.logits(i) {
            Some(logits) => Ok(logits),
            None => bail!(Internal, "the logits of output {i} are missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_either_spelling_are_read() {
        let text = concat!(
            "{\"ctx\": \"A man\", \"endings\": [\"runs.\", \"flies.\"], \"label\": \"1\"}\n\n",
            "{\"query\": \"q\", \"choices\": [\"a\", \"b\", \"c\"], \"gold\": 2, \"id\": 7}\n",
            "{\"activity_label\": \"Roof\", \"ctx\": \"[header] He [title] is  up\", \"endings\": [\"a [step] b\", \"c\"], \"label\": 0}",
        );
        let tasks = Task::parse_lines(text).unwrap();
        assert_eq!(tasks[0].label, 1);
        assert_eq!((tasks[1].context.as_str(), tasks[1].endings.len(), tasks[1].label), ("q", 3, 2));
        assert_eq!(tasks[2].context, "Roof: He. is up");
        assert_eq!(tasks[2].endings, ["a b", "c"]);
    }

    #[test]
    fn what_is_no_task_is_refused_by_line_and_field() {
        let cases = [
            ("", "no tasks"),
            ("{", "line 1: not JSON"),
            ("\n[1]", "line 2: the fields `ctx` and `query`"),
            (r#"{"ctx": 1, "endings": ["a", "b"], "label": 0}"#, "context is no text"),
            (r#"{"ctx": "x", "label": 0}"#, "`endings` and `choices`"),
            (r#"{"ctx": "x", "endings": ["a", 3], "label": 0}"#, "no list of texts"),
            (r#"{"ctx": "x", "endings": ["a", "b"]}"#, "`label` and `gold`"),
            (r#"{"ctx": "x", "endings": ["a", "b"], "label": 2}"#, "label"),
            (r#"{"ctx": "x", "endings": ["a", "b"], "label": -1}"#, "label"),
            (r#"{"ctx": "x", "endings": ["a"], "label": 0}"#, "no choice"),
            (r#"{"ctx": "x", "endings": ["a", " "], "label": 0}"#, "no choice"),
        ];
        for (text, words) in cases {
            let error = Task::parse_lines(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }
}
