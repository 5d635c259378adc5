//! `astral-sh/setup-uv`: uv from the PATH, the tool cache, or the package index, where it is a
//! package that carries the program.
//!
//! Deliberately absent: `enable-cache` and its kin, as uv's own cache is this machine's and stays;
//! `checksum` and `manifest-file`, which are about downloads that are not made.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::inside::Inside;
use super::python::{arch, interpreters, parse_version, satisfies};
use super::{JobFacts, append, flag, input, links, matchers, variable};
use crate::error::{Error, Result};
use crate::host::environment::which;

/// The inputs of astral-sh/setup-uv v3 to v10 with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("version", None),
    ("version-file", None),
    ("python-version", None),
    ("activate-environment", Some("false")),
    ("venv-path", None),
    ("no-project", Some("false")),
    ("working-directory", None),
    ("checksum", None),
    ("server-url", None),
    ("github-token", None),
    ("enable-cache", Some("auto")),
    ("restore-cache", Some("true")),
    ("save-cache", Some("true")),
    ("cache-dependency-glob", None),
    ("cache-suffix", None),
    ("cache-local-path", None),
    ("cache-python", Some("false")),
    ("prune-cache", Some("true")),
    ("ignore-nothing-to-cache", Some("false")),
    ("ignore-empty-workdir", Some("false")),
    ("tool-dir", None),
    ("tool-bin-dir", None),
    ("manifest-file", None),
    ("pyproject-file", None),
    ("uv-file", None),
    ("quiet", Some("false")),
    ("download-from-astral-mirror", Some("true")),
    ("add-problem-matchers", Some("true")),
    ("resolution-strategy", Some("highest")),
];

/// Sets uv up.
pub fn run(_: &JobFacts) -> Result<()> {
    let wanted = wanted()?;
    let inside = Inside::here()?;
    let (folder, version) = match &inside {
        Some(inside) => {
            let (folder, version) =
                inside.program("uv", |v| fits(v, &wanted), || in_tools(&wanted))?;
            (folder.unwrap_or_default(), version)
        }
        None => {
            let folder = find(&wanted)?;
            let uv = folder.join("uv");
            let silent = || Error::new(format!("{} does not answer", uv.display()));
            let version = version(&uv).ok_or_else(silent)?;
            (folder, version)
        }
    };
    let uv = folder.join("uv");
    println!("Successfully set up uv {version} from {}", uv.display());
    let mut env = Vec::new();
    let name_of = |path: &Path| match &inside {
        Some(inside) => inside.named(path).to_string_lossy().into_owned(),
        None => path.to_string_lossy().into_owned(),
    };
    let temp = PathBuf::from(variable("RUNNER_TEMP")?);
    // What `uv tool install` brings goes into the job's own folders.
    let mut path = Vec::new();
    for (name, variable, own) in [
        ("tool-dir", "UV_TOOL_DIR", "_uv_tools"),
        ("tool-bin-dir", "UV_TOOL_BIN_DIR", "_uv_tool_bin"),
    ] {
        let place = match input(name).as_str() {
            "" => name_of(&temp.join(own)),
            given => home_path(given),
        };
        env.push(format!("{variable}={place}"));
        if name == "tool-bin-dir" {
            path.push(place);
        }
    }
    // The last one stands first on the PATH.
    match &inside {
        Some(_) if folder.as_os_str().is_empty() => {}
        Some(_) => path.push(folder.to_string_lossy().into_owned()),
        None => path.push(links(&temp.join("_uv_bin"), &folder, &["uv", "uvx"])?),
    }
    let python = input("python-version");
    if !python.is_empty() {
        env.push(format!("UV_PYTHON={python}"));
    }
    let mut outputs = vec![
        format!("uv-version={version}"),
        format!("uv-path={}", uv.display()),
        format!("uvx-path={}", folder.join("uvx").display()),
        "cache-hit=false".to_owned(),
        "python-cache-hit=false".to_owned(),
    ];
    if flag("activate-environment")? {
        let work = PathBuf::from(variable("GITHUB_WORKSPACE")?).join(input("working-directory"));
        let given = input("venv-path");
        let venv = work.join(if given.is_empty() { ".venv" } else { &given });
        let (uv, place, work) = (uv.to_string_lossy().into_owned(), name_of(&venv), name_of(&work));
        let mut command = vec![uv.as_str(), "venv", "--clear", &place, "--directory", &work];
        if !python.is_empty() {
            command.extend(["--python", &python]);
        }
        if flag("no-project")? {
            command.push("--no-project");
        }
        match &inside {
            Some(inside) => inside.run(&command)?,
            None => {
                let mut host = Command::new(command[0]);
                if !host.args(&command[1..]).status().is_ok_and(|s| s.success()) {
                    return Err(Error::new("uv venv failed"));
                }
            }
        }
        env.push(format!("VIRTUAL_ENV={}", venv.display()));
        path.push(venv.join("bin").to_string_lossy().into_owned());
        outputs.push(format!("venv={}", venv.display()));
    }
    append("GITHUB_PATH", &path)?;
    append("GITHUB_ENV", &env)?;
    append("GITHUB_OUTPUT", &outputs)?;
    match flag("add-problem-matchers")? {
        true => matchers::add(matchers::PYTHON),
        false => Ok(()),
    }
}

/// A path that may begin with `~`.
fn home_path(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("{}/{rest}", std::env::var("HOME").unwrap_or_default()),
        None => path.to_owned(),
    }
}

