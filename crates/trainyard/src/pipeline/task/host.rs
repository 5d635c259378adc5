//! A task as a process of this machine.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use trainyard_job::Exit;
use trainyard_pipeline::{Container, install};

use super::cards::Asked;
use super::forks::{Start, changes_the_start, function};
use super::process::{Ended, follow};
use super::python::{Making, say, version_of};
use super::{TaskProcess, Work};
use crate::host::cgroup::Group;
use crate::host::environment::{get, set, which};
use crate::host::process::{Running, start};
use crate::pipeline::mounts::{Mount, are_possible, arguments};

impl Work<'_> {
    /// Runs it in an environment of Python of its own kind.
    pub(super) fn on_host(&mut self, process: TaskProcess<'_>) -> Result<Ended, String> {
        let TaskProcess { container, command, env: own, limit, mounts, open, platform } = process;
        let limits = self.limits()?;
        let shared = Arc::clone(&self.assignment.shared);
        let mut group = None;
        if limits.cpus.is_some() || limits.memory.is_some() {
            match Group::make(limits.memory, limits.cpus) {
                Ok(made) => group = Some(made),
                Err(why) => self.notes.push(format!(
                    "its limits of CPU and memory are not held: {why} (--executor container holds them)"
                )),
            }
        }
        if !platform.user.is_empty() {
            self.notes.push(format!(
                "it runs as this machine's user, not as {}: --executor container has users",
                platform.user
            ));
        }
        let mut env = shared.env.clone();
        let found = install(&command);
        let mut lines = found.as_ref().map(|i| i.lines.clone()).unwrap_or_default();
        let command = found.map_or(command, |i| i.rest);
        if let Some(line) = own_sdk(&command, &lines, &shared.pipeline.sdk_version) {
            lines.insert(0, line);
        }
        let version = version_of(&container.image);
        let mut environment = None;
        // A program that is none of Python's runs as it is, where this machine has it.
        if version.is_some() || !lines.is_empty() {
            let (interpreter, differs) = shared.pythons.find(version.unwrap_or((3, None)))?;
            if let Some(why) = differs {
                say(&mut self.log, &why);
                self.notes.push(why);
            }
            let control = &self.assignment.control;
            let mut making = Making { log: &mut self.log, control, env: &shared.env };
            let made =
                shared.pythons.environment(&shared.data, &interpreter, &lines, &mut making)?;
            let Some(folder) = made else { return Ok(Ended::Stopped) };
            let bin = folder.join("bin");
            let path = format!("{}:{}", bin.display(), get(&env, "PATH").unwrap_or_default());
            set(&mut env, "PATH", &path);
            set(&mut env, "VIRTUAL_ENV", &folder.to_string_lossy());
            environment = Some(folder);
        }
        let cards = match limits.cards {
            0 => None,
            count => match shared.cards.take(count, self.assignment.control.wake.as_fd()) {
                Asked::Taken(taken) => Some(taken),
                Asked::Stopped => return Ok(Ended::Stopped),
                Asked::Short(all) => {
                    self.notes.push(format!(
                        "it asks for {count} accelerators, and this machine has {all}: it runs without"
                    ));
                    None
                }
            },
        };
        set(&mut env, "TMPDIR", &self.folder.temp().to_string_lossy());
        if let Some(cards) = &cards {
            set(&mut env, "CUDA_VISIBLE_DEVICES", &cards.list());
            set(&mut env, "NVIDIA_VISIBLE_DEVICES", &cards.list());
        }
        for (name, value) in &own {
            set(&mut env, name, value);
        }
        let plain = mounts.is_empty() && open.is_empty();
        let plain = plain && !own.iter().any(|(name, _)| changes_the_start(name));
        let forked = match (environment, function(&command)) {
            (Some(environment), Some(function)) if plain => {
                set(&mut env, "_KFP_RUNTIME", "true");
                let doors = group.as_ref().map(Group::doors).unwrap_or_default();
                let start = Start {
                    environment: &environment,
                    base: &shared.env,
                    env: &env,
                    folder: &self.folder.root,
                    doors: &doors,
                };
                match shared.forks.start(&function, &start) {
                    Ok(running) => running,
                    Err(why) => return Ok(Ended::Exit(Exit::NotStarted(why))),
                }
            }
            _ => None,
        };
        let mut running = match forked {
            Some(running) => running,
            None => match self.start(container, &command, &env, &mounts, &open, group.as_ref())? {
                Ok(running) => running,
                Err(why) => return Ok(Ended::Exit(Exit::NotStarted(why))),
            },
        };
        let ended = follow(&mut running, &mut self.log, &self.assignment.control, limit);
        let (Some(group), Some(bytes)) = (group, limits.memory) else { return Ok(ended) };
        let failed = matches!(&ended, Ended::Exit(exit) if *exit != Exit::Code(0));
        Ok(match failed && group.killed_for_memory() > 0 {
            true => Ended::OutOfMemory(bytes),
            false => ended,
        })
    }

    /// Starts a command as it is.
    fn start(
        &mut self,
        container: &Container,
        command: &[String],
        env: &[(String, String)],
        mounts: &[Mount],
        open: &[PathBuf],
        group: Option<&Group>,
    ) -> Result<Result<Running, String>, String> {
        let Some(program) = command.first() else {
            return Err("it has no command: the entry point of its image would run, and as a process it has none; take --executor container".into());
        };
        let path = get(env, "PATH").unwrap_or_default().to_owned();
        let program = which(program, &path).ok_or_else(|| {
            format!(
                "'{program}' is not on this machine, and {} may have it: take --executor container",
                container.image
            )
        })?;
        let work = self.folder.root.clone();
        let (program, args) =
            self.with_mounts(mounts, open, group, program, command[1..].to_vec())?;
        Ok(start(&program, &args, env, &work)
            .map_err(|error| format!("{} cannot be started: {error}", program.display())))
    }

    /// The program as it is, or through this one, which gives it folders at fixed places and limits.
    fn with_mounts(
        &mut self,
        mounts: &[Mount],
        open: &[PathBuf],
        group: Option<&Group>,
        program: PathBuf,
        args: Vec<String>,
    ) -> Result<(PathBuf, Vec<String>), String> {
        let plain = mounts.is_empty() && open.is_empty();
        if plain && group.is_none() {
            return Ok((program, args));
        }
        let places: Vec<String> = mounts.iter().map(|m| m.target.display().to_string()).collect();
        if !plain && !are_possible() {
            return Err(format!(
                "it wants {} mounted, and this user may not mount: take --executor container",
                places.join(", ")
            ));
        }
        let base = self.folder.root.join("root");
        std::fs::create_dir_all(&base).map_err(|e| format!("{}: {e}", base.display()))?;
        let own = std::env::current_exe().map_err(|e| format!("this program: {e}"))?;
        let doors = group.map(Group::doors).unwrap_or_default();
        Ok((own, arguments(&base, mounts, open, &doors, &program, &args)))
    }
}

