//! Scripts of steps through shellcheck, where it is installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use trainyard_diagnostics::{Diagnostic, Severity, Source, Span};
use trainyard_expression::Template;
use trainyard_job::spec::{StepKind, StepSpec};
use trainyard_workflow::action::{Action, ActionRuns};
use trainyard_workflow::model::{JobKind, Workflow};
use trainyard_workflow::span_of;

use crate::error::{Error, Result};
use crate::host::environment::which;

/// What cannot be told here: other files, placeholders that look constant, variables of `env`.
const EXCLUDED: &str = "SC1091,SC2043,SC2050,SC2153,SC2154,SC2157,SC2194";
/// Scripts of one call.
const BATCH: usize = 200;

/// A script with its place.
pub(super) struct Script {
    /// The file it is of, by the caller's number.
    file: usize,
    span: Span,
    /// Whether its lines are lines of the file; columns are moved by so many.
    indent: Option<usize>,
    shell: &'static str,
    text: String,
}

#[derive(Deserialize)]
struct Answer {
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
struct Comment {
    file: PathBuf,
    line: usize,
    column: usize,
    level: String,
    code: u32,
    message: String,
}

/// The scripts of bash and sh of a workflow.
pub(super) fn of_workflow(file: usize, source: &Source, workflow: &Workflow) -> Vec<Script> {
    let mut scripts = Vec::new();
    let text = |t: &Option<Template>| t.as_ref().and_then(Template::as_str).map(str::to_owned);
    for job in &workflow.jobs {
        let JobKind::Steps(steps) = &job.kind else { continue };
        let default = text(&steps.defaults.shell).or_else(|| text(&workflow.defaults.shell));
        // Where the shell is not said it is bash, but on Windows, which an expression may mean.
        let runs_on = steps.runs_on.as_str().unwrap_or("?");
        let linux = !runs_on.contains("windows") && runs_on != "?";
        let default = default.or_else(|| linux.then(|| "bash".to_owned()));
        collect(file, source, &steps.steps, default.as_deref(), &mut scripts);
    }
    scripts
}

/// Those of a composite action, which says every shell.
pub(super) fn of_action(file: usize, source: &Source, action: &Action) -> Vec<Script> {
    let mut scripts = Vec::new();
    if let ActionRuns::Composite(spec) = &action.runs {
        collect(file, source, &spec.steps, None, &mut scripts);
    }
    scripts
}

fn collect(
    file: usize,
    source: &Source,
    steps: &[StepSpec],
    default: Option<&str>,
    out: &mut Vec<Script>,
) {
    for step in steps {
        let StepKind::Run { script, shell, .. } = &step.kind else { continue };
        let named = match shell {
            Some(template) => template.as_str(),
            None => default,
        };
        let shell = match named.map(|n| n.split(' ').next().unwrap_or_default()) {
            Some("bash") => "bash",
            Some("sh") => "sh",
            _ => continue,
        };
        let span = span_of(script.place);
        let (text, indent) = as_written(source.slice(span));
        let text = without_expressions(&text);
        out.push(Script { file, span, indent, shell, text });
    }
}

/// The script as it stands in the file, and how far its lines are indented, if they are its own.
fn as_written(raw: &str) -> (String, Option<usize>) {
    if raw.starts_with('|') {
        let body = raw.split_once('\n').map_or("", |(_, body)| body);
        let first = body.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
        let indent = first.len() - first.trim_start_matches(' ').len();
        let lines: Vec<&str> = body.lines().map(|l| l.get(indent..).unwrap_or("")).collect();
        return (lines.join("\n"), Some(indent));
    }
    // Quotes, escapes and folded lines are read as YAML has them; the lines are not the file's then.
    let source = Source::new("script", raw);
    let read = trainyard_yaml::parse(&source).ok();
    let text = read.as_ref().and_then(|node| node.as_str().map(str::to_owned));
    (text.unwrap_or_else(|| raw.to_owned()), None)
}

/// Each expression as a word of the same length.
fn without_expressions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        out.push_str(before);
        let Some((inside, after)) = after.split_once("}}") else {
            out.push_str("${{");
            rest = after;
            continue;
        };
        let word: String = inside.chars().map(|c| if c == '\n' { '\n' } else { '_' }).collect();
        out.push_str(&format!("___{word}__"));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What shellcheck says, by the number of the file; nothing where it is not installed.
pub(super) fn run(
    scripts: &[Script],
    sources: &[&Source],
) -> Result<BTreeMap<usize, Vec<Diagnostic>>> {
    let mut found: BTreeMap<usize, Vec<Diagnostic>> = BTreeMap::new();
    let path = std::env::var("PATH").unwrap_or_default();
    let Some(program) = which("shellcheck", &path).filter(|_| !scripts.is_empty()) else {
        return Ok(found);
    };
    let folder = std::env::temp_dir().join(format!("trainyard-shellcheck-{}", std::process::id()));
    // Of this process alone: the folder for temporary files is everybody's.
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .create(&folder)
        .map_err(|e| Error::io("create the folder", &folder, &e))?;
    // Equal scripts are looked at once: repositories repeat themselves.
    let mut equal: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (number, script) in scripts.iter().enumerate() {
        equal.entry((script.shell, &script.text)).or_default().push(number);
    }
    let groups: Vec<Vec<usize>> = equal.into_values().collect();
    let mut batches: Vec<(&'static str, Vec<(usize, &Script)>)> = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let size = groups.len().div_ceil(cores).clamp(1, BATCH);
    for (group, numbers) in groups.iter().enumerate() {
        let script = &scripts[numbers[0]];
        match batches.last_mut().filter(|(shell, b)| *shell == script.shell && b.len() < size) {
            Some((_, batch)) => batch.push((group, script)),
            None => batches.push((script.shell, vec![(group, script)])),
        }
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut said = Vec::new();
        while let Some((shell, batch)) =
            batches.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            said.extend(ask(&program, shell, &folder, batch)?);
        }
        Ok(said)
    };
    let answers: Vec<Result<Vec<Comment>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores.min(batches.len())).map(|_| scope.spawn(work)).collect();
        let lost = || Err(Error::new("a thread that asked shellcheck is gone"));
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| lost())).collect()
    });
    let _ = std::fs::remove_dir_all(&folder);
    for comment in answers.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        let number = comment.file.file_stem().and_then(|n| n.to_str()?.parse::<usize>().ok());
        for script in number.and_then(|n| groups.get(n)).into_iter().flatten() {
            let script = &scripts[*script];
            let Some(source) = sources.get(script.file) else { continue };
            found.entry(script.file).or_default().push(place(source, script, &comment));
        }
    }
    Ok(found)
}

