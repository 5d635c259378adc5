//! Texts that are kept on a disk: secrets become their names, and nothing else that is masked
//! stays.

use trainyard_model::Value;

use crate::mask::Masker;

/// Stands around the name of a secret. No variable or output that a shell makes holds it.
const MARK: &str = "\u{1}secret:";
const END: &str = "\u{1}";

/// Takes secrets out of texts.
#[derive(Debug)]
pub struct Seal<'a> {
    /// Names and values, the longest value first.
    secrets: Vec<(String, String)>,
    masker: &'a Masker,
}

impl<'a> Seal<'a> {
    /// For the `secrets` context, and what is masked besides.
    pub fn new(secrets: &Value, masker: &'a Masker) -> Self {
        let mut pairs: Vec<(String, String)> = match secrets {
            Value::Object(object) => {
                object.iter().map(|(k, v)| (k.to_owned(), v.to_text().into_owned())).collect()
            }
            _ => Vec::new(),
        };
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        Seal { secrets: pairs, masker }
    }

    /// The text with names for secrets; none if something else in it is masked, or if it holds
    /// what stands around names.
    pub fn seal(&self, text: &str) -> Option<String> {
        if text.contains(END) {
            return None;
        }
        if !self.masker.finds(text) {
            return Some(text.to_owned());
        }
        let (mut sealed, mut plain, mut rest) = (String::new(), String::new(), text);
        while let Some(c) = rest.chars().next() {
            // The longest that begins here; names are never looked into.
            match self.secrets.iter().find(|(_, value)| rest.starts_with(value.as_str())) {
                Some((name, value)) => {
                    if self.masker.finds(&plain) {
                        return None;
                    }
                    sealed.push_str(&format!("{}{MARK}{name}{END}", std::mem::take(&mut plain)));
                    rest = &rest[value.len()..];
                }
                None => {
                    plain.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        if self.masker.finds(&plain) {
            return None;
        }
        sealed.push_str(&plain);
        Some(sealed)
    }

    /// Whether a text holds nothing that must be hidden.
    pub fn is_plain(&self, text: &str) -> bool {
        !text.contains(END) && !self.masker.finds(text)
    }

    /// A value with all its texts sealed; none if one of them cannot be, or a key is masked.
    pub fn seal_value(&self, value: &Value) -> Option<Value> {
        map_texts(value, &|text| self.seal(text), &|key| self.is_plain(key))
    }
}

/// A value with each text changed; none if one cannot be, or a key does not pass.
pub(crate) fn map_texts(
    value: &Value,
    change: &dyn Fn(&str) -> Option<String>,
    key_passes: &dyn Fn(&str) -> bool,
) -> Option<Value> {
    Some(match value {
        Value::String(text) => Value::from(change(text)?),
        Value::Array(items) => Value::Array(std::sync::Arc::new(
            items.iter().map(|i| map_texts(i, change, key_passes)).collect::<Option<_>>()?,
        )),
        Value::Object(object) => {
            let mut out = trainyard_model::Object::clone(object);
            for (key, inner) in object.iter() {
                if !key_passes(key) {
                    return None;
                }
                out.insert(key, map_texts(inner, change, key_passes)?);
            }
            Value::Object(std::sync::Arc::new(out))
        }
        other => other.clone(),
    })
}

/// The text with the secrets of now; the name of one that is not there.
pub fn unseal(text: &str, secrets: &Value) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        out.push_str(before);
        let Some((name, after)) = after.split_once(END) else {
            rest = after;
            continue;
        };
        let value = secrets.get(name).ok_or_else(|| name.to_owned())?;
        out.push_str(&value.to_text());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// A value with the secrets of now.
pub fn unseal_value(value: &Value, secrets: &Value) -> Result<Value, String> {
    let missing = std::cell::RefCell::new(String::new());
    let open = |text: &str| unseal(text, secrets).map_err(|name| missing.replace(name)).ok();
    map_texts(value, &open, &|_| true).ok_or_else(|| missing.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: Option<&str>) {
        let secrets = Value::object([
            ("TOKEN", Value::from("hunter2")),
            ("LONG", Value::from("hunter2-and-more")),
            ("EMPTY", Value::from("")),
        ]);
        let mut masker = Masker::default();
        masker.add_all(["hunter2", "hunter2-and-more", "computed"]);
        let sealed = Seal::new(&secrets, &masker).seal(text);
        assert_eq!(sealed.as_deref().map(|s| s.replace('\u{1}', "|")).as_deref(), wanted, "{text}");
        if let Some(sealed) = sealed {
            assert_eq!(unseal(&sealed, &secrets).as_deref(), Ok(text));
            let without = unseal(&sealed, &Value::Null);
            assert_eq!(without.is_err(), sealed != text, "{text}");
        }
    }

    #[test]
    fn secrets_become_names_and_come_back() {
        check("plain", Some("plain"));
        check("", Some(""));
        check("a hunter2 b", Some("a |secret:TOKEN| b"));
        check("hunter2-and-more", Some("|secret:LONG|"));
        check("hunter2hunter2", Some("|secret:TOKEN||secret:TOKEN|"));
        check("it was computed", None);
        check("hunter2 and computed", None);
    }

    /// Secrets within names of secrets, and names that a step writes itself.
    #[test]
    fn names_are_never_taken_for_text() {
        let secrets = Value::object([
            ("PW", Value::from("secret")),
            ("LONG", Value::from("hunter2hunter2")),
            ("SHORT", Value::from("LONG")),
        ]);
        let mut masker = Masker::default();
        masker.add_all(["secret", "hunter2hunter2", "LONG"]);
        let seal = Seal::new(&secrets, &masker);
        for text in ["hunter2hunter2", "secret LONG", "LONGsecrethunter2hunter2", "a"] {
            let sealed = seal.seal(text).unwrap();
            assert_eq!(unseal(&sealed, &secrets).as_deref(), Ok(text), "{sealed:?}");
        }
        assert_eq!(seal.seal("\u{1}secret:PROD\u{1}"), None);
        let value = Value::object([("a", Value::from("x secret")), ("b", Value::Bool(true))]);
        let sealed = seal.seal_value(&value).unwrap();
        assert!(!serde_json::to_string(&sealed).unwrap().contains("x secret\""));
        assert_eq!(unseal_value(&sealed, &secrets), Ok(value));
        assert_eq!(seal.seal_value(&Value::object([("secret", Value::Null)])), None);
    }

    #[test]
    fn a_missing_secret_is_named() {
        assert_eq!(unseal("x\u{1}secret:KEY\u{1}y", &Value::Null), Err("KEY".into()));
    }
}
