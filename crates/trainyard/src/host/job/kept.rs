//! What is kept of a process for a shell after a failure.

use trainyard_job::seal::Seal;
use trainyard_job::{Process, ProcessKind};

use crate::host::containers::JobContainers;
use crate::host::workspace::Workspace;
use crate::run::kept::KeptProcess;

/// A process as it may lie on a disk.
pub(super) fn seal_process(mut process: KeptProcess, seal: &Seal<'_>) -> KeptProcess {
    let mut env = Vec::with_capacity(process.env.len());
    for (name, value) in std::mem::take(&mut process.env) {
        match seal.seal(&value) {
            _ if !seal.is_plain(&name) => {}
            Some(value) => env.push((name, value)),
            None => process.left_out.push(name),
        }
    }
    process.env = env;
    process.path.retain(|folder| seal.is_plain(folder));
    process.directory = process.directory.filter(|d| seal.is_plain(&d.to_string_lossy()));
    process.container = process.container.and_then(|mut container| {
        let env = std::mem::take(&mut container.env);
        let sealed = |(name, value): (String, String)| match seal.seal(&value) {
            Some(value) if seal.is_plain(&name) => Some((name, value)),
            _ => None,
        };
        container.env = env.into_iter().filter_map(sealed).collect();
        container.volumes.retain(|volume| seal.is_plain(volume));
        let plain = seal.is_plain(&container.image) && seal.is_plain(&container.options);
        plain.then_some(container)
    });
    process.script = process.script.and_then(|(text, end)| Some((seal.seal(&text)?, end)));
    process
}

/// What is kept of a process.
pub(super) fn kept_process(
    process: Process,
    step: String,
    workspace: &Workspace,
    containers: &JobContainers,
) -> KeptProcess {
    let script = match process.kind {
        ProcessKind::Script { shell, script } => Some((script, shell.extension.to_owned())),
        _ => None,
    };
    let directory = match process.directory {
        Some(directory) => workspace.workspace.join(directory),
        None => workspace.workspace.clone(),
    };
    let (env, path, left_out) = (process.env, process.path, Vec::new());
    let directory = Some(directory);
    KeptProcess { step, script, env, path, left_out, directory, container: containers.kept() }
}
