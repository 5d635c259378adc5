//! `actions/setup-node`: a Node of the wanted version from the PATH, the tool cache, or the npm
//! package that carries its binaries. What `npm install -g` brings goes into the job's own folder.
//!
//! Deliberately absent: `cache`, as npm's own cache is this machine's and stays; `mirror`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::inside::Inside;
use super::python::{arch, parse_version, satisfies};
use super::{JobFacts, append, check_cache, flag, input, links, matchers, variable, warn};
use crate::error::{Error, Result};
use crate::host::environment::which;

/// The inputs of actions/setup-node v2 to v7 with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("node-version", None),
    ("version", None),
    ("node-version-file", None),
    ("architecture", None),
    ("check-latest", Some("false")),
    ("always-auth", None),
    ("registry-url", None),
    ("scope", None),
    ("token", None),
    ("cache", None),
    ("package-manager-cache", Some("true")),
    ("cache-dependency-path", None),
    ("mirror", None),
    ("mirror-token", None),
];

/// Sets Node up.
pub fn run(_: &JobFacts) -> Result<()> {
    let workspace = PathBuf::from(variable("GITHUB_WORKSPACE")?);
    let temp = PathBuf::from(variable("RUNNER_TEMP")?);
    let wanted = wanted(&workspace)?;
    for name in ["architecture", "mirror"] {
        if !input(name).is_empty() && input(name) != arch() {
            warn(&format!("`{name}` has no effect here"));
        }
    }
    let inside = Inside::here()?;
    let (folder, program, version) = match &inside {
        Some(inside) => in_container(inside, wanted.as_deref())?,
        None => here(wanted.as_deref())?,
    };
    check_cache(&[
        ("npm", &["package-lock.json", "npm-shrinkwrap.json", "yarn.lock"]),
        ("yarn", &["yarn.lock"]),
        ("pnpm", &["pnpm-lock.yaml"]),
    ])?;
    println!("Successfully set up Node {version} from {}", program.display());
    let named = |path: &Path| match &inside {
        Some(inside) => inside.named(path),
        None => path.to_owned(),
    };
    let prefix = named(&temp.join("_npm"));
    let mut paths = Vec::new();
    if let (Some(folder), Some(_)) = (&folder, &inside) {
        paths.push(folder.to_string_lossy().into_owned());
    } else if let Some(folder) = &folder {
        paths.push(links(&temp.join("_node_bin"), folder, &["node", "npm", "npx", "corepack"])?);
    }
    paths.push(prefix.join("bin").to_string_lossy().into_owned());
    append("GITHUB_PATH", &paths)?;
    let mut env = vec![format!("NPM_CONFIG_PREFIX={}", prefix.display())];
    let registry = input("registry-url");
    if !registry.is_empty() {
        let file = temp.join(".npmrc");
        write_npmrc(&file, &registry)?;
        env.push(format!("NPM_CONFIG_USERCONFIG={}", named(&file).display()));
        // npm says that a variable is missing; the action gives it a value that opens nothing.
        let token = std::env::var("NODE_AUTH_TOKEN").unwrap_or_default();
        let token = if token.is_empty() { "XXXXX-XXXXX-XXXXX-XXXXX" } else { token.trim() };
        env.push(format!("NODE_AUTH_TOKEN={token}"));
    }
    append("GITHUB_ENV", &env)?;
    let mut outputs = vec![format!("node-version=v{version}")];
    if !input("cache").is_empty() {
        outputs.push("cache-hit=false".to_owned());
    }
    append("GITHUB_OUTPUT", &outputs)?;
    matchers::add(matchers::NODE)
}

/// The folder to put on the PATH, the program, its version.
type Chosen = (Option<PathBuf>, PathBuf, String);

fn here(wanted: Option<&str>) -> Result<Chosen> {
    let folder = wanted.map(find).transpose()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let program = match &folder {
        Some(folder) => folder.join("node"),
        None => which("node", &path).ok_or_else(|| Error::new("node is not on the PATH"))?,
    };
    let version = version(&program)
        .ok_or_else(|| Error::new(format!("{} does not answer", program.display())))?;
    Ok((folder, program, version))
}

