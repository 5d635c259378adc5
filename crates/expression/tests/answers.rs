//! Known answers, each with its source: `answers/*.jsonl`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;

use serde_json::Value as Json;
use trainyard_expression::{Environment, ErrorKind, EvalError, Scope, evaluate, parse_in};
use trainyard_model::Value;

struct Contexts(BTreeMap<String, Value>);

impl Environment for Contexts {
    fn context(&self, name: &str) -> Value {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.clone())
            .unwrap_or_default()
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Object(map) if map.len() == 1 && map.contains_key("$number") => {
            Value::Number(match map["$number"].as_str().unwrap() {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                _ => f64::NEG_INFINITY,
            })
        }
        Json::Object(map) => Value::object(map.iter().map(|(k, v)| (k.as_str(), value(v)))),
        Json::Array(items) => Value::array(items.iter().map(value).collect()),
        other => Value::from_json(&other.to_string()).unwrap(),
    }
}

fn answer(row: &Json) -> Result<Value, &'static str> {
    let contexts: BTreeMap<String, Value> = row["contexts"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), value(v)))
        .collect();
    let scope = Scope { contexts: contexts.keys().cloned().collect(), functions: Vec::new() };
    let tree = parse_in(row["expr"].as_str().unwrap(), &scope).map_err(|e| match e.kind {
        ErrorKind::Lexing => "lexing",
        ErrorKind::Parsing => "parsing",
    })?;
    let Some(tree) = tree else { return Ok(Value::Null) };
    evaluate(&tree, &Contexts(contexts)).map_err(|e| match e {
        EvalError::Failed { .. } => "evaluation",
        EvalError::Needs(_) => "needs",
    })
}

#[test]
fn known_answers() {
    let folder = format!("{}/tests/answers", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut rows = 0;
    let mut failures = Vec::new();
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let row: Json = serde_json::from_str(line).unwrap();
            assert!(row["source"].is_string(), "a row without its source: {line}");
            let found = answer(&row);
            let wanted = match row["error"].as_str() {
                Some(kind) => Err(kind.to_owned()),
                None => Ok(value(&row["ok"])),
            };
            rows += 1;
            if found.clone().map_err(str::to_owned) != wanted {
                let name = file.file_stem().unwrap().to_string_lossy().into_owned();
                failures.push(format!(
                    "{name}: {:.300}\n   -> {:.200}",
                    line,
                    format!("{found:?}")
                ));
            }
        }
    }
    assert!(rows >= 500, "only {rows} rows");
    assert!(failures.is_empty(), "{} of {rows} rows:\n{}", failures.len(), failures.join("\n"));
}
