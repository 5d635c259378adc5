//! Reading mappings strictly: what a message of the proto does not have is refused.

use serde_json::{Map, Number, Value as Json};
use trainyard_diagnostics::{Diagnostic, Span};
use trainyard_yaml::{Kind, Node};

/// What is found wrong is collected; reading goes on.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A mapping whose fields are taken one by one; what is left at the end is unknown.
pub(super) struct Fields<'a> {
    pub(super) what: &'static str,
    pub(super) span: Span,
    pairs: Vec<(&'a str, &'a Node, &'a Node, bool)>,
}

impl Reader {
    pub(super) fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (message, help) = (message.into(), help.into());
        self.diagnostics.push(Diagnostic::error("pipeline/invalid", span, message).with_help(help));
    }

    /// The fields of a mapping; null is an empty one, as protojson reads it.
    pub(super) fn fields<'a>(&mut self, node: &'a Node, what: &'static str) -> Fields<'a> {
        let mut fields = Fields { what, span: node.span, pairs: Vec::new() };
        match &node.kind {
            Kind::Mapping(pairs) => {
                for (key, value) in pairs {
                    let Some(name) = key.as_str() else {
                        self.error(key.span, format!("{what}: a key is a text"), "quote it");
                        continue;
                    };
                    if fields.pairs.iter().any(|(n, ..)| same(n, name)) {
                        let message = format!("{what}: '{name}' is there twice");
                        self.error(key.span, message, "remove one of them");
                        continue;
                    }
                    fields.pairs.push((name, key, value, false));
                }
            }
            Kind::Null => {}
            _ => self.wrong(node, what, "a mapping"),
        }
        fields
    }

    /// The entries of a map whose keys are names.
    pub(super) fn entries<'a>(
        &mut self,
        node: Option<&'a Node>,
        what: &'static str,
    ) -> Vec<(String, &'a Node)> {
        let Some(node) = node else { return Vec::new() };
        match &node.kind {
            Kind::Mapping(pairs) => {
                let mut out: Vec<(String, &Node)> = Vec::new();
                for (key, value) in pairs {
                    let name = scalar(key).unwrap_or_default();
                    if out.iter().any(|(n, _)| *n == name) {
                        let message = format!("{what}: '{name}' is there twice");
                        self.error(key.span, message, "remove one of them");
                        continue;
                    }
                    out.push((name, value));
                }
                out
            }
            Kind::Null => Vec::new(),
            _ => {
                self.wrong(node, what, "a mapping");
                Vec::new()
            }
        }
    }

    pub(super) fn items<'a>(&mut self, node: Option<&'a Node>, what: &'static str) -> &'a [Node] {
        match node.map(|n| &n.kind) {
            Some(Kind::Sequence(items)) => items,
            None | Some(Kind::Null) => &[],
            Some(_) => {
                if let Some(node) = node {
                    self.wrong(node, what, "a list");
                }
                &[]
            }
        }
    }

    pub(super) fn texts(&mut self, node: Option<&Node>, what: &'static str) -> Vec<String> {
        let items = self.items(node, what);
        items.iter().map(|item| self.text(Some(item), what)).collect()
    }

    /// A text; a plain number or truth value is read as it is written, as SDKs leave some unquoted.
    pub(super) fn text(&mut self, node: Option<&Node>, what: &'static str) -> String {
        let Some(node) = node else { return String::new() };
        scalar(node).unwrap_or_else(|| {
            self.wrong(node, what, "a text");
            String::new()
        })
    }

    pub(super) fn flag(&mut self, node: Option<&Node>, what: &'static str) -> bool {
        match node.map(|n| &n.kind) {
            None | Some(Kind::Null) => false,
            Some(Kind::Bool(on)) => *on,
            Some(_) => {
                if let Some(node) = node {
                    self.wrong(node, what, "true or false");
                }
                false
            }
        }
    }

    /// A number; protojson writes large ones as texts.
    pub(super) fn number(&mut self, node: Option<&Node>, what: &'static str) -> f64 {
        let Some(node) = node else { return 0.0 };
        match &node.kind {
            Kind::Null => 0.0,
            Kind::Number(number) => *number,
            Kind::String(text) if text.parse::<f64>().is_ok() => text.parse().unwrap_or_default(),
            _ => {
                self.wrong(node, what, "a number");
                0.0
            }
        }
    }

    fn wrong(&mut self, node: &Node, what: &'static str, wanted: &str) {
        let message = format!("{what}: {wanted} is expected");
        self.error(node.span, message, "compile the pipeline anew, or correct it here");
    }

    /// Refuses what was not taken.
    pub(super) fn finish(&mut self, fields: &Fields<'_>) {
        for (name, key, _, taken) in &fields.pairs {
            if !taken {
                self.error(
                    key.span,
                    format!("{}: there is no field '{name}'", fields.what),
                    "this is PipelineSpec 2.1; a newer SDK may know more",
                );
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// A field by its name in JSON; its name in the proto is read, too.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a Node> {
        let found = self.pairs.iter_mut().find(|(n, ..)| same(n, name))?;
        found.3 = true;
        Some(found.2)
    }

    /// Whether a field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(n, ..)| same(n, name))
    }
}

/// `output_parameter_key` is `outputParameterKey`, as protojson has it.
fn same(written: &str, name: &str) -> bool {
    if written == name {
        return true;
    }
    let mut camel = String::with_capacity(written.len());
    let mut up = false;
    for c in written.chars() {
        match c {
            '_' => up = true,
            c if up => {
                camel.extend(c.to_uppercase());
                up = false;
            }
            c => camel.push(c),
        }
    }
    written.contains('_') && camel == name
}

fn scalar(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::String(text) => Some(text.to_string()),
        Kind::Number(number) => Some(trainyard_model::number_to_string(*number)),
        Kind::Bool(on) => Some(on.to_string()),
        Kind::Null => Some(String::new()),
        _ => None,
    }
}

/// A value of any kind as JSON; whole numbers are written without a point.
pub(super) fn json(node: &Node) -> Json {
    match &node.kind {
        Kind::Null => Json::Null,
        Kind::Bool(on) => Json::Bool(*on),
        Kind::Number(value) => number(*value),
        Kind::String(text) => Json::String(text.to_string()),
        Kind::Sequence(items) => Json::Array(items.iter().map(json).collect()),
        Kind::Mapping(pairs) => {
            let pair = |(k, v): &(Node, Node)| (scalar(k).unwrap_or_default(), json(v));
            Json::Object(pairs.iter().map(pair).collect::<Map<_, _>>())
        }
    }
}

/// A double as JSON: `2`, not `2.0`.
pub(crate) fn number(value: f64) -> Json {
    // Beyond 2^53 not every whole number is one.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        #[allow(clippy::cast_possible_truncation)]
        return Json::Number(Number::from(value as i64));
    }
    Number::from_f64(value).map_or(Json::Null, Json::Number)
}
