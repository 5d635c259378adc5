//! Actions of a local run: the built-in ones, and those in the workspace.

use std::path::PathBuf;
use std::sync::Arc;

use trainyard_diagnostics::{Severity, Source};
use trainyard_job::Loaded;
use trainyard_workflow::action::ActionRuns;
use trainyard_workflow::read_action;

use crate::builtin;
use crate::host::job::Actions;
use crate::host::workspace::Workspace;

/// The actions that this version can run.
pub struct LocalActions;

/// Why an action cannot run, known from its reference alone.
pub fn refusal(uses: &str) -> Option<String> {
    if uses.starts_with("./") || uses.starts_with("$/") || builtin::find(uses).is_some() {
        return None;
    }
    let why = match uses.starts_with("docker://") {
        true => "Docker actions cannot be run yet",
        false => {
            "only actions/checkout, actions/setup-python and actions in the repository (./) can be run yet"
        }
    };
    Some(format!("it uses '{uses}': {why}"))
}

impl Actions for LocalActions {
    fn load(&mut self, uses: &str, workspace: &Workspace) -> Result<Loaded, String> {
        if let Some(name) = builtin::find(uses) {
            return Ok(Loaded::Builtin(builtin::inputs(name)));
        }
        if let Some(why) = refusal(uses) {
            return Err(why);
        }
        let relative = uses.trim_start_matches("./").trim_start_matches("$/");
        let folder = workspace.workspace.join(relative);
        for name in ["action.yml", "action.yaml"] {
            let path = folder.join(name);
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let source = Source::new(path.to_string_lossy().into_owned(), text);
            let (action, diagnostics) = read_action(&source, u16::MAX);
            let Some(action) = action else {
                let faults: Vec<String> = diagnostics
                    .iter()
                    .filter(|d| d.severity == Severity::Error)
                    .map(|d| {
                        let at = source.position(d.span.start);
                        format!("{} (Line: {}, Col: {})", d.message, at.line, at.column)
                    })
                    .collect();
                return Err(format!("{uses}/{name}: {}", faults.join("; ")));
            };
            return match action.runs {
                ActionRuns::Composite(spec) => {
                    Ok(Loaded::Composite(Arc::new(spec), folder.to_string_lossy().into_owned()))
                }
                ActionRuns::Node(using) => Err(format!(
                    "'{uses}' is a JavaScript action ({using}), which cannot be run yet"
                )),
                ActionRuns::Docker => {
                    Err(format!("'{uses}' is a Docker action, which cannot be run yet"))
                }
            };
        }
        Err(format!(
            "Can't find 'action.yml', 'action.yaml' or 'Dockerfile' under '{}'. Did you forget to run actions/checkout before running your local action?",
            folder.display()
        ))
    }

    fn command(&self, action: &str) -> (PathBuf, Vec<String>) {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("trainyard"));
        let name = builtin::find(action).unwrap_or_default().to_owned();
        (program, vec!["internal-action".into(), name])
    }
}
