//! `when` of Argo: an expression read after its placeholders are filled in, words without quotes being
//! texts (argo-workflows `shouldExecute`, govaluate).

/// Tokens of one expression.
const MAX_TOKENS: usize = 4_096;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Sign(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(f64),
    Text(String),
    Bool(bool),
}

/// Whether an expression holds.
///
/// # Errors
///
/// What cannot be read or compared.
pub(crate) fn holds(text: &str) -> Result<bool, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let value = parser.or()?;
    if parser.at < tokens.len() {
        return Err(format!("'{text}' cannot be read past its part {}", parser.at + 1));
    }
    match value {
        Value::Bool(holds) => Ok(holds),
        // `true` and `false` that came out of a placeholder.
        Value::Text(word) if word == "true" || word == "false" => Ok(word == "true"),
        _ => Err(format!("'{text}' gives no boolean")),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SIGNS: &[&str] = &["==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")"];
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(out) };
        if out.len() >= MAX_TOKENS {
            return Err("it is too long".to_owned());
        }
        if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            out.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
            continue;
        }
        if first == '"' || first == '\'' {
            let mut value = String::new();
            let mut chars = rest.char_indices().skip(1);
            let mut end = None;
            while let Some((at, c)) = chars.next() {
                match c {
                    c if c == first => {
                        end = Some(at + 1);
                        break;
                    }
                    '\\' => value.extend(chars.next().map(|(_, c)| c)),
                    c => value.push(c),
                }
            }
            let end = end.ok_or_else(|| format!("a text in '{text}' is not closed"))?;
            out.push(Token::Text(value));
            rest = &rest[end..];
            continue;
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || "()=!<>&|\"'".contains(c))
            .filter(|end| *end > 0)
            .ok_or(())
            .or_else(|()| {
                if "=&|".contains(first) {
                    Err(format!("unexpected '{first}'"))
                } else {
                    Ok(rest.len())
                }
            })?;
        let word = &rest[..end];
        out.push(match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Token::Number(number),
            _ => Token::Text(word.to_owned()),
        });
        rest = &rest[end..];
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn sign(&self) -> Option<&'static str> {
        match self.tokens.get(self.at) {
            Some(Token::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    fn bool(value: Value) -> Result<bool, String> {
        match value {
            Value::Bool(on) => Ok(on),
            Value::Text(word) if word == "true" || word == "false" => Ok(word == "true"),
            other => Err(format!("a boolean is expected, not {other:?}")),
        }
    }

    fn or(&mut self) -> Result<Value, String> {
        let mut left = self.and()?;
        while self.sign() == Some("||") {
            self.at += 1;
            let right = self.and()?;
            left = Value::Bool(Self::bool(left)? || Self::bool(right)?);
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Value, String> {
        let mut left = self.comparison()?;
        while self.sign() == Some("&&") {
            self.at += 1;
            let right = self.comparison()?;
            left = Value::Bool(Self::bool(left)? && Self::bool(right)?);
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Value, String> {
        let left = self.one()?;
        let Some(sign) = self.sign().filter(|s| !matches!(*s, "&&" | "||" | "!" | "(" | ")"))
        else {
            return Ok(left);
        };
        self.at += 1;
        let right = self.one()?;
        let order = match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            _ => None,
        };
        Ok(Value::Bool(match sign {
            "==" => left == right,
            "!=" => left != right,
            _ => {
                let order = order
                    .ok_or_else(|| format!("{left:?} {sign} {right:?}: these have no order"))?;
                match sign {
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
        }))
    }

    fn one(&mut self) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > 64 {
            return Err("it is nested too deep".to_owned());
        }
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        let value = match token {
            Some(Token::Number(number)) => Value::Number(number),
            Some(Token::Text(text)) => Value::Text(text),
            Some(Token::Sign("!")) => Value::Bool(!Self::bool(self.one()?)?),
            Some(Token::Sign("(")) => {
                let value = self.or()?;
                if self.sign() != Some(")") {
                    return Err("a bracket is not closed".to_owned());
                }
                self.at += 1;
                value
            }
            Some(Token::Sign(sign)) => return Err(format!("unexpected '{sign}'")),
            None => return Err("it ends too early".to_owned()),
        };
        self.depth -= 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let check = |text: &str| match holds(text) {
            Ok(holds) => holds.to_string(),
            Err(why) => format!("error: {why}"),
        };
        insta::assert_snapshot!(check("7 > 3"), @"true");
        insta::assert_snapshot!(check("heads == heads"), @"true");
        insta::assert_snapshot!(check("\"heads\" == \"tails\""), @"false");
        insta::assert_snapshot!(check("\"it's\" == \"it's\" && !(1 == 2)"), @"true");
        insta::assert_snapshot!(check("'7' == 7"), @"false");
        insta::assert_snapshot!(check("true"), @"true");
        insta::assert_snapshot!(check("7 > x"), @r#"error: Number(7.0) > Text("x"): these have no order"#);
        insta::assert_snapshot!(check("7 >"), @"error: it ends too early");
        insta::assert_snapshot!(check("a = b"), @"error: unexpected '='");
        insta::assert_snapshot!(check(""), @"error: it ends too early");
    }
}
