//! Comparison without case as .NET's `StringComparison.OrdinalIgnoreCase` does it: every
//! character is upper-cased by its simple (one to one) mapping; dotless i and long s are left
//! alone. Source: actions/runner `EvaluationResult.cs` and languageservices `result.ts`
//! `toUpperSpecial`.

use std::cmp::Ordering;

fn upper_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    if matches!(c, '\u{131}' | '\u{17f}') {
        return c;
    }
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// The text in upper case, character by character.
pub fn upper(text: &str) -> String {
    text.chars().map(upper_char).collect()
}

/// Equality without case.
pub fn eq_ignore_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    a.chars().map(upper_char).eq(b.chars().map(upper_char))
}

/// Order without case, by code point.
pub fn compare_ignore_case(a: &str, b: &str) -> Ordering {
    a.chars().map(upper_char).cmp(b.chars().map(upper_char))
}

/// Substring test without case.
pub fn contains_ignore_case(text: &str, part: &str) -> bool {
    part.is_empty() || upper(text).contains(&upper(part))
}
