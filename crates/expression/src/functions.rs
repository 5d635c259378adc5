//! The functions that every expression has (actions/runner `src/Sdk/Expressions/Sdk/Functions`).

use trainyard_model::{Value, contains_ignore_case, upper};

use crate::ast::{Expr, ExprKind};
use crate::compare::loose_eq;
use crate::evaluate::{EvalError, Evaluator};
use crate::scope::Status;

/// Bytes that the intermediate texts and arrays of one evaluation may take
/// (`EvaluationOptions.MaxMemory`).
const MAX_MEMORY: usize = 1_048_576;
/// Nesting that `fromJSON` reads (`JsonParser.cs`).
const MAX_JSON_DEPTH: usize = 100;

/// The least and the greatest number of arguments of a well-known function.
pub(crate) fn well_known(name: &str) -> Option<(usize, usize)> {
    const TABLE: [(&str, usize, usize); 8] = [
        ("contains", 2, 2),
        ("endsWith", 2, 2),
        ("format", 1, 255),
        ("join", 1, 2),
        ("startsWith", 2, 2),
        ("toJSON", 1, 1),
        ("fromJSON", 1, 1),
        ("case", 3, 255),
    ];
    TABLE.into_iter().find(|(n, _, _)| n.eq_ignore_ascii_case(name)).map(|(_, min, max)| (min, max))
}

/// Bytes by level of the tree, as the runner's `EvaluationMemory` tallies them: a scalar made by
/// a literal, an operator or a function frees what was built below it.
#[derive(Default)]
pub(crate) struct Memory {
    levels: Vec<usize>,
}

/// .NET's size of a text: two bytes a UTF-16 unit and a header.
fn text_size(text: &str) -> usize {
    26 + 2 * if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}

fn exceeded(offset: usize) -> EvalError {
    failed("The maximum allowed memory size was exceeded", offset)
}

impl Memory {
    pub(crate) fn add(
        &mut self,
        level: usize,
        bytes: usize,
        offset: usize,
    ) -> Result<(), EvalError> {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, 0);
        }
        self.levels[level] = self.levels[level].saturating_add(bytes);
        match self.levels.iter().sum::<usize>() > MAX_MEMORY {
            true => Err(exceeded(offset)),
            false => Ok(()),
        }
    }

    /// Notes the result of an expression at a level.
    pub(crate) fn note(
        &mut self,
        level: usize,
        value: &Value,
        expr: &Expr,
    ) -> Result<(), EvalError> {
        let read =
            matches!(expr.kind, ExprKind::Context(_) | ExprKind::Index(..) | ExprKind::Wildcard(_));
        if value.is_primitive() && !read {
            self.levels.truncate(level + 1);
        }
        let size = match value {
            Value::String(text) => text_size(text) + if read { 24 } else { 0 },
            _ => 24,
        };
        self.add(level, size, expr.start)
    }
}

/// Bytes that one call builds; each call has the whole limit.
#[derive(Default)]
struct Counter {
    bytes: usize,
}

impl Counter {
    fn add_text(&mut self, text: &str, offset: usize) -> Result<(), EvalError> {
        self.bytes = self.bytes.saturating_add(text_size(text));
        match self.bytes > MAX_MEMORY {
            true => Err(exceeded(offset)),
            false => Ok(()),
        }
    }

    /// The pieces in which `toJSON` writes a value.
    fn add_json(&mut self, value: &Value, level: usize, offset: usize) -> Result<(), EvalError> {
        let mut piece = |length: usize| {
            self.bytes = self.bytes.saturating_add(26 + 2 * (length + 2 * level + 2));
            match self.bytes > MAX_MEMORY {
                true => Err(exceeded(offset)),
                false => Ok(()),
            }
        };
        match value {
            Value::Array(items) if !items.is_empty() => {
                piece(1)?;
                piece(1)?;
                items.iter().try_for_each(|v| self.add_json(v, level + 1, offset))
            }
            Value::Object(object) if !object.is_empty() => {
                piece(1)?;
                piece(1)?;
                object.iter().try_for_each(|(key, v)| {
                    self.add_json(&Value::from(key), level + 1, offset)?;
                    self.add_json(v, level + 1, offset)
                })
            }
            Value::Array(_) | Value::Object(_) => piece(2),
            scalar => piece(scalar.to_text().len() + 2),
        }
    }
}

