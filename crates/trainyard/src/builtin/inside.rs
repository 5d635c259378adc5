//! The job's container, for set-up actions that are built in: what they set up is used there, so it
//! is looked for and tried there. They take what the image has, or what lies in the tool cache, which
//! the container has too.
//!
//! Deliberately absent: interpreters of this machine, which are not in the container.

use std::path::{Path, PathBuf};

use trainyard_executor_container::{Engine, Found};

use super::python::{Interpreter, parse_version};
use crate::error::{Error, Result};
use crate::host::view::{Files, View};

/// The job's container.
pub struct Inside {
    engine: Engine,
    container: String,
    image: String,
    files: Files,
}

/// Every Python on the PATH and where images keep others, with its version.
const PYTHONS: &str = r#"
IFS=:
for folder in $PATH /opt/conda/bin /usr/local/bin /usr/bin; do
  for python in "$folder"/python3 "$folder"/python3.[0-9] "$folder"/python3.[0-9][0-9]; do
    [ -x "$python" ] && echo "$python $("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null)"
  done
done
true
"#;

impl Inside {
    /// The container that the steps around this action run in, if they do.
    ///
    /// # Errors
    ///
    /// When its engine does not answer.
    pub fn here() -> Result<Option<Inside>> {
        let Some(view) = View::here() else { return Ok(None) };
        let found = match view.engine.starts_with('/') {
            true => Found::Socket(PathBuf::from(&view.engine)),
            false => Found::Http(format!("http://{}", view.engine)),
        };
        let engine = Engine::connect(&found).map_err(|e| Error::new(e.said()))?;
        let (container, image) = (view.container, view.image);
        Ok(Some(Inside { engine, container, image, files: Files::here() }))
    }

    /// A path of this machine as it is in the container.
    pub fn named(&self, path: &Path) -> PathBuf {
        PathBuf::from(self.files.named(&path.to_string_lossy()))
    }

    /// What a command prints; none when it fails.
    pub fn ask(&self, command: &[&str]) -> Option<String> {
        let (code, text) = self.engine.ask(&self.container, command, None).ok()?;
        (code == Some(0)).then(|| text.trim().to_owned())
    }

    /// Runs a command; what it prints when it fails is the error.
    ///
    /// # Errors
    ///
    /// Its last lines.
    pub fn run(&self, command: &[&str]) -> Result<()> {
        let asked = self.engine.ask(&self.container, command, None);
        match asked.map_err(|e| Error::new(e.said()))? {
            (Some(0), text) => {
                print!("{text}");
                Ok(())
            }
            (_, text) => {
                print!("{text}");
                let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
                Err(Error::new(format!("{} failed in the container: {last}", command.join(" "))))
            }
        }
    }

    /// What to do where the image lacks something.
    pub fn hint(&self, what: &str) -> String {
        format!("the job runs in '{}': take an image with {what}", self.image)
    }

    /// The image's Pythons, the newest first.
    pub fn pythons(&self) -> Vec<Interpreter> {
        let text = self.ask(&["sh", "-c", PYTHONS]).unwrap_or_default();
        let mut found: Vec<Interpreter> = Vec::new();
        for line in text.lines() {
            let Some((path, text)) = line.split_once(' ') else { continue };
            let Some((version, prerelease)) = parse_version(text) else { continue };
            if found.iter().all(|f| f.version != version) {
                let (path, text) = (PathBuf::from(path), text.to_owned());
                found.push(Interpreter { path, version, prerelease, text });
            }
        }
        found.sort_by_key(|i| std::cmp::Reverse(i.version));
        found
    }

    /// Makes an environment of one of the image's Pythons.
    ///
    /// # Errors
    ///
    /// When it has no module venv.
    pub fn make_environment(&self, python: &Interpreter, folder: &Path) -> Result<()> {
        let (program, place) = (python.path.to_string_lossy(), folder.to_string_lossy());
        self.run(&[&program, "-m", "venv", &place])
            .map_err(|e| e.hint(self.hint("Python and its module venv (Debian: python3-venv)")))
    }

    /// A program of the container that prints a version which fits: as its PATH has it, else in the
    /// tool cache. Gives its folder, if it is not on the PATH, and the version.
    pub fn program(
        &self,
        name: &str,
        fits: impl Fn(&str) -> bool,
        bring: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<(Option<PathBuf>, String)> {
        let version = |program: &str| {
            let text = self.ask(&[program, "--version"])?;
            text.split_whitespace()
                .map(|word| word.trim_start_matches('v').to_owned())
                .find(|word| parse_version(word).is_some())
        };
        if let Some(version) = version(name).filter(|v| fits(v)) {
            return Ok((None, version));
        }
        let folder = self.named(&bring()?);
        match version(&folder.join(name).to_string_lossy()) {
            Some(version) => Ok((Some(folder), version)),
            None => Err(Error::new(format!(
                "the {name} of the tool cache does not run in the container"
            ))
            .hint(self.hint(&format!("glibc, or with the {name} that is wanted")))),
        }
    }
}
