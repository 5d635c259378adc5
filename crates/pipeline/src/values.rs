//! JSON as protojson has it: numbers are doubles, and whole ones are written without a point.

use serde_json::Value as Json;

use crate::spec::ParameterType;

/// The same value with whole numbers as whole numbers, at any depth: Python otherwise sees `2.0`.
pub fn whole(value: Json) -> Json {
    match value {
        Json::Number(number) if !number.is_i64() => {
            crate::number(number.as_f64().unwrap_or_default())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(whole).collect()),
        Json::Object(map) => Json::Object(map.into_iter().map(|(k, v)| (k, whole(v))).collect()),
        other => other,
    }
}

/// A value as text: texts as they are, everything else as JSON (`metadata.PbValueToText`).
pub fn text_of(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// What a value is, as messages name it.
pub fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(number) if number.is_i64() => "an integer",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a struct",
    }
}

/// Whether a value is of a type; nothing is converted.
pub fn fits(value: &Json, kind: ParameterType) -> bool {
    match kind {
        ParameterType::Double | ParameterType::Integer => value.is_number(),
        ParameterType::String => value.is_string(),
        ParameterType::Boolean => value.is_boolean(),
        ParameterType::List => value.is_array(),
        ParameterType::Struct | ParameterType::FinalStatus | ParameterType::TaskConfig => {
            value.is_object()
        }
    }
}

/// Reads the text of an output file by its type (`launcher_v2.go`, `textToPbValue`).
///
/// # Errors
///
/// When the text is none of that type.
pub fn of_text(text: &str, kind: ParameterType) -> Result<Json, String> {
    let no = |what: &str| {
        let short: String = text.trim().chars().take(60).collect();
        Err(format!("'{short}' is {what}"))
    };
    match kind {
        ParameterType::String => Ok(Json::String(text.to_owned())),
        ParameterType::Integer => match text.trim().parse::<i64>() {
            Ok(number) => Ok(Json::from(number)),
            Err(_) => no("no integer"),
        },
        ParameterType::Double => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(crate::number(number)),
            _ => no("no number"),
        },
        // As Go reads them.
        ParameterType::Boolean => match text.trim() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Json::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Json::Bool(false)),
            _ => no("no boolean"),
        },
        ParameterType::List => match serde_json::from_str(text) {
            Ok(value @ Json::Array(_)) => Ok(whole(value)),
            _ => no("no JSON list"),
        },
        _ => match serde_json::from_str(text) {
            Ok(value @ Json::Object(_)) => Ok(whole(value)),
            _ => no("no JSON struct"),
        },
    }
}

/// JSON with its keys in order and nothing between: what is hashed (Go's `encoding/json`).
pub fn canonical(value: &Json, out: &mut String) {
    match value {
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                text(key, out);
                out.push(':');
                canonical(&map[key], out);
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Json::String(value) => text(value, out),
        other => out.push_str(&other.to_string()),
    }
}

/// A text as Go writes it into JSON: `<`, `>` and `&` are escaped, too.
fn text(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_whole_at_any_depth() {
        let check = |text: &str| whole(serde_json::from_str(text).unwrap()).to_string();
        insta::assert_snapshot!(check("2.0"), @"2");
        insta::assert_snapshot!(check(r#"{"a": [1.0, 1.5, {"b": -0.0, "c": 1e3}]}"#), @r#"{"a":[1,1.5,{"b":0,"c":1000}]}"#);
        insta::assert_snapshot!(check("1e300"), @"1e+300");
        insta::assert_snapshot!(check(r#""2.0""#), @r#""2.0""#);
    }

    #[test]
    fn output_files() {
        let check = |text: &str, kind| match of_text(text, kind) {
            Ok(value) => value.to_string(),
            Err(why) => why,
        };
        insta::assert_snapshot!(check(" 7\n", ParameterType::Integer), @"7");
        insta::assert_snapshot!(check("7.0", ParameterType::Integer), @"'7.0' is no integer");
        insta::assert_snapshot!(check("2.0\n", ParameterType::Double), @"2");
        insta::assert_snapshot!(check("nan", ParameterType::Double), @"'nan' is no number");
        insta::assert_snapshot!(check("True", ParameterType::Boolean), @"true");
        insta::assert_snapshot!(check("yes", ParameterType::Boolean), @"'yes' is no boolean");
        insta::assert_snapshot!(check("a\n", ParameterType::String), @r#""a\n""#);
        insta::assert_snapshot!(check("[1.0]", ParameterType::List), @"[1]");
        insta::assert_snapshot!(check("{}", ParameterType::List), @"'{}' is no JSON list");
    }

    #[test]
    fn canonical_json() {
        let mut out = String::new();
        canonical(&serde_json::json!({"b": [1, "<x>\n"], "a": null, "A": true}), &mut out);
        insta::assert_snapshot!(out, @r#"{"A":true,"a":null,"b":[1,"\u003cx\u003e\n"]}"#);
    }
}
