//! Reading files: the ways in.

use trainyard_diagnostics::{Diagnostic, Severity, Source, Span, has_errors};
use trainyard_yaml::{Kind, Node};

use crate::action::{self, Action};
use crate::convert::Converter;
use crate::model::Workflow;
use crate::reader::Reader;
use crate::schema;

/// Characters of a file (`ParseOptions.MaxFileSize`).
pub const MAX_FILE_SIZE: usize = 1024 * 1024;

/// Reads a workflow file. `file` is its index in the file table of the places that come back.
/// There is a workflow only when no diagnostic is an error.
pub fn read_workflow(source: &Source, file: u16) -> (Option<Workflow>, Vec<Diagnostic>) {
    let root = match parse(source) {
        Ok(root) => root,
        Err(diagnostic) => return (None, vec![diagnostic]),
    };
    let schema = schema::workflow();
    let mut reader = Reader::new(schema, source, file);
    let template = reader.read(&root, "workflow-root");
    strict_triggers(&mut reader, &root);
    let readable = matches!(root.kind, Kind::Mapping(_));
    let mut workflow = None;
    if readable {
        workflow = Some(Converter::new(&mut reader, schema, "step-if").workflow(&template));
    }
    finish(reader, workflow)
}

/// Reads an action file.
pub fn read_action(source: &Source, file: u16) -> (Option<Action>, Vec<Diagnostic>) {
    let root = match parse(source) {
        Ok(root) => root,
        Err(diagnostic) => return (None, vec![diagnostic]),
    };
    let schema = schema::action();
    let mut reader = Reader::new(schema, source, file);
    let template = reader.read(&root, "action-root");
    let mut action = None;
    if matches!(root.kind, Kind::Mapping(_)) {
        let mut converter = Converter::new(&mut reader, schema, "step-if");
        action = action::convert(&mut converter, &template);
    }
    finish(reader, action)
}

fn finish<T>(reader: Reader<'_>, value: Option<T>) -> (Option<T>, Vec<Diagnostic>) {
    let mut diagnostics = reader.diagnostics;
    diagnostics.sort_by_key(|d| (d.span.start, d.severity));
    diagnostics.dedup_by(|a, b| a.span == b.span && a.message == b.message);
    (value.filter(|_| !has_errors(&diagnostics)), diagnostics)
}

fn parse(source: &Source) -> Result<Node, Diagnostic> {
    if source.text().len() > MAX_FILE_SIZE && source.text().chars().count() > MAX_FILE_SIZE {
        return Err(Diagnostic::error(
            "file/too-large",
            Span::new(0, 0),
            format!("The file is larger than the {MAX_FILE_SIZE} characters that GitHub reads"),
        ));
    }
    trainyard_yaml::parse(source)
}

/// `on` is read loosely by GitHub's server, and closely by its editor: what only the editor
/// refuses is a warning.
fn strict_triggers(reader: &mut Reader<'_>, root: &Node) {
    let Kind::Mapping(pairs) = &root.kind else { return };
    let Some((_, on)) = pairs.iter().find(|(k, _)| k.as_str() == Some("on")) else { return };
    let from = reader.diagnostics.len();
    reader.read(on, "on-strict");
    let known: Vec<Span> = reader.diagnostics[..from].iter().map(|d| d.span).collect();
    // Unknown events are refused by the converter, with a better remedy.
    let events: Vec<Span> = match &on.kind {
        Kind::Sequence(items) => items.iter().map(|i| i.span).collect(),
        Kind::Mapping(pairs) => pairs.iter().map(|(k, _)| k.span).collect(),
        _ => vec![on.span],
    };
    let mut kept = Vec::new();
    for mut diagnostic in reader.diagnostics.split_off(from) {
        if known.contains(&diagnostic.span) || events.contains(&diagnostic.span) {
            continue;
        }
        diagnostic.severity = Severity::Warning;
        diagnostic.help.get_or_insert_with(|| "GitHub ignores this".into());
        kept.push(diagnostic);
    }
    reader.diagnostics.extend(kept);
}
