//! The core schema of YAML 1.2, as actions/runner `YamlObjectReader.cs` matches it.

use crate::Kind;

/// The typed value of a plain scalar.
pub(crate) fn plain(text: &str) -> Kind {
    null(text)
        .or_else(|| boolean(text))
        .or_else(|| number(text))
        .unwrap_or_else(|| Kind::String(text.into()))
}

/// The value of a plain scalar under one of the core tags; `None` if it is not of that type or
/// the tag is not known.
pub(crate) fn tagged(tag: &str, text: &str) -> Option<Kind> {
    match tag {
        "null" => null(text),
        "bool" => boolean(text),
        "int" => integer(text),
        "float" => float(text),
        _ => None,
    }
}

fn null(text: &str) -> Option<Kind> {
    matches!(text, "" | "~" | "null" | "Null" | "NULL").then_some(Kind::Null)
}

fn boolean(text: &str) -> Option<Kind> {
    match text {
        "true" | "True" | "TRUE" => Some(Kind::Bool(true)),
        "false" | "False" | "FALSE" => Some(Kind::Bool(false)),
        _ => None,
    }
}

fn number(text: &str) -> Option<Kind> {
    integer(text).or_else(|| float(text))
}

#[allow(clippy::cast_precision_loss)]
fn integer(text: &str) -> Option<Kind> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Kind::Number);
    }
    // Hexadecimal and octal have no sign.
    let (digits, radix) = match text.get(..2) {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        _ => return None,
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(Kind::Number(match u32::from_str_radix(digits.trim_start_matches('0'), radix) {
        Ok(bits) => f64::from(bits.cast_signed()),
        Err(_) if digits.bytes().all(|b| b == b'0') => 0.0,
        Err(_) => return None,
    }))
}

fn float(text: &str) -> Option<Kind> {
    let (sign, rest) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(Kind::Number(sign * f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if rest.len() == text.len() => {
            return Some(Kind::Number(f64::NAN));
        }
        _ => {}
    }
    let mantissa = rest.split(['e', 'E']).next().unwrap_or_default();
    let shaped = rest.bytes().all(|b| b.is_ascii_digit() || b"eE+-.".contains(&b))
        && mantissa.bytes().any(|b| b.is_ascii_digit());
    if !shaped || mantissa.contains(['+', '-']) {
        return None;
    }
    text.parse().ok().map(Kind::Number)
}
