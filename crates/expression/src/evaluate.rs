use std::sync::Arc;

use trainyard_model::Value;

use crate::ast::{Expr, ExprKind};
use crate::compare::{compare, to_number};
use crate::functions::{self, Memory};
use crate::scope::Status;

/// What an evaluation lacks: the caller gets it and evaluates again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `hashFiles` of these arguments.
    HashFiles(Vec<String>),
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// It has no value, and never will.
    #[error("{message}")]
    Failed {
        /// What went wrong.
        message: String,
        /// First byte of the call in the expression's text.
        offset: usize,
    },
    /// It has no value yet.
    #[error("the value is not known yet")]
    Needs(Need),
}

/// Where an expression gets its contexts and the functions that depend on the place.
pub trait Environment {
    /// The value of a context; one that is not there is null.
    fn context(&self, name: &str) -> Value;

    /// A status function with its arguments (job names, in a job's `if`).
    fn status(&self, status: Status, names: &[String]) -> Result<bool, EvalError> {
        let _ = (status, names);
        Err(EvalError::Failed {
            message: "status functions are not available here".into(),
            offset: 0,
        })
    }

    /// `hashFiles`.
    fn hash_files(&self, patterns: &[String]) -> Result<String, EvalError> {
        Err(EvalError::Needs(Need::HashFiles(patterns.to_vec())))
    }
}

/// The value of an expression.
pub fn evaluate(expr: &Expr, environment: &dyn Environment) -> Result<Value, EvalError> {
    let mut evaluator = Evaluator {
        environment,
        memory: Memory::default(),
    };
    evaluator.value(expr)
}

pub(crate) struct Evaluator<'a> {
    pub(crate) environment: &'a dyn Environment,
    pub(crate) memory: Memory,
}

impl Evaluator<'_> {
    pub(crate) fn value(&mut self, expr: &Expr) -> Result<Value, EvalError> {
        match &expr.kind {
            ExprKind::Literal(value) => Ok(value.clone()),
            ExprKind::Context(name) => Ok(self.environment.context(name)),
            ExprKind::Not(a) => Ok(Value::Bool(!self.value(a)?.is_truthy())),
            ExprKind::And(items) => self.chain(items, false),
            ExprKind::Or(items) => self.chain(items, true),
            ExprKind::Compare(op, a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                Ok(Value::Bool(compare(*op, &a, &b)))
            }
            ExprKind::Index(..) | ExprKind::Wildcard(_) => Ok(match self.indexed(expr)? {
                Indexed::One(value) => value,
                Indexed::Filtered(items) => Value::array(items),
            }),
            ExprKind::Call(name, args) => functions::call(self, name, args, expr.start),
        }
    }

    /// The first operand that decides, else the last.
    fn chain(&mut self, items: &[Expr], stop_on: bool) -> Result<Value, EvalError> {
        let mut value = Value::Null;
        for item in items {
            value = self.value(item)?;
            if value.is_truthy() == stop_on {
                break;
            }
        }
        Ok(value)
    }

    /// Indexing keeps apart what a wildcard gave: the next index maps over its items.
    fn indexed(&mut self, expr: &Expr) -> Result<Indexed, EvalError> {
        let (base, index) = match &expr.kind {
            ExprKind::Index(base, index) => (base, Some(index)),
            ExprKind::Wildcard(base) => (base, None),
            _ => return Ok(Indexed::One(self.value(expr)?)),
        };
        let base = self.indexed(base)?;
        let index = index.map(|i| self.value(i)).transpose()?;
        match (base, index) {
            (Indexed::One(base), None) => {
                let items = children(&base);
                self.memory.add_items(items.len(), expr.start)?;
                Ok(Indexed::Filtered(items))
            }
            (Indexed::One(base), Some(index)) => {
                Ok(Indexed::One(at(&base, &index).cloned().unwrap_or_default()))
            }
            (Indexed::Filtered(items), index) => {
                let items: Vec<Value> = match index {
                    None => items.iter().flat_map(children).collect(),
                    Some(index) => items
                        .iter()
                        .filter_map(|i| at(i, &index).cloned())
                        .collect(),
                };
                self.memory.add_items(items.len(), expr.start)?;
                Ok(Indexed::Filtered(items))
            }
        }
    }
}

enum Indexed {
    One(Value),
    Filtered(Vec<Value>),
}

fn children(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => Vec::clone(items),
        Value::Object(object) => object.iter().map(|(_, v)| v.clone()).collect(),
        _ => Vec::new(),
    }
}

fn at<'a>(base: &'a Value, index: &Value) -> Option<&'a Value> {
    match base {
        Value::Object(object) if index.is_primitive() => object.get(&index.to_text()),
        Value::Array(items) => item(items, to_number(index)),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn item(items: &Arc<Vec<Value>>, index: f64) -> Option<&Value> {
    if index.is_nan() || index < 0.0 || index.floor() > f64::from(i32::MAX) {
        return None;
    }
    items.get(index.floor() as usize)
}
