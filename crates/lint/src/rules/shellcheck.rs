//! Found by shellcheck, which the binary runs where it is installed.

use trainyard_diagnostics::Severity;

use super::Rule;

pub(crate) const RULE: Rule = Rule {
    id: "script/shellcheck",
    severity: Severity::Warning,
    summary: "What shellcheck finds in a script of a shell",
    check: None,
    // Tried with the program itself (`crates/trainyard/tests/lint.rs`).
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "- run: rm -rf $DIR/x\n  shell: bash",
            "- run: cd build; make",
            "- run: 'for f in $(ls *.txt); do cat $f; done'",
            "- run: 'if [ $A == b ]; then echo; fi'\n  shell: sh",
            "- run: echo \"unclosed",
        ],
        good: &[
            "- run: rm -rf \"$DIR/x\"",
            "- run: cd build && make",
            "- run: print(\"${{ github.sha }}\")\n  shell: python",
            "- run: Write-Host $x\n  shell: pwsh",
            "- run: echo '${{ github.sha }}'",
        ],
    },
};
