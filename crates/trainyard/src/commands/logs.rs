//! `trainyard logs`: what the steps of a run printed.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::means_job;
use super::view::find;
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
            let again = match job.attempt {
                1 => String::new(),
                attempt => format!("  (attempt {attempt})"),
            };
            let shown = writeln!(out, "── {} · {}{again}", job.name, step.name)
                .and_then(|()| copy(&job.log, &step.pieces, &mut out));
            match shown {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Exit::Success);
                }
                Err(error) => {
                    return Err(Error::new(format!("the log {} cannot be read: {error}", job.log)));
                }
                Ok(()) => {}
            }
        }
    }
    // A reader that has gone away has seen enough.
    let _ = out.flush();
    if !any {
        eprintln!("no such logs in run {}", row.id);
    }
    Ok(Exit::Success)
}

fn copy(log: &str, pieces: &[(u64, u64)], out: &mut dyn Write) -> io::Result<()> {
    let mut file = std::fs::File::open(log)?;
    for (from, to) in pieces {
        file.seek(SeekFrom::Start(*from))?;
        io::copy(&mut (&mut file).take(to - from), out)?;
    }
    Ok(())
}
