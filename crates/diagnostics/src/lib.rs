//! Sources, spans, diagnostics, and how they are shown.
//!
//! A [`Diagnostic`] points into a [`Source`] by byte span. It is made by the crates that read
//! definitions and rendered here: as text with the source line and a caret, as JSON, and as
//! GitHub annotation commands.
//!
//! Deliberately absent: reading files, colour detection, exit codes.

mod render;
mod source;

pub use render::{FileReport, render_github, render_json, render_text};
pub use source::{Position, Source, Span};

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// GitHub refuses this.
    Error,
    /// GitHub accepts this, but it hardly means what its author thinks.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// `error`, `warning` or `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// A finding in a source, with the place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable id of the rule, for example `expression/unknown-context`.
    pub rule: &'static str,
    /// One sentence: what is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// A few words beside the caret, if they add something.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// A change that is certain to be right.
    pub fix: Option<Box<Fix>>,
}

/// A replacement in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What is replaced.
    pub span: Span,
    /// By what.
    pub text: String,
}

impl Diagnostic {
    /// A diagnostic of any severity.
    pub fn new(
        severity: Severity,
        rule: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Diagnostic {
            severity,
            rule,
            message: message.into(),
            span,
            label: None,
            help: None,
            fix: None,
        }
    }

    /// An error: GitHub refuses this.
    pub fn error(rule: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, rule, span, message)
    }

    /// A warning: GitHub accepts this, but it is likely a mistake.
    pub fn warning(rule: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, rule, span, message)
    }

    /// The same with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with a few words beside the caret.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// Whether any of them is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}
