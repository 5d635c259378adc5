//! `actions/setup-python`: finds an interpreter of the wanted version and gives the job an
//! environment of its own, on PATH and in `pythonLocation`.
//!
//! Around a job's container it is an interpreter of the image, and the environment is made there.
//!
//! Deliberately absent: downloads of interpreters, PyPy and GraalPy, and `cache`.

use std::path::{Path, PathBuf};

use super::inside::Inside;
use super::python::{Interpreter, arch, interpreters, make_environment, satisfies};
use super::{JobFacts, append, check_cache, input, matchers, variable, warn};
use crate::error::{Error, Result};

/// The inputs of actions/setup-python v4 to v7 with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("python-version", None),
    ("python-version-file", None),
    ("cache", None),
    ("architecture", None),
    ("check-latest", Some("false")),
    ("token", None),
    ("cache-dependency-path", None),
    ("update-environment", Some("true")),
    ("allow-prereleases", Some("false")),
    ("freethreaded", Some("false")),
    ("pip-version", None),
    ("pip-install", None),
];

/// Sets up the wanted versions; the last one is the default.
pub fn run(_: &JobFacts) -> Result<()> {
    let wanted = wanted_versions()?;
    if wanted.is_empty() {
        warn(
            "The `python-version` input is not set.  The version of Python currently in `PATH` will be used.",
        );
        return matchers::add(matchers::PYTHON);
    }
    let inside = Inside::here()?;
    let all = inside.as_ref().map_or_else(interpreters, Inside::pythons);
    check_cache(&[
        ("pip", &["requirements.txt", "pyproject.toml"]),
        ("pipenv", &["Pipfile.lock"]),
        ("poetry", &["poetry.lock"]),
    ])?;
    for version in &wanted {
        let prereleases = input("allow-prereleases") == "true" || version.ends_with("-dev");
        let chosen = choose(&all, version, prereleases).map_err(|e| match &inside {
            Some(inside) => e.hint(inside.hint(&format!("Python {version}"))),
            None => e,
        })?;
        let mut folder = environment_folder(chosen)?;
        let there = folder.join("bin/python").symlink_metadata().is_ok();
        if let Some(inside) = &inside {
            folder = inside.named(&folder);
        }
        match &inside {
            _ if there => {}
            Some(inside) => inside.make_environment(chosen, &folder)?,
            None => make_environment(chosen, &folder)?,
        }
        publish(chosen, &folder)?;
        println!("Successfully set up CPython ({})", chosen.text);
        println!("  an environment of this job's own, made of {}", chosen.path.display());
        after_set_up(&folder, inside.as_ref())?;
    }
    matchers::add(matchers::PYTHON)
}

fn wanted_versions() -> Result<Vec<String>> {
    let given = input("python-version");
    if !given.is_empty() {
        return Ok(given.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect());
    }
    let workspace = PathBuf::from(variable("GITHUB_WORKSPACE")?);
    let file = input("python-version-file");
    if !file.is_empty() {
        let path = workspace.join(&file);
        let text = std::fs::read_to_string(&path).map_err(|_| {
            Error::new(format!(
                "The specified python version file at: {} doesn't exist.",
                path.display()
            ))
        })?;
        return Ok(versions_in_file(&file, &text));
    }
    warn(
        "Neither 'python-version' nor 'python-version-file' inputs were supplied. Attempting to find '.python-version' file.",
    );
    match std::fs::read_to_string(workspace.join(".python-version")) {
        Ok(text) => Ok(versions_in_file(".python-version", &text)),
        Err(_) => {
            warn(".python-version doesn't exist.");
            Ok(Vec::new())
        }
    }
}

/// The versions in `.python-version`, `.tool-versions`, `Pipfile` or `pyproject.toml` (`utils.ts`).
fn versions_in_file(name: &str, text: &str) -> Vec<String> {
    let base = name.rsplit('/').next().unwrap_or(name);
    if base == "Pipfile" || base.ends_with(".toml") {
        let table: toml::Table = text.parse().unwrap_or_default();
        let at = |keys: &[&str]| {
            let mut value = table.get(keys[0])?;
            for key in &keys[1..] {
                value = value.get(key)?;
            }
            value.as_str().map(str::to_owned)
        };
        let found = match base {
            "Pipfile" => at(&["requires", "python_full_version"])
                .or_else(|| at(&["requires", "python_version"])),
            _ => at(&["project", "requires-python"])
                .or_else(|| at(&["tool", "poetry", "dependencies", "python"])),
        };
        return found.into_iter().collect();
    }
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    if base == ".tool-versions" {
        let mut words = lines.map(str::split_whitespace);
        let found =
            words.find_map(|mut w| if w.next() == Some("python") { w.next() } else { None });
        return found.map(|v| v.trim_start_matches('v').to_owned()).into_iter().collect();
    }
    // `3.12/envs/name` is pyenv's way to say an environment.
    lines.filter_map(|l| l.split('/').next()).map(str::to_owned).collect()
}

