//! `trainyard eval`: an expression against contexts.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde_json::{Value as Json, json};
use trainyard_expression::{Environment, ErrorKind, EvalError, Scope, evaluate, parse_in};
use trainyard_model::Value;

use crate::error::{Error, Result};
use crate::exit::Exit;

struct Contexts(BTreeMap<String, Value>);

impl Environment for Contexts {
    fn context(&self, name: &str) -> Value {
        let found = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, v)| v.clone()).unwrap_or_default()
    }
}

/// The names that an expression may read though no value was given for them.
const KNOWN: &[&str] = &[
    "github", "env", "vars", "secrets", "inputs", "needs", "strategy", "matrix", "steps", "job",
    "jobs", "runner",
];

/// Where an evaluation went wrong.
struct Fault {
    kind: &'static str,
    message: String,
    position: Option<usize>,
}

fn answer(expr: &str, contexts: BTreeMap<String, Value>) -> std::result::Result<Value, Fault> {
    let names = KNOWN.iter().map(|n| (*n).to_owned()).chain(contexts.keys().cloned());
    let scope = Scope { contexts: names.collect(), functions: Vec::new() };
    // `${{ }}` around the whole is taken away; people copy it along.
    let trimmed = expr.trim();
    let inner = trimmed.strip_prefix("${{").and_then(|e| e.strip_suffix("}}"));
    let text = inner.unwrap_or(expr);
    let tree = parse_in(text, &scope).map_err(|e| Fault {
        kind: if e.kind == ErrorKind::Lexing { "lexing" } else { "parsing" },
        position: Some(text[..text.floor_char_boundary(e.offset)].chars().count() + 1),
        message: e.message,
    })?;
    let Some(tree) = tree else { return Ok(Value::Null) };
    evaluate(&tree, &Contexts(contexts)).map_err(|e| match e {
        EvalError::Failed { message, offset } => Fault {
            kind: "evaluation",
            message,
            position: Some(text[..text.floor_char_boundary(offset)].chars().count() + 1),
        },
        EvalError::Needs(_) => Fault {
            kind: "evaluation",
            message: "hashFiles needs a workspace".into(),
            position: None,
        },
    })
}

/// Numbers that JSON cannot write are given as `{"$number": "NaN"}`.
fn read_value(json: &Json) -> Value {
    match json {
        Json::Object(map) if map.len() == 1 => match map.get("$number").and_then(Json::as_str) {
            Some("NaN") => Value::Number(f64::NAN),
            Some("Infinity") => Value::Number(f64::INFINITY),
            Some("-Infinity") => Value::Number(f64::NEG_INFINITY),
            _ => Value::object(map.iter().map(|(k, v)| (k.as_str(), read_value(v)))),
        },
        Json::Object(map) => Value::object(map.iter().map(|(k, v)| (k.as_str(), read_value(v)))),
        Json::Array(items) => Value::array(items.iter().map(read_value).collect()),
        Json::String(s) => Value::from(s.as_str()),
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => Value::Number(n.as_f64().unwrap_or(f64::NAN)),
        Json::Null => Value::Null,
    }
}

fn row(line: &str) -> Json {
    let parsed: Json = match serde_json::from_str(line) {
        Ok(parsed) => parsed,
        Err(error) => {
            return json!({"error": {"kind": "parsing", "message": format!("the line is not JSON: {error}"), "position": null}});
        }
    };
    let contexts = parsed["contexts"].as_object().into_iter().flatten();
    let contexts = contexts.map(|(k, v)| (k.clone(), read_value(v))).collect();
    match answer(parsed["expr"].as_str().unwrap_or_default(), contexts) {
        Ok(value) => json!({"ok": value}),
        Err(fault) => json!({"error": {
            "kind": fault.kind, "message": fault.message, "position": fault.position,
        }}),
    }
}

/// JSON lines in, JSON lines out, in order.
pub fn batch() -> Result<Exit> {
    let stdin = std::io::stdin().lock();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in stdin.lines() {
        let line = line.map_err(|e| Error::new(format!("cannot read standard input: {e}")))?;
        if !line.trim().is_empty() {
            writeln!(out, "{}", row(&line))
                .map_err(|e| Error::new(format!("cannot write: {e}")))?;
        }
    }
    out.flush().map_err(|e| Error::new(format!("cannot write: {e}")))?;
    Ok(Exit::Success)
}

/// One expression; its value as JSON.
pub fn one(expr: &str, contexts: &[String]) -> Result<Exit> {
    let mut map = BTreeMap::new();
    for given in contexts {
        let (name, text) = given.split_once('=').ok_or_else(|| {
            Error::new(format!("--context {given}: expected NAME=JSON"))
                .hint("for example --context 'github={\"ref\":\"refs/heads/main\"}'")
        })?;
        let json: Json = serde_json::from_str(text)
            .map_err(|e| Error::new(format!("--context {name}: this is not JSON: {e}")))?;
        map.insert(name.to_owned(), read_value(&json));
    }
    match answer(expr, map) {
        Ok(value) => {
            outln!("{}", value.to_json_pretty());
            Ok(Exit::Success)
        }
        Err(fault) => {
            let error = Error::new(fault.message);
            let status = ["success", "failure", "always", "cancelled"];
            let called = |name: &&&str| {
                let at = expr.to_ascii_lowercase().find(&format!("{name}("));
                at.is_some() && error.message.starts_with("Unrecognized function")
            };
            Err(match status.iter().find(called) {
                Some(name) => error.hint(format!(
                    "{name}() asks for the status of a run; it has a meaning only in `if`"
                )),
                None => error,
            })
        }
    }
}
