//! Concurrency groups of local runs: one holder a name, in this process and between processes.
//!
//! Within one call of `trainyard run` the rules are GitHub's (a newcomer evicts the one that
//! waits, or joins the queue). Between calls a lock file in the data folder makes one wait for the
//! other; with `cancel-in-progress` the holder's process is asked to cancel what holds the group.
//!
//! Deliberately absent: eviction between processes. Who waits for another process is not turned
//! away by a third one.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use trainyard_engine::InstanceId;
use trainyard_plan::Group;

use crate::builtin::short_hash;

/// Who wants a group: the run's index in this call, its node, the place in the node's list.
pub type Ticket = (usize, InstanceId, u32);

/// Tickets that may wait with `queue: max`.
const MAX_QUEUE: usize = 100;

#[derive(Default)]
struct State {
    holder: Option<Ticket>,
    waiting: VecDeque<Ticket>,
    lock: Option<File>,
    /// Whether a thread waits for the lock file.
    locking: bool,
}

/// Ending of the file by which another process says that it wants a group.
const WANTED: &str = "wanted";

/// What became of a request.
pub enum Answer {
    /// It is the ticket's own now; the lock file of the group is to be got first.
    Lock(PathBuf),
    /// It waits.
    Wait,
    /// It waits, the holder is asked to stop.
    CancelHolder(Ticket),
}

/// The groups of this process.
pub struct Groups {
    folder: PathBuf,
    states: BTreeMap<String, State>,
    /// Whether wishes of other processes are heard.
    watched: bool,
}

impl Groups {
    /// Groups whose lock files are in the data folder.
    pub fn new(data: &Path) -> Self {
        Groups { folder: data.join("groups"), states: BTreeMap::new(), watched: false }
    }

    fn key(repository: &str, group: &Group) -> String {
        format!("{repository}\n{}", group.name.to_lowercase())
    }

    /// Asks for a group. Tickets that had to give way come back first.
    pub fn ask(
        &mut self,
        repository: &str,
        group: &Group,
        ticket: Ticket,
    ) -> (Vec<Ticket>, Answer) {
        let key = Self::key(repository, group);
        let path = self.folder.join(short_hash(&key));
        let state = self.states.entry(key).or_default();
        if state.holder.is_none() {
            state.holder = Some(ticket);
            if state.locking {
                // The lock is on its way, and is this one's when it comes.
                return (Vec::new(), Answer::Wait);
            }
            state.locking = true;
            return (Vec::new(), Answer::Lock(path));
        }
        let mut evicted = Vec::new();
        if group.queue_all {
            if state.waiting.len() >= MAX_QUEUE {
                return (vec![ticket], Answer::Wait);
            }
        } else {
            evicted.extend(state.waiting.drain(..));
        }
        state.waiting.push_back(ticket);
        match (group.cancel_in_progress, state.holder) {
            (true, Some(holder)) => (evicted, Answer::CancelHolder(holder)),
            _ => (evicted, Answer::Wait),
        }
    }

    /// The folder of the lock files, the first time that it is asked for.
    pub fn unwatched(&mut self) -> Option<PathBuf> {
        (!std::mem::replace(&mut self.watched, true)).then(|| self.folder.clone())
    }

    /// Who holds the group of a lock file.
    pub fn holder_of_file(&self, name: &str) -> Option<Ticket> {
        let mut states = self.states.iter().filter(|(_, s)| s.lock.is_some());
        states.find(|(key, _)| short_hash(key) == name).and_then(|(_, s)| s.holder)
    }

    /// Who holds a group.
    pub fn holder(&self, repository: &str, group: &Group) -> Option<Ticket> {
        self.states.get(&Self::key(repository, group)).and_then(|s| s.holder)
    }

    /// Takes the lock of a group; who holds the group now. Nobody may be left to want it.
    pub fn locked(&mut self, repository: &str, group: &Group, lock: File) -> Option<Ticket> {
        let state = self.states.get_mut(&Self::key(repository, group))?;
        state.locking = false;
        if state.holder.is_some() {
            state.lock = Some(lock);
        }
        state.holder
    }

    /// Gives back whatever a ticket holds or waits for; the one that is next, if it held it.
    pub fn release(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let mut next = Vec::new();
        for state in self.states.values_mut() {
            state.waiting.retain(|t| *t != ticket);
            if state.holder == Some(ticket) {
                state.holder = state.waiting.pop_front();
                match state.holder {
                    // Its lock is still on its way; the group is granted when it comes.
                    Some(_) if state.locking => {}
                    // The lock stays with this process.
                    Some(successor) => next.push(successor),
                    None => state.lock = None,
                }
            }
        }
        next
    }
}

/// Gets the lock of a group, waiting for another process if it must, which `waiting` is told.
/// With `cancel` that process is asked to give the group up.
pub fn lock(path: &Path, cancel: bool, waiting: impl Fn()) -> std::io::Result<File> {
    let file = File::options().write(true).create(true).truncate(false).open(path)?;
    if file.try_lock().is_err() {
        waiting();
        let letter = path.with_extension(WANTED);
        if cancel {
            std::fs::write(&letter, "")?;
        }
        file.lock()?;
        if cancel {
            // The holder may have removed it.
            let _ = std::fs::remove_file(&letter);
        }
    }
    Ok(file)
}

/// Calls `wanted` with the name of a lock file whenever another process wants that group for
/// itself. To be called before the first lock is taken, so that no wish is missed.
pub fn watch(folder: &Path, wanted: impl Fn(&str) -> bool + Send + 'static) -> std::io::Result<()> {
    use rustix::fs::inotify;
    std::fs::create_dir_all(folder)?;
    let queue = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&queue, folder, inotify::WatchFlags::CLOSE_WRITE)?;
    std::thread::spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&queue, &mut buffer);
        while let Ok(event) = events.next() {
            let name = event.file_name().and_then(|n| n.to_str().ok());
            let name = name.and_then(|n| n.strip_suffix(WANTED)?.strip_suffix('.'));
            if name.is_some_and(|name| !wanted(name)) {
                return;
            }
        }
    });
    Ok(())
}
