//! No text makes the language panic; what is printed parses to the same tree; evaluation always
//! answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use proptest::prelude::*;
use trainyard_expression::{Environment, evaluate, parse};
use trainyard_model::Value;

struct Any;

impl Environment for Any {
    fn context(&self, name: &str) -> Value {
        match name {
            "a" => Value::from_json(r#"{"b":[1,{"c":"x"},null],"d":"2"}"#).unwrap(),
            _ => Value::Null,
        }
    }
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("a".to_owned()),
        Just("a.b".to_owned()),
        Just("a.*".to_owned()),
        Just("NaN".to_owned()),
        Just("-Infinity".to_owned()),
        "[0-9]{1,3}(\\.[0-9]{1,2})?",
        "'[a-z{}0-9']{0,5}'".prop_map(|s| {
            let inner = &s[1..s.len() - 1];
            format!("'{}'", inner.replace('\'', "''"))
        }),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|a| format!("!{a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (two.clone(), prop_oneof!["==", "!=", "<", ">=", "&&", "\\|\\|"])
                .prop_map(|((a, b), op)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("a.b[{a}]")),
            two.clone().prop_map(|(a, b)| format!("format({a}, {b})")),
            two.clone().prop_map(|(a, b)| format!("contains({a}, {b})")),
            two.clone().prop_map(|(a, b)| format!("join({a}, {b})")),
            inner.clone().prop_map(|a| format!("toJSON({a})")),
            inner.clone().prop_map(|a| format!("fromJSON(toJSON({a}))")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("case({a}, {b}, {c})")),
        ]
    })
}

/// A tree without places, which printing changes.
fn shape(text: &str) -> Option<String> {
    parse(text).ok().flatten().map(|tree| tree.to_string())
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_shaped_text_panics(text in "[a.*\\[\\]()!=<>&|,'0-9x +-]{0,60}") {
        if let Ok(Some(tree)) = parse(&text) {
            let _ = evaluate(&tree, &Any);
        }
    }

    #[test]
    fn printing_keeps_the_tree(text in expression()) {
        let printed = shape(&text);
        prop_assert!(printed.is_some(), "{text}");
        prop_assert_eq!(shape(printed.as_deref().unwrap()), printed);
    }

    #[test]
    fn evaluation_is_total_and_printing_keeps_the_value(text in expression()) {
        let tree = parse(&text).unwrap().unwrap();
        let again = parse(&tree.to_string()).unwrap().unwrap();
        let (a, b) = (evaluate(&tree, &Any), evaluate(&again, &Any));
        prop_assert_eq!(a.ok(), b.ok());
    }
}
