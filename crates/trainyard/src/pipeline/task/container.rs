//! A task in a container of its image.

use trainyard_executor_container::{
    Create, Held, LABEL, Options, Pull, RUN_LABEL, Source, Volume, parse_options,
};
use trainyard_pipeline::Platform;

use super::process::{Ended, follow};
use super::{TaskProcess, Work};
use crate::host::containers::process_mark;
use crate::pipeline::places::runs_folder;

impl Work<'_> {
    /// Runs it there. The run's folders are at the same places as on this machine.
    pub(super) fn in_container(&mut self, process: TaskProcess<'_>) -> Result<Ended, String> {
        let TaskProcess { container, command, env, limit, mounts, platform, .. } = process;
        let shared = &self.assignment.shared;
        let engine = shared.engines.get()?;
        let runs = runs_folder(&shared.data).to_string_lossy().into_owned();
        let mut volumes = vec![Volume::bind(&runs, &runs)];
        let root = &shared.facts.root;
        if root.starts_with('/') && !root.starts_with(&runs) {
            volumes.push(Volume::bind(root, root));
        }
        for mount in &mounts {
            let (source, target) = (mount.source.to_string_lossy(), mount.target.to_string_lossy());
            volumes.push(Volume::bind(&source, &target));
        }
        let options = self.options(platform)?;
        let mut words = command.into_iter();
        // A container without a command runs the entry point of its image with the arguments.
        let entrypoint = match container.command.is_empty() {
            true => None,
            false => words.next().map(|w| vec![w]),
        };
        let create = Create {
            name: format!(
                "trainyard-{}-{}-{}-{}",
                self.assignment.run,
                self.assignment.node,
                self.assignment.attempt,
                std::process::id()
            ),
            labels: vec![
                (LABEL.to_owned(), process_mark()),
                (RUN_LABEL.to_owned(), self.assignment.run.to_string()),
                ("trainyard.pipeline".to_owned(), shared.pipeline.name.clone()),
            ],
            env,
            entrypoint,
            command: Some(words.collect()),
            volumes,
            options,
            ..Create::default()
        };
        let source = Source::Image(container.image.clone());
        let nothing = Box::new(|_: &_| Ok(Held::new(())));
        let pull = match platform.pull.as_str() {
            "Always" => Pull::Always,
            "Never" => Pull::Never,
            _ => shared.pull,
        };
        let task = engine.once(source, pull, None, create, nothing, None);
        let task = task.map_err(|e| e.said())?;
        Ok(follow(&mut task.into(), &mut self.log, &self.assignment.control, limit))
    }

    /// What it may use, as flags of `docker create`.
    fn options(&self, platform: &Platform) -> Result<Options, String> {
        let mut words = Vec::new();
        if !platform.user.is_empty() {
            words.push(format!("--user {}", platform.user));
        }
        if !platform.shared_memory.is_empty() && !platform.shared_memory.ends_with('%') {
            words.push(format!("--shm-size {}", platform.shared_memory.trim_end_matches('i')));
        }
        let limits = self.limits()?;
        words.extend(limits.cpus.map(|c| format!("--cpus {c}")));
        words.extend(limits.memory.map(|m| format!("--memory {m}")));
        if limits.cards > 0 {
            words.push(format!("--gpus {}", limits.cards));
        }
        parse_options(&words.join(" ")).map_err(|e| e.said())
    }
}
