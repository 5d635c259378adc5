//! How a process of a job starts: on this machine, in the job's container, or in one of its own.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use trainyard_job::{Process, ProcessId, ProcessKind};

use super::files::COMMAND_FILES;
use super::{After, Live, Runner, Surroundings};
use crate::host::environment::{INDEXES, PROXIES, get, set, which};
use crate::host::process::{Running, start};
use crate::host::reader::OutputReader;

impl Runner {
    pub(super) fn spawn(
        &mut self,
        id: ProcessId,
        step: usize,
        process: &Process,
        around: &mut Surroundings<'_>,
    ) -> Result<(), String> {
        if !matches!(process.kind, ProcessKind::StartContainers(_) | ProcessKind::StopContainers) {
            make_files(id, around)?;
        }
        let (running, after) = match &process.kind {
            ProcessKind::StartContainers(spec) => {
                (around.containers.start(spec)?.into(), After::Containers)
            }
            ProcessKind::StopContainers => (around.containers.stop()?.into(), After::Nothing),
            ProcessKind::Docker { image, entrypoint, args, inputs } => {
                let mut env = into_container(process, around);
                action_env(&mut env, inputs, &around.action_env);
                add_git_config(&mut env, &around.git_config);
                let entrypoint = entrypoint.as_deref();
                let task = around.containers.action(image, entrypoint, args.clone(), &env)?;
                (task.into(), After::Nothing)
            }
            ProcessKind::Builtin { .. } => {
                around.containers.take_back();
                (on_this_machine(id, process, around)?, After::HandOver)
            }
            _ if around.containers.is_inside() => {
                (in_container(id, process, around)?, After::Nothing)
            }
            _ => (on_this_machine(id, process, around)?, After::Nothing),
        };
        self.live.insert(
            id,
            Live {
                running,
                step,
                after,
                reader: OutputReader::default(),
                exit: None,
                drain_until: None,
                next_signal: None,
                time_limit: None,
            },
        );
        self.started.entry(id).or_insert_with(Instant::now);
        Ok(())
    }
}

