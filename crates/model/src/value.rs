use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{eq_ignore_case, number_to_string, upper};

/// A value of the expression language and of contexts. Cloning is cheap; arrays and objects keep
/// their identity, which is what `==` compares for them.
#[derive(Clone, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A double.
    Number(f64),
    /// Text.
    String(Arc<str>),
    /// Items in order.
    Array(Arc<Vec<Value>>),
    /// Properties in order.
    Object(Arc<Object>),
}

/// The result of [`Value::from_json`] when the text is not JSON.
pub type JsonError = serde_json::Error;

impl Value {
    /// Text.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Value::String(text.into())
    }

    /// An array.
    pub fn array(items: Vec<Value>) -> Self {
        Value::Array(Arc::new(items))
    }

    /// An object whose properties ignore case.
    pub fn object(entries: impl IntoIterator<Item = (impl Into<Arc<str>>, Value)>) -> Self {
        let mut object = Object::new();
        for (key, value) in entries {
            object.insert(key, value);
        }
        Value::Object(Arc::new(object))
    }

    /// Falsy are `false`, `null`, 0, NaN and the empty text.
    pub fn is_truthy(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(b) => *b,
            Value::Number(n) => *n != 0.0 && !n.is_nan(),
            Value::String(s) => !s.is_empty(),
            Value::Array(_) | Value::Object(_) => true,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Whether it is neither array nor object.
    pub fn is_primitive(&self) -> bool {
        !matches!(self, Value::Array(_) | Value::Object(_))
    }

    /// As text: `null` is empty, collections are `Array` and `Object`.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Value::Null => Cow::Borrowed(""),
            Value::Bool(true) => Cow::Borrowed("true"),
            Value::Bool(false) => Cow::Borrowed("false"),
            Value::Number(n) => Cow::Owned(number_to_string(*n)),
            Value::String(s) => Cow::Borrowed(s),
            Value::Array(_) => Cow::Borrowed("Array"),
            Value::Object(_) => Cow::Borrowed("Object"),
        }
    }

    /// The kind as error messages name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "Null",
            Value::Bool(_) => "Boolean",
            Value::Number(_) => "Number",
            Value::String(_) => "String",
            Value::Array(_) => "Array",
            Value::Object(_) => "Object",
        }
    }

    /// A property of an object; anything else has none.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(object) => object.get(key),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// Parses strict JSON. Keys keep their order; of keys that differ only in case the first
    /// stays, of equal ones the last value (languageservices `fromjson.ts`, `dictionary.ts`).
    pub fn from_json(text: &str) -> Result<Value, JsonError> {
        serde_json::from_str(text)
    }

    /// As `toJSON` prints it: two blanks of indent, `\n`, numbers in G15.
    pub fn to_json_pretty(&self) -> String {
        let mut out = String::new();
        self.write_pretty(&mut out, 0);
        out
    }

    fn write_pretty(&self, out: &mut String, level: usize) {
        let indent = |out: &mut String, level: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', level * 2));
        };
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(_) | Value::Number(_) => out.push_str(&self.to_text()),
            Value::String(s) => json_string(s, out),
            Value::Array(items) if items.is_empty() => out.push_str("[]"),
            Value::Object(object) if object.is_empty() => out.push_str("{}"),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    indent(out, level + 1);
                    item.write_pretty(out, level + 1);
                }
                indent(out, level);
                out.push(']');
            }
            Value::Object(object) => {
                out.push('{');
                for (i, (key, value)) in object.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    indent(out, level + 1);
                    json_string(key, out);
                    out.push_str(": ");
                    value.write_pretty(out, level + 1);
                }
                indent(out, level);
                out.push('}');
            }
        }
    }
}

/// Writes a JSON string as Newtonsoft's `JsonConvert.ToString` does: beyond the usual escapes also
/// U+0085, U+2028 and U+2029.
pub fn json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Number(n) => f.write_str(&number_to_string(*n)),
            Value::String(s) => write!(f, "{s:?}"),
            Value::Array(items) => f.debug_list().entries(items.iter()).finish(),
            Value::Object(object) => f.debug_map().entries(object.iter()).finish(),
        }
    }
}

