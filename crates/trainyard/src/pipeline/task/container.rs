//! A task in a container of its image.

use trainyard_executor_container::{
    Create, GiveBack, Held, LABEL, Options, Pull, RUN_LABEL, Source, Volume, parse_options,
};
use trainyard_pipeline::Platform;

use super::limits::quantity;
use super::process::{Ended, follow};
use super::{TaskProcess, Work};
use crate::host::containers::{owner, process_mark};
use crate::pipeline::places::is_remote;

/// A container's user may be any; around it the data folder is the caller's alone.
fn open_to_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    // A folder that cannot be opened is named by the task that cannot write to it.
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777));
}

impl Work<'_> {
    /// Runs it there. Its folders are at the same places as on this machine.
    pub(super) fn in_container(&mut self, process: TaskProcess<'_>) -> Result<Ended, String> {
        let TaskProcess { container, command, env, limit, mounts, platform, .. } = process;
        let shared = &self.assignment.shared;
        let engine = shared.engines.get()?;
        let volumes_of = |path: &std::path::Path| {
            let path = path.to_string_lossy();
            Volume::bind(&path, &path)
        };
        // Its own folders, and what it was given; nothing of other tasks.
        let outputs = self.here(&self.outputs.file);
        let outputs = outputs.parent().unwrap_or(&self.folder.root).to_owned();
        let own = [self.folder.root.clone(), outputs];
        own.iter().for_each(|folder| open_to_all(folder));
        open_to_all(&self.folder.outputs());
        open_to_all(&self.folder.temp());
        let mut volumes: Vec<Volume> = own.iter().map(|f| volumes_of(f)).collect();
        let workspace = &shared.facts.workspace;
        if !workspace.is_empty() {
            volumes.push(volumes_of(std::path::Path::new(workspace)));
        }
        for artifact in self.assignment.inputs.artifacts.values().flatten() {
            let place = shared.mirror.of(artifact).filter(|p| p.is_absolute() && p.exists());
            // What is in a store has its place below a mount.
            let Some(place) = place.filter(|_| !is_remote(&artifact.uri)) else { continue };
            let mut volume = volumes_of(&place);
            volume.mode.push("ro".into());
            if !volumes.iter().any(|v| v.target == volume.target) {
                volumes.push(volume);
            }
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
        let back = owner(&engine).map(|owner| GiveBack {
            owner,
            folders: own.iter().map(|f| f.to_string_lossy().into_owned()).collect(),
            places: own.to_vec(),
        });
        let task = engine.once(source, pull, None, create, nothing, back);
        let task = task.map_err(|e| e.said())?;
        Ok(follow(&mut task.into(), &mut self.log, &self.assignment.control, limit))
    }

    /// What it may use, as flags of `docker create`.
    fn options(&self, platform: &Platform) -> Result<Options, String> {
        let mut words = Vec::new();
        let limits = self.limits()?;
        words.extend(limits.cpus.map(|c| format!("--cpus {c}")));
        words.extend(limits.memory.map(|m| format!("--memory {m}")));
        if limits.cards > 0 {
            words.push(format!("--gpus {}", limits.cards));
        }
        let mut options = parse_options(&words.join(" ")).map_err(|e| e.said())?;
        // Texts of the pipeline's: they are values, and no words of a command line.
        if !platform.user.is_empty() {
            options.user = Some(platform.user.clone());
        }
        if !platform.shared_memory.is_empty() && !platform.shared_memory.ends_with('%') {
            let bytes = quantity(&platform.shared_memory);
            #[allow(clippy::cast_possible_truncation)]
            let bytes = bytes.map(|b| b.min(1e15) as i64).ok_or_else(|| {
                format!("its shared memory '{}' is no quantity: 512Mi, 2G", platform.shared_memory)
            })?;
            options.shm_size = Some(bytes);
        }
        Ok(options)
    }
}
