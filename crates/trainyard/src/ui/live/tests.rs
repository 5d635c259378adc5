//! Golden screens: what a terminal shows after the bytes that were painted.

use std::path::Path;

use trainyard_job::{Annotation, AnnotationLevel, StepReport};
use trainyard_model::Outcome;

use super::*;
use crate::ui::Standing;

const RUN: i64 = 12;

/// A view with a clock of its own, and a terminal that reads what it paints.
struct Bench {
    screen: Screen,
    terminal: vt100::Parser,
    at: i64,
}

fn cells(number: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(number).unwrap()
}

impl Bench {
    fn new(columns: u16, rows: u16) -> Bench {
        let mut bench = Bench {
            screen: Screen::new(true),
            terminal: vt100::Parser::new(cells(rows), cells(columns), 0),
            at: 1_000_000,
        };
        bench.take(&Event::RunBegan {
            run: RUN,
            workflow: "Train",
            path: ".github/workflows/train.yml",
            title: "Lower the learning rate",
        });
        bench
    }

    fn take(&mut self, event: &Event<'_>) {
        self.screen.tree.take(event, self.at);
    }

    fn waits(&mut self, node: i64, job: &str, group: Option<&str>, why: &str) {
        let standing = Standing::Waits;
        self.take(&Event::JobStands { run: RUN, node, job, group, standing, why });
    }

    fn begins(&mut self, node: i64, job: &str) {
        self.take(&Event::JobBegan { run: RUN, node, job, log: Path::new("/nowhere") });
    }

    fn step(&mut self, node: i64, index: usize, step: &str) {
        self.take(&Event::StepBegan { run: RUN, node, job: "", index, step });
    }

    fn step_ends(&mut self, node: i64, index: usize, step: &str, outcome: Outcome, millis: i64) {
        self.at += millis;
        let report = StepReport { outcome, conclusion: outcome, reason: None };
        self.take(&Event::StepEnded {
            run: RUN,
            node,
            index,
            job: "",
            step,
            report: &report,
            millis,
            log: Path::new("/nowhere"),
            pieces: &[],
        });
    }

    fn ends(&mut self, node: i64, job: &str, outcome: Outcome, reason: &str, millis: i64) {
        let millis = Some(millis);
        let not_run = false;
        self.take(&Event::JobEnded { run: RUN, node, job, outcome, not_run, reason, millis });
    }

    fn last_line(&mut self, node: i64, text: &str) {
        let run = self.screen.tree.runs.first_mut().unwrap();
        run.jobs.get_mut(&node).unwrap().last = text.to_owned();
    }

    fn size(&self) -> (usize, usize) {
        let (rows, columns) = self.terminal.screen().size();
        (usize::from(columns.get()), usize::from(rows.get()))
    }

    fn paint(&mut self) -> String {
        let mut bytes = Vec::new();
        let size = self.size();
        self.screen.paint(&mut bytes, size, self.at).unwrap();
        self.terminal.process(&bytes);
        self.shown()
    }

    fn shown(&self) -> String {
        let text = self.terminal.screen().contents();
        text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }
}

