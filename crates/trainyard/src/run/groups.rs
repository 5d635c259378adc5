//! Concurrency groups of local runs: one holder a name, in this process and between processes.
//!
//! Within one call of `trainyard run` the rules are GitHub's (a newcomer evicts the one that
//! waits, or joins the queue). Between calls a lock file in the data folder makes one wait for the
//! other; with `cancel-in-progress` the holder's process is asked to stop.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, Write};
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
}

impl Groups {
    /// Groups whose lock files are in the data folder.
    pub fn new(data: &Path) -> Self {
        Groups { folder: data.join("groups"), states: BTreeMap::new() }
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

/// Gets the lock of a group, waiting for another process if it must. With `cancel` that process
/// is asked to stop.
pub fn lock(path: &Path, cancel: bool) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.try_lock().is_err() {
        if cancel {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            let own = i32::try_from(std::process::id()).unwrap_or(0);
            let holder = text.trim().parse().ok().filter(|pid| *pid != own);
            let holder = holder.and_then(rustix::process::Pid::from_raw);
            if let Some(holder) = holder {
                // It may be gone already; then the lock is free at once.
                let _ = rustix::process::kill_process(holder, rustix::process::Signal::INT);
            }
        }
        file.lock()?;
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}
