//! Inputs: those of a run, checked before anything runs, and those of a task, from what was before it
//! (`backend/src/v2/driver/resolve.go`).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use trainyard_model::JobResult;

use crate::bundle::{Artifact, Bundle};
use crate::lower::Definition;
use crate::placeholder::fill;
use crate::semantics::RunFacts;
use crate::spec::{
    ArtifactSource, Body, Component, InputParameter, Items, Parameter, ParameterSource,
    ParameterType, Pipeline, Task, find,
};
use crate::values::{fits, kind_of, text_of};

/// What is wrong with the parameters of a run: a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadParameters(pub Vec<String>);

/// The inputs of a run: what is given, and defaults for the rest. Nothing is converted.
///
/// # Errors
///
/// All that is unknown, missing, or of another type.
pub fn root_inputs(
    pipeline: &Pipeline,
    given: &Map<String, Json>,
) -> Result<Bundle, BadParameters> {
    let root = &pipeline.components[pipeline.root];
    let mut wrong = Vec::new();
    let mut bundle = Bundle::default();
    for name in given.keys().filter(|name| root.parameter(name).is_none()) {
        let known: Vec<&str> = root.parameters.iter().map(|(n, _)| n.as_str()).collect();
        wrong.push(match known.is_empty() {
            true => format!("'{name}': the pipeline has no parameters"),
            false => format!("there is no parameter '{name}' ({})", known.join(", ")),
        });
    }
    for (name, parameter) in &root.parameters {
        let value = given.get(name).filter(|v| !v.is_null()).or(parameter.default.as_ref());
        match value {
            Some(value) => match check(name, value, parameter) {
                Ok(()) => {
                    bundle.parameters.insert(name.clone(), value.clone());
                }
                Err(why) => wrong.push(why),
            },
            None if parameter.optional => {}
            None => wrong
                .push(format!("the parameter '{name}' ({}) is missing", parameter.kind.as_str())),
        }
    }
    for (name, artifact) in &root.artifacts {
        if !artifact.optional {
            wrong.push(format!("the pipeline wants the artifact '{name}', and none can be given"));
        }
    }
    if wrong.is_empty() { Ok(bundle) } else { Err(BadParameters(wrong)) }
}

fn check(name: &str, value: &Json, parameter: &InputParameter) -> Result<(), String> {
    if !fits(value, parameter.kind) {
        let (wanted, is) = (parameter.kind.as_str(), kind_of(value));
        return Err(format!("the parameter '{name}' is {wanted}, and {is} is given: {value}"));
    }
    literal(name, value, parameter)
}

fn literal(name: &str, value: &Json, parameter: &InputParameter) -> Result<(), String> {
    if parameter.literals.is_empty() || parameter.literals.contains(value) {
        return Ok(());
    }
    let known: Vec<String> = parameter.literals.iter().map(Json::to_string).collect();
    Err(format!("the parameter '{name}' is {value}; it may be {}", known.join(", ")))
}

/// A task that others wait for, as it ended.
#[derive(Debug)]
pub(crate) struct Need {
    pub(crate) result: JobResult,
    pub(crate) outputs: Bundle,
    pub(crate) reason: String,
}

/// What a task's inputs are found in.
pub(crate) struct Around<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) facts: &'a RunFacts,
    /// The inputs of the graph that it is in.
    pub(crate) inputs: &'a Bundle,
    /// The tasks before it.
    pub(crate) needs: &'a BTreeMap<String, Need>,
}

