//! `trainyard shell`: a shell where a job failed, in its workspace, environment and directory.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use trainyard_job::seal::unseal;
use trainyard_model::Value;
use trainyard_store::Journal;

use super::means_job;
use super::run::read_dotenv;
use super::view::find;
use crate::builtin;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::host::containers::KeptContainer;
use crate::host::environment::{get, set, which};
use crate::host::workspace::memory_folder;
use crate::paths::{create_dir, data_dir};
use crate::run::Settings;
use crate::run::call::{Call, SecretSource, secrets_again};
use crate::run::driver::base_env;
use crate::run::kept::{self, Kept};

/// What is asked for.
pub struct Request {
    /// The run; the latest if none.
    pub run: Option<i64>,
    /// The job; the only one, or the first that failed, if none.
    pub job: Option<String>,
    /// Secrets given now.
    pub secrets: Vec<(String, String)>,
    /// A command instead of an interactive shell.
    pub command: Vec<String>,
}

/// Opens it.
pub fn shell(request: &Request) -> Result<Exit> {
    let data = data_dir()?;
    let row = {
        let journal = Journal::open(&data)?;
        find(&journal, request.run)?
    };
    let mut of_run = kept::list(&data);
    of_run.retain(|k| k.run == row.id);
    // Of the newest attempt the first that failed comes first.
    of_run.sort_by_key(|k| (!k.bad, std::cmp::Reverse(k.attempt), k.at));
    let exact =
        |k: &Kept| request.job.as_ref().is_some_and(|job| job.eq_ignore_ascii_case(&k.path));
    if of_run.iter().any(exact) {
        of_run.retain(exact);
    }
    let wanted = |k: &&Kept| request.job.as_ref().is_none_or(|job| means_job(job, &k.job, &k.path));
    let Some(kept) = of_run.iter().find(wanted) else {
        let what = request.job.as_ref().map_or("no job".into(), |j| format!("not the job '{j}'"));
        let there: Vec<&str> = of_run.iter().map(|k| k.job.as_str()).collect();
        let error = Error::new(format!("of run {} {what} has kept its workspace", row.id));
        return Err(error.hint(match there.is_empty() {
            true => {
                "those of failed jobs are kept for three days, the newest ten; --keep-workspaces always keeps ten of the others, too"
                    .into()
            }
            false => format!("kept: {}", there.join(", ")),
        }));
    };
    let again = |wanted: &[(String, SecretSource)]| {
        secrets_again(wanted, request.secrets.clone(), read_dotenv)
    };
    let settings = Call::recall(&row.call, again)?.settings;
    open(&data, kept, &settings, &request.command)
}

/// Opens one after a run, where its first failed job is; the exit status stays that of the run.
pub fn after_failure(runs: &[i64], settings: &Settings, exit: Exit) -> Result<Exit> {
    let data = data_dir()?;
    let mut kept = kept::list(&data);
    kept.retain(|k| runs.contains(&k.run) && k.bad);
    kept.sort_by_key(|k| k.at);
    if let Some(kept) = kept.first() {
        open(&data, kept, settings, &[])?;
    }
    Ok(exit)
}

fn open(data: &Path, kept: &Kept, settings: &Settings, command: &[String]) -> Result<Exit> {
    if command.is_empty() && !std::io::stdin().is_terminal() {
        return Err(Error::new("a shell needs a terminal")
            .hint("give a command instead: trainyard shell RUN -- COMMAND"));
    }
    let held = kept.take(data)?;
    let exit = inside(data, kept, settings, command)?;
    drop(held);
    if command.is_empty() {
        eprintln!("next: trainyard rerun {} --job '{}' --from", kept.run, kept.job);
    }
    Ok(exit)
}

