//! Expressions of pipelines: the part of CEL that conditions and selectors are written in
//! (`backend/src/v2/expression`). A value is data, whatever signs are in it.
//!
//! Deliberately absent: macros, maps and lists written out, time stamps, matches.

use serde_json::Value as Json;

/// Nesting that is read.
const MAX_DEPTH: usize = 64;
/// Characters of an expression.
const MAX_LENGTH: usize = 64 * 1024;

/// A parsed expression with its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As written.
    pub text: String,
    tree: Tree,
    /// Argo's `when`: read when its placeholders are filled in.
    is_when: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Value(Value),
    Name(String),
    Index(Box<Tree>, Box<Tree>),
    Call(&'static str, Box<Tree>),
    Not(Box<Tree>),
    Negative(Box<Tree>),
    Binary(Operator, Box<Tree>, Box<Tree>),
    Choice(Box<Tree>, Box<Tree>, Box<Tree>),
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    /// A list or a struct.
    Json(Json),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

const FUNCTIONS: &[&str] = &["int", "double", "string", "bool", "size", "parseJson"];

impl Condition {
    /// Parses an expression.
    ///
    /// # Errors
    ///
    /// What it stumbles over, with its place.
    pub fn parse(text: &str) -> Result<Condition, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("it has more than {MAX_LENGTH} characters"));
        }
        let mut parser = Parser { rest: text, whole: text, depth: 0 };
        let tree = parser.choice()?;
        parser.blanks();
        match parser.rest.is_empty() {
            true => Ok(Condition { text: text.to_owned(), tree, is_when: false }),
            false => Err(parser.unexpected()),
        }
    }

    /// Argo's `when`, with placeholders for what it speaks of.
    pub(crate) fn when(text: &str) -> Condition {
        Condition { text: text.to_owned(), tree: Tree::Value(Value::Null), is_when: true }
    }

    /// Whether it holds; `lookup` gives the values of names.
    ///
    /// # Errors
    ///
    /// When something is of the wrong kind or not there.
    pub fn holds(&self, lookup: &dyn Fn(&str) -> Option<Json>) -> Result<bool, String> {
        if self.is_when {
            let inputs = lookup("inputs").unwrap_or_default();
            let filled = crate::placeholder::fill_text(&self.text, &|name| {
                let name = crate::placeholder::parameter_name(name)?;
                inputs["parameter_values"].get(name).map(crate::values::text_of)
            });
            return crate::when::holds(&filled);
        }
        match eval(&self.tree, lookup)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("it gives {}, and a boolean is expected", other.kind())),
        }
    }

    /// Its value as JSON.
    ///
    /// # Errors
    ///
    /// As [`Self::holds`].
    pub fn value(&self, lookup: &dyn Fn(&str) -> Option<Json>) -> Result<Json, String> {
        eval(&self.tree, lookup).map(Value::into_json)
    }

    /// The parameters that it reads: `inputs.parameter_values['x']`.
    pub fn parameters(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.is_when {
            // Asked for its names alone: nothing is filled in.
            let names = std::cell::RefCell::new(Vec::new());
            crate::placeholder::fill_text(&self.text, &|name| {
                let name = crate::placeholder::parameter_name(name)?;
                names.borrow_mut().push(name.to_owned());
                None
            });
            return names.into_inner();
        }
        collect(&self.tree, &mut found);
        found
    }
}

