//! What a rule sees of a file, and how it says what it found.

use trainyard_diagnostics::{Diagnostic, Fix, Source, Span};
use trainyard_expression::{Expr, ExprKind, Place, Template, TemplateKind, parse};
use trainyard_job::spec::{StepKind, StepSpec};
use trainyard_model::Value;
use trainyard_workflow::action::ActionRuns;
use trainyard_workflow::model::{Job, JobKind, StepsJob, Workflow};
use trainyard_workflow::span_of;

use crate::rules::Rule;
use crate::{Definition, Settings};

/// A step where it stands.
#[derive(Clone, Copy)]
pub(crate) struct StepAt<'a> {
    /// Its job; none in an action.
    pub job: Option<(&'a Job, &'a StepsJob)>,
    /// All steps of the job or action.
    pub siblings: &'a [StepSpec],
    pub step: &'a StepSpec,
}

/// One `${{ }}` in a text.
pub(crate) struct Fence {
    /// With the braces.
    pub span: Span,
    pub tree: Expr,
}

pub(crate) struct Context<'a> {
    pub source: &'a Source,
    pub definition: Definition<'a>,
    pub settings: &'a Settings,
    rule: &'static Rule,
    pub found: Vec<Diagnostic>,
}

impl<'a> Context<'a> {
    pub fn new(
        source: &'a Source,
        definition: Definition<'a>,
        settings: &'a Settings,
        rule: &'static Rule,
    ) -> Self {
        Context { source, definition, settings, rule, found: Vec::new() }
    }

    pub fn workflow(&self) -> Option<&'a Workflow> {
        match self.definition {
            Definition::Workflow(workflow) => Some(workflow),
            Definition::Action(_) => None,
        }
    }

    pub fn report(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        let diagnostic = Diagnostic::new(self.rule.severity, self.rule.id, span, message);
        self.found.push(diagnostic.with_help(help));
    }

    pub fn report_fix(
        &mut self,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
        fix: Fix,
    ) {
        self.report(span, message, help);
        if let Some(last) = self.found.last_mut() {
            last.fix = Some(Box::new(fix));
        }
    }

    /// All steps of the file.
    pub fn steps(&self) -> Vec<StepAt<'a>> {
        match self.definition {
            Definition::Workflow(workflow) => workflow
                .jobs
                .iter()
                .filter_map(|job| match &job.kind {
                    JobKind::Steps(steps) => Some((job, &**steps)),
                    JobKind::Call(_) => None,
                })
                .flat_map(|(job, steps)| {
                    let at = move |step| StepAt {
                        job: Some((job, steps)),
                        siblings: &steps.steps[..],
                        step,
                    };
                    steps.steps.iter().map(at)
                })
                .collect(),
            Definition::Action(action) => match &action.runs {
                ActionRuns::Composite(spec) => spec
                    .steps
                    .iter()
                    .map(|step| StepAt { job: None, siblings: &spec.steps[..], step })
                    .collect(),
                _ => Vec::new(),
            },
        }
    }

    /// The text of the file at a place.
    pub fn text(&self, place: Place) -> &'a str {
        self.source.slice(span_of(place))
    }

    /// The expressions in the text at a place, as they stand there.
    pub fn fences(&self, place: Place) -> Vec<Fence> {
        fences(self.source.text(), span_of(place))
    }

    /// All templates of the file, whatever they are for.
    pub fn scripts(&self) -> Vec<(StepAt<'a>, &'a Template)> {
        let script = |at: StepAt<'a>| match &at.step.kind {
            StepKind::Run { script, .. } => Some((at, script)),
            _ => None,
        };
        self.steps().into_iter().filter_map(script).collect()
    }
}

/// The expressions between two bytes of a text; those that cannot be parsed are left out.
pub(crate) fn fences(text: &str, span: Span) -> Vec<Fence> {
    let mut found = Vec::new();
    let mut at = span.start;
    while let Some(open) = text.get(at..span.end).and_then(|t| t.find("${{")).map(|i| at + i) {
        let Some(close) = closing(text, open + 3, span.end) else { break };
        if let Ok(Some(tree)) = parse(&text[open + 3..close]) {
            found.push(Fence { span: Span::new(open, close + 2), tree });
        }
        at = close + 2;
    }
    found
}

/// Where `}}` ends an expression, texts in it left aside.
fn closing(text: &str, from: usize, end: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    let mut at = from;
    while at + 1 < end.min(bytes.len()) {
        match bytes[at] {
            b'\'' => quoted = !quoted,
            b'}' if !quoted && bytes[at + 1] == b'}' => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// `github.event.issue.title` in lower case, with `*` for what is not a literal name.
pub(crate) fn path_of(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Context(name) => Some(name.to_ascii_lowercase()),
        ExprKind::Index(of, key) => {
            let of = path_of(of)?;
            match &key.kind {
                ExprKind::Literal(Value::String(key)) => {
                    Some(format!("{of}.{}", key.to_ascii_lowercase()))
                }
                _ => Some(format!("{of}.*")),
            }
        }
        ExprKind::Wildcard(of) => Some(format!("{}.*", path_of(of)?)),
        _ => None,
    }
}

/// Calls `visit` for every expression in a template.
pub(crate) fn expressions<'a>(template: &'a Template, visit: &mut impl FnMut(&'a Expr)) {
    template.walk(&mut |t| {
        if let TemplateKind::Expression(expression) = &t.kind {
            visit(&expression.tree);
        }
    });
}
