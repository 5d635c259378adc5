//! What a pipeline names must be there, and its graphs must end.

use std::collections::BTreeSet;

use trainyard_diagnostics::{Diagnostic, Span};

use crate::spec::{
    ArtifactSource, Body, Component, Items, ParameterSource, Pipeline, Selector, Task, find,
};

/// Graphs within graphs.
const MAX_DEPTH: usize = 32;

/// Finds what is wrong between the parts of a pipeline.
pub(crate) fn check(pipeline: &Pipeline, diagnostics: &mut Vec<Diagnostic>) {
    let mut checker = Checker { pipeline, diagnostics };
    checker.name("the pipeline", &pipeline.name, Span::new(0, 0));
    for component in &pipeline.components {
        checker.component(component);
    }
    let mut path = Vec::new();
    checker.depth(&pipeline.components[pipeline.root], &mut path);
}

/// Whether a name may be that of a folder.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == '\\' || c.is_control())
}

struct Checker<'a> {
    pipeline: &'a Pipeline,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn error(&mut self, span: Span, message: String, help: &str) {
        self.diagnostics.push(Diagnostic::error("pipeline/invalid", span, message).with_help(help));
    }

    /// Names become names of folders and files.
    fn name(&mut self, what: &str, name: &str, span: Span) {
        if !is_plain(name) {
            let message = format!("{what} is called '{}'", name.escape_debug());
            let help = "a name is neither empty nor a path, and has at most 200 characters";
            self.error(span, message, help);
        }
    }

    fn component(&mut self, component: &'a Component) {
        let name = &component.name;
        let outputs = component.output_parameters.iter().map(|(name, _)| name);
        for output in outputs.chain(component.output_artifacts.iter().map(|(name, _)| name)) {
            self.name(&format!("an output of '{name}'"), output, component.span);
        }
        for task in component.tasks() {
            self.name(&format!("a task of '{name}'"), &task.key, component.span);
        }
        let dag = match &component.body {
            Body::Executor(label) => {
                if find(&self.pipeline.executors, label).is_none() {
                    let message = format!("'{name}': there is no executor '{label}'");
                    self.error(component.span, message, "deploymentSpec.executors lists them");
                }
                return;
            }
            Body::Dag(dag) => dag,
        };
        for task in &dag.tasks {
            self.task(component, task);
        }
        self.circles(component);
        let outputs = dag.parameters.iter().map(|o| (o, true));
        for ((output, selectors), of_parameter) in
            outputs.chain(dag.artifacts.iter().map(|o| (o, false)))
        {
            for selector in selectors {
                self.output(component, selector, of_parameter, component.span, output);
            }
        }
    }

    fn producer(&self, component: &'a Component, key: &str) -> Option<&'a Component> {
        let task = component.tasks().iter().find(|t| t.key == key)?;
        self.pipeline.components.iter().find(|c| c.name == task.component)
    }

    fn output(
        &mut self,
        component: &'a Component,
        selector: &Selector,
        of_parameter: bool,
        span: Span,
        what: &str,
    ) {
        let Selector { task, key } = selector;
        if !component.tasks().iter().any(|t| t.key == *task) {
            let message = format!(
                "'{what}' is an output of '{task}', and there is no such task in '{}'",
                component.name
            );
            self.error(span, message, "compile the pipeline anew");
            return;
        }
        // One that names no component is told of elsewhere.
        let Some(producer) = self.producer(component, task) else { return };
        let known = match of_parameter {
            true => find(&producer.output_parameters, key).is_some(),
            false => find(&producer.output_artifacts, key).is_some(),
        };
        if !known {
            let message =
                format!("'{what}' is the output '{key}' of '{task}', which has none of that name");
            self.error(span, message, "compile the pipeline anew");
        }
    }

    fn task(&mut self, component: &'a Component, task: &'a Task) {
        let (key, span) = (&task.key, task.span);
        let Some(own) = self.pipeline.components.iter().find(|c| c.name == task.component) else {
            let message = format!("the task '{key}': there is no component '{}'", task.component);
            self.error(span, message, "componentRef.name names one of `components`");
            return;
        };
        for other in &task.after {
            if !component.tasks().iter().any(|t| t.key == *other) {
                let message =
                    format!("the task '{key}' runs after '{other}', and there is no such task");
                self.error(span, message, "dependentTasks names tasks of the same graph");
            }
        }
        for (name, parameter) in &task.parameters {
            match &parameter.source {
                ParameterSource::Output(selector) => {
                    self.output(component, selector, true, span, name);
                }
                ParameterSource::Input(input) if find(&component.parameters, input).is_none() => {
                    let message = format!(
                        "the task '{key}': '{name}' is the input '{input}' of its graph, which has none of that name"
                    );
                    self.error(span, message, "compile the pipeline anew");
                }
                ParameterSource::FinalStatus(of)
                    if !component.tasks().iter().any(|t| t.key == *of) =>
                {
                    let message = format!(
                        "the task '{key}' asks how '{of}' ended, and there is no such task"
                    );
                    self.error(span, message, "compile the pipeline anew");
                }
                _ => {}
            }
        }
        for (name, source) in &task.artifacts {
            match source {
                ArtifactSource::Output(selector) => {
                    self.output(component, selector, false, span, name);
                }
                ArtifactSource::Input(input) if find(&component.artifacts, input).is_none() => {
                    let message = format!(
                        "the task '{key}': '{name}' is the input '{input}' of its graph, which has none of that name"
                    );
                    self.error(span, message, "compile the pipeline anew");
                }
                ArtifactSource::Input(_) => {}
            }
        }
        if let Some(iterator) = &task.iterator {
            let there = match &iterator.items {
                Items::Raw(_) => true,
                Items::Parameter(name) => find(&task.parameters, name).is_some(),
                Items::Artifact(name) => find(&task.artifacts, name).is_some(),
            };
            if !there {
                let message = format!("the loop '{key}' has no input of the name of its items");
                self.error(span, message, "compile the pipeline anew");
            }
        }
        if let Some(condition) = &task.condition {
            for name in condition.parameters() {
                let given = find(&task.parameters, &name).is_some()
                    || own.parameter(&name).is_some_and(|p| p.optional || p.default.is_some());
                if !given {
                    let message = format!(
                        "the condition of '{key}' reads '{name}', which the task is not given"
                    );
                    self.error(span, message, "compile the pipeline anew");
                }
            }
        }
    }

    /// Whether the tasks of a graph wait for each other.
    fn circles(&mut self, component: &'a Component) {
        let tasks = component.tasks();
        let mut done: BTreeSet<&str> = BTreeSet::new();
        loop {
            let ready: Vec<&str> = tasks
                .iter()
                .filter(|t| !done.contains(t.key.as_str()))
                .filter(|t| {
                    needs(t).iter().all(|n| done.contains(n) || !tasks.iter().any(|o| o.key == *n))
                })
                .map(|t| t.key.as_str())
                .collect();
            if ready.is_empty() {
                break;
            }
            done.extend(ready);
        }
        if let Some(task) = tasks.iter().find(|t| !done.contains(t.key.as_str())) {
            let message = format!("the task '{}' waits for itself", task.key);
            self.error(task.span, message, "dependentTasks and inputs go in a circle");
        }
    }

    /// Whether a component is within itself.
    fn depth(&mut self, component: &'a Component, path: &mut Vec<&'a str>) {
        if path.contains(&component.name.as_str()) || path.len() >= MAX_DEPTH {
            let message = format!(
                "the component '{}' is within itself, or deeper than {MAX_DEPTH} graphs",
                component.name
            );
            self.error(component.span, message, "compile the pipeline anew");
            return;
        }
        path.push(&component.name);
        for task in component.tasks() {
            if let Some(inner) = self.pipeline.components.iter().find(|c| c.name == task.component)
            {
                let before = self.diagnostics.len();
                self.depth(inner, path);
                if self.diagnostics.len() > before {
                    break;
                }
            }
        }
        path.pop();
    }
}

/// The tasks that a task waits for, each once, in the order that they are named.
pub(crate) fn needs(task: &Task) -> Vec<&str> {
    let mut found: Vec<&str> = task.after.iter().map(String::as_str).collect();
    for (_, parameter) in &task.parameters {
        match &parameter.source {
            ParameterSource::Output(selector) => found.push(&selector.task),
            ParameterSource::FinalStatus(of) | ParameterSource::WorkflowStatus(of) => {
                found.push(of)
            }
            _ => {}
        }
    }
    for (_, source) in &task.artifacts {
        if let ArtifactSource::Output(selector) = source {
            found.push(&selector.task);
        }
    }
    let mut once: Vec<&str> = Vec::new();
    for name in found {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once
}
