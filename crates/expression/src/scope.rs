use crate::ast::{Expr, ExprKind};

/// A function that some key may call: its name and how many arguments it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionArity {
    /// Name; case does not matter.
    pub name: String,
    /// At least.
    pub min: usize,
    /// At most.
    pub max: usize,
}

/// Which contexts and extra functions a key may use. The functions that every expression has
/// (`contains`, `format`, ...) are always there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Names of contexts.
    pub contexts: Vec<String>,
    /// Functions beyond the well-known ones.
    pub functions: Vec<FunctionArity>,
}

impl Scope {
    /// Reads the entries of a schema's `context` list: `github`, `success(0,MAX)`.
    pub fn from_schema<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scope = Scope::default();
        for entry in entries {
            let Some((name, rest)) = entry.split_once('(') else {
                scope.contexts.push(entry.to_owned());
                continue;
            };
            let (min, max) = rest.trim_end_matches(')').split_once(',').unwrap_or(("0", "MAX"));
            scope.functions.push(FunctionArity {
                name: name.to_owned(),
                min: min.trim().parse().unwrap_or(0),
                max: max.trim().parse().unwrap_or(usize::MAX),
            });
        }
        scope
    }

    /// Whether a context may be read.
    pub fn has_context(&self, name: &str) -> bool {
        self.contexts.iter().any(|c| c.eq_ignore_ascii_case(name))
    }

    /// The extra function of that name.
    pub fn function(&self, name: &str) -> Option<&FunctionArity> {
        self.functions.iter().find(|f| f.name.eq_ignore_ascii_case(name))
    }
}

/// The status functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `success()`
    Success,
    /// `failure()`
    Failure,
    /// `always()`
    Always,
    /// `cancelled()`
    Cancelled,
}

impl Status {
    /// The status function of that name, if it is one.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            ("success", Status::Success),
            ("failure", Status::Failure),
            ("always", Status::Always),
            ("cancelled", Status::Cancelled),
        ]
        .into_iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, s)| s)
    }
}

/// Whether a status function is called anywhere; without one a condition means
/// `success() && (...)` (`WorkflowTemplateConverter.ConvertToIfCondition`).
pub fn uses_status_function(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |e| {
        if let ExprKind::Call(name, _) = &e.kind {
            found |= Status::from_name(name).is_some();
        }
    });
    found
}