fn collect(tree: &Tree, found: &mut Vec<String>) {
    match tree {
        Tree::Index(of, at) => {
            if let (Tree::Index(root, field), Tree::Value(Value::Text(name))) = (&**of, &**at)
                && let (Tree::Name(root), Tree::Value(Value::Text(field))) = (&**root, &**field)
                && root == "inputs"
                && matches!(field.as_str(), "parameter_values" | "parameters")
            {
                if !found.contains(name) {
                    found.push(name.clone());
                }
                return;
            }
            collect(of, found);
            collect(at, found);
        }
        Tree::Call(_, inner) | Tree::Not(inner) | Tree::Negative(inner) => collect(inner, found),
        Tree::Binary(_, a, b) => {
            collect(a, found);
            collect(b, found);
        }
        Tree::Choice(a, b, c) => [a, b, c].into_iter().for_each(|t| collect(t, found)),
        Tree::Value(_) | Tree::Name(_) => {}
    }
}

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unexpected(&self) -> String {
        let at = self.whole.len() - self.rest.len();
        match self.rest.chars().next() {
            Some(c) => format!("unexpected '{c}' at character {}", at + 1),
            None => "it ends too early".to_owned(),
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn want(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn choice(&mut self) -> Result<Tree, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH}"));
        }
        let first = self.binary(0)?;
        let tree = if self.eat("?") {
            let yes = self.choice()?;
            self.want(":")?;
            let no = self.choice()?;
            Tree::Choice(Box::new(first), Box::new(yes), Box::new(no))
        } else {
            first
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn binary(&mut self, least: u8) -> Result<Tree, String> {
        let mut left = self.unary()?;
        while let Some((operator, level, rest)) = self.operator() {
            if level < least {
                break;
            }
            self.rest = rest;
            let right = self.binary(level + 1)?;
            left = Tree::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operator(&mut self) -> Option<(Operator, u8, &'a str)> {
        self.blanks();
        const TOKENS: &[(&str, Operator, u8)] = &[
            ("||", Operator::Or, 1),
            ("&&", Operator::And, 2),
            ("==", Operator::Equal, 3),
            ("!=", Operator::Unequal, 3),
            ("<=", Operator::LessEqual, 3),
            (">=", Operator::GreaterEqual, 3),
            ("<", Operator::Less, 3),
            (">", Operator::Greater, 3),
            ("in ", Operator::In, 3),
            ("+", Operator::Add, 4),
            ("-", Operator::Subtract, 4),
            ("*", Operator::Multiply, 5),
            ("/", Operator::Divide, 5),
            ("%", Operator::Remainder, 5),
        ];
        TOKENS.iter().find_map(|(token, operator, level)| {
            Some((*operator, *level, self.rest.strip_prefix(token)?))
        })
    }

    fn unary(&mut self) -> Result<Tree, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH}"));
        }
        self.blanks();
        let tree = if self.eat("!") {
            Tree::Not(Box::new(self.unary()?))
        } else if self.eat("-") {
            Tree::Negative(Box::new(self.unary()?))
        } else {
            self.postfix()?
        };
        self.depth -= 1;
        Ok(tree)
    }

    fn postfix(&mut self) -> Result<Tree, String> {
        let mut tree = self.primary()?;
        loop {
            if self.eat("[") {
                let at = self.choice()?;
                self.want("]")?;
                tree = Tree::Index(Box::new(tree), Box::new(at));
            } else if self.rest.trim_start().starts_with('.') {
                self.want(".")?;
                let name = self.name().ok_or_else(|| self.unexpected())?;
                let at = Tree::Value(Value::Text(name.to_owned()));
                tree = Tree::Index(Box::new(tree), Box::new(at));
            } else {
                return Ok(tree);
            }
        }
    }

    fn name(&mut self) -> Option<&'a str> {
        self.blanks();
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.rest = rest;
        Some(name)
    }

    fn primary(&mut self) -> Result<Tree, String> {
        self.blanks();
        if self.eat("(") {
            let tree = self.choice()?;
            self.want(")")?;
            return Ok(tree);
        }
        match self.rest.chars().next() {
            Some('\'' | '"') => return self.text().map(|t| Tree::Value(Value::Text(t))),
            Some(c) if c.is_ascii_digit() => return self.number(),
            _ => {}
        }
        let Some(name) = self.name() else { return Err(self.unexpected()) };
        Ok(match name {
            "true" => Tree::Value(Value::Bool(true)),
            "false" => Tree::Value(Value::Bool(false)),
            "null" => Tree::Value(Value::Null),
            name if self.rest.trim_start().starts_with('(') => {
                let known = FUNCTIONS.iter().find(|f| **f == name);
                let function = known.ok_or_else(|| {
                    format!("there is no function '{name}' ({} are known)", FUNCTIONS.join(", "))
                })?;
                self.want("(")?;
                let inner = self.choice()?;
                self.want(")")?;
                Tree::Call(function, Box::new(inner))
            }
            name => Tree::Name(name.to_owned()),
        })
    }

    fn text(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let Some((_, quote)) = chars.next() else { return Err(self.unexpected()) };
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.rest = &self.rest[at + c.len_utf8()..];
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('\\' | '\'' | '"' | '`' | '?')) => out.push(c),
                Some(kind @ ('u' | 'x' | 'U')) => {
                    let count = match kind {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let digits: String = chars.by_ref().take(count).map(|(_, c)| c).collect();
                    let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    out.push(c.ok_or_else(|| format!("'\\{kind}{digits}' is no character"))?);
                }
                _ => return Err("a text holds a '\\' that begins nothing".to_owned()),
            }
        }
        Err("a text is not closed".to_owned())
    }

    fn number(&mut self) -> Result<Tree, String> {
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        let mut double = false;
        while end < bytes.len() {
            match bytes[end] {
                b'0'..=b'9' => {}
                b'.' => double = true,
                b'e' | b'E' => {
                    double = true;
                    if matches!(bytes.get(end + 1), Some(b'+' | b'-')) {
                        end += 1;
                    }
                }
                _ => break,
            }
            end += 1;
        }
        let (text, rest) = self.rest.split_at(end);
        let value = match double {
            true => text.parse().map(Value::Double).ok(),
            false => text.parse().map(Value::Int).ok(),
        };
        let value = value.ok_or_else(|| format!("'{text}' is no number"))?;
        self.rest = rest;
        Ok(Tree::Value(value))
    }
}

