//! `# trainyard: ignore[rule]`: in a line of a finding, or in the line above it.

use trainyard_diagnostics::{Diagnostic, Severity, Source};

/// Blanks are easily forgotten.
const MARKS: [&str; 4] =
    ["# trainyard: ignore[", "#trainyard: ignore[", "# trainyard:ignore[", "#trainyard:ignore["];

/// The rules that a line names, with their places in it.
fn named(line: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    for mark in MARKS {
        for (at, _) in line.match_indices(mark) {
            let from = at + mark.len();
            let Some(length) = line[from..].find(']') else { continue };
            let mut start = from;
            for name in line[from..from + length].split(',') {
                let blanks = name.len() - name.trim_start().len();
                if !name.trim().is_empty() {
                    names.push((start + blanks, name.trim()));
                }
                start += name.len() + 1;
            }
        }
    }
    names
}

/// The findings that no comment turns off. Errors stay: GitHub refuses the file all the same.
/// Names that are no rules are findings of their own.
pub fn without_ignored(source: &Source, diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if !MARKS.iter().any(|m| source.text().contains(m)) {
        return diagnostics;
    }
    let lines: Vec<&str> = source.text().lines().collect();
    let mut used: Vec<(usize, &str)> = Vec::new();
    let mut kept = Vec::new();
    for diagnostic in diagnostics {
        let first = source.position(diagnostic.span.start).line;
        let last = source.position(diagnostic.span.end).line;
        // Lines count from 1: this is the line above and those of the finding.
        let near = first.saturating_sub(2)..last;
        let hit = near.clone().find_map(|i| {
            let line = lines.get(i)?;
            named(line).into_iter().find(|(_, n)| *n == diagnostic.rule).map(|(_, n)| (i, n))
        });
        match hit.filter(|_| diagnostic.severity != Severity::Error) {
            Some(hit) => used.push(hit),
            None => kept.push(diagnostic),
        }
    }
    kept.extend(strangers(source, &lines));
    kept
}

/// Comments that name no rule.
fn strangers(source: &Source, lines: &[&str]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in lines {
        for (place, name) in named(line) {
            if !crate::is_known(name) {
                let start = at + place;
                let span = trainyard_diagnostics::Span::new(start, start + name.len());
                let message = format!("There is no rule '{name}'");
                found.push(
                    Diagnostic::warning("ignore/unknown", span, message)
                        .with_help("trainyard check --rules lists them"),
                );
            }
        }
        at += line.len();
        // The line break, one byte or two.
        at += source.text()[at..]
            .chars()
            .take_while(|c| matches!(c, '\r' | '\n'))
            .take(if source.text()[at..].starts_with("\r\n") { 2 } else { 1 })
            .count();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainyard_diagnostics::Span;

    fn check(text: &str, rule: &'static str, wanted: &[&str]) {
        let source = Source::new("x.yml", text);
        let start = text.find("HERE").unwrap();
        let span = Span::new(start, start + 4);
        let found = vec![Diagnostic::warning(rule, span, "x")];
        let rules: Vec<&str> = without_ignored(&source, found).iter().map(|d| d.rule).collect();
        assert_eq!(rules, wanted, "{text}");
    }

    #[test]
    fn comments_turn_rules_off() {
        let rule = "needs/unread";
        check("a: HERE # trainyard: ignore[needs/unread] as it orders", rule, &[]);
        check("# trainyard: ignore[script/injection, needs/unread]\na: HERE", rule, &[]);
        check("# trainyard: ignore[script/injection]\na: HERE", rule, &[rule]);
        check("# trainyard: ignore[needs/unread]\n\na: HERE", rule, &[rule]);
        check("# trainyard: ignore[]\na: HERE", rule, &[rule]);
        check(
            "a: HERE #trainyard:ignore[x/y] # trainyard: ignore[needs/unread]",
            rule,
            &["ignore/unknown"],
        );
        check("a: HERE\n# trainyard: ignore[needs/unread]", rule, &[rule]);
        check(
            "x: 1\r\n# trainyard: ignore[needs/unraed]\r\na: HERE",
            rule,
            &[rule, "ignore/unknown"],
        );
    }

    #[test]
    fn errors_stay() {
        let source = Source::new("x.yml", "a: HERE # trainyard: ignore[needs/unread]");
        let found = vec![Diagnostic::error("needs/unread", Span::new(3, 7), "x")];
        assert_eq!(without_ignored(&source, found).len(), 1);
    }
}
