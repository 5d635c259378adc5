//! Ids of jobs and steps (`IdBuilder.cs`).

use std::collections::BTreeSet;

/// Ids are shorter than this.
const MAX_LENGTH: usize = 100;

/// Ids that are taken in one scope; compared without case.
#[derive(Default)]
pub(crate) struct Ids {
    taken: BTreeSet<String>,
}

impl Ids {
    /// Takes an id that the author gave, or says why it may not be.
    pub(crate) fn add_known(&mut self, id: &str) -> Result<(), String> {
        let mut chars = id.chars();
        let valid = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !valid || id.len() >= MAX_LENGTH {
            return Err(format!(
                "The identifier '{id}' is invalid. IDs may only contain alphanumeric characters, '_', and '-'. IDs must start with a letter or '_' and must be less than {MAX_LENGTH} characters."
            ));
        }
        if id.starts_with("__") {
            return Err(format!(
                "The identifier '{id}' is invalid. IDs starting with '__' are reserved."
            ));
        }
        if !self.taken.insert(id.to_ascii_lowercase()) {
            return Err(format!(
                "The identifier '{id}' may not be used more than once within the same scope."
            ));
        }
        Ok(())
    }

    /// Makes an id of free text, `__` in front allowed.
    pub(crate) fn generate(&mut self, text: &str) -> String {
        let clean: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
            .collect();
        let mut attempt = 1;
        loop {
            let suffix = if attempt == 1 { String::new() } else { format!("_{attempt}") };
            let room = MAX_LENGTH.saturating_sub(suffix.len()).min(clean.len());
            let candidate = format!("{}{suffix}", &clean[..room]);
            if self.taken.insert(candidate.to_ascii_lowercase()) {
                return candidate;
            }
            attempt += 1;
        }
    }
}