/// The lines that stand before a script: what the runner's own options do.
fn prelude(shell: &str) -> &'static str {
    if shell == "bash" { "set -eo pipefail\n" } else { "set -e\n" }
}

/// Bytes of the comments and empty lines that a script begins with.
fn comments(text: &str) -> usize {
    let is_head = |l: &&str| l.trim().is_empty() || l.trim_start().starts_with('#');
    text.split_inclusive('\n').take_while(is_head).filter(|l| l.ends_with('\n')).map(str::len).sum()
}

fn ask(
    program: &Path,
    shell: &str,
    folder: &Path,
    batch: &[(usize, &Script)],
) -> Result<Vec<Comment>> {
    let mut command = Command::new(program);
    command.args(["--norc", "--format=json1", "--shell", shell, "--exclude", EXCLUDED]);
    for (number, script) in batch {
        let file = folder.join(format!("{number}.sh"));
        // Directives stand before the first command, and so before what the runner sets.
        let (head, rest) = script.text.split_at(comments(&script.text));
        std::fs::write(&file, format!("{head}{}{rest}\n", prelude(shell)))
            .map_err(|e| Error::io("write", &file, &e))?;
        command.arg(&file);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::new(format!("shellcheck cannot be started: {e}")))?;
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        Error::new(format!("shellcheck gives no answer: {}", said.trim()))
            .hint("--no-shellcheck leaves it out")
    })?;
    Ok(answer.comments)
}

fn place(source: &Source, script: &Script, comment: &Comment) -> Diagnostic {
    let severity = match comment.level.as_str() {
        "error" | "warning" => Severity::Warning,
        _ => Severity::Info,
    };
    let span = script.indent.and_then(|indent| {
        // Its first line is the second of the block; behind its comments stands one more in the copy.
        let text = source.slice(script.span);
        let head = script.text[..comments(&script.text)].matches('\n').count();
        let line = if comment.line > head { comment.line.checked_sub(1)? } else { comment.line };
        let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let own = text.get(before + indent..)?;
        let column = own.char_indices().nth(comment.column.saturating_sub(1)).map_or(0, |(i, _)| i);
        let start = script.span.start + before + indent + column;
        let rest = source.text().get(start..script.span.end)?;
        let word = rest.split(char::is_whitespace).next().map_or(1, str::len).max(1);
        Some(Span::new(start, start + word))
    });
    let span = span.unwrap_or_else(|| {
        let first = source.slice(script.span).lines().next().map_or(1, str::len).max(1);
        Span::new(script.span.start, script.span.start + first)
    });
    let message =
        format!("shellcheck SC{}: {}", comment.code, comment.message.trim_end_matches('.'));
    let help = format!("https://www.shellcheck.net/wiki/SC{}", comment.code);
    Diagnostic::new(severity, "script/shellcheck", span, message).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_words() {
        for (text, wanted) in [
            ("echo ${{ a }}", "echo ________"),
            ("a ${{ b }} c ${{d}}", "a ________ c ______"),
            ("x ${{ open", "x ${{ open"),
        ] {
            let changed = without_expressions(text);
            assert_eq!((changed.as_str(), changed.len()), (wanted, text.len()), "{text}");
        }
    }

    #[test]
    fn scripts_as_they_stand() {
        assert_eq!(as_written("|\n    a\n      b\n"), ("a\n  b".into(), Some(4)));
        assert_eq!(as_written(">-\n  a\n  b"), ("a b".into(), None));
        assert_eq!(as_written(r#""echo \"$X\" y""#), ("echo \"$X\" y".into(), None));
        assert_eq!(as_written("'echo ''it'' x'"), ("echo 'it' x".into(), None));

        assert_eq!(as_written("'it''s'"), ("it's".into(), None));
        assert_eq!(as_written("echo a"), ("echo a".into(), None));
    }
}
