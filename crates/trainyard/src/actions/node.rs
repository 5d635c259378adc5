//! The Node that runs a JavaScript action: on the PATH, in the tool cache, or from the npm package
//! that carries its binaries.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::places::Patience;
use crate::builtin::arch;
use crate::host::environment::which;

/// Finds Node by version. Actions for older versions run on 20, as at GitHub.
#[derive(Debug)]
pub struct Nodes {
    tools: PathBuf,
    /// Where npm puts what is fetched here.
    own: PathBuf,
    /// Versions that were found, by the major that was asked for.
    found: Mutex<Vec<(u32, PathBuf)>>,
}

/// The major version that `using` asks for.
fn major_of(using: &str) -> u32 {
    match using {
        "node24" => 24,
        _ => 20,
    }
}

impl Nodes {
    /// Looks in that tool cache and in the data folder.
    pub fn new(tools: &Path, data: &Path) -> Nodes {
        Nodes { tools: tools.to_owned(), own: data.join("node"), found: Mutex::default() }
    }

    /// The program for `node20`, `node24` and their kin. A missing one is fetched by npm where
    /// there is npm.
    pub fn find(&self, using: &str, patience: &Patience) -> Result<PathBuf, String> {
        let major = major_of(using);
        // One at a time: a second job waits for what the first one fetches.
        let mut found = self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, path)) = found.iter().find(|(m, _)| *m == major) {
            return Ok(path.clone());
        }
        let mut there = self.installed();
        // The very version, else the next newer one.
        there.retain(|(m, _)| *m >= major);
        there.sort_by_key(|(m, _)| *m);
        let path = match there.into_iter().next() {
            Some((_, path)) => path,
            None => self.fetch(major, patience)?,
        };
        found.push((major, path.clone()));
        Ok(path)
    }

    /// Major versions that are here, with their programs.
    pub fn installed(&self) -> Vec<(u32, PathBuf)> {
        let mut list = Vec::new();
        let path = std::env::var("PATH").unwrap_or_default();
        list.extend(which("node", &path).and_then(|p| Some((version(&p)?, p))));
        for folder in [self.tools.join("node"), PathBuf::from("/opt/hostedtoolcache/node")] {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let program = entry.path().join(arch()).join("bin/node");
                let major = name.split('.').next().and_then(|m| m.parse().ok());
                list.extend(major.filter(|_| program.exists()).map(|m| (m, program)));
            }
        }
        for major in [20, 24] {
            let program = self.program(major);
            if program.exists() {
                list.push((major, program));
            }
        }
        list
    }

    fn program(&self, major: u32) -> PathBuf {
        let package = format!("node-linux-{}", arch());
        self.own.join(major.to_string()).join("node_modules").join(package).join("bin/node")
    }

    fn fetch(&self, major: u32, patience: &Patience) -> Result<PathBuf, String> {
        let package = format!("node-linux-{}@{major}", arch());
        let target = self.own.join(major.to_string());
        let command = format!("npm install --prefix {} {package}", target.display());
        let missing = |why: &str| {
            format!(
                "this action needs Node {major}, which is not on this machine{why}; to get it: {command}"
            )
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let Some(npm) = which("npm", &path) else { return Err(missing("")) };
        std::fs::create_dir_all(&target).map_err(|e| missing(&format!(" ({e})")))?;
        let mut command = Command::new(npm);
        command
            .args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"])
            .arg("--prefix")
            .arg(&target)
            .arg(&package)
            .current_dir(&target);
        let output = patience.output(&mut command).map_err(|e| missing(&format!(" ({e})")))?;
        let program = self.program(major);
        match output.status.success() && program.exists() {
            true => Ok(program),
            false => {
                let text = String::from_utf8_lossy(&output.stderr);
                let line = text.lines().next().unwrap_or("npm failed").to_owned();
                Err(missing(&format!(" and npm does not bring it ({line})")))
            }
        }
    }
}

/// The major version of a Node.
fn version(program: &Path) -> Option<u32> {
    let output =
        Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
    text.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}
