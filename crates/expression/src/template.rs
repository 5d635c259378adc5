//! Templates: values with expressions in them, as they stand in a definition.

use std::sync::Arc;

use trainyard_model::{Object, Value};

use crate::ast::Expr;
use crate::evaluate::{Environment, EvalError, Need, evaluate};

/// Where a piece of a definition stands: a file of the definition's file table and a range of
/// bytes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Index in the file table.
    pub file: u16,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A value of a definition before its expressions are evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub kind: TemplateKind,
}

/// The forms of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum TemplateKind {
    /// Nothing.
    Null,
    /// `true`
    Bool(bool),
    /// `1`
    Number(f64),
    /// Text without expressions.
    String(Arc<str>),
    /// `${{ a }}`, or text around expressions, which is a call of `format`.
    Expression(Arc<Expression>),
    /// The key `${{ insert }}`: its value is merged into the mapping around it.
    Insert,
    /// Items; an expression among them that gives an array is spliced.
    Sequence(Vec<Template>),
    /// Pairs; keys may be expressions.
    Mapping(Vec<(Template, Template)>),
}

/// An expression of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// Its text without the `${{ }}`; text around expressions is written as `format(...)`.
    pub text: String,
    /// The parsed text.
    pub tree: Expr,
}

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It has no value, and never will.
    #[error("{message}")]
    Failed {
        /// What went wrong.
        message: String,
        /// Where in the definition.
        place: Place,
    },
    /// It has no value yet.
    #[error("the value is not known yet")]
    Needs(Need),
}

/// Nesting of evaluated templates.
const MAX_DEPTH: usize = 50;

impl Template {
    /// Text without expressions at no particular place.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Template { place: Place::default(), kind: TemplateKind::String(text.into()) }
    }

    /// The text, if it is one without expressions.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            TemplateKind::String(s) => Some(s),
            _ => None,
        }
    }

    /// The pairs of a mapping.
    pub fn pairs(&self) -> &[(Template, Template)] {
        match &self.kind {
            TemplateKind::Mapping(pairs) => pairs,
            _ => &[],
        }
    }

    /// The value under a literal key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Template> {
        self.pairs().iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
    }

    /// Calls `visit` on this template and everything in it, outermost first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Template)) {
        visit(self);
        match &self.kind {
            TemplateKind::Sequence(items) => items.iter().for_each(|i| i.walk(visit)),
            TemplateKind::Mapping(pairs) => {
                for (key, value) in pairs {
                    key.walk(visit);
                    value.walk(visit);
                }
            }
            _ => {}
        }
    }

    /// Whether any expression stands in it.
    pub fn has_expressions(&self) -> bool {
        let mut found = false;
        self.walk(&mut |t| {
            found |= matches!(t.kind, TemplateKind::Expression(_) | TemplateKind::Insert);
        });
        found
    }

    /// The value, with mappings as objects that ignore case.
    pub fn evaluate(&self, environment: &dyn Environment) -> Result<Value, TemplateError> {
        self.value(environment, 0)
    }

    /// The value as text: what a key of type string gets.
    pub fn evaluate_text(&self, environment: &dyn Environment) -> Result<String, TemplateError> {
        if let TemplateKind::String(text) = &self.kind {
            return Ok(text.to_string());
        }
        let value = self.evaluate(environment)?;
        if !value.is_primitive() {
            return Err(self.failed(format!(
                "Unexpected type '{}' encountered: expected a text",
                value.kind()
            )));
        }
        Ok(value.to_text().into_owned())
    }

    /// The pairs of a mapping of texts in order, such as `env` and `with`. Keys keep their case,
    /// of equal keys the last wins.
    pub fn evaluate_pairs(
        &self,
        environment: &dyn Environment,
    ) -> Result<Vec<(String, String)>, TemplateError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (key, value) in self.entries(environment, 0)? {
            if !value.is_primitive() {
                return Err(self.failed(format!(
                    "Unexpected type '{}' encountered at '{key}': expected a text",
                    value.kind()
                )));
            }
            let text = value.to_text().into_owned();
            match pairs.iter_mut().find(|(k, _)| *k == key) {
                Some(pair) => pair.1 = text,
                None => pairs.push((key, text)),
            }
        }
        Ok(pairs)
    }

    fn failed(&self, message: String) -> TemplateError {
        TemplateError::Failed { message, place: self.place }
    }

    fn value(&self, e: &dyn Environment, depth: usize) -> Result<Value, TemplateError> {
        if depth > MAX_DEPTH {
            return Err(self.failed(format!("Nested deeper than {MAX_DEPTH} levels")));
        }
        match &self.kind {
            TemplateKind::Null => Ok(Value::Null),
            TemplateKind::Bool(b) => Ok(Value::Bool(*b)),
            TemplateKind::Number(n) => Ok(Value::Number(*n)),
            TemplateKind::String(s) => Ok(Value::String(s.clone())),
            TemplateKind::Expression(expression) => {
                evaluate(&expression.tree, e).map_err(|error| match error {
                    EvalError::Needs(need) => TemplateError::Needs(need),
                    EvalError::Failed { message, .. } => self.failed(message),
                })
            }
            TemplateKind::Insert => Err(self.failed(
                "The directive 'insert' is not allowed in this context; it is a key of a mapping"
                    .into(),
            )),
            TemplateKind::Sequence(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    let value = item.value(e, depth + 1)?;
                    match (&item.kind, &value) {
                        (TemplateKind::Expression(_), Value::Array(nested)) => {
                            values.extend(nested.iter().cloned());
                        }
                        _ => values.push(value),
                    }
                }
                Ok(Value::array(values))
            }
            TemplateKind::Mapping(_) => {
                let mut object = Object::new();
                for (key, value) in self.entries(e, depth)? {
                    object.insert(key, value);
                }
                Ok(Value::Object(Arc::new(object)))
            }
        }
    }

    fn entries(
        &self,
        e: &dyn Environment,
        depth: usize,
    ) -> Result<Vec<(String, Value)>, TemplateError> {
        let TemplateKind::Mapping(pairs) = &self.kind else {
            return match self.value(e, depth)? {
                Value::Object(object) => {
                    Ok(object.iter().map(|(k, v)| (k.to_owned(), v.clone())).collect())
                }
                Value::Null => Ok(Vec::new()),
                other => Err(self.failed(format!("Expected a mapping, found {}", other.kind()))),
            };
        };
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if matches!(key.kind, TemplateKind::Insert) {
                entries.extend(value.entries(e, depth + 1)?);
                continue;
            }
            let name = key.evaluate_text(e)?;
            entries.push((name, value.value(e, depth + 1)?));
        }
        Ok(entries)
    }
}