fn choose<'a>(all: &'a [Interpreter], wanted: &str, prereleases: bool) -> Result<&'a Interpreter> {
    let lower = wanted.to_ascii_lowercase();
    let architecture = input("architecture");
    if !architecture.is_empty() && architecture != arch() {
        return Err(Error::new(format!(
            "The version '{wanted}' with architecture '{architecture}' was not found."
        ))
        .hint(format!("this machine is {}", arch())));
    }
    let free = lower.trim_end_matches("-dev").ends_with('t')
        && lower.starts_with(|c: char| c.is_ascii_digit());
    if free || input("freethreaded") == "true" {
        return Err(Error::new(format!(
            "{wanted} without the global lock (freethreaded) cannot be set up here"
        )));
    }
    if lower.starts_with("pypy") || lower.starts_with("graalpy") {
        return Err(Error::new(format!(
            "{wanted} is not CPython, and only CPython is set up here"
        )));
    }
    let found = all.iter().find(|i| satisfies(i.version, wanted) && (prereleases || !i.prerelease));
    // Without a release a prerelease will do only when it was asked for by name.
    let found = found.or_else(|| all.iter().find(|i| i.text == wanted));
    found.ok_or_else(|| {
        let there: Vec<&str> = all.iter().map(|i| i.text.as_str()).collect();
        let series = wanted.trim_start_matches(|c: char| !c.is_ascii_digit());
        let hint = format!(
            "On this machine: {}. To get it: uv python install {series}, or pyenv install {series}",
            if there.is_empty() { "none".to_owned() } else { there.join(", ") }
        );
        Error::new(format!("The version '{wanted}' with architecture '{}' was not found.", arch()))
            .hint(hint)
    })
}

/// Within the job's temporary folder, and so gone with it.
fn environment_folder(interpreter: &Interpreter) -> Result<PathBuf> {
    let temp = PathBuf::from(variable("RUNNER_TEMP")?);
    Ok(temp.join("_python").join(&interpreter.text).join(arch()))
}

fn publish(interpreter: &Interpreter, folder: &Path) -> Result<()> {
    let bin = folder.join("bin");
    let place = folder.display();
    let mut outputs = vec![
        format!("python-version={}", interpreter.text),
        format!("python-path={}", bin.join("python").display()),
    ];
    if !input("cache").is_empty() {
        outputs.push("cache-hit=false".to_owned());
    }
    append("GITHUB_OUTPUT", &outputs)?;
    if input("update-environment") == "false" {
        return Ok(());
    }
    append("GITHUB_PATH", &[bin.display().to_string()])?;
    let mut env = vec![
        format!("pythonLocation={place}"),
        format!("PKG_CONFIG_PATH={place}/lib/pkgconfig"),
        format!("VIRTUAL_ENV={place}"),
    ];
    for name in ["Python_ROOT_DIR", "Python2_ROOT_DIR", "Python3_ROOT_DIR"] {
        env.push(format!("{name}={place}"));
    }
    append("GITHUB_ENV", &env)
}

/// `pip-version` and `pip-install`.
fn after_set_up(folder: &Path, inside: Option<&Inside>) -> Result<()> {
    let python = folder.join("bin/python");
    let mut lists: Vec<Vec<String>> = Vec::new();
    let version = input("pip-version");
    if !version.is_empty() {
        lists.push(vec![format!("pip=={version}")]);
    }
    let install = input("pip-install");
    if !install.is_empty() {
        lists.push(install.split_whitespace().map(str::to_owned).collect());
    }
    for list in lists {
        if let Some(inside) = inside {
            let python = python.to_string_lossy();
            let mut command = vec![&*python, "-m", "pip", "install"];
            command.extend(list.iter().map(String::as_str));
            inside.run(&command)?;
            continue;
        }
        let done = std::process::Command::new(&python)
            .args(["-m", "pip", "install"])
            .args(&list)
            .status()
            .is_ok_and(|s| s.success());
        if !done {
            return Err(Error::new(format!("pip install {} failed", list.join(" "))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::python::parse_version;
    use super::*;

    fn check(version: &str, wanted: &str) -> bool {
        satisfies(parse_version(version).unwrap().0, wanted)
    }

    #[test]
    fn ranges() {
        for (version, wanted, holds) in [
            ("3.11.7", "3.11", true),
            ("3.11.7", "3.1", false),
            ("3.11.7", "3.x", true),
            ("3.11.7", "3", true),
            ("3.11.7", "3.11.6", false),
            ("3.11.7", ">=3.9 <3.12", true),
            ("3.12.1", ">=3.9,<3.12", false),
            ("3.12.1", ">= 3.9", true),
            ("3.10.4", "~3.10.2", true),
            ("3.11.0", "~3.10.2", false),
            ("3.11.0", "~=3.9", true),
            ("3.9.0", "3.9 - 3.11", true),
            ("3.11.9", "3.9 - 3.11", true),
            ("3.12.0", "3.9 - 3.11", false),
            ("3.8.1", "3.7 || 3.8", true),
            ("3.13.0", "^3.9", true),
            ("3.9.5", ">3.9", false),
            ("3.9.5", "!=3.9.*,>=3.8", false),
            ("3.13.0", "3.13-dev", true),
        ] {
            assert_eq!(check(version, wanted), holds, "{version} {wanted}");
        }
    }

    #[test]
    fn files() {
        for (name, text, wanted) in [
            (".python-version", "# c\n3.11.2\n3.12/envs/x\n", "3.11.2 3.12"),
            ("pyproject.toml", "[project]\nrequires-python = \">=3.10\" # why\n", ">=3.10"),
            ("pyproject.toml", "[tool.poetry.dependencies]\npython = \"^3.9\"\n", "^3.9"),
            ("pyproject.toml", "[tool.other]\npython = \"2.7\"\n", ""),
            (".tool-versions", "nodejs 20\npython 3.12.1\n", "3.12.1"),
            ("Pipfile", "[requires]\npython_version = \"3.9\"\n", "3.9"),
            ("pyproject.toml", "[project]\n", ""),
        ] {
            assert_eq!(versions_in_file(name, text).join(" "), wanted, "{name}");
        }
    }
}
