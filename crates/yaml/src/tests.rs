use super::*;

fn dump(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "null".into(),
        Kind::Bool(b) => b.to_string(),
        Kind::Number(n) => format!("{n}"),
        Kind::String(s) => format!("{s:?}"),
        Kind::Sequence(items) => {
            format!("[{}]", items.iter().map(dump).collect::<Vec<_>>().join(", "))
        }
        Kind::Mapping(pairs) => format!(
            "{{{}}}",
            pairs
                .iter()
                .map(|(k, v)| format!("{}: {}", dump(k), dump(v)))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn check(text: &str) -> String {
    match parse(&Source::new("t.yml", text)) {
        Ok(node) => dump(&node),
        Err(d) => format!(
            "{}..{} {}: {} ({})",
            d.span.start,
            d.span.end,
            d.rule,
            d.message,
            d.help.unwrap_or_default()
        ),
    }
}

#[test]
fn core_schema() {
    let text = "[on, yes, no, True, FALSE, ~, null, 0o17, 0x1F, -12, +3, 1e3, .5, -.INF, .nan, 2001-01-01, 1_000, 0b1, '1', \"a\\nb\", 1.2.3, 0xffffffff]";
    insta::assert_snapshot!(check(text), @r#"["on", "yes", "no", true, false, null, null, 15, 31, -12, 3, 1000, 0.5, -inf, NaN, "2001-01-01", "1_000", "0b1", "1", "a\nb", "1.2.3", -1]"#);
}

#[test]
fn tags() {
    insta::assert_snapshot!(check("[!!str 1, !!int 1, !!bool true, !!null ~, !!float 1]"), @r#"["1", 1, true, null, 1]"#);
    assert!(check("!!int abc").contains("yaml/tag"));
    assert!(check("!!int '1'").contains("yaml/tag"));
    assert!(check("!custom a").contains("Unexpected tag '!custom'"));
}

#[test]
fn anchors_replay() {
    insta::assert_snapshot!(check("a: &x {b: 1}\nc: *x\nd: &x 2\ne: *x\n<<: *x"), @r#"{"a": {"b": 1}, "c": {"b": 1}, "d": 2, "e": 2, "<<": 2}"#);
    assert!(check("a: &x [*x]").contains("yaml/recursive-alias"));
    assert!(check("a: *y").contains("yaml/unknown-anchor"));
}

#[test]
fn alias_bomb() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let row = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{row}]\n"));
    }
    assert!(check(&text).contains("yaml/too-many-nodes"));
}

#[test]
fn traps_are_explained() {
    assert!(check("if: !cancelled()\n").contains("YAML reads a leading `!` as a tag"));
    assert!(check("paths: [**.rs]\n").contains("YAML reads a leading `*` as an alias"));
    assert!(check("paths:\n  - **.rs\n").contains("YAML reads a leading `*` as an alias"));
}

#[test]
fn one_document() {
    assert!(check("").contains("yaml/empty"));
    assert!(check("a: 1\n---\nb: 2\n").contains("yaml/documents"));
    assert!(check("---\na: 1\n").contains("\"a\": 1"));
    assert!(check(&"[".repeat(500)).contains("yaml/"));
}

#[test]
fn what_yamldotnet_accepts() {
    insta::assert_snapshot!(check("a:\n  - [one, two,\n    three, four]\nb:\n - x"), @r#"{"a": [["one", "two", "three", "four"]], "b": ["x"]}"#);
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,60}") {
        let _ = check(&text);
    }

    #[test]
    fn never_panics_on_shaped_text(text in "([a-c&*!\\[\\]{}:,#|>'\" \\n\\-]|: |- |\\n  ){0,40}") {
        let _ = check(&text);
    }
}