impl Around<'_> {
    /// The inputs of a task; of a loop, those of all its iterations.
    pub(crate) fn bind(&self, definition: &Definition) -> Result<Bundle, String> {
        let Some(task) = self.pipeline.task_of(definition) else { return Ok(Bundle::default()) };
        let component = self.pipeline.component_of(definition);
        let mut bound = Bundle::default();
        for (name, parameter) in &task.parameters {
            if matches!(parameter.source, ParameterSource::Constant(_)) {
                continue;
            }
            let value = self.parameter(task, name, parameter)?;
            self.put(&mut bound, component, name, parameter, value)?;
        }
        // What is written out may speak of the others.
        let named = bound.parameters.clone();
        for (name, parameter) in &task.parameters {
            if let ParameterSource::Constant(value) = &parameter.source {
                let value = fill(value, &named, self.facts, &task.key);
                let value = Some(value).filter(|v| !v.is_null());
                self.put(&mut bound, component, name, parameter, value)?;
            }
        }
        for (name, source) in &task.artifacts {
            let found = self.artifacts(source);
            let optional = find(&component.artifacts, name).is_some_and(|a| a.optional);
            match found {
                Ok(list) => {
                    bound.artifacts.insert(name.clone(), list);
                }
                Err(_) if optional => {}
                Err(why) => return Err(format!("the input artifact '{name}': {why}")),
            }
        }
        self.complete(&mut bound, component, task)?;
        Ok(bound)
    }

    fn put(
        &self,
        bound: &mut Bundle,
        component: &Component,
        name: &str,
        parameter: &Parameter,
        value: Option<Json>,
    ) -> Result<(), String> {
        let Some(value) = value else {
            let known = component.parameter(name);
            return match known.is_none_or(|p| p.optional || p.default.is_some()) {
                true => Ok(()),
                false => Err(format!("the input '{name}' is required, and has no value")),
            };
        };
        let value = match &parameter.selector {
            Some(selector) => {
                let whole = value.clone();
                let lookup = |field: &str| match (field, &whole) {
                    ("string_value", value) => Some(Json::String(text_of(value))),
                    ("number_value", value @ Json::Number(_))
                    | ("bool_value", value @ Json::Bool(_))
                    | ("list_value", value @ Json::Array(_))
                    | ("struct_value", value @ Json::Object(_)) => Some(value.clone()),
                    _ => None,
                };
                let taken = selector.value(&lookup);
                taken.map_err(|why| format!("the input '{name}', {}: {why}", selector.text))?
            }
            None => value,
        };
        if let Some(known) = component.parameter(name) {
            let value = typed(name, value, known)?;
            literal(name, &value, known)?;
            bound.parameters.insert(name.to_owned(), value);
        } else {
            bound.parameters.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn parameter(
        &self,
        task: &Task,
        name: &str,
        parameter: &Parameter,
    ) -> Result<Option<Json>, String> {
        match &parameter.source {
            ParameterSource::Output(selector) => {
                let need = self.needs.get(&selector.task);
                Ok(need.and_then(|n| n.outputs.parameters.get(&selector.key).cloned()))
            }
            ParameterSource::Input(input) => Ok(self.inputs.parameters.get(input).cloned()),
            ParameterSource::Constant(value) => Ok(Some(value.clone())),
            ParameterSource::WorkflowStatus(of) => Ok(Some(Json::from(self.workflow_status(of)))),
            ParameterSource::FinalStatus(of) => match self.needs.get(of) {
                Some(need) => Ok(Some(self.final_status(of, need))),
                None => Err(format!("the input '{name}' of '{}': '{of}' is not over", task.key)),
            },
        }
    }

    fn workflow_status(&self, of: &str) -> &'static str {
        match self.needs.get(of).map(|n| n.result) {
            Some(JobResult::Success | JobResult::Skipped) | None => "Succeeded",
            Some(JobResult::Failure | JobResult::Cancelled) => "Failed",
        }
    }

    fn artifacts(&self, source: &ArtifactSource) -> Result<Vec<Artifact>, String> {
        match source {
            ArtifactSource::Output(selector) => {
                let need = self.needs.get(&selector.task);
                let found = need.and_then(|n| n.outputs.artifacts.get(&selector.key).cloned());
                found.ok_or_else(|| match need.map(|n| n.result) {
                    Some(JobResult::Success) | None => {
                        format!("'{}' gave no '{}'", selector.task, selector.key)
                    }
                    Some(result) => format!("'{}' ended as {}", selector.task, result.as_str()),
                })
            }
            ArtifactSource::Input(input) => {
                let found = self.inputs.artifacts.get(input).cloned();
                found.ok_or_else(|| format!("the graph around it was given no '{input}'"))
            }
        }
    }

    /// A name that the platform's document takes from somewhere; none if an optional input gives none.
    pub(crate) fn named(&self, parameter: &Json, own: &Bundle) -> Result<Option<String>, String> {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let value = if let Some(output) = parameter.get("taskOutputParameter") {
            let (task, key) = (text(&output["producerTask"]), text(&output["outputParameterKey"]));
            self.needs.get(&task).and_then(|n| n.outputs.parameters.get(&key))
        } else if let Some(input) = parameter.get("ownInput") {
            own.parameters.get(&text(input))
        } else if let Some(input) = parameter.get("componentInputParameter") {
            self.inputs.parameters.get(&text(input))
        } else {
            let constant = &parameter["runtimeValue"]["constant"];
            Some(constant).filter(|c| !c.is_null())
        };
        match value {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(name)) => Ok(Some(name.clone())),
            Some(other) => Err(format!("a name is expected, not {}: {other}", kind_of(other))),
        }
    }

    /// The words are the backend's (`resolve.go`): COMPLETE, not SUCCEEDED.
    fn final_status(&self, of: &str, need: &Need) -> Json {
        let state = match need.result {
            JobResult::Success if need.outputs.cached => "CACHED",
            JobResult::Success => "COMPLETE",
            JobResult::Failure => "FAILED",
            JobResult::Cancelled => "CANCELED",
            JobResult::Skipped => "SKIPPED",
        };
        let message = match need.outputs.error.is_empty() {
            true => &need.reason,
            false => &need.outputs.error,
        };
        let error = match need.result {
            // google.rpc.Code: UNKNOWN
            JobResult::Failure => serde_json::json!({"code": 2, "message": message}),
            _ => serde_json::json!({}),
        };
        serde_json::json!({
            "state": state,
            "pipelineJobResourceName": self.facts.resource_name,
            "pipelineTaskName": of,
            "error": error,
        })
    }

    /// What is left out: defaults for graphs, an error for what is required.
    fn complete(
        &self,
        bound: &mut Bundle,
        component: &Component,
        task: &Task,
    ) -> Result<(), String> {
        let is_dag = matches!(component.body, Body::Dag(_));
        let item = task.iterator.as_ref().map(|i| i.item.as_str());
        for (name, parameter) in &component.parameters {
            if bound.parameters.contains_key(name) || item == Some(name) {
                continue;
            }
            match &parameter.default {
                // A leaf has its own defaults: what it is given has no entry.
                Some(default) if is_dag => {
                    bound.parameters.insert(name.clone(), default.clone());
                }
                Some(_) => {}
                None if parameter.optional || parameter.kind == ParameterType::TaskConfig => {}
                None => return Err(format!("the input '{name}' is required, and has no value")),
            }
        }
        for (name, artifact) in &component.artifacts {
            if !bound.artifacts.contains_key(name) && !artifact.optional && item != Some(name) {
                return Err(format!("the input artifact '{name}' is required, and has no value"));
            }
        }
        Ok(())
    }
}