/// The files of commands, empty; those of a container whose user is another are open to it.
fn make_files(id: ProcessId, around: &Surroundings<'_>) -> Result<(), String> {
    for name in COMMAND_FILES {
        let path = around.workspace.command_files.join(format!("{name}_{}", id.0));
        File::create(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
        around.containers.open_file(&path);
    }
    Ok(())
}

fn script_name(id: ProcessId) -> String {
    format!("step-{}", id.0)
}

/// The script of a step as a file.
fn write_script(
    id: ProcessId,
    extension: &str,
    script: &str,
    around: &Surroundings<'_>,
) -> Result<String, String> {
    let file = around.workspace.command_files.join(format!("{}{extension}", script_name(id)));
    std::fs::write(&file, script).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    Ok(file.to_string_lossy().into_owned())
}

fn into_container(process: &Process, around: &Surroundings<'_>) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    // Nothing that speaks of this machine's folders.
    let passes = |name: &str| {
        name == "RUNNER_TRACKING_ID" || PROXIES.contains(&name) || INDEXES.contains(&name)
    };
    for (key, value) in around.base_env.iter().filter(|(k, _)| passes(k)) {
        set(&mut env, key, value);
    }
    for (key, value) in around.step_env.iter().chain(&process.env) {
        set(&mut env, key, value);
    }
    env
}

/// A process in the job's container.
fn in_container(
    id: ProcessId,
    process: &Process,
    around: &mut Surroundings<'_>,
) -> Result<Running, String> {
    let mut env = into_container(process, around);
    let command = match &process.kind {
        ProcessKind::Script { shell, script } => {
            let script = around.containers.called(script);
            let file = write_script(id, shell.extension, &script, around)?;
            // The file stands within an argument, so it is the container's name of it.
            let file = around.containers.inside(&file);
            let args = shell.args.iter().map(|a| a.replace("{0}", &file));
            [shell.program.clone()].into_iter().chain(args).collect()
        }
        ProcessKind::Node { using, script, inputs } => {
            action_env(&mut env, inputs, &around.action_env);
            let outside = around.containers.outside(script);
            if !Path::new(&outside).exists() {
                return Err(format!("File not found: '{script}'"));
            }
            let node = around.containers.node(using, || around.actions.node(using))?;
            vec![node, outside]
        }
        _ => return Err("it does not run in a container".into()),
    };
    add_git_config(&mut env, &around.git_config);
    let directory = process.directory.as_deref();
    Ok(around.containers.exec(command, &env, &process.path, directory)?.into())
}

/// A process on this machine.
fn on_this_machine(
    id: ProcessId,
    process: &Process,
    around: &mut Surroundings<'_>,
) -> Result<Running, String> {
    let workspace = around.workspace;
    let mut env = around.base_env.clone();
    let containers = &around.containers;
    for (key, value) in &process.env {
        set(&mut env, key, &containers.outside(value));
    }
    // In containers it is a variable of the container, which `container.env` may set otherwise.
    if get(&env, "CI").is_none() {
        set(&mut env, "CI", "true");
    }
    add_git_config(&mut env, &around.git_config);
    let base = get(&env, "PATH").unwrap_or_default().to_owned();
    let path = match containers.is_inside() {
        // Folders of the container are none of this machine's.
        true => base,
        false => {
            let own = process.path.iter().map(String::as_str);
            own.chain([base.as_str()]).collect::<Vec<_>>().join(":")
        }
    };
    set(&mut env, "PATH", &path);
    let directory = match &process.directory {
        Some(directory) => workspace.workspace.join(containers.outside(directory)),
        None => workspace.workspace.clone(),
    };
    if !directory.is_dir() {
        return Err(format!("The working directory {} does not exist", directory.display()));
    }
    let (program, args) = match &process.kind {
        ProcessKind::Script { shell, script } => {
            let file = write_script(id, shell.extension, script, around)?;
            let program = which(&shell.program, &path).ok_or_else(|| {
                format!(
                    "The shell '{}' is not on the PATH; install it or name another with `shell:`",
                    shell.program
                )
            })?;
            (program, shell.args.iter().map(|a| a.replace("{0}", &file)).collect())
        }
        ProcessKind::Builtin { action, stage, inputs } => {
            let inputs: Vec<(String, String)> =
                inputs.iter().map(|(k, v)| (k.clone(), containers.outside_lines(v))).collect();
            containers.describe(&mut env);
            // Those that speak with the engine find the caller's.
            for name in ["DOCKER_HOST", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"] {
                if let (true, Ok(value)) = (action.starts_with("docker/"), std::env::var(name)) {
                    set(&mut env, name, &value);
                }
            }
            action_env(&mut env, &inputs, &around.action_env);
            around.actions.command(action, *stage)
        }
        ProcessKind::Node { using, script, inputs } => {
            action_env(&mut env, inputs, &around.action_env);
            env.retain(|(k, _)| k != "NODE_ICU_DATA");
            if !Path::new(script).exists() {
                return Err(format!("File not found: '{script}'"));
            }
            (around.actions.node(using)?, vec![script.clone()])
        }
        _ => return Err("it does not run on this machine".into()),
    };
    start(&program, &args, &env, &directory)
        .map_err(|e| format!("{} cannot be started: {e}", program.display()))
}

/// `GIT_CONFIG_COUNT` and its pairs, those that are there first.
fn add_git_config(env: &mut Vec<(String, String)>, settings: &[(String, String)]) {
    if settings.is_empty() {
        return;
    }
    let there: usize = get(env, "GIT_CONFIG_COUNT").and_then(|n| n.parse().ok()).unwrap_or(0);
    for (at, (key, value)) in settings.iter().enumerate() {
        set(env, &format!("GIT_CONFIG_KEY_{}", there + at), key);
        set(env, &format!("GIT_CONFIG_VALUE_{}", there + at), value);
    }
    set(env, "GIT_CONFIG_COUNT", &(there + settings.len()).to_string());
}

/// What an action sees beyond a run step: its inputs, and the services.
fn action_env(
    env: &mut Vec<(String, String)>,
    inputs: &[(String, String)],
    services: &[(String, String)],
) {
    for (name, value) in inputs {
        let key = format!("INPUT_{}", name.to_uppercase().replace(' ', "_"));
        set(env, &key, value);
    }
    for (name, value) in services {
        set(env, name, value);
    }
}
