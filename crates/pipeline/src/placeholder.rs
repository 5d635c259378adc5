//! Placeholders: `{{$.inputs.parameters['x']}}` and their kin, in what is written out and in commands
//! (`launcher_v2.go`, `getPlaceholders`). What they give is never read for placeholders again.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::semantics::RunFacts;
use crate::values::text_of;

/// Fills a value that is written out: its texts, at any depth. Inputs that are not there are left as
/// they are.
pub fn fill(
    value: &Json,
    parameters: &BTreeMap<String, Json>,
    facts: &RunFacts,
    task: &str,
) -> Json {
    match value {
        Json::String(text) if text.contains("{{$") => {
            let lookup = |name: &str| {
                parameter_name(name)
                    .and_then(|p| parameters.get(p))
                    .map(text_of)
                    .or_else(|| facts.placeholder(name, task))
            };
            Json::String(fill_text(text, &lookup))
        }
        Json::Array(items) => {
            Json::Array(items.iter().map(|i| fill(i, parameters, facts, task)).collect())
        }
        Json::Object(map) => {
            let pair = |(k, v): (&String, &Json)| (k.clone(), fill(v, parameters, facts, task));
            Json::Object(map.iter().map(pair).collect())
        }
        other => other.clone(),
    }
}

/// `inputs.parameters['x']` → `x`
pub(crate) fn parameter_name(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("inputs.parameters[")?.strip_suffix(']')?;
    let quoted = |q: char| rest.strip_prefix(q)?.strip_suffix(q);
    quoted('\'').or_else(|| quoted('"'))
}

/// Fills a text. `lookup` is asked with what stands between `{{$.` and `}}`, or with nothing for `{{$}}`;
/// what it does not know stays.
pub fn fill_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{{$") {
        out.push_str(&rest[..at]);
        let inner = &rest[at + 3..];
        let found = end_of(inner).and_then(|end| {
            let name = &inner[..end];
            let name = name.strip_prefix('.').unwrap_or(name);
            Some((lookup(name)?, end))
        });
        match found {
            Some((value, end)) => {
                out.push_str(&value);
                rest = &inner[end + 2..];
            }
            None => {
                out.push_str("{{$");
                rest = inner;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Where the `}}` of a placeholder is, quoted names aside.
fn end_of(inner: &str) -> Option<usize> {
    let mut quote = None;
    let bytes = inner.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(*byte),
            (b, Some(q)) if *b == q => quote = None,
            (b'}', None) if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (b'\n', _) => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let lookup = |name: &str| match name {
            "" => Some("{all}".to_owned()),
            "inputs.parameters['a']" => Some("{{$.inputs.parameters['b']}}".to_owned()),
            "inputs.parameters['}}']" => Some("odd".to_owned()),
            _ => None,
        };
        let check = |text: &str| fill_text(text, &lookup);
        insta::assert_snapshot!(check("x={{$.inputs.parameters['a']}};"), @"x={{$.inputs.parameters['b']}};");
        insta::assert_snapshot!(check("{{$}} {{$.inputs.parameters['none']}} {{$"), @"{all} {{$.inputs.parameters['none']}} {{$");
        insta::assert_snapshot!(check("{{$.inputs.parameters['}}']}}{{$.x}}"), @"odd{{$.x}}");
        insta::assert_snapshot!(check("{{ github }} ${{ x }}"), @"{{ github }} ${{ x }}");
    }
}
