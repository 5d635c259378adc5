//! No file makes the reader panic, whatever is done to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use proptest::prelude::*;
use trainyard_diagnostics::Source;
use trainyard_workflow::{cron, glob, read_action, read_workflow};

const FILES: [&str; 2] = [
    include_str!("../../../examples/iris/.github/workflows/train.yml"),
    "name: x\ndescription: y\ninputs: {a: {default: '${{ github.ref }}'}}\noutputs: {o: {value: '${{ steps.s.outputs.v }}'}}\nruns:\n  using: composite\n  steps:\n    - {id: s, run: 'echo ${{ inputs.a }}', shell: bash, if: \"!cancelled() && inputs.a != ''\"}\n",
];

fn read(text: &str) {
    let source = Source::new("f.yml", text);
    let (workflow, diagnostics) = read_workflow(&source, 0);
    assert_eq!(workflow.is_none(), trainyard_diagnostics::has_errors(&diagnostics));
    let _ = read_action(&source, 0);
    let report = trainyard_diagnostics::FileReport { source: &source, diagnostics: &diagnostics };
    let _ = trainyard_diagnostics::render_text(&[report], false);
}

#[test]
fn the_originals_are_fine() {
    let source = Source::new("train.yml", FILES[0]);
    assert_eq!(read_workflow(&source, 0).1, []);
    assert_eq!(read_action(&Source::new("action.yml", FILES[1]), 0).1, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&String::from_utf8_lossy(&bytes));
    }

    /// Real files with pieces cut out, doubled, and strange characters put in.
    #[test]
    fn mutations(
        file in 0usize..2,
        edits in proptest::collection::vec((0usize..4000, 0usize..60, 0u8..4, "[:\\-{}\\[\\]#&*!|>'\"%@` \\n\\t$a-z]{0,6}"), 1..6),
    ) {
        let mut text = FILES[file].to_owned();
        for (at, len, kind, piece) in edits {
            let from = text.floor_char_boundary(at % (text.len() + 1));
            let to = text.floor_char_boundary((from + len).min(text.len())).max(from);
            match kind {
                0 => text.replace_range(from..to, ""),
                1 => text.insert_str(from, &piece),
                2 => {
                    let copy = text[from..to].to_owned();
                    text.insert_str(from, &copy);
                }
                _ => text.replace_range(from..to, &piece),
            }
        }
        read(&text);
    }

    #[test]
    fn patterns(text in "[a-z*?+\\[\\]!\\\\/-]{0,20}", name in "[a-z/]{0,20}") {
        if let Ok(pattern) = glob::Pattern::parse(&text) {
            let _ = pattern.matches(&name);
        }
        let _ = cron::Cron::parse(&text);
    }
}