fn failed(message: impl Into<String>, offset: usize) -> EvalError {
    EvalError::Failed { message: message.into(), offset }
}

pub(crate) fn call(
    e: &mut Evaluator<'_>,
    name: &str,
    args: &[Expr],
    (offset, level): (usize, usize),
) -> Result<Value, EvalError> {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "contains" => contains(e, args, level),
        "startswith" => prefix(e, args, level, |a, b| a.starts_with(b)),
        "endswith" => prefix(e, args, level, |a, b| a.ends_with(b)),
        "format" => format_text(e, args, offset, level),
        "join" => join(e, args, offset, level),
        "tojson" => {
            let value = e.value(&args[0], level)?;
            Counter::default().add_json(&value, 0, offset)?;
            Ok(Value::string(value.to_json_pretty()))
        }
        "fromjson" => {
            let text = e.value(&args[0], level)?;
            from_json(&text.to_text(), offset)
        }
        "case" => case(e, args, offset, level),
        "hashfiles" => {
            let mut patterns = Vec::new();
            for arg in args {
                patterns.push(e.value(arg, level)?.to_text().into_owned());
            }
            e.environment.hash_files(&patterns).map(Value::string)
        }
        _ => match Status::from_name(name) {
            Some(status) => {
                let mut names = Vec::new();
                for arg in args {
                    names.push(e.value(arg, level)?.to_text().into_owned());
                }
                e.environment.status(status, &names).map(Value::Bool)
            }
            None => Err(failed(format!("Unrecognized function: '{name}'"), offset)),
        },
    }
}

fn contains(e: &mut Evaluator<'_>, args: &[Expr], level: usize) -> Result<Value, EvalError> {
    let left = e.value(&args[0], level)?;
    let found = match &left {
        Value::Array(items) if items.is_empty() => false,
        Value::Array(items) => {
            let right = e.value(&args[1], level)?;
            items.iter().any(|item| loose_eq(&right, item))
        }
        Value::Object(_) => false,
        _ => {
            let right = e.value(&args[1], level)?;
            right.is_primitive() && contains_ignore_case(&left.to_text(), &right.to_text())
        }
    };
    Ok(Value::Bool(found))
}

fn prefix(
    e: &mut Evaluator<'_>,
    args: &[Expr],
    level: usize,
    test: fn(&str, &str) -> bool,
) -> Result<Value, EvalError> {
    let left = e.value(&args[0], level)?;
    if !left.is_primitive() {
        return Ok(Value::Bool(false));
    }
    let right = e.value(&args[1], level)?;
    let found = right.is_primitive() && test(&upper(&left.to_text()), &upper(&right.to_text()));
    Ok(Value::Bool(found))
}

fn join(
    e: &mut Evaluator<'_>,
    args: &[Expr],
    offset: usize,
    level: usize,
) -> Result<Value, EvalError> {
    let items = e.value(&args[0], level)?;
    let text = match &items {
        Value::Array(items) => {
            let mut separator = ",".to_owned();
            if items.len() > 1
                && let Some(arg) = args.get(1)
            {
                let value = e.value(arg, level)?;
                if value.is_primitive() {
                    separator = value.to_text().into_owned();
                }
            }
            let mut text = String::new();
            let mut counter = Counter::default();
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    counter.add_text(&separator, offset)?;
                    text.push_str(&separator);
                }
                let item = item.to_text();
                counter.add_text(&item, offset)?;
                text.push_str(&item);
            }
            text
        }
        Value::Object(_) => String::new(),
        other => other.to_text().into_owned(),
    };
    Ok(Value::string(text))
}

fn from_json(text: &str, offset: usize) -> Result<Value, EvalError> {
    let value = Value::from_json(text)
        .map_err(|error| failed(format!("Error parsing fromJson: {error}"), offset))?;
    if depth(&value) > MAX_JSON_DEPTH {
        return Err(failed(
            format!("Error parsing fromJson: nested deeper than {MAX_JSON_DEPTH}"),
            offset,
        ));
    }
    Ok(value)
}

/// serde_json itself stops at 128, so this recursion is bounded.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.iter().map(|(_, v)| depth(v)).max().unwrap_or(0),
        _ => 0,
    }
}