fn in_container(inside: &Inside, wanted: Option<&str>) -> Result<Chosen> {
    let range = wanted.map(range).transpose()?;
    let (folder, version) = inside.program(
        "node",
        |version| range.as_deref().is_none_or(|range| fits(version, range)),
        || match &range {
            Some(range) => in_tools(range),
            None => Err(Error::new("node is not on the PATH").hint(inside.hint("Node"))),
        },
    )?;
    let program = folder.as_deref().unwrap_or(Path::new("")).join("node");
    Ok((folder, program, version))
}

fn write_npmrc(file: &Path, registry: &str) -> Result<()> {
    let registry = format!("{}/", registry.trim_end_matches('/'));
    let bare = registry.split_once(':').map_or(registry.as_str(), |(_, rest)| rest);
    let mut scope = input("scope");
    if scope.is_empty() && registry.contains("npm.pkg.github.com") {
        scope = variable("GITHUB_REPOSITORY_OWNER")?;
    }
    let scope = match scope.trim_start_matches('@') {
        "" => String::new(),
        scope => format!("@{}:", scope.to_lowercase()),
    };
    // What an earlier call wrote of other registries stays.
    let before = std::fs::read_to_string(file).unwrap_or_default();
    let mine = format!("{scope}registry");
    let kept = before.lines().filter(|l| !l.to_lowercase().starts_with(&mine));
    let mut text: String = kept.map(|l| format!("{l}\n")).collect();
    text.push_str(&format!("{bare}:_authToken=${{NODE_AUTH_TOKEN}}\n{scope}registry={registry}\n"));
    if flag("always-auth")? {
        text.push_str("always-auth=true\n");
    }
    std::fs::write(file, text).map_err(|e| Error::io("write", file, &e))
}

/// The version that is asked for; none for the one on the PATH.
fn wanted(workspace: &Path) -> Result<Option<String>> {
    let given = Some(input("node-version")).filter(|v| !v.is_empty()).unwrap_or(input("version"));
    if !given.is_empty() {
        return Ok(Some(given));
    }
    let file = input("node-version-file");
    if file.is_empty() {
        return Ok(None);
    }
    let path = workspace.join(&file);
    let text = std::fs::read_to_string(&path).map_err(|_| {
        Error::new(format!("The specified node version file at: {} does not exist", path.display()))
    })?;
    let found = version_in_file(&file, &text);
    found.map(Some).ok_or_else(|| Error::new(format!("{file} names no Node version")))
}

fn version_in_file(name: &str, text: &str) -> Option<String> {
    if name.ends_with("package.json") {
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let version = json["volta"]["node"]
            .as_str()
            .or_else(|| {
                let runtime = &json["devEngines"]["runtime"];
                let list = runtime.as_array().map_or(std::slice::from_ref(runtime), Vec::as_slice);
                list.iter().find(|r| r["name"] == "node").and_then(|r| r["version"].as_str())
            })
            .or(json["engines"]["node"].as_str());
        return version.map(str::to_owned);
    }
    let line = match name.ends_with(".tool-versions") {
        true => text
            .lines()
            .find_map(|l| l.trim().strip_prefix("nodejs ").or(l.trim().strip_prefix("node ")))?,
        false => text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#'))?,
    };
    Some(line.trim().to_owned())
}

fn version(node: &Path) -> Option<String> {
    let output = Command::new(node).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().strip_prefix('v').map(str::to_owned)
}

/// The range in npm's words.
fn range(wanted: &str) -> Result<String> {
    let text = wanted.trim().trim_start_matches('v');
    Ok(match text.to_ascii_lowercase().as_str() {
        "lts/*" | "lts" | "lts/krypton" => "24".to_owned(),
        // The newest of all is npm's to know.
        "node" | "latest" | "current" | "*" => "latest".to_owned(),
        "lts/iron" => "20".to_owned(),
        "lts/jod" | "lts/-1" => "22".to_owned(),
        "lts/hydrogen" => "18".to_owned(),
        "lts/gallium" => "16".to_owned(),
        "lts/fermium" => "14".to_owned(),
        name if name.starts_with("lts/") => {
            let release = &name["lts/".len()..];
            let why =
                format!("Unable to find LTS release '{release}' for Node version '{wanted}'.");
            return Err(Error::new(why));
        }
        _ => text.to_owned(),
    })
}

/// Whether a version is one that was asked for: `20`, `20.x`, `>=18 <21`, `18 || 20`, `~20.1`.
fn fits(version: &str, range: &str) -> bool {
    // The newest of all is not known from what is here, and `22.0.0-rc.1` is that alone.
    let unfinished = range.contains("-rc") || range.contains("-nightly") || range.contains("-v8");
    if unfinished {
        return version == range;
    }
    range != "latest" && parse_version(version).is_some_and(|(v, _)| satisfies(v, range))
}

