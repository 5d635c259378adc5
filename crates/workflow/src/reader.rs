//! The template reader: a YAML tree against the schema gives a [`Template`] and diagnostics.
//! Follows actions/runner `ObjectTemplating/TemplateReader.cs`, its messages included.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use trainyard_diagnostics::{Diagnostic, Source, Span};
use trainyard_expression::{
    ErrorKind, Expr, ExprKind, Expression, Place, Scope, SyntaxError, Template, TemplateKind,
    parse_in,
};
use trainyard_model::{Value, number_to_string, upper};
use trainyard_yaml::{Kind, Node};

use crate::schema::{Allowed, DefId, DefKind, Schema};

/// Nesting of a definition (`ParseOptions.MaxDepth`).
const MAX_DEPTH: usize = 50;
/// Characters of an expression.
const MAX_EXPRESSION: usize = trainyard_expression::MAX_LENGTH;

pub(crate) struct Reader<'a> {
    schema: &'static Schema,
    source: &'a Source,
    file: u16,
    scopes: BTreeMap<Allowed, Rc<Scope>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A definition in its place: what it is and what its expressions may use.
#[derive(Clone, Copy)]
struct Slot {
    def: DefId,
    allowed: Allowed,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(schema: &'static Schema, source: &'a Source, file: u16) -> Self {
        Reader { schema, source, file, scopes: BTreeMap::new(), diagnostics: Vec::new() }
    }

    /// Reads a node as the definition of that name.
    pub(crate) fn read(&mut self, node: &Node, definition: &str) -> Template {
        let def = self.schema.named(definition);
        let slot = Slot { def, allowed: self.schema.def(def).allowed };
        self.value(node, slot, 0)
    }

    fn child(&self, parent: Slot, def: DefId) -> Slot {
        Slot { def, allowed: parent.allowed.union(self.schema.def(def).allowed) }
    }

    fn place(&self, span: Span) -> Place {
        let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { file: self.file, start: offset(span.start), end: offset(span.end) }
    }

    fn error(&mut self, rule: &'static str, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(rule, span, message));
    }

    fn help(&mut self, help: Option<String>) {
        if let (Some(last), Some(help)) = (self.diagnostics.last_mut(), help) {
            last.help = Some(help);
        }
    }

    fn value(&mut self, node: &Node, slot: Slot, depth: usize) -> Template {
        if depth > MAX_DEPTH {
            self.error("schema/too-deep", node.span, "Maximum object depth exceeded");
            return self.template(node.span, TemplateKind::Null);
        }
        match &node.kind {
            Kind::Sequence(items) => self.sequence(node, items, slot, depth),
            Kind::Mapping(pairs) => self.mapping(node, pairs, slot, depth),
            _ => {
                let scalar = self.scalar(node, slot.allowed);
                self.validate(scalar, slot)
            }
        }
    }

    fn template(&self, span: Span, kind: TemplateKind) -> Template {
        Template { place: self.place(span), kind }
    }

    fn sequence(&mut self, node: &Node, items: &[Node], slot: Slot, depth: usize) -> Template {
        let mut defs = Vec::new();
        self.schema.flatten(slot.def, &mut defs);
        let item = defs.iter().find_map(|d| match self.schema.def(*d).kind {
            DefKind::Sequence(item) => Some((*d, item)),
            _ => None,
        });
        let Some((def, item)) = item else {
            self.error("schema/unexpected-sequence", node.span, "A sequence was not expected");
            return self.template(node.span, TemplateKind::Sequence(Vec::new()));
        };
        let slot = self.child(self.child(slot, def), item);
        let items = items.iter().map(|i| self.value(i, slot, depth + 1)).collect();
        self.template(node.span, TemplateKind::Sequence(items))
    }

