//! Limits of CPU and memory for one process and all it starts, by a control group of its own: version 2
//! where the user has a part of the tree (root has it, and so has a session of systemd's), version 1
//! where root is. Deliberately absent: limits of disks and of numbers of processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Microseconds in which a quota of CPU counts.
const PERIOD: f64 = 100_000.0;
/// Where the kernel shows them.
const ROOT: &str = "/sys/fs/cgroup";
/// Groups of Trainyard's begin so; its process number follows.
const NAME: &str = "trainyard-";

/// A group, one folder a hierarchy; it goes with this value.
#[derive(Debug)]
pub struct Group {
    folders: Vec<PathBuf>,
}

/// The folders in which a group may be made: by the controllers that each of them has.
#[derive(Debug, Default, PartialEq)]
struct Places {
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    unified: bool,
}

impl Places {
    /// `own` is `/proc/self/cgroup`.
    fn find(root: &Path, own: &str) -> Places {
        if root.join("cgroup.controllers").exists() {
            let own = own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default();
            // A group whose parts have limits may hold no processes itself: so a sibling of the own one.
            let here = root.join(own);
            let folder = if own.is_empty() { root } else { here.parent().unwrap_or(root) };
            let has = |what: &str| {
                let control = fs::read_to_string(folder.join("cgroup.subtree_control"));
                control.unwrap_or_default().split_whitespace().any(|c| c == what)
            };
            let place = |what: &str| has(what).then(|| folder.to_owned());
            return Places { memory: place("memory"), cpu: place("cpu"), unified: true };
        }
        let place = |what: &str| {
            let top = root.join(what);
            let own = own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|c| c == what).then(|| path.trim_start_matches('/'))
            })?;
            let below = top.join(own);
            top.is_dir().then(|| if below.is_dir() { below } else { top })
        };
        Places { memory: place("memory"), cpu: place("cpu"), unified: false }
    }
}

fn write(folder: &Path, file: &str, text: &str) -> io::Result<()> {
    fs::write(folder.join(file), text)
        .map_err(|e| io::Error::new(e.kind(), format!("{}/{file}: {e}", folder.display())))
}

impl Group {
    /// Makes one with limits: bytes, cores.
    ///
    /// # Errors
    /// In words, where this user or this kernel has none.
    pub fn make(memory: Option<u64>, cpus: Option<f64>) -> Result<Group, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let places = Places::find(Path::new(ROOT), &own);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME}{}-{number}", std::process::id());
        let mut group = Group { folders: Vec::new() };
        let missing =
            |what: &str| format!("no control group of this machine limits {what} for this user");
        if let Some(bytes) = memory {
            let place = places.memory.as_ref().ok_or_else(|| missing("memory"))?;
            let folder = group.folder(place, &name)?;
            let limited = match places.unified {
                true => write(&folder, "memory.max", &bytes.to_string()).and_then(|()| {
                    // Swap is no memory of a pod's either; a kernel without it has no such file.
                    write(&folder, "memory.swap.max", "0").or(Ok(()))
                }),
                false => {
                    write(&folder, "memory.limit_in_bytes", &bytes.to_string()).and_then(|()| {
                        write(&folder, "memory.memsw.limit_in_bytes", &bytes.to_string()).or(Ok(()))
                    })
                }
            };
            limited.map_err(|e| e.to_string())?;
        }
        if let Some(cores) = cpus {
            let place = places.cpu.as_ref().ok_or_else(|| missing("CPU"))?;
            let folder = group.folder(place, &name)?;
            let quota = format!("{:.0}", (cores * PERIOD).max(1000.0));
            let limited = match places.unified {
                true => write(&folder, "cpu.max", &format!("{quota} {PERIOD:.0}")),
                false => write(&folder, "cpu.cfs_period_us", &format!("{PERIOD:.0}"))
                    .and_then(|()| write(&folder, "cpu.cfs_quota_us", &quota)),
            };
            limited.map_err(|e| e.to_string())?;
        }
        Ok(group)
    }

    fn folder(&mut self, place: &Path, name: &str) -> Result<PathBuf, String> {
        let folder = place.join(name);
        match fs::create_dir(&folder) {
            Ok(()) => self.folders.push(folder.clone()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(format!("{}: {e}", folder.display())),
        }
        Ok(folder)
    }

    /// The files into which a process writes `0` to be in the group.
    pub fn doors(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|f| f.join("cgroup.procs")).collect()
    }

    /// Processes that the kernel ended because the group had used its memory up.
    pub fn killed_for_memory(&self) -> u64 {
        let count = |file: &str| {
            let texts = self.folders.iter().filter_map(|f| fs::read_to_string(f.join(file)).ok());
            let counts = texts.filter_map(|text| {
                text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
            });
            counts.sum::<u64>()
        };
        count("memory.events") + count("memory.oom_control")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.folders.iter().for_each(|f| remove(f));
    }
}

/// Removes a group, and what is still in it.
fn remove(folder: &Path) {
    // Whoever is killed takes a moment to be gone.
    for _ in 0..50 {
        if fs::remove_dir(folder).is_ok() || !folder.exists() {
            return;
        }
        let inside = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        for pid in
            inside.lines().filter_map(|l| l.parse().ok()).filter_map(rustix::process::Pid::from_raw)
        {
            // It may be gone by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Removes the groups of processes of Trainyard that are gone.
pub fn sweep() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let places = Places::find(Path::new(ROOT), &own);
    for place in [places.memory, places.cpu].into_iter().flatten() {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix(NAME).and_then(|rest| rest.split('-').next());
            let gone = pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
            if gone {
                remove(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_groups_are_made() {
        let root = std::env::temp_dir().join(format!("trainyard-cgroup-{}", std::process::id()));
        let check = |own: &str| {
            let places = Places::find(&root, own);
            let short = |p: Option<PathBuf>| match p {
                Some(p) => format!("/{}", p.strip_prefix(&root).unwrap().display()),
                None => "none".to_owned(),
            };
            format!("{} {} {}", short(places.memory), short(places.cpu), places.unified)
        };
        fs::create_dir_all(root.join("memory/a")).unwrap();
        fs::create_dir_all(root.join("cpu,cpuacct")).unwrap();
        insta::assert_snapshot!(check("4:memory:/a\n2:cpu,cpuacct:/b\n0::/\n"), @"/memory/a none false");
        insta::assert_snapshot!(check("4:memory:/elsewhere\n"), @"/memory none false");
        fs::create_dir_all(root.join("user/app/shell")).unwrap();
        fs::write(root.join("cgroup.controllers"), "cpu memory").unwrap();
        fs::write(root.join("user/app/cgroup.subtree_control"), "memory pids\n").unwrap();
        insta::assert_snapshot!(check("0::/user/app/shell\n"), @"/user/app none true");
        insta::assert_snapshot!(check("0::/\n"), @"none none true");
        fs::remove_dir_all(&root).unwrap();
    }
}