/// The folder of the program.
fn find(wanted: &str) -> Result<PathBuf> {
    let range = range(wanted)?;
    let path = std::env::var("PATH").unwrap_or_default();
    if let Some(node) = which("node", &path)
        && version(&node).is_some_and(|v| fits(&v, &range))
    {
        return Ok(node.parent().unwrap_or(Path::new("/")).to_owned());
    }
    in_tools(&range)
}

/// In the tool cache, or brought there.
fn in_tools(range: &str) -> Result<PathBuf> {
    let tools = PathBuf::from(variable("RUNNER_TOOL_CACHE")?).join("node");
    let mut versions: Vec<(Vec<u64>, PathBuf)> = std::fs::read_dir(&tools)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.join(format!("{}.complete", arch())).exists())
        .filter_map(|p| {
            let name = p.file_name()?.to_str()?.to_owned();
            let key = name.split('.').map_while(|n| n.parse().ok()).collect();
            fits(&name, range).then(|| (key, p.join(arch()).join("bin")))
        })
        .collect();
    versions.sort();
    match versions.pop() {
        Some((_, folder)) => Ok(folder),
        None => fetch(range, &tools),
    }
}

/// Brings a Node by npm into the tool cache, with an npm of its own.
fn fetch(range: &str, tools: &Path) -> Result<PathBuf> {
    let temp = PathBuf::from(variable("RUNNER_TEMP")?).join("_node");
    std::fs::create_dir_all(&temp).map_err(|e| Error::io("create", &temp, &e))?;
    let name = format!("node-linux-{}", arch());
    let package = format!("{name}@{range}");
    println!("Bringing {package} from npm");
    let missing = || {
        Error::new(format!(
            "Unable to find Node version '{range}' for platform linux and architecture {}",
            arch()
        ))
        .hint(format!(
            "it is not on this machine, and npm does not bring it; to try: npm install {package}"
        ))
    };
    let done = Command::new("npm")
        .args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(&temp)
        .arg(&package)
        .current_dir(&temp)
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    let bin = temp.join("node_modules").join(&name).join("bin");
    let version = version(&bin.join("node")).filter(|_| done).ok_or_else(missing)?;
    let folder = tools.join(&version).join(arch());
    let fresh = tools.join(format!("{version}.{}", std::process::id()));
    let laid = crate::host::copy::copy_tree(&bin, &fresh.join("bin"));
    laid.map_err(|e| Error::io("lay", &fresh, &e))?;
    std::fs::create_dir_all(tools.join(&version)).map_err(|e| Error::io("create", tools, &e))?;
    if std::fs::rename(&fresh, &folder).is_err() {
        // Another job was first, and has the same.
        let _ = std::fs::remove_dir_all(&fresh);
    }
    let mark = tools.join(&version).join(format!("{}.complete", arch()));
    std::fs::write(&mark, "").map_err(|e| Error::io("write", &mark, &e))?;
    Ok(folder.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_files() {
        for (version, wanted, holds) in [
            ("20.20.2", "20", true),
            ("20.20.2", "20.x", true),
            ("20.20.2", "v20.20.2", true),
            ("20.20.2", "20.2", false),
            ("20.20.2", "lts/iron", true),
            ("20.20.2", ">=18", true),
            ("20.20.2", "^20.1.0", true),
            ("20.20.2", "22", false),
            ("20.20.2", "latest", false),
            ("20.20.2", "18 || 20", true),
            ("20.20.2", ">= 18 <21", true),
            ("24.1.0", "lts/*", true),
            ("22.0.0", "22.0.0-rc.1", false),
        ] {
            assert_eq!(fits(version, &range(wanted).unwrap()), holds, "{version} {wanted}");
        }
        for (name, text, wanted) in [
            (".nvmrc", "v20.1\n", Some("v20.1")),
            (".tool-versions", "python 3\nnodejs 22.1.0\n", Some("22.1.0")),
            ("package.json", "{\"engines\": {\"node\": \">=18\"}}", Some(">=18")),
            ("package.json", "{}", None),
        ] {
            assert_eq!(version_in_file(name, text).as_deref(), wanted, "{name}");
        }
    }
}
