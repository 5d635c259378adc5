//! Random mutations of files: what a slip of the hand, a bad merge or a fuzzer makes of them.

use std::time::{Duration, Instant};

use fastrand::Rng;
use trainyard_diagnostics::{Source, render_json, render_text};
use trainyard_lint::{Definition, Settings, apply_fixes, lint, without_ignored};
use trainyard_workflow::{read_action, read_workflow};

/// What one file may take, in a build without optimisation on a busy machine.
const MOST: Duration = Duration::from_secs(5);

/// Pieces that mean something to YAML, expressions or the rules.
const PIECES: &[&str] = &[
    "${{",
    "}}",
    "'",
    "\"",
    ": ",
    "- ",
    "\n",
    "\t",
    "&a ",
    "*a",
    "<<: *a",
    "|\n",
    ">-\n",
    "[",
    "]",
    "{",
    "}",
    "#",
    "!!str ",
    "? ",
    "---\n",
    "\u{feff}",
    "é",
    "💥",
    "needs:",
    "if: ${{ always() }} x",
    "on:",
    "::set-output name=a::b",
    "toJSON(secrets)",
    "# trainyard: ignore[script/injection]",
    "github.event.issue.title",
    "matrix.*",
    "uses: a/b@v1",
    "permissions: write-all",
    "\\",
    "\0",
];

fn boundary(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len())
}

/// A text changed in a few places.
fn mutate(text: &str, other: &str, rng: &mut Rng) -> String {
    let mut text = text.to_owned();
    for _ in 0..rng.usize(1..=4) {
        let a = boundary(&text, rng.usize(..=text.len()));
        let b = boundary(&text, (a + rng.usize(..40)).min(text.len()));
        match rng.u8(..7) {
            0 => text.replace_range(a..b, ""),
            1 => text.insert_str(a, PIECES[rng.usize(..PIECES.len())]),
            2 => text.replace_range(a..b, PIECES[rng.usize(..PIECES.len())]),
            3 => {
                let piece = text[a..b].to_owned();
                text.insert_str(a, &piece);
            }
            4 => {
                let c = boundary(other, rng.usize(..=other.len()));
                let d = boundary(other, (c + rng.usize(..200)).min(other.len()));
                text.insert_str(a, &other[c..d]);
            }
            5 => text.truncate(a),
            // Lines move to another depth.
            _ => {
                let line = text[..a].rfind('\n').map_or(0, |i| i + 1);
                text.insert_str(line, &" ".repeat(rng.usize(1..5)));
            }
        }
    }
    text
}

/// Everything that `check` does with a text.
fn look(text: &str) {
    let source = Source::new("mutant.yml", text);
    let settings = Settings { labels: vec!["gpu".into()], ..Settings::default() };
    let (workflow, mut found) = read_workflow(&source, 0);
    if let Some(workflow) = &workflow {
        found.extend(lint(&source, Definition::Workflow(workflow), &settings));
    }
    if let (Some(action), more) = read_action(&source, 0) {
        found.extend(more);
        found.extend(lint(&source, Definition::Action(&action), &settings));
    }
    let found = without_ignored(&source, found);
    let report = trainyard_diagnostics::FileReport { source: &source, diagnostics: &found };
    let _ = render_json(&[report]);
    let report = trainyard_diagnostics::FileReport { source: &source, diagnostics: &found };
    let _ = render_text(&[report], false);
    let _ = apply_fixes(text, &found);
}

thread_local! {
    /// The mutation that the thread is at.
    static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// So many mutations; how long the slowest took. A panic names the mutation and ends the process.
pub fn run(files: &[String], count: u64) -> Duration {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("mutation {} panicked", NOW.get());
        hook(info);
        std::process::exit(1);
    }));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let slowest: Vec<Duration> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let mut slowest = Duration::ZERO;
                    for seed in (part..count).step_by(usize::try_from(threads).unwrap_or(1)) {
                        let mut rng = Rng::with_seed(seed);
                        let file = &files[rng.usize(..files.len())];
                        let other = &files[rng.usize(..files.len())];
                        let text = mutate(file, other, &mut rng);
                        let began = Instant::now();
                        NOW.set(seed);
                        look(&text);
                        let took = began.elapsed();
                        if took > MOST {
                            eprintln!("mutation {seed} took {took:?}:\n{text}");
                            std::process::exit(1);
                        }
                        slowest = slowest.max(took);
                    }
                    slowest
                })
            })
            .collect();
        parts.into_iter().map(|p| p.join().unwrap_or(Duration::MAX)).collect()
    });
    slowest.into_iter().max().unwrap_or_default()
}
