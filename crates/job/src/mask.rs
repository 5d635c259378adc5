//! Hiding secrets in output, in every encoding the runner knows
//! (actions/runner `HostContext.cs`, `Sdk/DTLogging/Logging/ValueEncoders.cs`).
//!
//! No pattern holds a line break: a secret of several lines is hidden line by line, as the runner
//! does. So output that is cut at line ends is masked exactly; [`MaskStream`] holds back what a
//! cut inside a line could hide.

use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a secret becomes.
pub const MASK: &str = "***";
/// Patterns together above this size use the smaller automaton.
const DFA_LIMIT: usize = 64 * 1024;

/// A set of secrets. Cloning is cheap; adding builds it anew.
#[derive(Clone, Default)]
pub struct Masker {
    patterns: BTreeSet<String>,
    automaton: Option<Arc<AhoCorasick>>,
    longest: usize,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker of {} patterns", self.patterns.len())
    }
}

impl Masker {
    /// Hides a secret, each of its lines, and their encodings.
    pub fn add(&mut self, secret: &str) {
        self.add_all([secret]);
    }

    /// Hides several secrets at once.
    pub fn add_all<'a>(&mut self, secrets: impl IntoIterator<Item = &'a str>) {
        let before = self.patterns.len();
        for secret in secrets {
            if secret.trim().is_empty() {
                continue;
            }
            for line in secret.lines().map(str::trim).filter(|l| !l.is_empty()) {
                self.patterns.insert(line.to_owned());
            }
            if !secret.contains('\n') {
                self.patterns.insert(secret.to_owned());
            }
            for encoded in encodings(secret) {
                if encoded.len() >= 4 && !encoded.contains('\n') {
                    self.patterns.insert(encoded);
                }
            }
        }
        if self.patterns.len() == before {
            return;
        }
        self.longest = self.patterns.iter().map(String::len).max().unwrap_or(0);
        let total: usize = self.patterns.iter().map(String::len).sum();
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::Standard);
        if total <= DFA_LIMIT {
            builder.kind(Some(AhoCorasickKind::DFA));
        }
        // Only sizes beyond memory make the build fail; then the default kind is smaller.
        self.automaton = builder
            .build(&self.patterns)
            .or_else(|_| AhoCorasick::new(&self.patterns))
            .ok()
            .map(Arc::new);
    }

    /// Whether a text holds a secret.
    pub fn finds(&self, text: &str) -> bool {
        self.automaton.as_ref().is_some_and(|a| a.is_match(text))
    }

    /// The ranges to hide, merged, in order.
    fn ranges(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let Some(automaton) = &self.automaton else { return Vec::new() };
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for found in automaton.find_overlapping_iter(text) {
            ranges.push((found.start(), found.end()));
        }
        ranges.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match merged.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }

    /// The bytes with secrets hidden, appended to `out`.
    pub fn mask_into(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        for (start, end) in self.ranges(text) {
            out.extend_from_slice(&text[at..start]);
            out.extend_from_slice(MASK.as_bytes());
            at = end;
        }
        out.extend_from_slice(&text[at..]);
    }

    /// The text with secrets hidden.
    pub fn mask(&self, text: &str) -> String {
        if !self.finds(text) {
            return text.to_owned();
        }
        let mut out = Vec::with_capacity(text.len());
        self.mask_into(text.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn encodings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut out = Vec::new();
    for shift in 0..3.min(bytes.len()) {
        // At any of three offsets within a longer text; the ends depend on the neighbours.
        let encoded = STANDARD.encode(&bytes[shift..]);
        let whole = (bytes.len() - shift) / 3 * 4;
        out.push(encoded.trim_end_matches('=').to_owned());
        out.push(encoded[..whole].to_owned());
    }
    out.push(percent(secret));
    let mut json = String::new();
    trainyard_model::json_string(secret, &mut json);
    out.push(json[1..json.len() - 1].to_owned());
    out.push(
        secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&apos;"),
    );
    out.push(secret.replace('\'', "''"));
    out.push(secret.replace('\'', "'\\''"));
    out.push(secret.replace('\'', "'\"'\"'"));
    out.push(secret.replace('\\', "\\\\").replace('"', "\\\""));
    out.push(secret.trim_matches('"').to_owned());
    out
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Masks a stream that is cut anywhere.
#[derive(Debug, Default)]
pub struct MaskStream {
    held: Vec<u8>,
}

impl MaskStream {
    /// Takes bytes and appends to `out` what is safe to show: what no later byte can make a
    /// secret of.
    pub fn push(&mut self, masker: &Masker, bytes: &[u8], out: &mut Vec<u8>) {
        if self.held.is_empty() && bytes.ends_with(b"\n") {
            masker.mask_into(bytes, out);
            return;
        }
        self.held.extend_from_slice(bytes);
        let mut safe = self.held.len().saturating_sub(masker.longest.saturating_sub(1));
        if let Some(newline) = memchr::memrchr(b'\n', &self.held) {
            safe = safe.max(newline + 1);
        }
        let mut at = 0;
        for (start, end) in masker.ranges(&self.held) {
            if end > safe {
                // It straddles: stop before it, the rest may make it longer.
                safe = safe.min(start);
                break;
            }
            out.extend_from_slice(&self.held[at..start]);
            out.extend_from_slice(MASK.as_bytes());
            at = end;
        }
        let safe = safe.max(at);
        out.extend_from_slice(&self.held[at..safe]);
        self.held.drain(..safe);
    }

    /// Shows what was held back.
    pub fn finish(&mut self, masker: &Masker, out: &mut Vec<u8>) {
        masker.mask_into(&self.held, out);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masker(secrets: &[&str]) -> Masker {
        let mut masker = Masker::default();
        masker.add_all(secrets.iter().copied());
        masker
    }

    #[test]
    fn encodings_are_hidden() {
        let secret = r#"p@ss "w'ord"#;
        let masker = masker(&[secret]);
        for text in [
            secret.to_owned(),
            STANDARD.encode(secret),
            STANDARD.encode(format!("a{secret}b"))[4..].to_owned(),
            percent(secret),
            r#"p@ss \"w'ord"#.to_owned(),
            "p@ss &quot;w&apos;ord".to_owned(),
            "p@ss \"w''ord".to_owned(),
        ] {
            assert!(masker.mask(&text).contains(MASK), "{text}");
        }
    }

    #[test]
    fn lines_and_overlaps() {
        let masker = masker(&["one\n  two\n", "wot", "abab"]);
        assert_eq!(masker.mask("x two y"), "x *** y");
        assert_eq!(masker.mask("twot"), "***");
        assert_eq!(masker.mask("ababab!"), "***!");
    }

    proptest::proptest! {
        /// However a stream is cut, it reads as if masked whole.
        #[test]
        fn cuts_do_not_matter(text in "[abs\\n]{0,80}", cuts in proptest::collection::vec(0usize..80, 0..6)) {
            let masker = masker(&["sab", "abba", "bs"]);
            let whole = masker.mask(&text);
            let mut at: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            at.push(text.len());
            at.sort_unstable();
            let (mut stream, mut out, mut last) = (MaskStream::default(), Vec::new(), 0);
            for cut in at {
                stream.push(&masker, &text.as_bytes()[last..cut], &mut out);
                last = cut;
            }
            stream.finish(&masker, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), whole);
        }
    }
}
