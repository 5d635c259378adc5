//! Every schema that was released opens, and what it held is there.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use trainyard_store::{Error, Journal};

#[test]
fn the_first_schema_is_brought_up_to_date() {
    let folder = std::env::temp_dir().join(format!("trainyard-schema-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("history.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../src/schema_1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO runs VALUES (7, 3, 'a/b', '/r', 'ci.yml', 'ci', 't', 'push', 'refs/heads/main', 'abc', 'failure', 1, 10, 20);
         INSERT INTO jobs VALUES (7, 1, 'test', 'Test', 'failure', 'why', 11, 19, '/log');
         INSERT INTO steps VALUES (7, 1, 0, 'Run x', 'failure', 'failure', 'no', 8, '0-5 9-12');
         INSERT INTO notes (run, node, step, kind, text, place) VALUES (7, 1, 0, 'error', 'bad', 'f:1');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let journal = Journal::open(&folder).unwrap();
    let run = journal.run(7).unwrap().unwrap();
    assert_eq!((run.number, run.attempt, run.call.as_str()), (3, 1, ""));
    let job = &journal.jobs(7).unwrap()[0];
    assert_eq!((job.attempt, job.name.as_str(), job.started), (1, "Test", Some(11)));
    let step = &journal.steps(7).unwrap()[0];
    assert_eq!((step.attempt, &step.pieces[..]), (1, &[(0, 5), (9, 12)][..]));
    assert_eq!(journal.notes(7).unwrap()[0].text, "bad");
    drop(journal);

    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert!(matches!(Journal::open(&folder), Err(Error::Newer)));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_run_begins_again_once() {
    let journal = Journal::in_memory().unwrap();
    let mut row = trainyard_store::RunRow { status: "running".into(), ..Default::default() };
    journal.add_run(&mut row).unwrap();
    let next = trainyard_store::RunRow { attempt: 2, process: 5, ..row.clone() };
    assert!(!journal.begin_again(&next).unwrap(), "it goes on");
    journal.end_run(row.id, "failure", 4).unwrap();
    assert!(journal.begin_again(&next).unwrap());
    journal.end_run(row.id, "failure", 5).unwrap();
    assert!(!journal.begin_again(&next).unwrap(), "another attempt has that number");
    let found = journal.run(row.id).unwrap().unwrap();
    assert_eq!((found.attempt, found.process), (2, 5));
}

/// A new history has the tables that an old one is brought to.
#[test]
fn new_and_migrated_are_the_same() {
    let tables = |scripts: &[&str]| {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        for script in scripts {
            database.execute_batch(script).unwrap();
        }
        let mut statement = database
            .prepare("SELECT m.name, c.name, c.type, c.pk, c.\"notnull\", COALESCE(c.dflt_value, '') FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type IN ('table', 'index') ORDER BY 1, c.cid")
            .unwrap();
        let rows = statement.query_map([], |r| {
            let cell = |i| r.get::<_, rusqlite::types::Value>(i);
            Ok(format!(
                "{:?} {:?} {:?} {:?} {:?} {:?}",
                cell(0)?,
                cell(1)?,
                cell(2)?,
                cell(3)?,
                cell(4)?,
                cell(5)?
            ))
        });
        rows.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap()
    };
    let migrated = tables(&[
        include_str!("../src/schema_1.sql"),
        include_str!("../src/schema_2.sql"),
        include_str!("../src/schema_3.sql"),
    ]);
    assert_eq!(tables(&[include_str!("../src/schema.sql")]), migrated);
    assert!(migrated.len() > 40);
}
