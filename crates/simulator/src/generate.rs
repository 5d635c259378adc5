//! The workflow of a seed: small, valid, with something of everything the engine decides about.

use std::collections::BTreeMap;

use fastrand::Rng;

/// Where the root stands, and what it may call.
pub(crate) const ROOT: &str = ".github/workflows/root.yml";
const CALLED: &str = ".github/workflows/called.yml";

/// Files by path.
pub(crate) fn files(rng: &mut Rng) -> BTreeMap<String, String> {
    let mut root = String::from("on: push\n");
    if rng.u8(..10) < 2 {
        root.push_str(&format!(
            "concurrency: {{group: top, cancel-in-progress: {}}}\n",
            rng.bool()
        ));
    }
    root.push_str("jobs:\n");
    let count = rng.usize(1..=5);
    for number in 0..count {
        job(rng, &mut root, number, true);
    }
    let mut called = String::from(
        "on:\n  workflow_call:\n    outputs: {v: {value: '${{ jobs.a.outputs.v }}'}}\njobs:\n",
    );
    for number in 0..rng.usize(1..=2) {
        job(rng, &mut called, number, false);
    }
    BTreeMap::from([(ROOT.to_owned(), root), (CALLED.to_owned(), called)])
}

fn name(number: usize) -> char {
    char::from(b'a' + u8::try_from(number).unwrap_or(0))
}

fn job(rng: &mut Rng, out: &mut String, number: usize, may_call: bool) {
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("  {}:", name(number)));
    let needs: Vec<char> = (0..number).filter(|_| rng.u8(..10) < 4).map(name).collect();
    let first = needs.first().copied();
    if !needs.is_empty() {
        let list: Vec<String> = needs.iter().map(char::to_string).collect();
        line(format!("    needs: [{}]", list.join(", ")));
    }
    let condition = match rng.u8(..14) {
        0 => Some("always()".to_owned()),
        1 => Some("failure()".to_owned()),
        2 => Some("cancelled()".to_owned()),
        3 => Some("success() || failure()".to_owned()),
        4 => first.map(|n| format!("needs.{n}.outputs.v == '1'")),
        5 => first.map(|n| format!("always() && needs.{n}.result != 'cancelled'")),
        6 => Some("fromJSON('{') == 1".to_owned()),
        _ => None,
    };
    if let Some(condition) = condition {
        line(format!("    if: ${{{{ {condition} }}}}"));
    }
    if rng.u8(..10) < 3 {
        let matrix = match (rng.u8(..5), first) {
            (0, Some(need)) => {
                format!("\"${{{{ fromJSON(needs.{need}.outputs.list || '[]') }}}}\"")
            }
            _ => "[1, 2, 3]".to_owned(),
        };
        line("    strategy:".into());
        line(format!("      matrix: {{n: {matrix}}}"));
        line(format!("      fail-fast: {}", rng.bool()));
        if rng.bool() {
            line(format!("      max-parallel: {}", rng.u8(1..=2)));
        }
    }
    if rng.u8(..10) < 3 {
        let group = ["one", "two"][rng.usize(..2)];
        line(format!("    concurrency: {{group: {group}, cancel-in-progress: {}}}", rng.bool()));
    }
    if may_call && rng.u8(..10) < 2 {
        line(format!("    uses: ./{CALLED}"));
        line("    secrets: inherit".into());
        return;
    }
    line("    runs-on: ubuntu-latest".into());
    if rng.u8(..10) < 2 {
        line("    continue-on-error: true".into());
    }
    line(format!("    timeout-minutes: {}", rng.u8(1..=3)));
    line("    env: {TOKEN: '${{ secrets.TOKEN }}'}".into());
    line(
        "    outputs: {v: '${{ steps.s0.outputs.v }}', list: '${{ steps.s0.outputs.list }}', secret: '${{ steps.s0.outputs.secret }}'}"
            .into(),
    );
    line("    steps:".into());
    let mut background: Vec<String> = Vec::new();
    for step in 0..rng.usize(1..=5) {
        let id = format!("s{step}");
        match (rng.u8(..12), background.last().cloned()) {
            (0, Some(target)) => line(format!("      - {{wait: [{target}]}}")),
            (1, Some(_)) => line("      - {wait-all: true}".into()),
            (2, Some(target)) => {
                background.pop();
                line(format!("      - {{cancel: {target}}}"));
            }
            _ => {
                line(format!("      - id: {id}"));
                line(format!("        run: work {step}"));
                let condition = match rng.u8(..10) {
                    0 => Some("always()"),
                    1 => Some("failure()"),
                    2 => Some("steps.s0.outputs.v == '1'"),
                    3 => Some("!cancelled()"),
                    _ => None,
                };
                if let Some(condition) = condition {
                    line(format!("        if: ${{{{ {condition} }}}}"));
                }
                if rng.u8(..10) < 2 {
                    line("        continue-on-error: true".into());
                }
                if rng.u8(..10) < 2 {
                    line("        timeout-minutes: 1".into());
                }
                if step > 0 && rng.u8(..10) < 2 {
                    line("        background: true".into());
                    background.push(id);
                }
            }
        }
    }
}
