//! Every rule finds its bad cases and leaves its near ones alone.

use trainyard_diagnostics::{Diagnostic, Severity, Source};
use trainyard_workflow::{read_action, read_workflow};

use super::*;
use crate::{Definition, Settings, apply_fixes, lint};

/// A file around a case: steps, jobs, an action, or the whole.
fn file(case: &str) -> (String, bool) {
    let indented = |by: &str| case.lines().map(|l| format!("{by}{l}\n")).collect::<String>();
    if case.starts_with("- ") {
        let steps = indented("      ");
        (format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"), false)
    } else if case.starts_with("jobs:") {
        (format!("on: push\n{case}\n"), false)
    } else {
        (format!("{case}\n"), case.starts_with("runs:") || case.starts_with("inputs:"))
    }
}

fn found(text: &str, is_action: bool, settings: &Settings) -> Vec<Diagnostic> {
    let source = Source::new("ci.yml", text);
    let (mut all, own) = if is_action {
        let (action, all) = read_action(&source, 0);
        let action = action.unwrap_or_else(|| panic!("{all:?}\n{text}"));
        let own = lint(&source, Definition::Action(&action), settings);
        (all, own)
    } else {
        let (workflow, all) = read_workflow(&source, 0);
        let workflow = workflow.unwrap_or_else(|| panic!("{all:?}\n{text}"));
        let own = lint(&source, Definition::Workflow(&workflow), settings);
        (all, own)
    };
    all.extend(own);
    all
}

/// Cases of rules about labels have runners of their own.
fn settings() -> Settings {
    Settings { labels: vec!["gpu".into(), "a100-*".into()], ..Settings::default() }
}

#[test]
fn bad_cases_are_found_and_near_ones_are_not() {
    let mut wrong = Vec::new();
    for rule in RULES.iter().filter(|r| r.check.is_some()) {
        for (cases, wanted) in [(rule.cases.bad, true), (rule.cases.good, false)] {
            for case in cases {
                let (text, is_action) = file(case);
                let all = found(&text, is_action, &settings());
                let own: Vec<&Diagnostic> = all.iter().filter(|d| d.rule == rule.id).collect();
                if own.is_empty() == wanted {
                    wrong.push(format!("{} wanted {wanted}:\n{text}{own:?}", rule.id));
                }
                for d in own {
                    assert_eq!(d.severity, rule.severity, "{}", rule.id);
                    assert!(d.help.is_some(), "{} says no remedy", rule.id);
                    assert!(d.span.end <= text.len() && d.span.start < d.span.end, "{}", rule.id);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_rule_has_cases_and_a_page() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    for rule in RULES {
        assert!(rule.cases.bad.len() >= 5 && rule.cases.good.len() >= 5, "{}", rule.id);
        let page = std::fs::read_to_string(format!("{root}{}", rule.page())).unwrap_or_default();
        assert!(page.starts_with(&format!("# {}\n", rule.id)), "{} has no page", rule.id);
        assert!(page.contains(rule.summary), "the page of {} says something else", rule.id);
        assert_ne!(rule.severity, Severity::Error, "errors are GitHub's alone");
    }
    let index = std::fs::read_to_string(format!("{root}docs/rules/README.md")).unwrap();
    for rule in RULES {
        assert!(index.contains(&format!("({}.md)", rule.id.replace('/', "-"))), "{}", rule.id);
    }
}

/// A fix takes its finding away, brings no other, and does nothing the second time.
#[test]
fn fixes_fix() {
    let mut count = 0;
    for case in RULES.iter().flat_map(|r| r.cases.bad) {
        let (text, is_action) = file(case);
        let before = found(&text, is_action, &settings());
        let with_fix: Vec<&Diagnostic> = before.iter().filter(|d| d.fix.is_some()).collect();
        if with_fix.is_empty() {
            continue;
        }
        let (fixed, made) = apply_fixes(&text, &before);
        count += made;
        let after = found(&fixed, is_action, &settings());
        assert!(after.len() < before.len(), "{text}\n{fixed}\n{after:?}");
        assert!(after.iter().all(|d| d.fix.is_none()), "{fixed}");
    }
    assert!(count >= 8, "only {count} fixes were tried");
}

#[test]
fn rules_can_be_turned_off() {
    let (text, _) = file("- run: echo ::set-output name=a::b");
    let off = Settings { off: vec!["script/deprecated-command".into()], ..Settings::default() };
    let has =
        |s: &Settings| found(&text, false, s).iter().any(|d| d.rule == "script/deprecated-command");
    assert!(has(&Settings::default()) && !has(&off));
}
