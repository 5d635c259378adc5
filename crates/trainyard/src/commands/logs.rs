//! `trainyard logs`: what the steps of a run printed.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::means_job;
use super::view::{find, open_jobs};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::paths::data_dir;
use trainyard_store::Journal;

/// Which steps.
pub struct Which {
    /// A job by its name, path or id.
    pub job: Option<String>,
    /// A step by its name or number from 1.
    pub step: Option<String>,
    /// Only those that failed.
    pub failed: bool,
    /// Those of that attempt; of each job its newest if none.
    pub attempt: Option<i64>,
}

/// Prints the logs of those steps.
pub fn logs(run: Option<i64>, which: &Which) -> Result<Exit> {
    let journal = Journal::open(&data_dir()?)?;
    let row = find(&journal, run)?;
    let jobs = journal.jobs(row.id)?;
    let steps = journal.steps(row.id)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut any = false;
    for job in &jobs {
        let wanted = which.job.as_ref().is_none_or(|w| means_job(w, &job.name, &job.path));
        let counts = match which.attempt {
            Some(attempt) => job.attempt == attempt,
            None => {
                let newer =
                    |j: &&trainyard_store::JobRow| j.node == job.node && j.attempt > job.attempt;
                !job.superseded && jobs.iter().find(newer).is_none()
            }
        };
        if !wanted || !counts {
            continue;
        }
        for step in steps.iter().filter(|s| (s.node, s.attempt) == (job.node, job.attempt)) {
            let named = which.step.as_ref().is_none_or(|w| {
                step.name.eq_ignore_ascii_case(w) || (step.index + 1).to_string() == *w
            });
            if !named || (which.failed && step.outcome != "failure") || step.pieces.is_empty() {
                continue;
            }
            any = true;
            let heading = format!("{} · {}", job.name, step.name);
            if !show(&mut out, &heading, job.attempt, &job.log, &step.pieces)? {
                return Ok(Exit::Success);
            }
        }
        // What a step printed that never ended, as its process was killed.
        let said = steps.iter().filter(|s| (s.node, s.attempt) == (job.node, job.attempt));
        let end = said.flat_map(|s| &s.pieces).map(|p| p.1).max().unwrap_or(0);
        let size = std::fs::metadata(&job.log).map_or(0, |m| m.len());
        let whole = which.step.is_none();
        if whole && size > end && matches!(job.outcome.as_str(), "lost" | "cancelled") {
            any = true;
            let heading = format!("{} · (cut short)", job.name);
            if !show(&mut out, &heading, job.attempt, &job.log, &[(end, size)])? {
                return Ok(Exit::Success);
            }
        }
    }
    // Jobs that are not over show what is there of their logs.
    let open =
        if which.step.is_none() && !which.failed { open_jobs(&journal, &row)? } else { Vec::new() };
    for job in
        open.iter().filter(|j| which.job.as_ref().is_none_or(|w| j.name.eq_ignore_ascii_case(w)))
    {
        let Some(log) = &job.log else { continue };
        any = true;
        let size = std::fs::metadata(log).map_or(0, |m| m.len());
        let heading = format!("{} · ({})", job.name, job.state);
        if !show(&mut out, &heading, row.attempt, &log.to_string_lossy(), &[(0, size)])? {
            return Ok(Exit::Success);
        }
    }
    // A reader that has gone away has seen enough.
    let _ = out.flush();
    if !any {
        eprintln!("no such logs in run {}", row.id);
        let asked = which.job.is_some() || which.step.is_some() || which.attempt.is_some();
        return Ok(if asked { Exit::Invalid } else { Exit::Success });
    }
    Ok(Exit::Success)
}

/// Prints pieces of a log under a heading; false if nobody reads any more.
fn show(
    out: &mut dyn Write,
    heading: &str,
    attempt: i64,
    log: &str,
    pieces: &[(u64, u64)],
) -> Result<bool> {
    let again = if attempt > 1 { format!("  (attempt {attempt})") } else { String::new() };
    let shown = writeln!(out, "── {heading}{again}").and_then(|()| copy(log, pieces, out));
    match shown {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::new(format!("the log {log} cannot be read: {error}"))),
        Ok(()) => Ok(true),
    }
}

fn copy(log: &str, pieces: &[(u64, u64)], out: &mut dyn Write) -> io::Result<()> {
    let mut file = std::fs::File::open(log)?;
    for (from, to) in pieces {
        file.seek(SeekFrom::Start(*from))?;
        io::copy(&mut (&mut file).take(to - from), out)?;
    }
    Ok(())
}
