//! A shell in a container like the one that a job's steps ran in: its image, its folders, its
//! variables, through the engine's own program, which knows terminals.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use trainyard_executor_container::{Engine, LABEL, Search, parse_options, search};

use super::paths::{HOME, PathMap};
use super::{EXTERNALS, process_mark};
use crate::error::{Error, Result};

/// A job's container, without secrets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeptContainer {
    /// Its image.
    pub image: String,
    /// `options`
    pub options: String,
    /// `volumes`
    pub volumes: Vec<String>,
    /// The job's folders by their places in it.
    pub mounts: PathMap,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// The names of the job's services, which are not there any more.
    #[serde(default)]
    pub services: Vec<String>,
}

impl KeptContainer {
    /// A path of this machine as it is in the container.
    pub fn named(&self, path: &str) -> String {
        self.mounts.inside(path)
    }

    /// What opens a shell there, or runs a command. `own` is a folder that is the shell's alone.
    ///
    /// # Errors
    ///
    /// Without an engine and its program.
    pub fn command(
        &self,
        env: &[(String, String)],
        path: &[String],
        directory: &str,
        own: &Path,
        command: &[String],
    ) -> Result<Command> {
        let said = |e: trainyard_executor_container::ContainerError| Error::new(e.said());
        let engine = search(&Search::here()).and_then(|f| Engine::connect(&f)).map_err(said)?;
        let options = parse_options(&self.options).map_err(said)?;
        let mut words = engine.command_line().map_err(said)?;
        words.extend(["run", "--rm", "--interactive"].map(str::to_owned));
        if std::io::stdin().is_terminal() {
            words.push("--tty".into());
        }
        words.push(format!("--label={LABEL}={}", process_mark()));
        // The files of commands went with the job.
        let there = self.mounts.pairs().iter().rev().filter(|(host, _)| Path::new(host).exists());
        for (host, inner) in there {
            words.push(format!("--volume={host}:{inner}"));
        }
        let place = own.to_string_lossy();
        words.push(format!("--volume={place}:{place}"));
        words.push(format!("--volume={place}:{EXTERNALS}"));
        words.extend(self.volumes.iter().map(|v| format!("--volume={v}")));
        // Not on the command line, which everybody sees. The file has no way to break lines.
        let all = self.env.iter().chain(env).filter(|(_, value)| !value.contains('\n'));
        // The last one of a name wins.
        let home = format!("HOME={HOME}\n");
        let text: String = [home]
            .into_iter()
            .chain(all.map(|(name, value)| format!("{name}={value}\n")))
            .collect();
        let file = own.join("env");
        std::fs::write(&file, text).map_err(|e| Error::io("write", &file, &e))?;
        words.push(format!("--env-file={}", file.display()));
        words.push(format!("--workdir={directory}"));
        words.extend(engine.words(&options).map_err(said)?);
        words.push("--entrypoint=sh".into());
        words.push(self.image.clone());
        let front: String = path.iter().map(|p| format!("{}:", self.named(p))).collect();
        let script = match command.is_empty() {
            true => {
                "PATH=\"$1$PATH\"; command -v bash >/dev/null && exec bash --noprofile --norc -i; exec sh -i"
            }
            false => "PATH=\"$1$PATH\"; shift; exec \"$@\"",
        };
        words.extend(["-c".to_owned(), script.to_owned(), "sh".to_owned(), front]);
        words.extend(command.iter().cloned());
        let mut made = Command::new(&words[0]);
        made.args(&words[1..]);
        Ok(made)
    }
}