/// Structural equality, for tests and for comparing states; the language's `==` is
/// in the expression crate.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Object(a), Value::Object(b)) => a.entries == b.entries,
            _ => false,
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::string(s)
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::string(s)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Value::Number(n)
    }
}

/// Above this many properties an index is kept.
const INDEX_FROM: usize = 16;

/// Properties in order, found without regard to case (or with it: the `env` context off Windows).
#[derive(Clone, Default)]
pub struct Object {
    entries: Vec<(Arc<str>, Value)>,
    index: BTreeMap<String, usize>,
    case_sensitive: bool,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Object {
    /// An empty object whose names ignore case.
    pub fn new() -> Self {
        Object::default()
    }

    /// An empty object whose names do not ignore case.
    pub fn case_sensitive() -> Self {
        Object { case_sensitive: true, ..Object::default() }
    }

    fn key(&self, name: &str) -> String {
        if self.case_sensitive { name.to_owned() } else { upper(name) }
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.entries.len() > INDEX_FROM {
            return self.index.get(&self.key(name)).copied();
        }
        self.entries.iter().position(|(key, _)| {
            if self.case_sensitive { **key == *name } else { eq_ignore_case(key, name) }
        })
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.position(name).map(|i| &self.entries[i].1)
    }

    /// How a property's name is spelled here.
    pub fn spelling(&self, name: &str) -> Option<&str> {
        self.position(name).map(|i| &*self.entries[i].0)
    }

    /// Sets a property; one that is there keeps its place and spelling.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, value: Value) {
        let name = name.into();
        if let Some(i) = self.position(&name) {
            self.entries[i].1 = value;
            return;
        }
        self.entries.push((name, value));
        let len = self.entries.len();
        if len == INDEX_FROM + 1 {
            self.reindex();
        } else if len > INDEX_FROM {
            let key = self.key(&self.entries[len - 1].0);
            self.index.insert(key, len - 1);
        }
    }

    /// Takes a property out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.position(name)?;
        let (_, value) = self.entries.remove(at);
        self.reindex();
        Some(value)
    }

    fn reindex(&mut self) {
        self.index = if self.entries.len() > INDEX_FROM {
            self.entries.iter().enumerate().map(|(i, (k, _))| (self.key(k), i)).collect()
        } else {
            BTreeMap::new()
        };
    }

    /// Properties in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(k, v)| (&**k, v))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Number(n) => {
                // Whole numbers are written as such; what JSON cannot write is spelled out.
                if !n.is_finite() {
                    let mut map = serializer.serialize_map(Some(1))?;
                    map.serialize_entry("$number", &number_to_string(*n))?;
                    map.end()
                } else if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 {
                    #[allow(clippy::cast_possible_truncation)]
                    serializer.serialize_i64(*n as i64)
                } else {
                    serializer.serialize_f64(*n)
                }
            }
            Value::String(s) => serializer.serialize_str(s),
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Value::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.len()))?;
                for (key, value) in object.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Number(n as f64))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(Value::Number(n as f64))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        Ok(Value::Number(n))
    }

    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        Ok(Value::string(s))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            if object.spelling(&key).is_none_or(|first| first == key) {
                object.insert(key, value);
            }
        }
        Ok(Value::Object(Arc::new(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_order_and_first_spelling() {
        let value = Value::from_json(r#"{"b":1,"A":[true,null],"a":2,"c":"x\u0085"}"#).unwrap();
        insta::assert_snapshot!(value.to_json_pretty(), @r#"
        {
          "b": 1,
          "A": [
            true,
            null
          ],
          "c": "x\u0085"
        }
        "#);
        assert_eq!(value.get("C").unwrap().as_str(), Some("x\u{85}"));
    }

    #[test]
    fn large_objects_are_indexed() {
        let mut object = Object::new();
        for i in 0..100 {
            object.insert(format!("Key{i}"), Value::from(f64::from(i)));
        }
        assert_eq!(object.get("KEY77"), Some(&Value::Number(77.0)));
        object.remove("key3");
        assert_eq!(object.get("key77"), Some(&Value::Number(77.0)));
        assert_eq!(object.get("key3"), None);
    }
}
