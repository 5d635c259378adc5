use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Error, Result};

/// What each schema adds to the one before.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];
/// What all of them make.
const NEW: &str = include_str!("schema.sql");
/// Bytes of the write-ahead log that the next start folds in.
const MAX_LOG: u64 = 256 * 1024;

/// The history of this machine's runs.
#[derive(Debug)]
pub struct Journal {
    pub(crate) connection: Connection,
}

/// A run as the history has it.
#[derive(Debug, Clone, Default)]
pub struct RunRow {
    /// Its number on this machine, `github.run_id`.
    pub id: i64,
    /// Its number within the workflow.
    pub number: i64,
    /// `owner/name`
    pub repository: String,
    /// Where the repository is.
    pub root: String,
    /// Path of the workflow file.
    pub path: String,
    /// Its name.
    pub workflow: String,
    /// `run-name`, or what stands for it.
    pub title: String,
    /// The event.
    pub event: String,
    /// The ref.
    pub reference: String,
    /// The commit.
    pub sha: String,
    /// `running`, or how it ended.
    pub status: String,
    /// The process that runs it.
    pub process: i64,
    /// Milliseconds since the epoch.
    pub started: i64,
    /// Milliseconds since the epoch.
    pub ended: Option<i64>,
    /// How often it was begun, from 1.
    pub attempt: i64,
    /// What a re-run needs, JSON; empty for runs of before there were re-runs.
    pub call: String,
}

/// A job as the history has it.
#[derive(Debug, Clone, Default)]
pub struct JobRow {
    /// Its place in the run.
    pub node: i64,
    /// The attempt at the run that it is of.
    pub attempt: i64,
    /// `deploy/build[0]`
    pub path: String,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: String,
    /// Why.
    pub reason: String,
    /// What it waited for once its needs were settled; empty if for nothing.
    pub waited: String,
    /// When its needs were settled, milliseconds since the epoch.
    pub ready: Option<i64>,
    /// Milliseconds since the epoch.
    pub started: Option<i64>,
    /// Milliseconds since the epoch.
    pub ended: i64,
    /// Its log in the run's folder; empty if it never ran.
    pub log: String,
    /// Whether a re-run made what it is part of anew.
    pub superseded: bool,
}

/// A step as the history has it.
#[derive(Debug, Clone, Default)]
pub struct StepRow {
    /// The job it belongs to.
    pub node: i64,
    /// The attempt at the run that it is of.
    pub attempt: i64,
    /// Its number in file order.
    pub index: i64,
    /// Its name.
    pub name: String,
    /// How it ended, before `continue-on-error`.
    pub outcome: String,
    /// After it.
    pub conclusion: String,
    /// Why.
    pub reason: String,
    /// When it began, milliseconds since the epoch.
    pub started: Option<i64>,
    /// Milliseconds it took.
    pub millis: i64,
    /// Its pieces of the job's log.
    pub pieces: Vec<(u64, u64)>,
}

/// A job of a run, at an attempt, that begins runs of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The run.
    pub run: i64,
    /// The job's place in it.
    pub node: i64,
    /// The attempt at the run.
    pub attempt: i64,
}

/// An annotation or a summary.
#[derive(Debug, Clone, Default)]
pub struct NoteRow {
    /// The job it belongs to.
    pub node: i64,
    /// The attempt at the run that it is of.
    pub attempt: i64,
    /// The step it belongs to.
    pub step: i64,
    /// `error`, `warning`, `notice`, `summary`, `cache`
    pub kind: String,
    /// What it says.
    pub text: String,
    /// `file:line`, if it has a place.
    pub place: String,
}