impl Value {
    fn of(json: Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(on) => Value::Bool(on),
            // Numbers of parameters are doubles.
            Json::Number(number) => Value::Double(number.as_f64().unwrap_or_default()),
            Json::String(text) => Value::Text(text),
            other => Value::Json(other),
        }
    }

    fn into_json(self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Bool(on) => Json::Bool(on),
            Value::Int(number) => Json::from(number),
            Value::Double(number) => crate::number(number),
            Value::Text(text) => Json::String(text),
            Value::Json(json) => crate::values::whole(json),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Double(_) => "a number",
            Value::Text(_) => "a text",
            Value::Json(Json::Array(_)) => "a list",
            Value::Json(_) => "a struct",
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn double(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        }
    }

    fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Json(a), Value::Json(b)) => {
                crate::values::whole(a.clone()) == crate::values::whole(b.clone())
            }
            _ => match (self.double(), other.double()) {
                (Some(a), Some(b)) => a == b,
                _ => self == other,
            },
        }
    }
}

fn eval(tree: &Tree, lookup: &dyn Fn(&str) -> Option<Json>) -> Result<Value, String> {
    match tree {
        Tree::Value(value) => Ok(value.clone()),
        Tree::Name(name) => {
            lookup(name).map(Value::of).ok_or_else(|| format!("there is no '{name}'"))
        }
        Tree::Index(of, at) => index(eval(of, lookup)?, &eval(at, lookup)?),
        Tree::Call(function, inner) => call(function, eval(inner, lookup)?),
        Tree::Not(inner) => match eval(inner, lookup)? {
            Value::Bool(on) => Ok(Value::Bool(!on)),
            other => Err(format!("`!` wants a boolean, not {}", other.kind())),
        },
        Tree::Negative(inner) => match eval(inner, lookup)? {
            Value::Int(number) => number.checked_neg().map(Value::Int).ok_or_else(too_large),
            Value::Double(number) => Ok(Value::Double(-number)),
            other => Err(format!("`-` wants a number, not {}", other.kind())),
        },
        Tree::Binary(operator @ (Operator::And | Operator::Or), a, b) => {
            // One side may decide it, whatever is wrong with the other.
            let decides = *operator == Operator::Or;
            let (a, b) = (eval(a, lookup), || eval(b, lookup));
            match a {
                Ok(Value::Bool(on)) if on == decides => Ok(Value::Bool(on)),
                a => match (a, b()?) {
                    (_, Value::Bool(on)) if on == decides => Ok(Value::Bool(on)),
                    (Ok(Value::Bool(_)), Value::Bool(on)) => Ok(Value::Bool(on)),
                    (Err(why), _) => Err(why),
                    (Ok(Value::Bool(_)), other) | (Ok(other), _) => {
                        Err(format!("`&&` and `||` want booleans, not {}", other.kind()))
                    }
                },
            }
        }
        Tree::Binary(operator, a, b) => binary(*operator, eval(a, lookup)?, eval(b, lookup)?),
        Tree::Choice(which, yes, no) => match eval(which, lookup)? {
            Value::Bool(true) => eval(yes, lookup),
            Value::Bool(false) => eval(no, lookup),
            other => Err(format!("`?` wants a boolean, not {}", other.kind())),
        },
    }
}

