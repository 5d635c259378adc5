//! Python interpreters on this machine, and environments made of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::host::environment::which;

/// An interpreter with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program.
    pub path: PathBuf,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// `3.13.0rc1` and the like are not releases.
    pub prerelease: bool,
    /// As it prints itself.
    pub text: String,
}

/// `3.11.7` as numbers, and whether something like `rc1` follows.
pub fn parse_version(text: &str) -> Option<((u32, u32, u32), bool)> {
    let mut numbers = [0u32; 3];
    let mut prerelease = false;
    for (slot, part) in numbers.iter_mut().zip(text.trim().splitn(3, '.')) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        *slot = digits.parse().ok()?;
        prerelease |= digits.len() < part.len();
    }
    Some(((numbers[0], numbers[1], numbers[2]), prerelease))
}

/// Whether a version meets a range, of Python's or of npm's words: `3.11`, `3.x`, `>=3.9 <3.12`, `>=3.9,<3.12`,
/// `~3.10`, `^3.9`, `3.9 - 3.11`, `3.9 || 3.11`.
pub fn satisfies(version: (u32, u32, u32), wanted: &str) -> bool {
    let wanted = wanted.trim().trim_end_matches("-dev");
    wanted.split("||").any(|alternative| {
        if let Some((from, to)) = alternative.split_once(" - ") {
            return one(version, &format!(">={}", from.trim()))
                && one(version, &format!("<={}", to.trim()));
        }
        let text = alternative.replace(',', " ");
        let mut parts: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            // `>= 3.9` is one condition.
            match parts.last_mut() {
                Some(last) if last.chars().all(|c| "<>=~^!".contains(c)) => last.push_str(word),
                _ => parts.push(word.to_owned()),
            }
        }
        parts.iter().all(|p| one(version, p))
    })
}

fn one(own: (u32, u32, u32), condition: &str) -> bool {
    let at = condition.find(|c: char| !"<>=~^!".contains(c)).unwrap_or(condition.len());
    let (operator, bound) = condition.split_at(at);
    let parts: Vec<&str> =
        bound.split('.').take_while(|p| !matches!(*p, "x" | "X" | "*" | "")).collect();
    if parts.is_empty() {
        return true;
    }
    let Some((bound, _)) = parse_version(&parts.join(".")) else { return false };
    let own = [own.0, own.1, own.2];
    let wanted = [bound.0, bound.1, bound.2];
    let prefix = |n: usize| own[..n.min(3)] == wanted[..n.min(3)];
    match operator {
        "" | "=" | "==" => prefix(parts.len()),
        "!=" => !prefix(parts.len()),
        ">=" => own >= wanted,
        // `> 3.9` means past every 3.9.
        ">" => own > wanted && !prefix(parts.len()),
        "<" => own < wanted,
        "<=" => own <= wanted || prefix(parts.len()),
        "~" => own >= wanted && prefix(parts.len().clamp(1, 2)),
        "~=" => own >= wanted && prefix(parts.len().saturating_sub(1).max(1)),
        "^" => own >= wanted && own[0] == wanted[0],
        _ => false,
    }
}

/// All interpreters that can be found: the tool cache, pyenv, uv, and the PATH. The newest first,
/// one a version.
pub fn interpreters() -> Vec<Interpreter> {
    let mut found: BTreeMap<(u32, u32, u32), Interpreter> = BTreeMap::new();
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = env("HOME").unwrap_or_default();
    let mut versioned: Vec<PathBuf> = Vec::new();
    for cache in
        [env("RUNNER_TOOL_CACHE"), env("AGENT_TOOLSDIRECTORY"), Some("/opt/hostedtoolcache".into())]
    {
        let Some(cache) = cache else { continue };
        for version in folders(&cache.join("Python")) {
            let arch = version.join(arch());
            if version.join(format!("{}.complete", self::arch())).exists() {
                versioned.push(arch.join("bin/python3"));
            }
        }
    }
    let pyenv = env("PYENV_ROOT").unwrap_or_else(|| home.join(".pyenv"));
    versioned.extend(folders(&pyenv.join("versions")).iter().map(|v| v.join("bin/python3")));
    let uv = env("UV_PYTHON_INSTALL_DIR").unwrap_or_else(|| home.join(".local/share/uv/python"));
    versioned.extend(folders(&uv).iter().map(|v| v.join("bin/python3")));
    for path in versioned {
        // The folder's name says the version, so that no process is needed for each.
        let name = path
            .ancestors()
            .skip(2)
            .filter_map(|p| p.file_name()?.to_str())
            .map(|n| n.trim_start_matches("cpython-").to_owned())
            .find_map(|n| parse_version(n.split('-').next()?).map(|v| (n, v)));
        let Some((text, (version, prerelease))) = name else { continue };
        if version.0 == 3 && path.exists() {
            let text = text.split('-').next().unwrap_or_default().to_owned();
            found.entry(version).or_insert(Interpreter { path, version, prerelease, text });
        }
    }
    let path = std::env::var("PATH").unwrap_or_default();
    for minor in 0..20 {
        add_asked(&mut found, which(&format!("python3.{minor}"), &path));
    }
    add_asked(&mut found, which("python3", &path));
    let mut list: Vec<Interpreter> = found.into_values().collect();
    list.reverse();
    list
}