fn case(
    e: &mut Evaluator<'_>,
    args: &[Expr],
    offset: usize,
    level: usize,
) -> Result<Value, EvalError> {
    let (default, pairs) = args
        .split_last()
        .ok_or_else(|| failed("case requires an odd number of arguments", offset))?;
    for pair in pairs.chunks_exact(2) {
        match e.value(&pair[0], level)? {
            Value::Bool(true) => return e.value(&pair[1], level),
            Value::Bool(false) => {}
            _ => {
                return Err(failed("case predicate must evaluate to a boolean value", offset));
            }
        }
    }
    e.value(default, level)
}

/// `{{` and `}}` escape; `{N}` is the Nth argument, evaluated when it is first used; anything
/// after a colon is a format specifier, and there are none.
fn format_text(
    e: &mut Evaluator<'_>,
    args: &[Expr],
    offset: usize,
    level: usize,
) -> Result<Value, EvalError> {
    let format = e.value(&args[0], level)?;
    let format = format.to_text();
    let pieces = split_format(&format, args.len() - 1, offset)?;
    let mut values: Vec<Option<String>> = vec![None; args.len() - 1];
    let mut out = String::new();
    let mut counter = Counter::default();
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                counter.add_text(text, offset)?;
                out.push_str(text);
            }
            Piece::Argument { index, specifiers } => {
                if values[index].is_none() {
                    let value = e.value(&args[index + 1], level)?;
                    if !specifiers.is_empty() {
                        return Err(failed(
                            format!(
                                "The format specifiers '{specifiers}' are not valid for objects of type '{}'",
                                value.kind()
                            ),
                            offset,
                        ));
                    }
                    values[index] = Some(value.to_text().into_owned());
                } else if !specifiers.is_empty() {
                    return Err(failed(
                        format!("The format specifiers '{specifiers}' are not valid"),
                        offset,
                    ));
                }
                let text = values[index].as_deref().unwrap_or_default();
                counter.add_text(text, offset)?;
                out.push_str(text);
            }
        }
    }
    Ok(Value::string(out))
}

enum Piece<'a> {
    Text(&'a str),
    Argument { index: usize, specifiers: String },
}

fn split_format(
    format: &str,
    arguments: usize,
    offset: usize,
) -> Result<Vec<Piece<'_>>, EvalError> {
    let invalid = || failed(format!("The following format string is invalid: {format}"), offset);
    let bytes = format.as_bytes();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < format.len() {
        let Some(brace) = format[at..].find(['{', '}']).map(|i| at + i) else {
            pieces.push(Piece::Text(&format[at..]));
            break;
        };
        if bytes.get(brace + 1) == Some(&bytes[brace]) {
            pieces.push(Piece::Text(&format[at..=brace]));
            at = brace + 2;
            continue;
        }
        if bytes[brace] == b'}' {
            return Err(invalid());
        }
        let digits = bytes[brace + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        let after = brace + 1 + digits;
        let index: u8 = format[brace + 1..after].parse().map_err(|_| invalid())?;
        let (specifiers, end) = read_specifiers(format, after).ok_or_else(invalid)?;
        let index = usize::from(index);
        if index >= arguments {
            return Err(failed(
                format!(
                    "The following format string references more arguments than were supplied: {format}"
                ),
                offset,
            ));
        }
        if brace > at {
            pieces.push(Piece::Text(&format[at..brace]));
        }
        pieces.push(Piece::Argument { index, specifiers });
        at = end;
    }
    Ok(pieces)
}

fn read_specifiers(format: &str, at: usize) -> Option<(String, usize)> {
    match format.as_bytes().get(at)? {
        b'}' => Some((String::new(), at + 1)),
        b':' => {
            let mut specifiers = String::new();
            let mut chars = format[at + 1..].char_indices().peekable();
            while let Some((i, c)) = chars.next() {
                if c != '}' {
                    specifiers.push(c);
                } else if chars.peek().is_some_and(|(_, next)| *next == '}') {
                    chars.next();
                    specifiers.push('}');
                } else {
                    return Some((specifiers, at + 1 + i + 1));
                }
            }
            None
        }
        _ => None,
    }
}
