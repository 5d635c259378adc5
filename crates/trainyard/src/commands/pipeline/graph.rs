//! `trainyard pipeline graph`: the tasks of a pipeline and what waits for what.

use std::path::Path;

use trainyard_pipeline::{Items, lower};

use super::super::view::{Drawing, draw};
use crate::error::{Error, Result};
use crate::exit::Exit;

/// Prints it.
pub fn graph(file: &Path, drawing: Drawing) -> Result<Exit> {
    let (_, pipeline) = super::read(file)?;
    let lowered = lower(&pipeline).map_err(Error::new)?;
    let say = |node: trainyard_plan::PlanNodeId| {
        let Some(task) = pipeline.task_of(&lowered.definitions[node.index()]) else {
            return String::new();
        };
        let mut words = Vec::new();
        if let Some(condition) = &task.condition {
            words.push(format!("if {}", condition.text));
        }
        if let Some(iterator) = &task.iterator {
            words.push(match &iterator.items {
                Items::Raw(items) => format!("for each of {} items", items.len()),
                Items::Parameter(name) | Items::Artifact(name) => format!("for each of {name}"),
            });
        }
        if task.always {
            words.push("whatever happened before".to_owned());
        }
        words.join(", ")
    };
    outln!("{}", draw(&lowered.plan, drawing, &say).trim_end());
    Ok(Exit::Success)
}