fn inside(data: &Path, kept: &Kept, settings: &Settings, command: &[String]) -> Result<Exit> {
    let temp = kept.place.join("_temp");
    let program = std::env::current_exe().unwrap_or_default();
    let shims = builtin::shims(&data.join("shims"), &program);
    let mut env = base_env(settings, &temp, shims.as_deref());
    let own = Own::create(&kept.place, &temp)?;
    let workspace = std::fs::read_dir(&kept.place).into_iter().flatten().flatten();
    let workspace = workspace.map(|e| e.path()).find(|p| {
        p.file_name().is_some_and(|n| n.to_string_lossy() != "_temp" && p.join(n).is_dir())
    });
    let workspace = workspace.and_then(|p| Some(p.join(p.file_name()?)));
    let mut directory = workspace.unwrap_or_else(|| kept.place.clone());
    let mut script = None;
    let container = kept.failed.as_ref().and_then(|failed| failed.container.clone());
    if container.is_some() {
        env.clear();
    }
    let mut front = Vec::new();
    let mut own_env = Vec::new();
    if let Some(failed) = &kept.failed {
        if let Some(own) = failed.directory.as_ref().filter(|d| d.is_dir()) {
            directory.clone_from(own);
        }
        // Those that a call of a workflow passed on under other names are not known here.
        let secrets = settings.secrets.iter().filter(|_| kept.own_secrets);
        let secrets =
            Value::object(secrets.map(|(k, v)| (k.to_uppercase(), Value::from(v.as_str()))));
        let mut left_out = failed.left_out.clone();
        for (name, value) in &failed.env {
            match unseal(value, &secrets) {
                Ok(value) => set(&mut env, name, &value),
                Err(_) => left_out.push(name.clone()),
            }
        }
        front.clone_from(&failed.path);
        if let Some(container) = &container {
            for (name, value) in &container.env {
                match unseal(value, &secrets) {
                    Ok(value) => own_env.push((name.clone(), value)),
                    Err(_) => left_out.push(name.clone()),
                }
            }
        }
        let path = get(&env, "PATH").unwrap_or_default();
        let folders: Vec<&str> = failed.path.iter().map(String::as_str).chain([path]).collect();
        let path = folders.join(":");
        if container.is_none() {
            set(&mut env, "PATH", &path);
        }
        if !left_out.is_empty() {
            eprintln!("note: left out, as their values are secret: {}", left_out.join(", "));
        }
        if let Some((text, extension)) = &failed.script {
            let file = own.0.join(format!("step{extension}"));
            if let Ok(text) = unseal(text, &secrets) {
                std::fs::write(&file, text).map_err(|e| Error::io("write", &file, &e))?;
                script = Some(file);
            }
        }
    }
    // What the step would have written for those after it goes nowhere, but may be written.
    for name in
        ["GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"]
    {
        let file = own.0.join(name);
        std::fs::write(&file, "").map_err(|e| Error::io("write", &file, &e))?;
        set(&mut env, name, &file.to_string_lossy());
    }
    if command.is_empty() {
        let place = directory.to_string_lossy();
        let place = match &container {
            Some(container) => container.named(&place),
            None => place.into_owned(),
        };
        banner(kept, &place, script.as_deref());
        set(&mut env, "PS1", &format!("({}) \\W \\$ ", kept.job));
        if let Ok(terminal) = std::env::var("TERM") {
            set(&mut env, "TERM", &terminal);
        }
    }
    if let Some(container) = container {
        if !container.services.is_empty() {
            let names = container.services.join(", ");
            eprintln!("the job's services do not run any more: {names}");
        }
        let container = KeptContainer { env: own_env, ..container };
        let env: Vec<_> = env.into_iter().map(|(k, v)| (k, container.named(&v))).collect();
        let place = container.named(&directory.to_string_lossy());
        let run = container.command(&env, &front, &place, &own.0, command)?;
        return watched(run, command.is_empty());
    }
    let path = get(&env, "PATH").unwrap_or_default().to_owned();
    let (program, args) = match command {
        [] => interactive(&path)?,
        [program, args @ ..] => {
            let found = which(program, &path)
                .ok_or_else(|| Error::new(format!("there is no program '{program}'")))?;
            (found, args.to_vec())
        }
    };
    let mut run = Command::new(&program);
    run.args(&args).env_clear().envs(env).current_dir(&directory);
    watched(run, command.is_empty())
}

/// Runs it to its end.
fn watched(mut run: Command, interactive: bool) -> Result<Exit> {
    let program = run.get_program().to_string_lossy().into_owned();
    let mut child =
        run.spawn().map_err(|e| Error::new(format!("{program} cannot be started: {e}")))?;
    // An interrupt is for what runs there, and has reached it; an end is passed on. Either way the
    // workspace is put aside afterwards.
    let pid = rustix::process::Pid::from_child(&child);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|e| Error::new(format!("signals cannot be watched: {e}")))?;
    let handle = signals.handle();
    let watcher = std::thread::spawn(move || {
        for signal in signals.forever().filter(|s| *s != SIGINT) {
            let signal = if signal == SIGHUP { Signal::HUP } else { Signal::TERM };
            let _ = rustix::process::kill_process(pid, signal);
        }
    });
    let status = child.wait();
    handle.close();
    let _ = watcher.join();
    let good = status.is_ok_and(|s| s.success());
    // How an interactive shell ends says how its last command ended, and so nothing.
    Ok(if good || interactive { Exit::Success } else { Exit::Failure })
}

/// A folder for what only the shell needs, in memory if that is to be had: the script in it may
/// hold secrets. Removed when dropped.
struct Own(PathBuf);

impl Own {
    fn create(place: &Path, temp: &Path) -> Result<Own> {
        if let Some(folder) = memory_folder(place) {
            return Ok(Own(folder));
        }
        let folder = temp.join("_trainyard_shell");
        create_dir(&folder)?;
        Ok(Own(folder))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn interactive(path: &str) -> Result<(PathBuf, Vec<String>)> {
    if let Some(bash) = which("bash", path) {
        return Ok((bash, vec!["--noprofile".into(), "--norc".into(), "-i".into()]));
    }
    let sh = which("sh", path).ok_or_else(|| Error::new("there is no shell on the PATH"))?;
    Ok((sh, vec!["-i".into()]))
}

fn banner(kept: &Kept, directory: &str, script: Option<&Path>) {
    match &kept.failed {
        Some(failed) => {
            eprintln!("{} · {} failed here: {directory}", kept.job, failed.step)
        }
        None => eprintln!("{}: {directory}", kept.job),
    }
    if let Some(script) = script {
        eprintln!("its script is {}", script.display());
    }
    eprintln!("`exit` leaves; what you change stays for `trainyard rerun {} --from`", kept.run);
}
