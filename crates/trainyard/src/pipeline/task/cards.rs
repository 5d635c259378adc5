//! The machine's graphics cards, shared out among the tasks of a run that are processes: each that asks for
//! some sees those alone (`CUDA_VISIBLE_DEVICES`). Deliberately absent: cards of other makers, parts of
//! cards, other runs.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// How often a task that waits for cards looks whether it is told to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Those that nobody has.
#[derive(Debug, Default)]
pub struct Cards {
    all: OnceLock<u32>,
    taken: Mutex<Vec<u32>>,
    freed: Condvar,
}

/// Some that a task has, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    from: &'a Cards,
    numbers: Vec<u32>,
}

impl Taken<'_> {
    /// As `CUDA_VISIBLE_DEVICES` has them.
    pub(super) fn list(&self) -> String {
        self.numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = self.from.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|n| !self.numbers.contains(n));
        drop(taken);
        self.from.freed.notify_all();
    }
}

/// What comes of asking for some.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// They are the task's.
    Taken(Taken<'a>),
    /// The machine has no more than these in all.
    Short(u32),
    /// It was told to stop while it waited.
    Stopped,
}

impl Cards {
    /// The cards of this machine.
    fn all(&self) -> u32 {
        *self.all.get_or_init(|| {
            let there = |n: &u32| Path::new(&format!("/dev/nvidia{n}")).exists();
            (0..64).take_while(there).count().try_into().unwrap_or(0)
        })
    }

    /// Takes so many, and waits for others to give them back if it must; `stop` becomes readable when it
    /// is not to wait any longer.
    pub(super) fn take(&self, count: u32, stop: BorrowedFd<'_>) -> Asked<'_> {
        let all = self.all();
        if count > all {
            return Asked::Short(all);
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let free = (0..all).filter(|n| !taken.contains(n));
            let numbers: Vec<u32> = free.take(count as usize).collect();
            if numbers.len() == count as usize {
                taken.extend(&numbers);
                return Asked::Taken(Taken { from: self, numbers });
            }
            let mut told = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
            let none = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut told, Some(&none)).is_ok_and(|n| n > 0) {
                return Asked::Stopped;
            }
            let waited = self.freed.wait_timeout(taken, LOOK);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn cards_are_shared_out() {
        let cards = Cards::default();
        cards.all.set(3).unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let list = |asked: &Asked<'_>| match asked {
            Asked::Taken(taken) => taken.list(),
            Asked::Short(all) => format!("only {all}"),
            Asked::Stopped => "stopped".to_owned(),
        };
        let first = cards.take(2, read.as_fd());
        assert_eq!(list(&first), "0,1");
        assert_eq!(list(&cards.take(4, read.as_fd())), "only 3");
        let second = cards.take(1, read.as_fd());
        assert_eq!(list(&second), "2");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| list(&cards.take(2, read.as_fd())));
            drop(first);
            assert_eq!(waits.join().unwrap(), "0,1");
        });
        rustix::io::write(&write, b"!").unwrap();
        assert_eq!(list(&cards.take(3, read.as_fd())), "stopped");
    }
}