fn add_asked(found: &mut BTreeMap<(u32, u32, u32), Interpreter>, program: Option<PathBuf>) {
    // Shims answer for whatever is chosen elsewhere; the real ones were found above.
    let Some(program) = program.filter(|p| !p.components().any(|c| c.as_os_str() == "shims"))
    else {
        return;
    };
    if let Some(interpreter) = ask(&program) {
        found.entry(interpreter.version).or_insert(interpreter);
    }
}

/// Asks an interpreter for its version.
pub fn ask(program: &Path) -> Option<Interpreter> {
    let output = Command::new(program)
        .args(["-c", "import platform; print(platform.python_version())"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (version, prerelease) = parse_version(&text)?;
    Some(Interpreter { path: program.to_owned(), version, prerelease, text })
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut list: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    list.sort();
    list
}

/// The machine as Node, and so the tool cache, names it.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86" => "x86",
        _ => "x64",
    }
}

/// Makes an environment of an interpreter: `python`, `pip` and their kin in `bin`, packages of its
/// own, nothing of the interpreter's changed. `venv` costs seconds where ensurepip unpacks pip, so
/// the environment is made without and pip comes from the interpreter's own bundled wheel.
pub fn make_environment(interpreter: &Interpreter, folder: &Path) -> Result<()> {
    let failed = |what: &str| {
        Error::new(format!(
            "{what} with Python {} ({})",
            interpreter.text,
            interpreter.path.display()
        ))
        .hint("on Debian the module venv is in the package python3-venv")
    };
    let run = |program: &Path, args: &[&str]| {
        Command::new(program)
            .args(args)
            .env_remove("PYTHONHOME")
            .env_remove("PYTHONPATH")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let place = folder.to_string_lossy();
    if !run(&interpreter.path, &["-m", "venv", "--without-pip", &place]) {
        return Err(failed("no environment can be made"));
    }
    let python = folder.join("bin/python");
    allow_user_installs(folder, interpreter)?;
    if let Some(wheel) = bundled_pip(&python)
        && install_pip_wheel(&wheel, folder, interpreter)
    {
        return Ok(());
    }
    if !run(&python, &["-m", "ensurepip", "--upgrade", "--default-pip"]) {
        return Err(failed("pip cannot be put into an environment"));
    }
    Ok(())
}

/// `pip install --user` works on a hosted runner, and pip refuses it in an environment: here it
/// installs into the job's own, which is as private. Python runs lines of `.pth` files that begin
/// with `import`.
fn allow_user_installs(folder: &Path, interpreter: &Interpreter) -> Result<()> {
    let (major, minor, _) = interpreter.version;
    let packages = folder.join(format!("lib/python{major}.{minor}/site-packages"));
    let path = packages.join("trainyard-user-installs.pth");
    let line = "import sys; a = getattr(sys, 'argv', ['']); \
        p = a[0].rsplit('/', 1)[-1].startswith('pip') or 'pip' in getattr(sys, 'orig_argv', [])[:3]; \
        p and a.__setitem__(slice(None), [x for x in a if x != '--user'])\n";
    fs::write(&path, line).map_err(|e| Error::io("write", &path, &e))
}

/// The wheel of pip that comes with an interpreter.
fn bundled_pip(python: &Path) -> Option<PathBuf> {
    let script = "import ensurepip, os\n\
        d = os.path.join(os.path.dirname(ensurepip.__file__), '_bundled')\n\
        w = getattr(ensurepip, '_WHEEL_PKG_DIR', None)\n\
        for p in (d, w):\n\
        \x20   for f in sorted(os.listdir(p)) if p and os.path.isdir(p) else []:\n\
        \x20       if f.startswith('pip-') and f.endswith('.whl'): print(os.path.join(p, f)); raise SystemExit";
    let output = Command::new(python).args(["-c", script]).stdin(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    path.is_file().then_some(path)
}

/// Unpacks the wheel into the environment and writes pip's three commands. Unpacking is Python's
/// to do: it has zipfile, and knows where its packages go.
fn install_pip_wheel(wheel: &Path, folder: &Path, interpreter: &Interpreter) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let python = folder.join("bin/python");
    let script = "import sys, sysconfig, zipfile\n\
        zipfile.ZipFile(sys.argv[1]).extractall(sysconfig.get_path('purelib'))";
    let unpacked = Command::new(&python)
        .args(["-c", script])
        .arg(wheel)
        .stdin(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !unpacked {
        return false;
    }
    let (major, minor, _) = interpreter.version;
    let text = format!(
        "#!{}\nimport sys\nfrom pip._internal.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n",
        python.display()
    );
    [format!("pip{major}.{minor}"), format!("pip{major}"), "pip".to_owned()].iter().all(|name| {
        let path = folder.join("bin").join(name);
        fs::write(&path, &text).is_ok()
            && fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).is_ok()
    })
}

/// Where the environment of a job stands that calls pip without setup-python.
pub fn default_environment(temp: &Path) -> PathBuf {
    temp.join(DEFAULT)
}

/// Below the job's temporary folder.
const DEFAULT: &str = "_python/default";

/// Makes a folder of shims in front of the real `python` and `pip`, and with this program, once for each pair of program
/// and interpreter: the first call of pip makes an environment of the job's own.
pub fn shims(folder: &Path, program: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var("PATH").unwrap_or_default();
    let real = which("python3", &path).or_else(|| which("python", &path))?;
    let (program, real) = (program.display(), real.display());
    let pip = format!("#!/bin/sh\nexec '{program}' internal-pip '{real}' \"$@\"\n");
    // A shell that has called it before calls it again, though the environment is in front by then.
    let python = format!(
        "#!/bin/sh\nif [ \"$1\" = -m ] && [ \"$2\" = pip ]; then shift 2; exec '{program}' internal-pip '{real}' \"$@\"; fi\nown=\"$RUNNER_TEMP/{DEFAULT}/bin/python\"\nif [ -x \"$own\" ]; then exec \"$own\" \"$@\"; fi\nexec '{real}' \"$@\"\n"
    );
    // What a step calls is what runs it.
    let own = format!("#!/bin/sh\nexec '{program}' \"$@\"\n");
    let name = super::short_hash(&format!("{pip}{python}{own}"));
    let place = folder.join(&name);
    if place.join("pip3").exists() {
        return Some(place);
    }
    let fresh = folder.join(format!("{name}.{}", std::process::id()));
    fs::create_dir_all(&fresh).ok()?;
    for (name, text) in [
        ("trainyard", &own),
        ("python", &python),
        ("python3", &python),
        ("pip", &pip),
        ("pip3", &pip),
    ] {
        let path = fresh.join(name);
        fs::write(&path, text).ok()?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).ok()?;
    }
    // Another process may have been first; its folder holds the same.
    if fs::rename(&fresh, &place).is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    place.exists().then_some(place)
}

/// pip, called in a job without setup-python: makes the job's environment and says so once, then
/// becomes pip in it.
pub fn pip(real: &Path, args: &[String]) -> Error {
    use std::os::unix::process::CommandExt;
    let Ok(temp) = std::env::var("RUNNER_TEMP") else {
        return Error::new("pip was called outside a job");
    };
    let folder = default_environment(Path::new(&temp));
    if !folder.join("bin/pip").exists() {
        let Some(interpreter) = ask(real) else {
            return Error::new(format!("{} does not answer", real.display()));
        };
        println!(
            "::notice::This job calls pip without actions/setup-python: it gets an environment of its own, made of Python {}. Your own Python is not changed.",
            interpreter.text
        );
        if let Err(error) = make_environment(&interpreter, &folder) {
            return error;
        }
    }
    let failed = Command::new(folder.join("bin/python")).args(["-m", "pip"]).args(args).exec();
    Error::new(format!("pip cannot be started: {failed}"))
}