impl Journal {
    /// Opens the history in a data folder, and makes it if there is none.
    pub fn open(data: &Path) -> Result<Journal> {
        let connection = Connection::open(data.join("history.db"))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let journal = Journal::migrate(connection, true)?;
        let connection = &journal.connection;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // A checkpoint at every end would cost each small run several waits for the disk, a long
        // log each start its reading: so the log is folded in when it has grown, and only then.
        connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let log = data.join("history.db-wal").metadata().map_or(0, |m| m.len());
        if log > MAX_LOG {
            // Another process that reads meanwhile only puts it off.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(journal)
    }

    /// A history in memory, for the simulator.
    pub fn in_memory() -> Result<Journal> {
        Journal::migrate(Connection::open_in_memory()?, false)
    }

    /// Brings the schema up to date.
    fn migrate(connection: Connection, wal: bool) -> Result<Journal> {
        let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        let version =
            || connection.pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0));
        let found = version()?;
        if found > newest {
            return Err(Error::Newer);
        }
        if found < newest {
            if wal {
                connection.pragma_update(None, "journal_mode", "WAL")?;
            }
            // Another process may be at it at this moment: asked again under the lock.
            connection.execute_batch("BEGIN IMMEDIATE")?;
            match usize::try_from(version()?).unwrap_or_default() {
                0 => connection.execute_batch(NEW)?,
                found => {
                    for migration in MIGRATIONS.iter().skip(found) {
                        connection.execute_batch(migration)?;
                    }
                }
            }
            connection.pragma_update(None, "user_version", newest)?;
            connection.execute_batch("COMMIT")?;
        }
        Ok(Journal { connection })
    }

    /// Begins a transaction, unless one is open: whatever is written until [`Journal::commit`]
    /// shares it.
    pub(crate) fn touch(&self) -> Result<()> {
        if self.connection.is_autocommit() {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        Ok(())
    }

    /// Whether something was written since the last commit.
    pub fn is_dirty(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Makes durable what was written since the last time.
    pub fn commit(&self) -> Result<()> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("COMMIT")?;
        }
        Ok(())
    }

    /// Adds a run; gives it its numbers.
    pub fn add_run(&self, row: &mut RunRow) -> Result<()> {
        self.touch()?;
        let number: i64 = self.connection.query_row(
            "SELECT COALESCE(MAX(number), 0) + 1 FROM runs WHERE repository = ?1 AND path = ?2",
            params![row.repository, row.path],
            |r| r.get(0),
        )?;
        row.number = number;
        self.connection.execute(
            "INSERT INTO runs (number, repository, root, path, workflow, title, event, reference, sha, status, process, started, call)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
            params![
                row.number, row.repository, row.root, row.path, row.workflow, row.title, row.event,
                row.reference, row.sha, row.status, row.process, row.started, row.call
            ],
        )?;
        row.id = self.connection.last_insert_rowid();
        row.attempt = 1;
        Ok(())
    }

    /// Begins a run again; false if somebody else has begun it meanwhile.
    pub fn begin_again(&self, row: &RunRow) -> Result<bool> {
        self.touch()?;
        let changed = self.connection.execute(
            "UPDATE runs SET status = 'running', process = ?2, attempt = ?3, ended = NULL
             WHERE id = ?1 AND attempt = ?3 - 1 AND status <> 'running'",
            params![row.id, row.process, row.attempt],
        )?;
        Ok(changed > 0)
    }

    /// Sets the title that is known only once the run has its numbers.
    pub fn set_title(&self, run: i64, title: &str) -> Result<()> {
        self.touch()?;
        self.connection.execute("UPDATE runs SET title = ?2 WHERE id = ?1", params![run, title])?;
        Ok(())
    }

    /// Sets the title and what a re-run needs, which are known only once the run has its numbers.
    pub fn set_call(&self, run: i64, title: &str, call: &str) -> Result<()> {
        self.touch()?;
        self.connection.execute(
            "UPDATE runs SET title = ?2, call = ?3 WHERE id = ?1",
            params![run, title, call],
        )?;
        Ok(())
    }

    /// Appends records.
    pub fn append(&self, run: i64, from: usize, at: i64, records: &[String]) -> Result<()> {
        self.touch()?;
        let mut statement = self
            .connection
            .prepare_cached("INSERT INTO records (run, seq, at, record) VALUES (?1,?2,?3,?4)")?;
        for (i, record) in records.iter().enumerate() {
            let seq = i64::try_from(from + i).unwrap_or(i64::MAX);
            statement.execute(params![run, seq, at, record])?;
        }
        Ok(())
    }

    /// The records of a run, in order.
    pub fn records(&self, run: i64) -> Result<Vec<String>> {
        let mut statement =
            self.connection.prepare("SELECT record FROM records WHERE run = ?1 ORDER BY seq")?;
        let rows = statement.query_map(params![run], |r| r.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Adds a job that is over.
    pub fn add_job(&self, run: i64, row: &JobRow) -> Result<()> {
        self.touch()?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO jobs (run, node, attempt, path, name, outcome, reason, waited, ready, started, ended, log)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
            )?
            .execute(params![
                run, row.node, row.attempt, row.path, row.name, row.outcome, row.reason, row.waited,
                row.ready, row.started, row.ended, row.log
            ])?;
        Ok(())
    }

    /// Says that what a job is part of was made anew: it stays for its history alone.
    pub fn supersede_job(&self, run: i64, node: i64) -> Result<()> {
        self.touch()?;
        self.connection.execute(
            "UPDATE jobs SET superseded = 1 WHERE run = ?1 AND node = ?2",
            params![run, node],
        )?;
        Ok(())
    }

    /// Adds a step that is over.
    pub fn add_step(&self, run: i64, row: &StepRow) -> Result<()> {
        self.touch()?;
        let pieces: Vec<String> = row.pieces.iter().map(|(a, b)| format!("{a}-{b}")).collect();
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO steps (run, node, attempt, idx, name, outcome, conclusion, reason, started, millis, pieces)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
            )?
            .execute(params![
                run, row.node, row.attempt, row.index, row.name, row.outcome, row.conclusion,
                row.reason, row.started, row.millis, pieces.join(" ")
            ])?;
        Ok(())
    }

    /// Adds an annotation or a summary.
    pub fn add_note(&self, run: i64, row: &NoteRow) -> Result<()> {
        self.touch()?;
        self.connection
            .prepare_cached(
                "INSERT INTO notes (run, node, attempt, step, kind, text, place) VALUES (?1,?2,?3,?4,?5,?6,?7)",
            )?
            .execute(params![
                run, row.node, row.attempt, row.step, row.kind, row.text, row.place
            ])?;
        Ok(())
    }

    /// Notes how a run ended.
    pub fn end_run(&self, run: i64, status: &str, at: i64) -> Result<()> {
        self.touch()?;
        self.connection.execute(
            "UPDATE runs SET status = ?2, ended = ?3 WHERE id = ?1",
            params![run, status, at],
        )?;
        Ok(())
    }

    /// Marks runs as interrupted whose process is gone; which they are.
    pub fn abandoned(&self, gone: fn(i64) -> bool) -> Result<Vec<i64>> {
        let mut statement =
            self.connection.prepare("SELECT id, process FROM runs WHERE status = 'running'")?;
        let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)))?;
        let rows: Vec<(i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
        let runs: Vec<i64> = rows.iter().filter(|(_, p)| gone(*p)).map(|(id, _)| *id).collect();
        for id in &runs {
            self.touch()?;
            self.connection
                .execute("UPDATE runs SET status = 'interrupted' WHERE id = ?1", params![id])?;
        }
        Ok(runs)
    }

    /// The latest runs, newest first.
    pub fn runs(&self, limit: usize) -> Result<Vec<RunRow>> {
        let mut statement = self.connection.prepare(
            "SELECT id, number, repository, root, path, workflow, title, event, reference, sha, status, process, started, ended, attempt, call
             FROM runs ORDER BY id DESC LIMIT ?1",
        )?;
        let rows = statement.query_map(params![i64::try_from(limit).unwrap_or(20)], run_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The latest run that no other one began.
    pub fn latest(&self) -> Result<Option<RunRow>> {
        Ok(self
            .connection
            .query_row(
                "SELECT id, number, repository, root, path, workflow, title, event, reference, sha, status, process, started, ended, attempt, call
                 FROM runs WHERE id NOT IN (SELECT child FROM child_runs) ORDER BY id DESC LIMIT 1",
                params![],
                run_row,
            )
            .optional()?)
    }

    /// Notes that a job of a run, at an attempt, began another run.
    pub fn add_child(&self, parent: Parent, child: i64) -> Result<()> {
        self.touch()?;
        self.connection.execute(
            "INSERT OR REPLACE INTO child_runs (child, run, node, attempt) VALUES (?1, ?2, ?3, ?4)",
            params![child, parent.run, parent.node, parent.attempt],
        )?;
        Ok(())
    }

    /// The runs that jobs of a run began, and by which.
    pub fn children(&self, run: i64) -> Result<Vec<(Parent, i64)>> {
        let mut statement = self.connection.prepare(
            "SELECT run, node, attempt, child FROM child_runs WHERE run = ?1 ORDER BY child",
        )?;
        let rows = statement.query_map(params![run], |r| {
            Ok((Parent { run: r.get(0)?, node: r.get(1)?, attempt: r.get(2)? }, r.get(3)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// One run.
    pub fn run(&self, id: i64) -> Result<Option<RunRow>> {
        Ok(self
            .connection
            .query_row(
                "SELECT id, number, repository, root, path, workflow, title, event, reference, sha, status, process, started, ended, attempt, call
                 FROM runs WHERE id = ?1",
                params![id],
                run_row,
            )
            .optional()?)
    }

    /// The jobs of a run, all attempts, in the order they began.
    pub fn jobs(&self, run: i64) -> Result<Vec<JobRow>> {
        let mut statement = self.connection.prepare(
            "SELECT node, attempt, path, name, outcome, reason, waited, ready, started, ended, log, superseded
             FROM jobs WHERE run = ?1 ORDER BY attempt, COALESCE(started, ended), node",
        )?;
        let rows = statement.query_map(params![run], |r| {
            Ok(JobRow {
                node: r.get(0)?,
                attempt: r.get(1)?,
                path: r.get(2)?,
                name: r.get(3)?,
                outcome: r.get(4)?,
                reason: r.get(5)?,
                waited: r.get(6)?,
                ready: r.get(7)?,
                started: r.get(8)?,
                ended: r.get(9)?,
                log: r.get(10)?,
                superseded: r.get(11)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The steps of a run.
    pub fn steps(&self, run: i64) -> Result<Vec<StepRow>> {
        let mut statement = self.connection.prepare(
            "SELECT node, attempt, idx, name, outcome, conclusion, reason, started, millis, pieces
             FROM steps WHERE run = ?1 ORDER BY node, attempt, idx",
        )?;
        let rows = statement.query_map(params![run], |r| {
            let pieces: String = r.get(9)?;
            Ok(StepRow {
                node: r.get(0)?,
                attempt: r.get(1)?,
                index: r.get(2)?,
                name: r.get(3)?,
                outcome: r.get(4)?,
                conclusion: r.get(5)?,
                reason: r.get(6)?,
                started: r.get(7)?,
                millis: r.get(8)?,
                pieces: pieces
                    .split_whitespace()
                    .filter_map(|p| {
                        let (a, b) = p.split_once('-')?;
                        Some((a.parse().ok()?, b.parse().ok()?))
                    })
                    .collect(),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The annotations and summaries of a run.
    pub fn notes(&self, run: i64) -> Result<Vec<NoteRow>> {
        let mut statement = self.connection.prepare(
            "SELECT node, attempt, step, kind, text, place FROM notes WHERE run = ?1 ORDER BY id",
        )?;
        let rows = statement.query_map(params![run], |r| {
            Ok(NoteRow {
                node: r.get(0)?,
                attempt: r.get(1)?,
                step: r.get(2)?,
                kind: r.get(3)?,
                text: r.get(4)?,
                place: r.get(5)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn run_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: r.get(0)?,
        number: r.get(1)?,
        repository: r.get(2)?,
        root: r.get(3)?,
        path: r.get(4)?,
        workflow: r.get(5)?,
        title: r.get(6)?,
        event: r.get(7)?,
        reference: r.get(8)?,
        sha: r.get(9)?,
        status: r.get(10)?,
        process: r.get(11)?,
        started: r.get(12)?,
        ended: r.get(13)?,
        attempt: r.get(14)?,
        call: r.get(15)?,
    })
}
