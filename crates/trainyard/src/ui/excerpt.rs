//! The lines of a step's log that say what went wrong, the failing one among them.

use std::path::Path;

use super::text::end_of;

/// Bytes at the end of a log that are looked at.
const LOOKED_AT: u64 = 512 * 1024;

/// So many lines of a failed step's log: those around the failure if it can be told, else the last
/// ones.
pub fn excerpt(log: &Path, pieces: &[(u64, u64)], lines: usize) -> Vec<String> {
    let text = end_of(log, pieces, LOOKED_AT);
    let text = anstream::adapter::strip_str(&text).to_string();
    around_failure(&text, lines)
}

/// What tells a failure, the surest first; of several the first that is found.
const SIGNS: &[fn(&str) -> bool] = &[
    // pytest marks the assertion that failed.
    |l| l.starts_with("E   ") || l == "E",
    // Rust.
    |l| l.contains("panicked at"),
    // unittest, doctest.
    |l| l.starts_with("FAIL: ") || l.starts_with("ERROR: "),
    // Go.
    |l| l.trim_start().starts_with("--- FAIL"),
    // Node's test runners.
    |l| l.contains("AssertionError"),
    // A Python traceback ends with the exception.
    |l| is_exception(l),
    // Compilers: `file:line:column: error: …`, `error[E0308]: …`.
    |l| l.contains(": error: ") || l.starts_with("error[") || l.starts_with("error: "),
    |l| l.starts_with("##[error]") && !l.starts_with("##[error]Process completed"),
];

/// `ValueError: …`, `torch.cuda.OutOfMemoryError: …` at the start of a line.
fn is_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let named =
        name.ends_with("Error") || name.ends_with("Exception") || name.ends_with("Interrupt");
    named && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
}

fn around_failure(text: &str, lines: usize) -> Vec<String> {
    let all: Vec<&str> = text.lines().map(|l| l.rsplit('\r').next().unwrap_or(l)).collect();
    // What the runner prints before a step's output says nothing of its failure.
    let first = match all.first().is_some_and(|l| l.starts_with("##[group]Run ")) {
        true => all.iter().position(|l| *l == "##[endgroup]").map_or(0, |i| i + 1),
        false => 0,
    };
    let all = &all[first..];
    let found = SIGNS.iter().find_map(|sign| {
        // An exception that led to others is above them: the last one ended the program.
        let at = all.iter().position(|l| sign(l))?;
        Some(at)
    });
    let (from, to) = match found {
        Some(at) => {
            let before = lines / 2;
            let to = (at + lines - before.min(at)).min(all.len());
            (to.saturating_sub(lines), to)
        }
        None => (all.len().saturating_sub(lines), all.len()),
    };
    all[from..to].iter().map(|l| (*l).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: usize, wanted: &[&str]) {
        assert_eq!(around_failure(text, lines), wanted, "{text}");
    }

    #[test]
    fn the_failing_line_is_among_them() {
        let header = "##[group]Run pytest\npytest\nshell: bash -e {0}\n##[endgroup]\n";
        let pytest = format!(
            "{header}collected 40 items\n{}    def test_loss():\n>       assert loss(3) == 2\nE       assert 4 == 2\n\ntest_loss.py:7: AssertionError\n{}1 failed in 0.3s\n##[error]Process completed with exit code 1.",
            "test_x.py .\n".repeat(30),
            "warning\n".repeat(30)
        );
        check(
            &pytest,
            6,
            &[
                "test_x.py .",
                "    def test_loss():",
                ">       assert loss(3) == 2",
                "E       assert 4 == 2",
                "",
                "test_loss.py:7: AssertionError",
            ],
        );
        let trace = "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    f()\nValueError: no\nbye\n";
        check(trace, 3, &["    f()", "ValueError: no", "bye"]);
        check("one\ntwo\nthree", 2, &["two", "three"]);
        check("", 5, &[]);
        check(
            "10%\r20%\r30%\nthread 'x' panicked at src/lib.rs:3",
            9,
            &["30%", "thread 'x' panicked at src/lib.rs:3"],
        );
    }
}
