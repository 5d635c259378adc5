//! Fixes: replacements that change nothing but what was found.

use trainyard_diagnostics::Diagnostic;

/// The text with the fixes of those findings, and how many were made. Of two that overlap the
/// first is made; the other is found again in the changed text.
pub fn apply_fixes(text: &str, diagnostics: &[Diagnostic]) -> (String, usize) {
    let mut fixes: Vec<_> = diagnostics.iter().filter_map(|d| d.fix.as_ref()).collect();
    fixes.sort_by_key(|f| (f.span.start, f.span.end));
    let mut out = String::with_capacity(text.len());
    let (mut at, mut count) = (0, 0);
    for fix in fixes {
        if fix.span.start < at {
            continue;
        }
        let Some(kept) = text.get(at..fix.span.start) else { continue };
        out.push_str(kept);
        out.push_str(&fix.text);
        at = fix.span.end;
        count += 1;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    (out, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainyard_diagnostics::{Fix, Severity, Span};

    #[test]
    fn fixes_do_not_overlap() {
        let fix = |start, end, text: &str| {
            let span = Span::new(start, end);
            let mut d = Diagnostic::new(Severity::Warning, "x", span, "x");
            d.fix = Some(Box::new(Fix { span, text: text.into() }));
            d
        };
        let all = [fix(4, 5, "X"), fix(0, 2, ""), fix(1, 3, "no")];
        assert_eq!(apply_fixes("abcdef", &all), ("cdXf".to_owned(), 2));
        assert_eq!(apply_fixes("abc", &[]), ("abc".to_owned(), 0));
    }
}
