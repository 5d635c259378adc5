//! YAML with byte spans, read by GitHub's rules.
//!
//! The 1.2 core schema (`on` and `yes` are texts; `True`, `~`, `0o17`, `.inf` are typed), anchors
//! and aliases by replay, no merge keys, one document, a limit on nodes. The rules are those of
//! actions/runner `YamlObjectReader.cs`.
//!
//! Deliberately absent: duplicate keys (the template reader refuses them, as it knows which
//! spelling counts) and any notion of what a key means.

mod schema;

use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag};
use trainyard_diagnostics::{Diagnostic, Source, Span};

/// Nodes of a document, those under aliases counted each time (`YamlObjectReader.cs`).
pub const MAX_NODES: usize = 50_000;
/// Nesting that is read at all; GitHub's own limit for workflows is lower.
pub const MAX_DEPTH: usize = 100;

/// A node with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands, without the indent before it. Empty for a value that is not written.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// The forms of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `~`, `null`, or nothing.
    Null,
    /// `true`, `False`
    Bool(bool),
    /// `1`, `0x1f`, `1e3`, `.nan`
    Number(f64),
    /// Everything else.
    String(Arc<str>),
    /// `- a`
    Sequence(Vec<Node>),
    /// `a: b`
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(s) => Some(s),
            _ => None,
        }
    }

    /// How many nodes it is made of, itself included.
    fn count(&self) -> usize {
        1 + match &self.kind {
            Kind::Sequence(items) => items.iter().map(Node::count).sum(),
            Kind::Mapping(pairs) => pairs.iter().map(|(k, v)| k.count() + v.count()).sum(),
            _ => 0,
        }
    }
}

/// Reads the one document of a source. The first fault ends it.
pub fn parse(source: &Source) -> Result<Node, Diagnostic> {
    let mut documents = read_all(source, MAX_NODES, true)?;
    documents.pop().ok_or_else(empty)
}

/// Reads all documents of a source, at most `max_nodes` nodes of them, those under aliases counted each
/// time. Empty documents are left out.
///
/// # Errors
///
/// The first fault.
pub fn parse_all(source: &Source, max_nodes: usize) -> Result<Vec<Node>, Diagnostic> {
    read_all(source, max_nodes, false)
}

fn empty() -> Diagnostic {
    Diagnostic::error("yaml/empty", Span::new(0, 0), "The file is empty")
        .with_help("write the definition, or delete the file")
}

fn read_all(source: &Source, max_nodes: usize, single: bool) -> Result<Vec<Node>, Diagnostic> {
    let mut patches = Patches::default();
    let mut text = source.text().to_owned();
    loop {
        match read(source, &text, &patches, max_nodes, single) {
            Ok(nodes) => return Ok(nodes),
            Err(Fault::Diagnostic(diagnostic)) => return Err(diagnostic),
            Err(Fault::Scan { at, info }) => {
                let Some((insert, blanks)) = leniency(&text, at, &info) else {
                    return Err(scan_error(source, patches.original(at), &info));
                };
                if patches.0.len() >= MAX_PATCHES {
                    return Err(scan_error(source, patches.original(at), &info));
                }
                text.insert_str(insert, &" ".repeat(blanks));
                patches.add(insert, blanks);
            }
        }
    }
}

/// How often one file may lean on YamlDotNet's leniency.
const MAX_PATCHES: usize = 64;

/// Blanks put into the text before it was read: place in that text, and how many.
#[derive(Default)]
struct Patches(Vec<(usize, usize)>);

impl Patches {
    fn add(&mut self, at: usize, blanks: usize) {
        for patch in &mut self.0 {
            if patch.0 >= at {
                patch.0 += blanks;
            }
        }
        self.0.push((at, blanks));
    }

    /// The offset in the source of an offset in the patched text.
    fn original(&self, offset: usize) -> usize {
        let before: usize = self.0.iter().filter(|(at, _)| *at < offset).map(|(_, n)| n).sum();
        offset.saturating_sub(before)
    }
}

