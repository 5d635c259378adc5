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
    let mut evaluator = Evaluator { environment, memory: Memory::default(), filtered: Vec::new() };
    evaluator.value(expr, 0)
}

pub(crate) struct Evaluator<'a> {
    pub(crate) environment: &'a dyn Environment,
    pub(crate) memory: Memory,
    /// The arrays that wildcards made, known by identity.
    filtered: Vec<Arc<Vec<Value>>>,
}

impl Evaluator<'_> {
    pub(crate) fn value(&mut self, expr: &Expr, level: usize) -> Result<Value, EvalError> {
        let value = self.bare(expr, level)?;
        self.memory.note(level, &value, expr)?;
        Ok(value)
    }

    fn bare(&mut self, expr: &Expr, level: usize) -> Result<Value, EvalError> {
        let below = level + 1;
        match &expr.kind {
            ExprKind::Literal(value) => Ok(value.clone()),
            ExprKind::Context(name) => Ok(self.environment.context(name)),
            ExprKind::Not(a) => Ok(Value::Bool(!self.value(a, below)?.is_truthy())),
            ExprKind::And(items) => self.chain(items, false, below),
            ExprKind::Or(items) => self.chain(items, true, below),
            ExprKind::Compare(op, a, b) => {
                let (a, b) = (self.value(a, below)?, self.value(b, below)?);
                Ok(Value::Bool(compare(*op, &a, &b)))
            }
            ExprKind::Wildcard(base) => {
                let base = self.value(base, below)?;
                let items = match self.filtered_items(&base) {
                    Some(items) => items.iter().flat_map(children).collect(),
                    None => children(&base),
                };
                self.filtered(items, level, expr)
            }
            ExprKind::Index(base, key) => {
                let base = self.value(base, below)?;
                // The runner looks at the index only where there is something to index.
                if base.is_primitive() {
                    return Ok(Value::Null);
                }
                let key = self.value(key, below)?;
                match self.filtered_items(&base) {
                    None => Ok(index(&base, &key).cloned().unwrap_or_default()),
                    Some(items) => {
                        let items = items.iter().filter_map(|i| index(i, &key).cloned()).collect();
                        self.filtered(items, level, expr)
                    }
                }
            }
            ExprKind::Call(name, args) => functions::call(self, name, args, (expr.start, below)),
        }
    }

    /// The first operand that decides, else the last.
    fn chain(&mut self, items: &[Expr], stop_on: bool, level: usize) -> Result<Value, EvalError> {
        let mut value = Value::Null;
        for item in items {
            value = self.value(item, level)?;
            if value.is_truthy() == stop_on {
                break;
            }
        }
        Ok(value)
    }

    /// What a wildcard gave: the next index maps over its items.
    fn filtered(
        &mut self,
        items: Vec<Value>,
        level: usize,
        expr: &Expr,
    ) -> Result<Value, EvalError> {
        self.memory.add(level, 24 + 8 * items.len(), expr.start)?;
        let items = Arc::new(items);
        self.filtered.push(Arc::clone(&items));
        Ok(Value::Array(items))
    }

    fn filtered_items(&self, value: &Value) -> Option<Arc<Vec<Value>>> {
        let Value::Array(items) = value else { return None };
        self.filtered.iter().any(|f| Arc::ptr_eq(f, items)).then(|| Arc::clone(items))
    }
}

fn children(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => Vec::clone(items),
        Value::Object(object) => object.iter().map(|(_, v)| v.clone()).collect(),
        _ => Vec::new(),
    }
}

/// `base[index]`: a property by text, an item by number, whichever the base has.
pub fn index<'a>(base: &'a Value, index: &Value) -> Option<&'a Value> {
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
