//! Credentials written out, and secrets given away as a whole.

use trainyard_diagnostics::{Severity, Span};
use trainyard_expression::ExprKind;
use trainyard_workflow::model::JobKind;
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::{Context, fences, path_of};

pub(crate) const RULE: Rule = Rule {
    id: "secrets/plain",
    severity: Severity::Warning,
    summary: "A credential in plain sight is everybody's",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "- run: x\n  env: {GH: ghp_0123456789abcdefABCDEF0123456789abcd}",
            "- run: aws configure set aws_access_key_id AKIAQ3EGRT5ZLPM2VJ7D",
            "- run: |\n    cat > key <<E\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    E",
            "- run: curl -u me:hf_abcdefghijABCDEFGHIJabcdefghijABCD x",
            "jobs:\n  a:\n    runs-on: ubuntu-latest\n    container: {image: x, credentials: {username: me, password: hunter2}}\n    steps: [{run: x}]",
            "- run: x\n  env: {OPENAI_API_KEY: sk-proj-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Yz3Ab4}",
            "- run: x\n  env: {WANDB_API_KEY: 0123456789abcdef0123456789abcdef01234567}",
            "- run: x\n  env: {ALL: '${{ toJSON(secrets) }}'}",
            "jobs:\n  a:\n    runs-on: ubuntu-latest\n    services: {db: {image: x, credentials: {username: me, password: hunter2}}}\n    steps: [{run: x}]",
        ],
        good: &[
            "- run: x\n  env: {GH: '${{ secrets.GH }}'}",
            "- run: aws configure set aws_access_key_id AKIAIOSFODNN7EXAMPLE",
            "- run: grep -q ghp_ log",
            "- run: pytest tests/hf_text_generation_inference_integration_tests_of_it",
            "- run: echo $npm_config_store_dir_for_the_ci_cache_of_builds",
            "jobs:\n  a:\n    runs-on: ubuntu-latest\n    container: {image: x, credentials: {username: me, password: '${{ secrets.P }}'}}\n    steps: [{run: x}]",
            "- run: x\n  env: {TOKEN: xxxxxxxxxxxxxxxxxxxx, PASSWORD: postgres}",
            "- run: x\n  env: {ONE: '${{ toJSON(secrets.ONE) }}'}",
            "- run: x\n  env: {WANDB_API_KEY: '${{ secrets.W }}', SHA: 0123456789abcdef0123456789abcdef01234567}",
            "- run: openssl genrsa | grep 'BEGIN PRIVATE KEY'",
        ],
    },
};

/// What credentials begin with, how many characters follow, and whose they are.
const KINDS: &[(&str, usize, &str)] = &[
    ("ghp_", 36, "a token of GitHub"),
    ("gho_", 36, "a token of GitHub"),
    ("ghs_", 36, "a token of GitHub"),
    ("github_pat_", 50, "a token of GitHub"),
    ("glpat-", 20, "a token of GitLab"),
    ("AKIA", 16, "a key of AWS"),
    ("ASIA", 16, "a key of AWS"),
    ("hf_", 34, "a token of Hugging Face"),
    ("npm_", 36, "a token of npm"),
    ("pypi-AgEIcHlwaS5vcmc", 50, "a token of PyPI"),
    ("xoxb-", 24, "a token of Slack"),
    ("xoxp-", 24, "a token of Slack"),
    ("AIza", 35, "a key of Google"),
    ("sk-ant-", 40, "a key of Anthropic"),
    ("sk-proj-", 40, "a key of OpenAI"),
    ("sk-svcacct-", 40, "a key of OpenAI"),
    ("dckr_pat_", 27, "a token of Docker"),
];
const PRIVATE_KEYS: &[&str] = &[
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
];

fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn check(c: &mut Context<'_>) {
    let text = c.source.text();
    let help = "take it back where it was given out, make a new one, and read it from `secrets`";
    for (prefix, count, whose) in KINDS {
        for (start, _) in text.match_indices(prefix) {
            if text[..start].chars().next_back().is_some_and(is_of_token) {
                continue;
            }
            let rest = &text[start + prefix.len()..];
            // Names have underscores and dashes, these tokens have not.
            let dashes = prefix.contains("pat") || prefix.contains('-') || *prefix == "AIza";
            let of = |c: char| c.is_ascii_alphanumeric() || dashes && is_of_token(c);
            let length = rest.chars().take_while(|c| of(*c)).count();
            if rest[length..].chars().next().is_some_and(is_of_token) {
                continue;
            }
            let token = &text[start..start + prefix.len() + length];
            // AWS has keys of an exact length; the others may grow.
            let exact = !prefix.ends_with("IA") || length == *count;
            if length >= *count && exact && !is_example(token, prefix) {
                let span = Span::new(start, start + token.len());
                c.report(span, format!("This looks like {whose}, for everybody to read"), help);
            }
        }
    }
    for key in PRIVATE_KEYS {
        for (start, _) in text.match_indices(key) {
            let span = Span::new(start, start + key.len());
            c.report(span, "This is a private key, for everybody to read", help);
        }
    }
    // A key of Weights & Biases is a number and nothing more: its name tells it.
    for (start, name) in text.match_indices("WANDB_API_KEY") {
        let rest = &text[start + name.len()..];
        let value = rest.trim_start_matches([':', '=', ' ', '"', '\'']);
        let hex = value.chars().take_while(char::is_ascii_hexdigit).count();
        if hex == 40 && value.len() != rest.len() {
            let from = start + name.len() + (rest.len() - value.len());
            let span = Span::new(from, from + hex);
            c.report(
                span,
                "This looks like a key of Weights & Biases, for everybody to read",
                help,
            );
        }
    }
    passwords(c);
    for fence in fences(text, Span::new(0, text.len())) {
        let mut whole = false;
        fence.tree.walk(&mut |e| {
            if let ExprKind::Call(name, args) = &e.kind {
                let all = args.first().and_then(path_of).is_some_and(|p| p == "secrets");
                whole |= name.eq_ignore_ascii_case("toJSON") && all;
            }
        });
        if whole {
            c.report(
                fence.span,
                "This gives away every secret of the repository at once",
                "name those that are needed: ${{ secrets.NAME }}",
            );
        }
    }
}

/// What stands in documentation, or stands for something else.
fn is_example(token: &str, prefix: &str) -> bool {
    let body = &token[prefix.len()..];
    let mut kinds: Vec<char> = body.chars().collect();
    kinds.sort_unstable();
    kinds.dedup();
    token.to_ascii_uppercase().contains("EXAMPLE") || kinds.len() < 6
}

fn passwords(c: &mut Context<'_>) {
    let Some(workflow) = c.workflow() else { return };
    for job in &workflow.jobs {
        let JobKind::Steps(steps) = &job.kind else { continue };
        let services = steps.services.iter().flat_map(|s| s.pairs()).map(|(_, service)| service);
        for container in steps.container.iter().chain(services) {
            let password = container.get("credentials").and_then(|c| c.get("password"));
            if let Some(literal) = password.filter(|p| p.as_str().is_some_and(|t| !t.is_empty())) {
                c.report(
                    span_of(literal.place),
                    "This password is written out, for everybody to read",
                    "read it from a secret: ${{ secrets.REGISTRY_PASSWORD }}",
                );
            }
        }
    }
}