/// Two things that YamlDotNet accepts and YAML forbids, which real files hold: a comment right
/// behind a bracket, and a quoted or flow text that goes on at the margin. Where to put how many
/// blanks so that a strict parser reads them alike.
fn leniency(text: &str, at: usize, info: &str) -> Option<(usize, usize)> {
    let at = text.floor_char_boundary(at.min(text.len()));
    if info.starts_with("comments must be separated") {
        let hash = at + text[at..].find('#')?;
        return Some((hash, 1));
    }
    if info.starts_with("invalid indentation") {
        let line = text[..at].rfind('\n').map_or(0, |i| i + 1);
        return Some((line, 64));
    }
    None
}

enum Fault {
    Scan { at: usize, info: String },
    Diagnostic(Diagnostic),
}

impl From<Diagnostic> for Fault {
    fn from(diagnostic: Diagnostic) -> Self {
        Fault::Diagnostic(diagnostic)
    }
}

fn scan_error(source: &Source, at: usize, info: &str) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        "yaml/syntax",
        Span::new(at, at + 1),
        format!("This is not valid YAML: {info}"),
    );
    match trap(source, at) {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    }
}

fn read(
    source: &Source,
    text: &str,
    patches: &Patches,
    max_nodes: usize,
    single: bool,
) -> Result<Vec<Node>, Fault> {
    let mut options = Options::default();
    options.emit_unresolved_aliases = true;
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        source,
        patches,
        anchors: Vec::new(),
        nodes: 0,
        max_nodes,
        last: 0,
    };
    reader.documents(single)
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    source: &'a Source,
    patches: &'a Patches,
    /// Anchor id and the node it names; `None` while that node is still being read.
    anchors: Vec<(usize, Option<Node>)>,
    nodes: usize,
    max_nodes: usize,
    last: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Fault> {
        loop {
            let Some(next) = self.parser.next_event() else { return Ok(None) };
            let (event, span) = next.map_err(|error| Fault::Scan {
                at: error.marker().byte_offset().unwrap_or(self.last),
                info: error.info().to_owned(),
            })?;
            if matches!(event, Event::Comment(..)) {
                continue;
            }
            let start = span.tag_start().unwrap_or(span.start);
            let start = start.byte_offset().unwrap_or(self.last);
            let end = span.end.byte_offset().unwrap_or(start);
            self.last = end;
            return Ok(Some((
                event,
                Span::new(self.patches.original(start), self.patches.original(end)),
            )));
        }
    }

    fn documents(&mut self, single: bool) -> Result<Vec<Node>, Fault> {
        let mut roots = Vec::new();
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) if roots.is_empty() || !single => {}
                Event::DocumentStart(..) => {
                    return Err(Diagnostic::error(
                        "yaml/documents",
                        span,
                        "Expected one document, found a second one",
                    )
                    .with_help("remove the `---` or move what follows it to a file of its own")
                    .into());
                }
                event => {
                    let node = self.node(event, span, 0)?;
                    // One that is not written stands for nothing.
                    if single || node.kind != Kind::Null {
                        roots.push(node);
                    }
                }
            }
        }
        Ok(roots)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        let max = self.max_nodes;
        if self.nodes > max {
            return Err(Diagnostic::error(
                "yaml/too-many-nodes",
                span,
                format!("Maximum YAML nodes exceeded: more than {max}, aliases unfolded"),
            )
            .with_help("use fewer aliases, or split the file"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(Diagnostic::error(
                "yaml/too-deep",
                span,
                format!("Nested deeper than {MAX_DEPTH} levels"),
            )
            .into());
        }
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref(), span)?, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(anchor);
                let mut items = Vec::new();
                let end = loop {
                    match self.next()? {
                        None => break span,
                        Some((Event::SequenceEnd, span)) => break span,
                        Some((event, span)) => items.push(self.node(event, span, depth + 1)?),
                    }
                };
                let span = Span::new(span.start, items.last().map_or(end.end, |n| n.span.end));
                (Node { span, kind: Kind::Sequence(items) }, anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                self.open(anchor);
                let mut pairs: Vec<(Node, Node)> = Vec::new();
                let end = loop {
                    let (event, span) = match self.next()? {
                        None => break span,
                        Some((Event::MappingEnd, span)) => break span,
                        Some(other) => other,
                    };
                    let key = self.node(event, span, depth + 1)?;
                    let Some((event, span)) = self.next()? else {
                        break span;
                    };
                    let value = self.node(event, span, depth + 1)?;
                    pairs.push((key, value));
                };
                let start = pairs.first().map_or(span.start, |(k, _)| k.span.start.min(span.start));
                let last = pairs.last().map_or(end.end, |(k, v)| v.span.end.max(k.span.end));
                (Node { span: Span::new(start, last), kind: Kind::Mapping(pairs) }, anchor)
            }
            Event::Alias(id) => return Ok(self.alias(id, span)?),
            Event::UnresolvedAlias(name) => {
                return Err(Diagnostic::error(
                    "yaml/unknown-anchor",
                    span,
                    format!("Unknown anchor '{name}'"),
                )
                .with_help(match trap(self.source, span.start) {
                    Some(help) => help,
                    None => format!("define it before this place with `&{name}`"),
                })
                .into());
            }
            other => {
                return Err(Diagnostic::error(
                    "yaml/syntax",
                    span,
                    format!("Unexpected YAML event {other:?}"),
                )
                .into());
            }
        };
        if anchor > 0 {
            self.open(anchor);
            if let Some(slot) = self.anchors.iter_mut().find(|(id, _)| *id == anchor) {
                slot.1 = Some(node.clone());
            }
        }
        Ok(node)
    }

    fn open(&mut self, anchor: usize) {
        if anchor > 0 && !self.anchors.iter().any(|(id, _)| *id == anchor) {
            self.anchors.push((anchor, None));
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Diagnostic> {
        let target = self.anchors.iter().find(|(anchor, _)| *anchor == id).map(|(_, n)| n.clone());
        match target {
            Some(Some(node)) => {
                self.count(node.count() - 1, span)?;
                Ok(node)
            }
            _ => Err(Diagnostic::error(
                "yaml/recursive-alias",
                span,
                "This alias stands inside the node that it names",
            )
            .with_help("an alias repeats an earlier, finished node")),
        }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Node, Diagnostic> {
        let plain = matches!(style, ScalarStyle::Plain);
        let kind = match tag {
            None if plain => schema::plain(text),
            None => Kind::String(text.into()),
            Some(tag) => match tag.core_suffix() {
                Some("str") => Kind::String(text.into()),
                Some(name) if !plain => {
                    return Err(Diagnostic::error(
                        "yaml/tag",
                        span,
                        format!("A quoted or block scalar is not valid with the tag '!!{name}'"),
                    )
                    .with_help("remove the tag or the quotes"));
                }
                Some(name) => schema::tagged(name, text).ok_or_else(|| {
                    Diagnostic::error(
                        "yaml/tag",
                        span,
                        format!("The value '{text}' is not a valid '!!{name}'"),
                    )
                })?,
                None => {
                    let error = Diagnostic::error(
                        "yaml/tag",
                        span,
                        format!("Unexpected tag '{}'", tag.original()),
                    );
                    let rest =
                        &self.source.text()[self.source.slice(Span::new(0, span.start)).len()..];
                    let value = rest.lines().next().unwrap_or_default().split(", ").next();
                    let value = value.unwrap_or_default().trim_end();
                    return Err(error.with_help(format!(
                        "YAML reads a leading `!` as a tag: write \"{value}\" or ${{{{ {value} }}}}"
                    )));
                }
            },
        };
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        Ok(Node { span: trim_block(self.source, span, block), kind })
    }
}

/// The two traps that everybody meets once: a value that begins with `!` is a tag to YAML, one
/// that begins with `*` an alias.
fn trap(source: &Source, at: usize) -> Option<String> {
    let text = source.text();
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    let line = text[start..end].trim();
    let value = line.strip_prefix("- ").unwrap_or(line);
    let value = value.split_once(": ").map_or(value, |(_, v)| v.trim());
    for value in value.trim_matches(['[', ']']).split(',').map(str::trim) {
        if value.starts_with('*') {
            return Some(format!("YAML reads a leading `*` as an alias: write '{value}'"));
        }
        if value.starts_with('!') {
            return Some(format!(
                "YAML reads a leading `!` as a tag: write '{value}' or ${{{{ {value} }}}}"
            ));
        }
    }
    None
}

/// Scalars without their trailing blank lines, block scalars from their `|` or `>` on.
fn trim_block(source: &Source, span: Span, block: bool) -> Span {
    let end = span.start + source.slice(span).trim_end().len();
    let start = match block {
        true => source.text()[..span.start].rfind(['|', '>']).unwrap_or(span.start),
        false => span.start,
    };
    Span::new(start, end)
}

#[cfg(test)]
mod tests;
