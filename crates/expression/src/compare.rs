//! Comparison with coercion (actions/runner `EvaluationResult.cs`).

use std::cmp::Ordering;
use std::sync::Arc;

use trainyard_model::{Value, compare_ignore_case, eq_ignore_case, parse_number};

use crate::ast::CompareOp;

/// The number that a value is in a comparison; collections are NaN.
pub(crate) fn to_number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Number(n) => *n,
        Value::String(s) => parse_number(s),
        Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// Both sides brought to one kind, or `None` where kinds stay apart.
enum Coerced<'a> {
    Null,
    Bools(bool, bool),
    Numbers(f64, f64),
    Strings(&'a str, &'a str),
    Identity(bool),
    Different,
}

fn coerce<'a>(a: &'a Value, b: &'a Value) -> Coerced<'a> {
    match (a, b) {
        (Value::Null, Value::Null) => Coerced::Null,
        (Value::Bool(a), Value::Bool(b)) => Coerced::Bools(*a, *b),
        (Value::String(a), Value::String(b)) => Coerced::Strings(a, b),
        (Value::Array(a), Value::Array(b)) => Coerced::Identity(Arc::ptr_eq(a, b)),
        (Value::Object(a), Value::Object(b)) => Coerced::Identity(Arc::ptr_eq(a, b)),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Coerced::Different
        }
        _ => Coerced::Numbers(to_number(a), to_number(b)),
    }
}

/// The language's `==`: numbers win over strings, null and booleans are numbers, strings ignore
/// case, collections are equal only to themselves.
pub fn loose_eq(a: &Value, b: &Value) -> bool {
    match coerce(a, b) {
        Coerced::Null => true,
        Coerced::Bools(a, b) => a == b,
        Coerced::Numbers(a, b) => a == b,
        Coerced::Strings(a, b) => eq_ignore_case(a, b),
        Coerced::Identity(same) => same,
        Coerced::Different => false,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match coerce(a, b) {
        Coerced::Bools(a, b) => Some(a.cmp(&b)),
        Coerced::Numbers(a, b) => a.partial_cmp(&b),
        Coerced::Strings(a, b) => Some(compare_ignore_case(a, b)),
        Coerced::Null | Coerced::Identity(_) | Coerced::Different => None,
    }
}

pub(crate) fn compare(op: CompareOp, a: &Value, b: &Value) -> bool {
    match op {
        CompareOp::Eq => loose_eq(a, b),
        CompareOp::Ne => !loose_eq(a, b),
        CompareOp::Lt => order(a, b) == Some(Ordering::Less),
        CompareOp::Gt => order(a, b) == Some(Ordering::Greater),
        // "Or equal" asks equality, so null <= null holds although null < null has no answer.
        CompareOp::Le => loose_eq(a, b) || order(a, b) == Some(Ordering::Less),
        CompareOp::Ge => loose_eq(a, b) || order(a, b) == Some(Ordering::Greater),
    }
}
