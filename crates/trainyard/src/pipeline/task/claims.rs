//! `CreatePVC` and `DeletePVC`: claims are named volumes of this machine. Their images are names for the
//! backend's own work, and are never run (`driver/k8s.go`).

use serde_json::Value as Json;
use trainyard_model::Outcome;
use trainyard_pipeline::Bundle;

use super::cluster::volume;
use super::{Assignment, TaskEnd};

fn text(assignment: &Assignment, name: &str) -> String {
    let shared = &assignment.shared;
    let component = shared.pipeline.component_of(&assignment.definition);
    let given = assignment.inputs.parameters.get(name);
    let default = || component.parameter(name)?.default.as_ref();
    let value = given.or_else(default).cloned().unwrap_or_default();
    let filled = trainyard_pipeline::fill(&value, &assignment.inputs.parameters, &shared.facts, "");
    trainyard_pipeline::text_of(&filled)
}

/// Makes the volume; its name is the output.
pub(super) fn create(assignment: &Assignment) -> TaskEnd {
    let facts = &assignment.shared.facts;
    let (name, suffix) = (text(assignment, "pvc_name"), text(assignment, "pvc_name_suffix"));
    let name = match (name.is_empty(), suffix.is_empty()) {
        (false, _) => name,
        (true, false) => format!("{}-{}", facts.resource_name, suffix.trim_start_matches('-')),
        (true, true) => return TaskEnd::failed("neither pvc_name nor pvc_name_suffix is given"),
    };
    let made = volume(&assignment.shared.data, &name)
        .and_then(|f| std::fs::create_dir_all(&f).map_err(|e| format!("{}: {e}", f.display())));
    if let Err(why) = made {
        return TaskEnd::failed(why);
    }
    let mut outputs = Bundle::default();
    // `name` in PipelineSpec; `OP-name`, `OP-manifest`, `OP-size` with kfp 1.8.
    let component = assignment.shared.pipeline.component_of(&assignment.definition);
    for (output, _) in &component.output_parameters {
        let value = match output.rsplit('-').next() {
            Some("name") => name.as_str(),
            _ => "",
        };
        outputs.parameters.insert(output.clone(), Json::from(value));
    }
    TaskEnd { outcome: Outcome::Success, reason: String::new(), outputs, notes: Vec::new() }
}

/// Removes the volume with all that is in it.
pub(super) fn delete(assignment: &Assignment) -> TaskEnd {
    match volume(&assignment.shared.data, &text(assignment, "pvc_name")) {
        Ok(folder) => {
            crate::host::workspace::remove(&folder);
            let (outcome, outputs) = (Outcome::Success, Bundle::default());
            TaskEnd { outcome, reason: String::new(), outputs, notes: Vec::new() }
        }
        Err(why) => TaskEnd::failed(why),
    }
}
