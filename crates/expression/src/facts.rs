//! What an expression was decided by: the values of the contexts and status functions in it.

use trainyard_model::Value;

use crate::ast::{Expr, ExprKind};
use crate::evaluate::{Environment, evaluate};
use crate::scope::uses_status_function;

/// Facts of one expression, and characters of one value.
const MAX_FACTS: usize = 6;
const MAX_VALUE: usize = 60;

/// `github.ref is 'refs/heads/dev', failure() is false`: what a person needs to see why an
/// expression came out as it did. Empty if it reads nothing.
pub fn facts(expr: &Expr, environment: &dyn Environment) -> String {
    let mut parts: Vec<&Expr> = Vec::new();
    collect(expr, &mut parts);
    let mut out: Vec<String> = Vec::new();
    for part in parts {
        let Ok(value) = evaluate(part, environment) else { continue };
        let fact = format!("{} is {}", name_of(part), shown(&value));
        if !out.contains(&fact) && out.len() < MAX_FACTS {
            out.push(fact);
        }
    }
    out.join(", ")
}

/// The outermost reads and status functions.
fn collect<'a>(expr: &'a Expr, out: &mut Vec<&'a Expr>) {
    match &expr.kind {
        ExprKind::Index(..) | ExprKind::Context(_) => out.push(expr),
        ExprKind::Call(_, args) if args.is_empty() && uses_status_function(expr) => out.push(expr),
        ExprKind::Literal(_) | ExprKind::Wildcard(_) => {}
        ExprKind::Compare(_, a, b) => {
            collect(a, out);
            collect(b, out);
        }
        ExprKind::Not(a) => collect(a, out),
        ExprKind::Call(_, items) | ExprKind::And(items) | ExprKind::Or(items) => {
            items.iter().for_each(|item| collect(item, out));
        }
    }
}

/// `a.b` as people write it.
fn name_of(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Index(a, b) => match &b.kind {
            ExprKind::Literal(Value::String(key)) if is_name(key) => {
                format!("{}.{key}", name_of(a))
            }
            _ => format!("{}[{b}]", name_of(a)),
        },
        _ => expr.to_string(),
    }
}

fn is_name(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > MAX_VALUE => {
            format!("'{}…'", text.chars().take(MAX_VALUE).collect::<String>())
        }
        Value::String(text) => format!("'{text}'"),
        Value::Null => "empty".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(object) => format!("an object of {}", object.len()),
        other => other.to_text().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Status;
    use crate::{EvalError, parse};

    struct Here;

    impl Environment for Here {
        fn context(&self, name: &str) -> Value {
            match name {
                "github" => Value::object([
                    ("ref", Value::from("refs/heads/dev")),
                    ("event", Value::object([("draft", Value::Bool(true))])),
                    ("long", Value::from("x".repeat(100))),
                ]),
                _ => Value::Null,
            }
        }
        fn status(&self, status: Status, _: &[String]) -> Result<bool, EvalError> {
            Ok(status == Status::Success)
        }
    }

    fn check(text: &str, wanted: &str) {
        assert_eq!(facts(&parse(text).unwrap().unwrap(), &Here), wanted, "{text}");
    }

    #[test]
    fn what_decided() {
        check("github.ref == 'refs/heads/main'", "github.ref is 'refs/heads/dev'");
        check("!github.event.draft", "github.event.draft is true");
        check("success() && inputs.go", "success() is true, inputs.go is empty");
        check("github['ref'] == github.ref", "github.ref is 'refs/heads/dev'");
        check("contains(github.event, 'x')", "github.event is an object of 1");
        check("false", "");
        check("github.long", &format!("github.long is '{}…'", "x".repeat(60)));
    }
}