/// A value as an input of that type takes it: a text takes any, as JSON; all else must match.
fn typed(name: &str, value: Json, parameter: &InputParameter) -> Result<Json, String> {
    if fits(&value, parameter.kind) {
        return Ok(value);
    }
    match parameter.kind {
        ParameterType::String => Ok(Json::String(text_of(&value))),
        kind => Err(format!(
            "the input '{name}' is {}, and {} is given: {}",
            kind.as_str(),
            kind_of(&value),
            short(&value)
        )),
    }
}

fn short(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// One item of a loop.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Parameter(Json),
    Artifact(Box<Artifact>),
}

/// The items of a loop, from its bound inputs.
pub(crate) fn items(task: &Task, bound: &Bundle) -> Result<Vec<Item>, String> {
    let Some(iterator) = &task.iterator else { return Ok(Vec::new()) };
    match &iterator.items {
        Items::Raw(items) => Ok(items.iter().cloned().map(Item::Parameter).collect()),
        Items::Parameter(name) => {
            let value = bound.parameters.get(name);
            let list = match value {
                Some(Json::Array(items)) => Some(items.clone()),
                Some(Json::String(text)) => serde_json::from_str::<Vec<Json>>(text)
                    .ok()
                    .map(|items| items.into_iter().map(crate::values::whole).collect()),
                _ => None,
            };
            let list = list.ok_or_else(|| {
                let is = value.map_or_else(|| "nothing".to_owned(), short);
                format!("the items of the loop are no list: '{name}' is {is}")
            })?;
            Ok(list.into_iter().map(Item::Parameter).collect())
        }
        Items::Artifact(name) => {
            let list = bound.artifacts.get(name).cloned().unwrap_or_default();
            Ok(list.into_iter().map(|a| Item::Artifact(Box::new(a))).collect())
        }
    }
}

/// The inputs of one iteration: those of the loop without its items, and with the item.
pub(crate) fn with_item(
    component: &Component,
    task: &Task,
    bound: &Bundle,
    item: Item,
) -> Result<Bundle, String> {
    let Some(iterator) = &task.iterator else { return Ok(bound.clone()) };
    let mut inputs = Bundle { platform: bound.platform.clone(), ..Bundle::default() };
    let items = match &iterator.items {
        Items::Parameter(name) | Items::Artifact(name) => name.as_str(),
        Items::Raw(_) => "",
    };
    for (name, value) in bound.parameters.iter().filter(|(n, _)| *n != items) {
        inputs.parameters.insert(name.clone(), value.clone());
    }
    for (name, list) in bound.artifacts.iter().filter(|(n, _)| *n != items) {
        inputs.artifacts.insert(name.clone(), list.clone());
    }
    match item {
        Item::Parameter(value) => {
            let value = match component.parameter(&iterator.item) {
                Some(known) => typed(&iterator.item, value, known)?,
                None => value,
            };
            inputs.parameters.insert(iterator.item.clone(), value);
        }
        Item::Artifact(artifact) => {
            inputs.artifacts.insert(iterator.item.clone(), vec![*artifact]);
        }
    }
    Ok(inputs)
}