/// What the project itself requires: `required-version` of uv.toml, else of pyproject.toml.
fn required_by_project(folder: &Path) -> Option<String> {
    let read = |name: &str| -> Option<toml::Table> {
        std::fs::read_to_string(folder.join(name)).ok()?.parse().ok()
    };
    let own = read("uv.toml").and_then(|t| Some(t.get("required-version")?.as_str()?.to_owned()));
    own.or_else(|| {
        let table = read("pyproject.toml")?;
        let uv = table.get("tool")?.get("uv")?;
        Some(uv.get("required-version")?.as_str()?.to_owned())
    })
}

/// A version or range in the words of the package index; empty for any.
fn wanted() -> Result<String> {
    let mut version = input("version");
    let file = input("version-file");
    let work = PathBuf::from(variable("GITHUB_WORKSPACE")?).join(input("working-directory"));
    if version.is_empty() && file.is_empty() {
        version = required_by_project(&work).unwrap_or_default();
    }
    if version.is_empty() && !file.is_empty() {
        let path = PathBuf::from(variable("GITHUB_WORKSPACE")?).join(&file);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, &e))?;
        let line = text.lines().map(str::trim).find(|l| match file.ends_with(".toml") {
            true => l.starts_with("required-version") || l.contains("\"uv=="),
            false => l.starts_with("uv ") || l.starts_with("uv=="),
        });
        let rest = line.unwrap_or_default();
        let at =
            rest.find(|c: char| c.is_ascii_digit() || "<>=~".contains(c)).unwrap_or(rest.len());
        version =
            rest[at..].trim_start_matches(['=', ' ']).trim_matches(['"', ',', '\'']).to_owned();
    }
    Ok(match version.trim().trim_start_matches('v') {
        "latest" | "" => String::new(),
        text if text.starts_with(['<', '>', '~', '=', '!']) => text.to_owned(),
        text if text.ends_with(".x") || text.ends_with(".*") => {
            format!("=={}.*", &text[..text.len() - 2])
        }
        // `0.4` means any of its patches.
        text if text.matches('.').count() < 2 => format!("=={text}.*"),
        text => format!("=={text}"),
    })
}

fn version(uv: &Path) -> Option<String> {
    let output = Command::new(uv).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).map(str::to_owned)
}

/// Whether a version is one that was asked for.
fn fits(version: &str, wanted: &str) -> bool {
    match wanted.strip_prefix("==") {
        None => {
            wanted.is_empty() || parse_version(version).is_some_and(|(v, _)| satisfies(v, wanted))
        }
        Some(exact) => match exact.strip_suffix(".*") {
            Some(start) => version == start || version.starts_with(&format!("{start}.")),
            None => version == exact,
        },
    }
}

fn find(wanted: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    if let Some(uv) = which("uv", &path)
        && version(&uv).is_some_and(|v| fits(&v, wanted))
    {
        return Ok(uv.parent().unwrap_or(Path::new("/")).to_owned());
    }
    in_tools(wanted)
}

/// In the tool cache, or brought there.
fn in_tools(wanted: &str) -> Result<PathBuf> {
    let tools = PathBuf::from(variable("RUNNER_TOOL_CACHE")?).join("uv");
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir(&tools).into_iter().flatten().flatten().map(|e| e.path()).collect();
    versions.sort();
    for folder in versions.iter().rev() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for arch in [arch(), std::env::consts::ARCH] {
            let whole = folder.join(format!("{arch}.complete")).exists();
            if whole && folder.join(arch).join("uv").exists() && fits(&name, wanted) {
                return Ok(folder.join(arch));
            }
        }
    }
    fetch(wanted, &tools)
}

/// Brings uv from the package index into the tool cache.
fn fetch(wanted: &str, tools: &Path) -> Result<PathBuf> {
    let temp = PathBuf::from(variable("RUNNER_TEMP")?).join("_uv");
    let package = format!("uv{wanted}");
    println!("Bringing {package} from the package index");
    // Not by the name on the PATH, which may stand for an environment of the job's.
    let all = interpreters();
    let python = all.first().ok_or_else(|| Error::new("there is no Python to bring uv with"))?;
    let done = Command::new(&python.path)
        .args([
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--disable-pip-version-check",
            "--target",
        ])
        .arg(&temp)
        .arg(&package)
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    let missing = || {
        Error::new(format!("{package} is not on this machine, and pip does not bring it"))
            .hint(format!("to get it: python3 -m pip install '{package}'"))
    };
    if !done {
        return Err(missing());
    }
    let version = version(&temp.join("bin/uv")).ok_or_else(missing)?;
    let folder = tools.join(&version).join(arch());
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, &e))?;
    for name in ["uv", "uvx"] {
        let fresh = folder.join(format!("{name}.{}", std::process::id()));
        let source = temp.join("bin").join(name);
        let laid =
            std::fs::copy(&source, &fresh).and_then(|_| std::fs::rename(&fresh, folder.join(name)));
        laid.map_err(|e| Error::io("lay", &folder, &e))?;
    }
    let mark = tools.join(&version).join(format!("{}.complete", arch()));
    std::fs::write(&mark, "").map_err(|e| Error::io("write", &mark, &e))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, wanted, holds) in [
            ("0.9.1", "", true),
            ("0.9.1", "==0.9.*", true),
            ("0.9.1", "==0.9.1", true),
            ("0.91.1", "==0.9.*", false),
            ("0.9.1", "==0.9.2", false),
            // What is here and fits needs no package index.
            ("0.9.1", ">=0.8", true),
            ("0.9.1", ">=0.8,<0.9", false),
        ] {
            assert_eq!(fits(version, wanted), holds, "{version} {wanted}");
        }
    }
}
