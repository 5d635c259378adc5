//! Numbers to text and back as GitHub's C# does it.

/// A string as a number by the rules of actions/runner `ExpressionUtility.ParseNumber`: trimmed,
/// empty is 0, decimal with optional sign and exponent, `0x` as a 32-bit two's complement, `0o`
/// likewise, `infinity` in any case with a sign or none; anything else is NaN.
pub fn parse_number(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() {
        return 0.0;
    }
    if is_decimal(text) {
        return text.parse().unwrap_or(f64::NAN);
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return radix(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return radix(octal, 8);
    }
    let (negative, word) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    match (word.eq_ignore_ascii_case("infinity"), negative) {
        (true, false) => f64::INFINITY,
        (true, true) => f64::NEG_INFINITY,
        (false, _) => f64::NAN,
    }
}

fn radix(digits: &str, radix: u32) -> f64 {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return f64::NAN;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return 0.0;
    }
    // Out of 32 bits is out of range, and so not a number; the top bit is the sign.
    match u32::from_str_radix(significant, radix) {
        Ok(bits) => f64::from(bits.cast_signed()),
        Err(_) => f64::NAN,
    }
}

/// `[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?`
fn is_decimal(text: &str) -> bool {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some((whole, part)) => {
            all_digits(whole) && all_digits(part) && !(whole.is_empty() && part.is_empty())
        }
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['-', '+']).unwrap_or(e);
        !digits.is_empty() && all_digits(digits)
    });
    mantissa_ok && exponent_ok
}

/// A number as text in .NET's `G15`: 15 significant digits, no trailing zeros, scientific
/// (`1E+15`, `1E-05`) when the exponent is 15 or more or under -4; negative zero is `0`.
pub fn number_to_string(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    if number == 0.0 {
        return "0".into();
    }
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return format!("{number:.0}");
    }
    let scientific = format!("{number:.14e}");
    // `{:e}` always writes an `e`.
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    if exponent > -5 && exponent < 15 {
        let body = if exponent < 0 {
            format!("0.{}{digits}", "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0)))
        } else {
            let whole = usize::try_from(exponent).unwrap_or(0) + 1;
            if digits.len() <= whole {
                format!("{digits}{}", "0".repeat(whole - digits.len()))
            } else {
                format!("{}.{}", &digits[..whole], &digits[whole..])
            }
        };
        return format!("{sign}{body}");
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}E{exponent_sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_g15() {
        for (number, text) in [
            (3.10, "3.1"),
            (-0.0, "0"),
            (1e15, "1E+15"),
            (123456789012345.0, "123456789012345"),
            (1e21, "1E+21"),
            (0.0001, "0.0001"),
            (0.00001, "1E-05"),
            (0.1 + 0.2, "0.3"),
            (-1.5e-7, "-1.5E-07"),
            (1234567890123456.0, "1.23456789012346E+15"),
            (99.5, "99.5"),
        ] {
            assert_eq!(number_to_string(number), text);
        }
    }

    #[test]
    fn parses() {
        for (text, number) in [
            (" 12 ", 12.0),
            ("", 0.0),
            ("0xff", 255.0),
            ("0xffffffff", -1.0),
            ("0o17", 15.0),
            ("+1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
        ] {
            assert_eq!(parse_number(text), number, "{text}");
        }
        for text in ["-0x1", "1e", "abc", "0x", "0x1ffffffff", "infinit", "."] {
            assert!(parse_number(text).is_nan(), "{text}");
        }
    }
}
