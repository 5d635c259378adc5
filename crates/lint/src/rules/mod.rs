//! The rules, one a file: an id, how serious it is, a line that says what it finds, and the check.
//!
//! Rules whose check stands in the reader of definitions are here too, so that they can be turned
//! off, and have their cases and pages.

mod always_true;
mod container;
mod cron_interval;
mod cron_never;
mod deprecated_action;
mod deprecated_command;
mod injection;
mod needs_unread;
mod never_matches;
mod only_negative;
mod permissions;
mod plain_secret;
mod shellcheck;
mod unpinned;
mod unreachable;
mod unserved_label;
mod untrusted_checkout;
mod values;

use trainyard_diagnostics::Severity;

use crate::context::Context;

/// A rule.
pub struct Rule {
    /// Its id, as `# trainyard: ignore[...]` names it.
    pub id: &'static str,
    /// How serious its findings are.
    pub severity: Severity,
    /// What it finds, in a line.
    pub summary: &'static str,
    /// The check; none where the definition's reader finds it, or a program that is not ours.
    pub(crate) check: Option<fn(&mut Context<'_>)>,
    /// What it must find, and what is near and must be left alone.
    #[cfg(test)]
    pub(crate) cases: Cases,
}

#[cfg(test)]
pub(crate) struct Cases {
    pub bad: &'static [&'static str],
    pub good: &'static [&'static str],
}

impl Rule {
    /// The name of its page in `docs/rules`.
    pub fn page(&self) -> String {
        format!("docs/rules/{}.md", self.id.replace('/', "-"))
    }
}

/// All rules, in the order of their ids.
pub static RULES: &[Rule] = &[
    container::RULE,
    always_true::RULE,
    unreachable::RULE,
    needs_unread::RULE,
    cron_interval::RULE,
    cron_never::RULE,
    never_matches::RULE,
    only_negative::RULE,
    untrusted_checkout::RULE,
    permissions::RULE,
    unserved_label::RULE,
    deprecated_command::RULE,
    injection::RULE,
    shellcheck::RULE,
    plain_secret::RULE,
    deprecated_action::RULE,
    unpinned::RULE,
];

/// The rule of that id.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|r| r.id == id)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // It reads the pages.
mod tests;
