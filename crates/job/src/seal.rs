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

    /// The text with names for secrets; none if something else in it is masked.
    pub fn seal(&self, text: &str) -> Option<String> {
        if !self.masker.finds(text) {
            return Some(text.to_owned());
        }
        let mut sealed = text.to_owned();
        for (name, value) in &self.secrets {
            if sealed.contains(value.as_str()) {
                sealed = sealed.replace(value.as_str(), &format!("{MARK}{name}{END}"));
            }
        }
        // A name may itself look masked: what counts is what stands between the names.
        let rest: Vec<&str> = sealed.split(END).filter(|p| !p.starts_with("secret:")).collect();
        (!rest.iter().any(|part| self.masker.finds(part))).then_some(sealed)
    }
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

    #[test]
    fn a_missing_secret_is_named() {
        assert_eq!(unseal("x\u{1}secret:KEY\u{1}y", &Value::Null), Err("KEY".into()));
    }
}