/// The line that installs the SDK for a function whose component says that its image has it
/// (`install_kfp_package=False`): an environment of Python's own has not.
fn own_sdk(command: &[String], lines: &[Vec<String>], version: &str) -> Option<Vec<String>> {
    let installs = |word: &String| {
        let name = word.split(['=', '<', '>', '[', '~', '!', ' ', '@']).next();
        name.is_some_and(|n| n == "kfp")
    };
    let wanted = command.iter().any(|word| word.contains("kfp.dsl.executor_main"))
        && !lines.iter().flatten().any(installs);
    let package = match version.strip_prefix("kfp-") {
        Some(version) => format!("kfp=={version}"),
        None => "kfp".to_owned(),
    };
    wanted.then(|| vec![package, "--no-deps".to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_whose_images_have_the_sdk() {
        let check = |script: &str, line: &str| {
            let lines: Vec<Vec<String>> = line
                .split(';')
                .map(|l| l.split_whitespace().map(str::to_owned).collect())
                .collect();
            own_sdk(&["sh".into(), script.into()], &lines, "kfp-2.17.0")
                .map_or_else(|| "none".to_owned(), |l| l.join(" "))
        };
        let main = "python3 -m kfp.dsl.executor_main \"$@\"";
        insta::assert_snapshot!(check(main, ""), @"kfp==2.17.0 --no-deps");
        insta::assert_snapshot!(check(main, "--quiet kfp==2.1.0 --no-deps; pandas"), @"none");
        insta::assert_snapshot!(check(main, "kfp-kubernetes"), @"kfp==2.17.0 --no-deps");
        insta::assert_snapshot!(check("echo", ""), @"none");
    }
}
