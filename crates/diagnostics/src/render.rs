use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use crate::{Diagnostic, Severity, Source};

/// The diagnostics of one file.
pub struct FileReport<'a> {
    /// The file.
    pub source: &'a Source,
    /// What was found in it, in order.
    pub diagnostics: &'a [Diagnostic],
}

/// Each diagnostic with its source line, a caret and the remedy, as rustc shows them.
/// `styled` adds ANSI colours.
pub fn render_text(reports: &[FileReport<'_>], styled: bool) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for report in reports {
        for diagnostic in report.diagnostics {
            out.push_str(&one(&renderer, report.source, diagnostic));
            out.push_str("\n\n");
        }
    }
    out
}

fn one(renderer: &Renderer, source: &Source, d: &Diagnostic) -> String {
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let start = source.floor(d.span.start);
    // A caret needs something to stand under, and a block of many lines says less than its first.
    let rest = &source.text()[start..];
    let line_end = start + rest.find(['\n', '\r']).unwrap_or(rest.len());
    let end = source.floor(d.span.end).clamp(start, line_end.max(start));
    let mut annotation = AnnotationKind::Primary.span(start..end);
    if let Some(label) = &d.label {
        annotation = annotation.label(label.as_str());
    }
    let snippet = Snippet::source(source.text()).path(source.path()).annotation(annotation);
    let mut group = level.primary_title(d.message.as_str()).id(d.rule).element(snippet);
    if let Some(help) = &d.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// `{"files":[{"path","diagnostics":[{"severity","message","line","column","end_line",
/// "end_column","rule","help"}]}]}`; `help` is null where there is none,
/// `fix` {"start","end","text"} (bytes) is there where one is certain.
pub fn render_json(reports: &[FileReport<'_>]) -> Value {
    let files: Vec<Value> = reports
        .iter()
        .map(|report| {
            let diagnostics: Vec<Value> = report
                .diagnostics
                .iter()
                .map(|d| {
                    let start = report.source.position(d.span.start);
                    let end = report.source.position(d.span.end);
                    let mut value = json!({
                        "severity": d.severity.as_str(),
                        "message": d.message,
                        "line": start.line,
                        "column": start.column,
                        "end_line": end.line,
                        "end_column": end.column,
                        "rule": d.rule,
                        "help": d.help,
                    });
                    if let Some(fix) = &d.fix {
                        let (start, end) = (fix.span.start, fix.span.end);
                        value["fix"] = json!({"start": start, "end": end, "text": fix.text});
                    }
                    value
                })
                .collect();
            json!({ "path": report.source.path(), "diagnostics": diagnostics })
        })
        .collect();
    json!({ "files": files })
}

/// Workflow commands that GitHub turns into annotations on the file.
pub fn render_github(reports: &[FileReport<'_>]) -> String {
    let mut out = String::new();
    for report in reports {
        for d in report.diagnostics {
            let start = report.source.position(d.span.start);
            let end = report.source.position(d.span.end);
            let command = match d.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "notice",
            };
            let mut message = d.message.clone();
            if let Some(help) = &d.help {
                message.push_str("\nhelp: ");
                message.push_str(help);
            }
            out.push_str(&format!(
                "::{command} file={},line={},endLine={},col={},endColumn={},title={}::{}\n",
                property(report.source.path()),
                start.line,
                end.line,
                start.column,
                end.column,
                property(d.rule),
                data(&message),
            ));
        }
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    fn report(render: impl Fn(&[FileReport<'_>]) -> String) -> String {
        let source = Source::new("ci.yml", "on: push\njobs: {a: {steps: [], runs_on: x}}\n");
        let diagnostics = [Diagnostic::error(
            "schema/unexpected-key",
            Span::new(31, 38),
            "Unexpected value 'runs_on'",
        )
        .with_help("did you mean `runs-on`?")];
        render(&[FileReport { source: &source, diagnostics: &diagnostics }])
    }

    #[test]
    fn text() {
        insta::assert_snapshot!(report(|r| render_text(r, false)), @r"
        error[schema/unexpected-key]: Unexpected value 'runs_on'
         --> ci.yml:2:23
          |
        2 | jobs: {a: {steps: [], runs_on: x}}
          |                       ^^^^^^^
          |
          = help: did you mean `runs-on`?
        ");
    }

    #[test]
    fn json() {
        insta::assert_snapshot!(report(|r| render_json(r).to_string()), @r#"{"files":[{"path":"ci.yml","diagnostics":[{"severity":"error","message":"Unexpected value 'runs_on'","line":2,"column":23,"end_line":2,"end_column":30,"rule":"schema/unexpected-key","help":"did you mean `runs-on`?"}]}]}"#);
    }

    #[test]
    fn github() {
        insta::assert_snapshot!(report(render_github), @"::error file=ci.yml,line=2,endLine=2,col=23,endColumn=30,title=schema/unexpected-key::Unexpected value 'runs_on'%0Ahelp: did you mean `runs-on`?");
    }
}
