//! The live view on a real pseudo-terminal, read by a terminal emulator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::Repo;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

struct Terminal {
    master: std::fs::File,
    child: Child,
    screen: vt100::Parser,
    /// When frames came.
    frames: Vec<Instant>,
    bytes: usize,
}

/// How a frame begins.
const FRAME: &[u8] = b"\x1b[?2026h";

impl Terminal {
    fn open(repo: &Repo, args: &[&str], columns: u16, rows: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || {
            let file = std::fs::OpenOptions::new().read(true).write(true).open(&name).unwrap();
            Stdio::from(file)
        };
        let child = repo
            .command(args)
            .env("TERM", "xterm-256color")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let cells = |n| NonZero::new(n).unwrap();
        Terminal {
            master: std::fs::File::from(master),
            child,
            screen: vt100::Parser::new(cells(rows), cells(columns), 0),
            frames: Vec::new(),
            bytes: 0,
        }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Reads what comes until the screen is as wanted, or the other side is closed.
    fn until(&mut self, wanted: impl Fn(&str) -> bool) {
        let mut buffer = vec![0; 64 * 1024];
        while !wanted(&self.text()) {
            // The end of the other side is an error here.
            let Ok(count) = self.master.read(&mut buffer) else { return };
            self.screen.process(&buffer[..count]);
            self.bytes += count;
            let starts = buffer[..count].windows(FRAME.len()).filter(|w| *w == FRAME).count();
            self.frames.extend(std::iter::repeat_n(Instant::now(), starts));
        }
    }

    fn exits(mut self, code: i32) -> Terminal {
        self.until(|_| false);
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{}", self.text());
        self
    }
}

#[test]
fn a_million_lines_stay_smooth() {
    let repo = Repo::with(
        "name: Lines\non: push\njobs:\n  many:\n    runs-on: ubuntu-latest\n    steps:\n      - run: for i in 1 2 3 4 5 6 7 8; do seq 1 125000; sleep 0.2; done\n      - run: echo over\n",
    );
    let mut terminal = Terminal::open(&repo, &["run"], 80, 24);
    terminal.until(|text| text.contains("Run for i in") && text.contains("125000"));
    assert!(terminal.screen.screen().hide_cursor());
    let terminal = terminal.exits(0);
    let gaps = terminal.frames.windows(2).map(|w| w[1].duration_since(w[0]));
    let longest = gaps.max().unwrap_or_default();
    assert!(terminal.frames.len() >= 8, "{} frames", terminal.frames.len());
    assert!(longest < Duration::from_secs(1), "{longest:?} without a frame");
    // Frames, not lines, are what the terminal gets.
    assert!(terminal.bytes < 200_000, "{} bytes", terminal.bytes);
    let text = terminal.text();
    assert!(text.contains("✓ many") && text.contains("Lines · success"), "{text}");
    assert!(!text.contains("▶"), "the tree is gone: {text}");
    assert!(!terminal.screen.screen().hide_cursor(), "the cursor is back");
    // The log of a million lines opens at once.
    let began = Instant::now();
    let mut child = repo.command(&["logs"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 64]).unwrap();
    let took = began.elapsed();
    drop(out);
    child.wait().unwrap();
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn the_failing_line_is_on_the_screen_and_the_shell_opens_where_it_broke() {
    let repo = Repo::with(
        "name: Test\non: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - name: pytest\n        working-directory: pkg\n        run: |\n          for i in $(seq 60); do echo \"test_$i PASSED\"; done\n          echo '>       assert loss < 1'\n          echo 'E       assert 4 < 1'\n          for i in $(seq 60); do echo \"warning $i\"; done\n          exit 1\n",
    );
    repo.file("pkg/x", "").commit("x");
    let mut terminal = Terminal::open(&repo, &["run", "--shell-on-failure"], 80, 24);
    terminal.until(|text| text.contains("`exit` leaves"));
    terminal.master.write_all(b"echo at $(basename $PWD)\n").unwrap();
    terminal.until(|text| text.contains("at pkg"));
    let text = terminal.text();
    assert!(text.contains("E       assert 4 < 1"), "the failing line is on the screen: {text}");
    terminal.master.write_all(b"exit\n").unwrap();
    let terminal = terminal.exits(1);
    assert!(terminal.text().contains("rerun 1 --job 'test' --from"), "{}", terminal.text());
}

#[test]
fn an_interrupt_leaves_the_terminal_as_it_was() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: exec sleep 100}]\n",
    );
    let mut terminal = Terminal::open(&repo, &["run"], 60, 10);
    terminal.until(|text| text.contains("Run exec sleep 100"));
    let pid = rustix::process::Pid::from_child(&terminal.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let terminal = terminal.exits(130);
    let text = terminal.text();
    assert!(!terminal.screen.screen().hide_cursor());
    assert!(text.contains("! a") && text.contains("cancelled"), "{text}");
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: echo hello}]\n",
    );
    let ran = repo.run(&["--output", "terminal"]);
    ran.exits(0);
    assert!(!ran.out.contains('\x1b'), "{}", ran.out);
    assert!(ran.out.contains("✓ a · Run echo hello"), "{}", ran.out);
}