    fn mapping(
        &mut self,
        node: &Node,
        pairs: &[(Node, Node)],
        slot: Slot,
        depth: usize,
    ) -> Template {
        let mut defs = Vec::new();
        self.schema.flatten(slot.def, &mut defs);
        defs.retain(|d| matches!(self.schema.def(*d).kind, DefKind::Mapping(_)));
        if defs.is_empty() {
            self.error("schema/unexpected-mapping", node.span, "A mapping was not expected");
            return self.template(node.span, TemplateKind::Mapping(Vec::new()));
        }
        let slot = match defs[..] {
            [only] => self.child(slot, only),
            _ => slot,
        };
        let mut out = Vec::with_capacity(pairs.len());
        let mut keys: BTreeSet<String> = BTreeSet::new();
        let mut has_expression_key = false;
        for (key_node, value_node) in pairs {
            if matches!(key_node.kind, Kind::Sequence(_) | Kind::Mapping(_)) {
                self.error("schema/key", key_node.span, "A key must be a scalar");
                continue;
            }
            let key = self.scalar(key_node, slot.allowed);
            if matches!(key.kind, TemplateKind::Expression(_) | TemplateKind::Insert) {
                has_expression_key = true;
                if slot.allowed.is_empty() {
                    self.error(
                        "expression/not-allowed",
                        key_node.span,
                        "A template expression is not allowed in this context",
                    );
                    continue;
                }
                let loose = self.loose(&defs).map(|(_, value)| value);
                let value = loose.unwrap_or_else(|| self.schema.named("any"));
                let value = self.value(value_node, self.child(slot, value), depth + 1);
                out.push((key, value));
                continue;
            }
            let key = self.to_string(key);
            let name = key.as_str().unwrap_or_default().to_owned();
            if !keys.insert(upper(&name)) {
                self.error(
                    "schema/duplicate-key",
                    key_node.span,
                    format!("'{name}' is already defined"),
                );
                self.help(Some("keys are compared without case; remove one of them".into()));
                continue;
            }
            if let Some(value) = self.match_key(&mut defs, &name) {
                let value = self.value(value_node, self.child(slot, value), depth + 1);
                out.push((key, value));
            } else if let Some((loose_key, loose_value)) = self.loose(&defs) {
                let slot_key = self.child(slot, loose_key);
                let key = self.validate(key, slot_key);
                let value = self.value(value_node, self.child(slot, loose_value), depth + 1);
                out.push((key, value));
            } else {
                self.error(
                    "schema/unexpected-key",
                    key_node.span,
                    format!("Unexpected value '{name}'"),
                );
                let help = self.suggest(&defs, &name);
                self.help(help);
            }
        }
        self.check_required(node, &defs, &keys, has_expression_key);
        self.template(node.span, TemplateKind::Mapping(out))
    }