fn index(of: Value, at: &Value) -> Result<Value, String> {
    match (of, at) {
        (Value::Json(Json::Object(mut map)), Value::Text(key)) => {
            map.remove(key).map(Value::of).ok_or_else(|| format!("there is no '{key}'"))
        }
        (Value::Json(Json::Array(mut items)), at) if at.double().is_some() => {
            let place = at.double().filter(|p| p.fract() == 0.0 && *p >= 0.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let place = place.map(|p| p as usize).filter(|p| *p < items.len());
            place
                .map(|p| Value::of(items.swap_remove(p)))
                .ok_or_else(|| "the list is shorter".into())
        }
        (of, at) => Err(format!("{} has nothing at {}", of.kind(), at.kind())),
    }
}

fn too_large() -> String {
    "a number is too large".to_owned()
}

fn call(function: &str, value: Value) -> Result<Value, String> {
    let no = |value: &Value| Err(format!("{function}() of {}", value.kind()));
    match (function, value) {
        ("int", Value::Int(number)) => Ok(Value::Int(number)),
        ("int", Value::Double(number)) if number.abs() < 9.2e18 => {
            #[allow(clippy::cast_possible_truncation)]
            let number = number.trunc() as i64;
            Ok(Value::Int(number))
        }
        ("int", Value::Text(text)) => match text.parse() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => Err(format!("int(): '{text}' is no whole number")),
        },
        ("double", Value::Text(text)) => match text.parse() {
            Ok(number) => Ok(Value::Double(number)),
            Err(_) => Err(format!("double(): '{text}' is no number")),
        },
        ("double", value) => match value.double() {
            Some(number) => Ok(Value::Double(number)),
            None => no(&value),
        },
        ("string", Value::Text(text)) => Ok(Value::Text(text)),
        ("string", Value::Json(json)) => no(&Value::Json(json)),
        ("string", value) => Ok(Value::Text(crate::values::text_of(&value.into_json()))),
        ("bool", Value::Bool(on)) => Ok(Value::Bool(on)),
        ("bool", Value::Text(text)) => match text.as_str() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => Err(format!("bool(): '{text}' is no boolean")),
        },
        ("size", Value::Text(text)) => Ok(Value::Int(length(text.chars().count()))),
        ("size", Value::Json(Json::Array(items))) => Ok(Value::Int(length(items.len()))),
        ("size", Value::Json(Json::Object(map))) => Ok(Value::Int(length(map.len()))),
        ("parseJson", Value::Text(text)) => match serde_json::from_str(&text) {
            Ok(json) => Ok(Value::of(json)),
            Err(error) => Err(format!("parseJson(): {error}")),
        },
        (_, value) => no(&value),
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn binary(operator: Operator, a: Value, b: Value) -> Result<Value, String> {
    let ordering = || match (&a, &b) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        _ => match (a.double(), b.double()) {
            (Some(a), Some(b)) => a.partial_cmp(&b).ok_or_else(|| "NaN has no order".to_owned()),
            _ => Err(format!("{} and {} have no order", a.kind(), b.kind())),
        },
    };
    match operator {
        Operator::Equal => Ok(Value::Bool(a.equals(&b))),
        Operator::Unequal => Ok(Value::Bool(!a.equals(&b))),
        Operator::Less => Ok(Value::Bool(ordering()?.is_lt())),
        Operator::LessEqual => Ok(Value::Bool(ordering()?.is_le())),
        Operator::Greater => Ok(Value::Bool(ordering()?.is_gt())),
        Operator::GreaterEqual => Ok(Value::Bool(ordering()?.is_ge())),
        Operator::In => match &b {
            Value::Json(Json::Array(items)) => {
                Ok(Value::Bool(items.iter().any(|item| a.equals(&Value::of(item.clone())))))
            }
            Value::Json(Json::Object(map)) => {
                Ok(Value::Bool(matches!(&a, Value::Text(key) if map.contains_key(key))))
            }
            other => Err(format!("`in` wants a list, not {}", other.kind())),
        },
        Operator::Add => match (a, b) {
            (Value::Text(a), Value::Text(b)) => Ok(Value::Text(a + &b)),
            (a, b) => arithmetic(operator, &a, &b),
        },
        _ => arithmetic(operator, &a, &b),
    }
}

