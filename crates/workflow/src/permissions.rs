//! `permissions`, and what a called workflow may ask for (`PermissionsHelper.cs`).

use trainyard_expression::{Template, TemplateKind};

/// How much of one permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `none`
    None,
    /// `read`
    Read,
    /// `write`
    Write,
}

impl Level {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "none",
            Level::Read => "read",
            Level::Write => "write",
        }
    }
}

/// The permissions that a `read-all` or `write-all` covers, in the order GitHub lists them.
pub const NAMES: &[&str] = &[
    "actions",
    "artifact-metadata",
    "attestations",
    "checks",
    "code-quality",
    "contents",
    "copilot-requests",
    "deployments",
    "discussions",
    "id-token",
    "issues",
    "models",
    "packages",
    "pages",
    "pull-requests",
    "repository-projects",
    "security-events",
    "statuses",
    "vulnerability-alerts",
];

/// A set of permissions; what is not named is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    levels: Vec<(String, Level)>,
}

impl Permissions {
    /// Every permission at one level.
    pub fn all(level: Level) -> Self {
        Permissions { levels: NAMES.iter().map(|n| ((*n).to_owned(), level)).collect() }
    }

    /// What a repository grants whose default is limited: contents and packages, to read.
    pub fn limited_read() -> Self {
        Permissions {
            levels: vec![("contents".into(), Level::Read), ("packages".into(), Level::Read)],
        }
    }

    /// Reads a `permissions` value that the schema accepted.
    pub(crate) fn read(template: &Template) -> Option<Self> {
        match &template.kind {
            TemplateKind::String(s) if &**s == "read-all" => Some(Self::all(Level::Read)),
            TemplateKind::String(s) if &**s == "write-all" => Some(Self::all(Level::Write)),
            TemplateKind::Mapping(pairs) => {
                let mut levels = Vec::new();
                for (key, value) in pairs {
                    let name = key.as_str()?;
                    let level = match value.as_str()? {
                        "read" => Level::Read,
                        // These two know no writing.
                        "write" if matches!(name, "models" | "vulnerability-alerts") => Level::Read,
                        "write" => Level::Write,
                        _ => Level::None,
                    };
                    levels.push((name.to_owned(), level));
                }
                Some(Permissions { levels })
            }
            _ => None,
        }
    }

    /// The level of one permission.
    pub fn level(&self, name: &str) -> Level {
        self.levels.iter().find(|(n, _)| n == name).map_or(Level::None, |(_, l)| *l)
    }

    /// What is granted, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Level)> {
        self.levels.iter().map(|(n, l)| (n.as_str(), *l))
    }

    /// Each permission asked for here beyond `max`: its name, what is asked, what is allowed.
    pub fn excess<'a>(&'a self, max: &Permissions) -> Vec<(&'a str, Level, Level)> {
        let mut excess: Vec<_> = self
            .iter()
            .map(|(name, level)| (name, level, max.level(name)))
            .filter(|(_, asked, allowed)| asked > allowed)
            .collect();
        excess.sort_by_key(|(name, _, _)| NAMES.iter().position(|n| n == name));
        excess
    }
}