    fn mapping_def(&self, def: DefId) -> Option<&'static crate::schema::MappingDef> {
        match &self.schema.def(def).kind {
            DefKind::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    fn loose(&self, defs: &[DefId]) -> Option<(DefId, DefId)> {
        self.mapping_def(*defs.first()?)?.loose
    }

    /// The type of a well-known key; definitions that lack it are out of the running from here.
    fn match_key(&self, defs: &mut Vec<DefId>, name: &str) -> Option<DefId> {
        let find = |d: DefId| {
            self.mapping_def(d)?.properties.iter().find(|p| p.name == name).map(|p| p.value)
        };
        let value = defs.iter().find_map(|d| find(*d))?;
        defs.retain(|d| find(*d).is_some());
        Some(value)
    }

    fn check_required(
        &mut self,
        node: &Node,
        defs: &[DefId],
        keys: &BTreeSet<String>,
        has_expression_key: bool,
    ) {
        if defs.len() > 1 {
            let mut hits: BTreeMap<&str, usize> = BTreeMap::new();
            for def in defs.iter().filter_map(|d| self.mapping_def(*d)) {
                for property in &def.properties {
                    *hits.entry(&property.name).or_default() += 1;
                }
            }
            let telling: Vec<&str> =
                hits.into_iter().filter(|(_, n)| *n == 1).map(|(name, _)| name).collect();
            self.error(
                "schema/missing-key",
                node.span,
                format!(
                    "There's not enough info to determine what you meant. Add one of these properties: {}",
                    telling.join(", ")
                ),
            );
            return;
        }
        let Some(def) = defs.first().and_then(|d| self.mapping_def(*d)) else { return };
        if has_expression_key {
            return;
        }
        for property in def.properties.iter().filter(|p| p.required) {
            if !keys.contains(&upper(&property.name)) {
                self.error(
                    "schema/missing-key",
                    node.span,
                    format!("Required property is missing: {}", property.name),
                );
                self.help(Some(format!("add `{}:`", property.name)));
            }
        }
    }

    /// The key that was likely meant, or the list of those there are.
    fn suggest(&self, defs: &[DefId], name: &str) -> Option<String> {
        let known: Vec<&str> = defs
            .iter()
            .filter_map(|d| self.mapping_def(*d))
            .flat_map(|d| d.properties.iter().map(|p| p.name.as_str()))
            .collect();
        let folded = |s: &str| s.to_lowercase().replace('_', "-");
        let near = known.iter().find(|k| folded(k) == folded(name)).or_else(|| {
            known.iter().filter(|k| distance(k, name) <= 2).min_by_key(|k| distance(k, name))
        });
        match near {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if known.is_empty() => None,
            None => Some(format!("known here: {}", known.join(", "))),
        }
    }

    /// A literal that the schema accepts, coerced to text where only text will do.
    fn validate(&mut self, scalar: Template, slot: Slot) -> Template {
        match &scalar.kind {
            TemplateKind::Expression(_) | TemplateKind::Insert => {
                if slot.allowed.is_empty() {
                    let span = self.span(scalar.place);
                    self.error(
                        "expression/not-allowed",
                        span,
                        "A template expression is not allowed in this context",
                    );
                    self.help(Some("this key takes literal text only".into()));
                }
                return scalar;
            }
            _ => {}
        }
        let mut defs = Vec::new();
        self.schema.flatten(slot.def, &mut defs);
        if defs.iter().any(|d| self.matches(*d, &scalar.kind)) {
            return scalar;
        }
        let text = self.to_string(scalar);
        if defs.iter().any(|d| self.matches(*d, &text.kind)) {
            return text;
        }
        let span = self.span(text.place);
        let shown = text.as_str().unwrap_or_default().to_owned();
        self.error("schema/unexpected-value", span, format!("Unexpected value '{shown}'"));
        let help = self.expected(&defs);
        self.help(help);
        text
    }

    fn expected(&self, defs: &[DefId]) -> Option<String> {
        let kinds: Vec<String> = defs
            .iter()
            .take(12)
            .map(|d| match &self.schema.def(*d).kind {
                DefKind::Null => "nothing".into(),
                DefKind::Bool => "true or false".into(),
                DefKind::Number => "a number".into(),
                DefKind::String { constant: Some(c), .. } => format!("`{c}`"),
                DefKind::String { non_empty: true, .. } => "text that is not empty".into(),
                DefKind::String { .. } => "text".into(),
                DefKind::Sequence(_) => "a list".into(),
                DefKind::Mapping(_) => "a mapping".into(),
                DefKind::OneOf(_) => String::new(),
            })
            .collect();
        (!kinds.is_empty()).then(|| format!("expected {}", kinds.join(" or ")))
    }

    fn matches(&self, def: DefId, kind: &TemplateKind) -> bool {
        match (&self.schema.def(def).kind, kind) {
            (DefKind::Null, TemplateKind::Null)
            | (DefKind::Bool, TemplateKind::Bool(_))
            | (DefKind::Number, TemplateKind::Number(_)) => true,
            (DefKind::String { constant, non_empty }, TemplateKind::String(text)) => {
                constant.as_ref().is_none_or(|c| **c == **text) && !(*non_empty && text.is_empty())
            }
            _ => false,
        }
    }

    fn to_string(&self, scalar: Template) -> Template {
        let text: Arc<str> = match &scalar.kind {
            TemplateKind::Null => "".into(),
            TemplateKind::Bool(b) => b.to_string().into(),
            TemplateKind::Number(n) => number_to_string(*n).into(),
            _ => return scalar,
        };
        Template { place: scalar.place, kind: TemplateKind::String(text) }
    }

    pub(crate) fn span(&self, place: Place) -> Span {
        Span::new(place.start as usize, place.end as usize)
    }

    fn scope(&mut self, allowed: Allowed) -> Rc<Scope> {
        let schema = self.schema;
        self.scopes.entry(allowed).or_insert_with(|| Rc::new(schema.scope(allowed))).clone()
    }

    /// A scalar, its `${{ }}` parsed (`TemplateReader.ParseScalar`).
    fn scalar(&mut self, node: &Node, allowed: Allowed) -> Template {
        let kind = match &node.kind {
            Kind::Null => TemplateKind::Null,
            Kind::Bool(b) => TemplateKind::Bool(*b),
            Kind::Number(n) => TemplateKind::Number(*n),
            Kind::String(text) => match text.contains("${{") {
                true => self.expressions(node, text, allowed),
                false => TemplateKind::String(text.clone()),
            },
            Kind::Sequence(_) | Kind::Mapping(_) => TemplateKind::Null,
        };
        self.template(node.span, kind)
    }

    fn expressions(&mut self, node: &Node, text: &Arc<str>, allowed: Allowed) -> TemplateKind {
        let literal = TemplateKind::String(text.clone());
        let mut segments: Vec<Segment> = Vec::new();
        let mut at = 0;
        let mut nth = 0;
        while let Some(start) = text[at..].find("${{").map(|i| at + i) {
            if start > at {
                segments.push(Segment::Text(text[at..start].to_owned()));
            }
            let Some(end) = closing(text, start + 3) else {
                let span = self.locate(node, nth, 0, 3);
                self.error(
                    "expression/not-closed",
                    span,
                    "The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.",
                );
                return literal;
            };
            let inner = &text[start + 3..end - 2];
            let whole = start == 0 && end == text.len();
            match self.expression(node, nth, inner, allowed) {
                None => return literal,
                Some(Parsed::Insert) if whole => return TemplateKind::Insert,
                Some(Parsed::Insert) => {
                    let span = self.locate(node, nth, 0, inner.len() + 5);
                    self.error(
                        "expression/insert",
                        span,
                        "The directive 'insert' is not allowed in this context. Directives are not supported for expressions that are embedded within a string. Directives are only supported when the entire value is an expression.",
                    );
                    return literal;
                }
                Some(Parsed::Expression(expression)) => {
                    segments.push(Segment::Expression(expression));
                }
            }
            at = end;
            nth += 1;
        }
        if at < text.len() {
            segments.push(Segment::Text(text[at..].to_owned()));
        }
        if let [Segment::Expression(expression)] = &mut segments[..] {
            // An expression that is only a text is that text: the escape for `${{`.
            if let ExprKind::Literal(Value::String(s)) = &expression.tree.kind {
                return TemplateKind::String(s.clone());
            }
            let expression =
                std::mem::replace(expression, Expression { text: String::new(), tree: null() });
            return TemplateKind::Expression(Arc::new(expression));
        }
        self.format(node, segments, literal)
    }

    /// Text around expressions is one call of `format`.
    fn format(
        &mut self,
        node: &Node,
        segments: Vec<Segment>,
        literal: TemplateKind,
    ) -> TemplateKind {
        let mut format = String::new();
        let mut args = Vec::new();
        let mut arg_text = String::new();
        for segment in segments {
            match segment {
                Segment::Text(text) => {
                    format.push_str(&text.replace('{', "{{").replace('}', "}}"));
                }
                Segment::Expression(expression) => {
                    format.push_str(&format!("{{{}}}", args.len()));
                    arg_text.push_str(", ");
                    arg_text.push_str(&expression.text);
                    args.push(expression.tree);
                }
            }
        }
        let text = format!("format('{}'{arg_text})", format.replace('\'', "''"));
        if text.len() > MAX_EXPRESSION && text.encode_utf16().count() > MAX_EXPRESSION {
            self.error(
                "expression/too-long",
                node.span,
                format!("Exceeded max expression length {MAX_EXPRESSION}"),
            );
            self.help(Some(
                "text around `${{ }}` counts: move values to `env` and read them as variables"
                    .into(),
            ));
            return literal;
        }
        if args.len() > 254 {
            self.error("expression/too-long", node.span, "Too many parameters supplied: 'format'");
            return literal;
        }
        let head = Expr { kind: ExprKind::Literal(Value::string(format)), start: 0 };
        args.insert(0, head);
        let tree = Expr { kind: ExprKind::Call("format".into(), args), start: 0 };
        TemplateKind::Expression(Arc::new(Expression { text, tree }))
    }

    fn expression(
        &mut self,
        node: &Node,
        nth: usize,
        inner: &str,
        allowed: Allowed,
    ) -> Option<Parsed> {
        let trimmed = inner.trim();
        let lead = 3 + inner.len() - inner.trim_start().len();
        if trimmed.is_empty() {
            let span = self.locate(node, nth, 0, inner.len() + 5);
            self.error("expression/empty", span, "An expression was expected");
            return None;
        }
        if let Some(rest) = trimmed.strip_prefix("insert")
            && (rest.is_empty() || rest.starts_with(char::is_whitespace))
        {
            if rest.trim().is_empty() {
                return Some(Parsed::Insert);
            }
            let span = self.locate(node, nth, lead, trimmed.len());
            self.error(
                "expression/insert",
                span,
                "Exactly 0 parameter(s) were expected following the directive 'insert'",
            );
            return None;
        }
        if allowed.is_empty() {
            let span = self.locate(node, nth, 0, inner.len() + 5);
            self.error(
                "expression/not-allowed",
                span,
                "A template expression is not allowed in this context",
            );
            self.help(Some("this key takes literal text only".into()));
            return None;
        }
        let scope = self.scope(allowed);
        match parse_in(trimmed, &scope) {
            Ok(Some(tree)) => {
                Some(Parsed::Expression(Expression { text: trimmed.to_owned(), tree }))
            }
            Ok(None) => None,
            Err(error) => {
                let span = self.locate(node, nth, lead + error.offset, error.len);
                self.syntax_error(&error, span, &scope);
                None
            }
        }
    }

    /// A syntax error with the remedy.
    pub(crate) fn syntax_error(&mut self, error: &SyntaxError, span: Span, scope: &Scope) {
        let rule = match error.kind {
            ErrorKind::Lexing => "expression/syntax",
            ErrorKind::Parsing if error.message.starts_with("Unrecognized named-value") => {
                "expression/unknown-context"
            }
            ErrorKind::Parsing if error.message.starts_with("Unrecognized function") => {
                "expression/unknown-function"
            }
            ErrorKind::Parsing => "expression/syntax",
        };
        self.error(rule, span, error.message.clone());
        let help = match rule {
            "expression/unknown-context" => {
                let mut names = scope.contexts.clone();
                names.sort();
                Some(format!("available here: {}", names.join(", ")))
            }
            "expression/syntax" if error.message.contains("Unexpected symbol: '\"") => {
                Some("texts stand in single quotes in expressions".into())
            }
            _ => None,
        };
        self.help(help);
    }

    /// The span of a part of the nth `${{` of a scalar. Exact where the source is as the value
    /// is; where quotes or folding changed it, the expression's start.
    fn locate(&self, node: &Node, nth: usize, offset: usize, len: usize) -> Span {
        let raw = self.source.slice(node.span);
        let Some((start, _)) = raw.match_indices("${{").nth(nth) else { return node.span };
        let at = node.span.start + start;
        let Kind::String(text) = &node.kind else { return node.span };
        let value = text.match_indices("${{").nth(nth).map_or("", |(i, _)| &text[i..]);
        let wanted = value.get(..offset + len).unwrap_or(value);
        if raw[start..].starts_with(wanted) {
            return Span::new(at + offset, at + offset + len.max(1));
        }
        Span::new(at, at + 3)
    }

    /// A condition's text in its scalar, for places inside it.
    pub(crate) fn locate_plain(&self, place: Place, text: &str, error: &SyntaxError) -> Span {
        let span = self.span(place);
        match self.source.slice(span).find(text) {
            Some(at) => {
                let start = span.start + at + error.offset;
                Span::new(start, start + error.len.max(1))
            }
            None => span,
        }
    }

    /// The source text of a place.
    pub(crate) fn text(&self, place: Place) -> &str {
        self.source.slice(self.span(place))
    }
}

fn null() -> Expr {
    Expr { kind: ExprKind::Literal(Value::Null), start: 0 }
}

enum Parsed {
    Insert,
    Expression(Expression),
}

enum Segment {
    Text(String),
    Expression(Expression),
}

/// The end of an expression that begins before `from`: past its `}}`, texts in quotes skipped.
fn closing(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut in_string = false;
    for i in from..bytes.len() {
        match bytes[i] {
            b'\'' => in_string = !in_string,
            b'}' if !in_string && bytes[i - 1] == b'}' && i > from => return Some(i + 1),
            _ => {}
        }
    }
    None
}

/// Edit distance, for suggestions; names are short.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut previous = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = previous + usize::from(ca != *cb);
            previous = row[j + 1];
            row[j + 1] = substitute.min(previous + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