/// A run in which something of everything happens.
fn training(columns: u16, rows: u16) -> Bench {
    let mut bench = Bench::new(columns, rows);
    bench.waits(1, "lint", None, "");
    bench.waits(2, "test", None, "after lint");
    bench.waits(3, "deploy", None, "after test, train");
    bench.begins(1, "lint");
    bench.step(1, 0, "Run actions/checkout@v4");
    bench.step_ends(1, 0, "Run actions/checkout@v4", Outcome::Success, 120);
    bench.ends(1, "lint", Outcome::Success, "", 3_240);
    bench.begins(2, "test");
    bench.step(2, 0, "Run actions/checkout@v4");
    bench.step_ends(2, 0, "Run actions/checkout@v4", Outcome::Success, 90);
    bench.step(2, 1, "Run pytest -q");
    for leg in 0..3i64 {
        let name = format!("train ({leg})");
        bench.waits(10 + leg, &name, Some("train"), "waits for a place");
    }
    bench.begins(10, "train (0)");
    bench.step(10, 0, "Run python train.py");
    bench.step_ends(10, 0, "Run python train.py", Outcome::Failure, 4_000);
    let mut remark = Annotation::bare(AnnotationLevel::Error, "CUDA out of memory\nmore");
    (remark.file, remark.line) = (Some("train.py".into()), Some(41));
    bench.take(&Event::Annotated { run: RUN, node: 10, job: "", annotation: &remark });
    bench.ends(10, "train (0)", Outcome::Failure, "", 4_100);
    bench.begins(11, "train (1)");
    bench.step(11, 0, "Run python train.py");
    bench.at += 60_000;
    bench.last_line(2, "tests/test_loss.py ......F...");
    bench.last_line(11, "epoch 3/10  loss 0.4131  学習率 0.001");
    bench
}

#[test]
fn the_tree_at_80_by_24() {
    insta::assert_snapshot!(training(80, 24).paint());
}

#[test]
fn the_tree_at_120_by_40() {
    insta::assert_snapshot!(training(120, 40).paint());
}

#[test]
fn a_narrow_and_a_low_terminal() {
    insta::assert_snapshot!("narrow", training(32, 24).paint());
    insta::assert_snapshot!("low", training(80, 6).paint());
}

#[test]
fn three_hundred_legs_are_folded() {
    let mut bench = Bench::new(80, 24);
    for leg in 0..300i64 {
        let name = format!("sweep ({leg})");
        bench.waits(100 + leg, &name, Some("sweep"), "");
        if leg < 250 {
            bench.begins(100 + leg, &name);
            bench.step(100 + leg, 0, "Run python sweep.py");
        }
        match leg {
            0..200 if leg % 50 == 7 => bench.ends(100 + leg, &name, Outcome::Failure, "", 900),
            0..200 => bench.ends(100 + leg, &name, Outcome::Success, "", 900),
            _ => {}
        }
    }
    bench.at += 30_000;
    let shown = bench.paint();
    assert!(shown.lines().count() < 24, "{shown}");
    insta::assert_snapshot!(shown);
}

/// Frames replace each other, whatever was said in between, and however the size changes.
#[test]
fn nothing_is_left_of_earlier_frames() {
    let mut bench = training(80, 24);
    bench.paint();
    bench.terminal.screen_mut().set_size(cells(24), cells(36));
    bench.paint();
    bench.terminal.screen_mut().set_size(cells(24), cells(100));
    bench.at += 1_000;
    let shown = bench.paint();
    assert_eq!(shown.matches("Train · Lower").count(), 1, "{shown}");
    // Something else is written where the tree was, and the tree comes back below it.
    let mut bytes = Vec::new();
    bench.screen.clear(&mut bytes).unwrap();
    bytes.extend_from_slice(b"note: waiting for a group\r\n");
    bench.terminal.process(&bytes);
    let shown = bench.paint();
    assert!(shown.contains("note: waiting for a group\n▶ Train"), "{shown}");
    assert_eq!(shown.matches("pytest").count(), 1, "{shown}");
    let mut bytes = Vec::new();
    bench.screen.clear(&mut bytes).unwrap();
    bench.terminal.process(&bytes);
    assert!(!bench.shown().contains("Train"), "{}", bench.shown());
    assert!(!bench.terminal.screen().hide_cursor());
}

#[test]
fn what_steps_print_cannot_move_the_cursor() {
    let mut bench = training(80, 24);
    bench.last_line(2, "a\x1b[2Jb\x07\tc");
    let shown = bench.paint();
    assert!(shown.contains("a[2Jb c"), "{shown}");
    assert!(shown.starts_with("▶ Train"), "{shown}");
}
