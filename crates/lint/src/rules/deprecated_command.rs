//! Commands on standard output that files have replaced.

use trainyard_diagnostics::{Fix, Severity, Span};
use trainyard_expression::Template;
use trainyard_job::spec::StepKind;
use trainyard_workflow::model::JobKind;
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::{Context, StepAt};

pub(crate) const RULE: Rule = Rule {
    id: "script/deprecated-command",
    severity: Severity::Warning,
    summary: "`set-output`, `save-state`, `set-env` and `add-path` are replaced by files",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "- run: echo \"::set-output name=v::$V\"",
            "- run: |\n    if x; then\n      echo '::set-output name=a_1::b c'\n    fi",
            "- run: echo ::save-state name=pid::42",
            "- run: echo \"::set-output name=done::true\"",
            "- run: |\n    echo '::save-state name=a::b'\n    echo \"::set-env name=A::b\"",
            "- run: echo \"::set-env name=A::b\"",
            "- run: echo \"::add-path::$HOME/bin\"",
            "- run: print(f'::set-output name=v::{v}')\n  shell: python",
            "- run: echo \"::set-output name=v::$(cat x)\" && echo done",
            "runs:\n  using: composite\n  steps: [{run: 'echo \"::set-output name=v::1\"', shell: bash}]",
        ],
        good: &[
            "- run: echo \"v=$V\" >> \"$GITHUB_OUTPUT\"",
            "- run: echo \"::error file=x::no\"",
            "- run: echo \"::add-mask::$X\"",
            "- run: grep '::set-output' log",
            "- run: echo \"set-output name=v::x\"",
            "- run: echo \"see ::set-outputs name=x::\"",
            "- run: |\n    # echo \"::set-output name=a::b\"\n    true",
        ],
    },
};

/// The command, the file that replaces it, and whether it has a name.
const COMMANDS: &[(&str, &str, bool)] = &[
    ("::set-output name=", "GITHUB_OUTPUT", true),
    ("::save-state name=", "GITHUB_STATE", true),
    ("::set-env name=", "GITHUB_ENV", true),
    ("::add-path::", "GITHUB_PATH", false),
];

fn check(c: &mut Context<'_>) {
    for (at, script) in c.scripts() {
        let span = span_of(script.place);
        let text = c.source.slice(span);
        let mut from = 0;
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with('#') {
                from += line.len();
                continue;
            }
            for (command, file, named) in COMMANDS {
                let Some(found) = line.find(command) else { continue };
                let begins = span.start + from + found;
                let place =
                    Span::new(begins, begins + command.trim_end_matches("name=").trim_end().len());
                let word = command.trim_matches(':').split([' ', ':']).next().unwrap_or_default();
                let gone = ["set-env", "add-path"].contains(&word);
                let message = match gone {
                    true => format!("The command `{word}` does not work any more"),
                    false => format!("The command `{word}` is deprecated"),
                };
                let what = if *named { "NAME=VALUE" } else { "FOLDER" };
                let posix = is_posix(c, at);
                let help = match posix {
                    true => format!("echo \"{what}\" >> \"${file}\""),
                    false => {
                        format!("add the line {what} to the file that the variable {file} names")
                    }
                };
                let plain = posix && is_plain(&text[..from]);
                let fix = plain.then(|| echo(line, command, file, *named)).flatten();
                match fix {
                    Some(fixed) => {
                        let kept = line.trim_end_matches(['\n', '\r']);
                        let whole = Span::new(span.start + from, span.start + from + kept.len());
                        c.report_fix(place, message, help, Fix { span: whole, text: fixed });
                    }
                    None => c.report(place, message, help),
                }
            }
            from += line.len();
        }
    }
}

/// Whether nothing that is open before a line makes it part of a text: a quote, a here-document.
fn is_plain(before: &str) -> bool {
    let quotes = |q: char| before.chars().filter(|c| *c == q).count() % 2 == 0;
    let even = |open: char, close: char| {
        before.chars().filter(|c| *c == open).count()
            == before.chars().filter(|c| *c == close).count()
    };
    let last = before.trim_end_matches(['\n', '\r']).trim_end();
    let goes_on = ["\\", "|", "&&", "||"].iter().any(|e| last.ends_with(e)) && last.len() > 1;
    !before.contains("<<")
        && !goes_on
        && [('(', ')'), ('{', '}')].iter().all(|(open, close)| even(*open, *close))
        && ['"', '\'', '`'].iter().all(|q| quotes(*q))
}

/// Whether the script is one of bash or sh for certain.
fn is_posix(c: &Context<'_>, at: StepAt<'_>) -> bool {
    let StepKind::Run { shell, .. } = &at.step.kind else { return false };
    let named = |t: &Option<Template>| t.as_ref().and_then(Template::as_str).map(str::to_owned);
    if shell.is_some() {
        return named(shell).is_some_and(|s| s == "bash" || s == "sh");
    }
    let Some((job, steps)) = at.job else { return false };
    if steps.defaults.shell.is_some() {
        return named(&steps.defaults.shell).is_some_and(|s| s == "bash" || s == "sh");
    }
    let own = c.workflow().and_then(|w| w.defaults.shell.as_ref());
    let linux = matches!(&job.kind, JobKind::Steps(s) if s.runs_on.as_str().is_some_and(|l| l.starts_with("ubuntu-") || l.starts_with("macos-")));
    own.is_none() && linux
}

/// The line with `echo "::command::value"` as `echo "value" >> "$FILE"`, if that is all it is.
fn echo(line: &str, command: &str, file: &str, named: bool) -> Option<String> {
    let line = line.trim_end_matches(['\n', '\r']);
    let (before, after) = line.split_once("echo ")?;
    if !before.chars().all(|c| c == ' ' || c == '\t') {
        return None;
    }
    let quote = after.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    // One text in quotes and nothing behind it; none within it that ends it.
    let inner = after.strip_prefix(quote)?.strip_suffix(quote)?;
    // A value that is computed may hold more than a line, or what only the command understood.
    if inner.contains([quote, '\\', '$', '`', '%']) {
        return None;
    }
    let rest = inner.strip_prefix(command)?;
    let value = match named {
        true => {
            let (name, value) = rest.split_once("::")?;
            if name.is_empty()
                || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            {
                return None;
            }
            format!("{name}={value}")
        }
        false => rest.to_owned(),
    };
    Some(format!("{before}echo {quote}{value}{quote} >> \"${file}\""))
}