fn arithmetic(operator: Operator, a: &Value, b: &Value) -> Result<Value, String> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        let done = match operator {
            Operator::Add => a.checked_add(*b),
            Operator::Subtract => a.checked_sub(*b),
            Operator::Multiply => a.checked_mul(*b),
            _ if *b == 0 => return Err("division by zero".to_owned()),
            Operator::Divide => a.checked_div(*b),
            _ => a.checked_rem(*b),
        };
        return done.map(Value::Int).ok_or_else(too_large);
    }
    match (a.double(), b.double(), operator) {
        (Some(a), Some(b), Operator::Add) => Ok(Value::Double(a + b)),
        (Some(a), Some(b), Operator::Subtract) => Ok(Value::Double(a - b)),
        (Some(a), Some(b), Operator::Multiply) => Ok(Value::Double(a * b)),
        (Some(a), Some(b), Operator::Divide) => Ok(Value::Double(a / b)),
        _ => Err(format!("{} and {} cannot be calculated with", a.kind(), b.kind())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str) -> String {
        let inputs = json!({"parameter_values": {
            "pipelinechannel--coin-Output": "heads", "n": 3, "x": 2.5, "yes": true, "quote": "it's \" ${x}",
            "list": ["a", 2.0], "struct": {"k": 1}, "text": "{\"a\": {\"b\": 7.0}}", "twelve": "12",
        }});
        let lookup = |name: &str| (name == "inputs").then(|| inputs.clone());
        match Condition::parse(text).and_then(|c| c.value(&lookup)) {
            Ok(value) => value.to_string(),
            Err(why) => format!("error: {why}"),
        }
    }

    #[test]
    fn what_the_sdk_writes() {
        insta::assert_snapshot!(check("inputs.parameter_values['pipelinechannel--coin-Output'] == 'heads'"), @"true");
        insta::assert_snapshot!(check("!(inputs.parameter_values['pipelinechannel--coin-Output'] == 'heads') && inputs.parameter_values['yes'] == true"), @"false");
        insta::assert_snapshot!(check("int(inputs.parameter_values['n']) > 2"), @"true");
        insta::assert_snapshot!(check("int(inputs.parameter_values[\"x\"]) == 2"), @"true");
        insta::assert_snapshot!(check("int(inputs.parameter_values['twelve']) >= int(inputs.parameter_values['n'])"), @"true");
        insta::assert_snapshot!(check("inputs.parameter_values['quote'] == 'it\\'s \" ${x}'"), @"true");
        insta::assert_snapshot!(check("inputs.parameter_values['twelve'] < '9'"), @"true");
        insta::assert_snapshot!(check("parseJson(inputs.parameter_values['text'])[\"a\"]"), @r#"{"b":7}"#);
        insta::assert_snapshot!(check("inputs.parameter_values['n'] == '3'"), @"false");
    }

    #[test]
    fn more_of_the_language() {
        insta::assert_snapshot!(check("1 + 2 * 3 - 4 / 2 == 5 && 7 % 4 == 3"), @"true");
        insta::assert_snapshot!(check("1 / 2"), @"0");
        insta::assert_snapshot!(check("1 / 2.0"), @"0.5");
        insta::assert_snapshot!(check("'a' in inputs.parameter_values['list'] ? 'y' : 'n'"), @r#""y""#);
        insta::assert_snapshot!(check("inputs.parameter_values['list'][1] == 2"), @"true");
        insta::assert_snapshot!(check("size(inputs.parameter_values['list']) + size('äö')"), @"4");
        insta::assert_snapshot!(check("inputs.parameter_values.struct.k == 1.0 || missing"), @"true");
        insta::assert_snapshot!(check("missing || true"), @"true");
        insta::assert_snapshot!(check("-1 < 0 && !false"), @"true");
        insta::assert_snapshot!(check("\"\\u00e4\" + 'b'"), @r#""äb""#);
    }

    #[test]
    fn what_is_wrong_is_said() {
        insta::assert_snapshot!(check("inputs.parameter_values['none'] == 1"), @"error: there is no 'none'");
        insta::assert_snapshot!(check("int('x') > 1"), @"error: int(): 'x' is no whole number");
        insta::assert_snapshot!(check("1 < 'a'"), @"error: a number and a text have no order");
        insta::assert_snapshot!(check("1 +"), @"error: it ends too early");
        insta::assert_snapshot!(check("(1"), @"error: it ends too early");
        insta::assert_snapshot!(check("1 ; 2"), @"error: unexpected ';' at character 3");
        insta::assert_snapshot!(check("has(x)"), @"error: there is no function 'has' (int, double, string, bool, size, parseJson are known)");
        insta::assert_snapshot!(check("'open"), @"error: a text is not closed");
        insta::assert_snapshot!(check("1 / 0"), @"error: division by zero");
        insta::assert_snapshot!(check(&"(".repeat(1000)), @"error: it is nested deeper than 64");
        insta::assert_snapshot!(check(&"!".repeat(1000)), @"error: it is nested deeper than 64");
    }

    #[test]
    fn the_parameters_of_a_condition() {
        let condition = Condition::parse("int(inputs.parameter_values['a--b']) > 1 && !(inputs.parameters['c'] == inputs.parameter_values['a--b'])").unwrap();
        assert_eq!(condition.parameters(), ["a--b", "c"]);
    }
}
