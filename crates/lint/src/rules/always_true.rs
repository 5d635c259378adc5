//! Found by the reader of conditions (`workflow::convert`).

use trainyard_diagnostics::Severity;

use super::Rule;

pub(crate) const RULE: Rule = Rule {
    id: "if/always-true",
    severity: Severity::Warning,
    summary: "An `if` that is text around an expression is always true",
    check: None,
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "- run: x\n  if: ${{ github.ref }} == 'refs/heads/main'",
            "- run: x\n  if: \"!${{ github.event.created }}\"",
            "- run: x\n  if: ${{ failure() }} || ${{ cancelled() }}",
            "- run: x\n  if: |\n    ${{ github.actor == 'me' }}",
            "- run: x\n  if: \"${{ github.actor == 'me' }} \"",
            "jobs:\n  a:\n    if: not ${{ github.event.created }}\n    runs-on: ubuntu-latest\n    steps: [{run: x}]",
        ],
        good: &[
            "- run: x\n  if: ${{ github.ref == 'refs/heads/main' }}",
            "- run: x\n  if: github.ref == 'refs/heads/main'",
            "- run: x\n  if: \"${{ github.event.created }}\"",
            "- run: x\n  if: |-\n    ${{ github.actor == 'me' }}",
            "- run: x\n  if: |\n    github.actor == 'me' &&\n    github.ref == 'x'",
            "- run: x\n  if: ${{ format('{0}', github.actor) == 'me' }}",
            "- run: x\n  if: ${{ github.actor == '}}' }}",
        ],
    },
};
