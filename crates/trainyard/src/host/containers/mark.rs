//! The mark that a process leaves on the containers, networks and volumes that it makes, by which
//! those of one that was killed are known.

use std::path::Path;

use rustix::process::{Pid, test_kill_process};

/// When a process began, in ticks since the machine did: numbers of processes come again.
fn start_of(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// This start of the machine, and the numbering of processes that this one is in.
fn here() -> (String, String) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits = |p: &Path| p.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    (boot.chars().take(8).collect(), digits(&space))
}

/// The mark of this process: `PID-START-BOOT-NAMESPACE`.
pub fn process_mark() -> String {
    let pid = std::process::id();
    let (boot, space) = here();
    format!("{pid}-{}-{boot}-{space}", start_of(pid).unwrap_or_default())
}

/// Whether the process of a mark is no more. Of one that numbers other processes than these nothing
/// is known, and what it made is left alone.
pub(super) fn process_is_gone(mark: &str) -> bool {
    let parts: Vec<&str> = mark.split('-').collect();
    let [pid, start, boot, space] = parts[..] else { return false };
    let (own_boot, own_space) = here();
    if boot != own_boot {
        return true;
    }
    let Some(pid) = pid.parse::<u32>().ok().filter(|_| space == own_space) else { return false };
    match start_of(pid) {
        Some(found) => found != start,
        // `/proc` may hide the processes of others.
        None => {
            let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
            known.is_none_or(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_and_the_unknown() {
        let mark = process_mark();
        assert!(!process_is_gone(&mark));
        let parts: Vec<&str> = mark.split('-').collect();
        let with = |at: usize, text: &str| {
            let mut parts = parts.clone();
            parts[at] = text;
            parts.join("-")
        };
        assert!(process_is_gone(&with(0, "999999999")));
        assert!(process_is_gone(&with(1, "1")), "another process of that number");
        assert!(process_is_gone(&with(2, "00000000")), "before the machine started");
        assert!(!process_is_gone(&with(3, "1")), "another numbering");
        assert!(!process_is_gone("nonsense"));
    }
}
