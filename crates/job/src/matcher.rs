//! Problem matchers: tools' own error lines become annotations
//! (actions/runner `IssueMatcher.cs`, `Handlers/OutputManager.cs`).
//!
//! Deliberately absent: whether a file is there and under a checkout, which the shell finds out.

use std::sync::OnceLock;

use fancy_regex::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

/// Steps that a pattern may take on one line, where the runner has one second.
const MAX_STEPS: usize = 1_000_000;
/// Lines that a matcher may fail on before it is taken away.
const MAX_STRIKES: u32 = 3;
/// Bytes of a line that are looked at.
const MAX_LINE: usize = 64 * 1024;
/// Matchers at once, and patterns of one.
const MAX_MATCHERS: usize = 200;

/// A problem that was found in a line, as the tool printed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// The file.
    pub file: String,
    /// The line.
    pub line: String,
    /// The column.
    pub column: String,
    /// How serious, in the tool's word or the matcher's default.
    pub severity: String,
    /// The tool's code of the problem.
    pub code: String,
    /// What it says.
    pub message: String,
    /// What a relative file is relative to, such as a project file.
    pub from_path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    problem_matcher: Vec<Definition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    #[serde(default)]
    owner: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    from_path: String,
    #[serde(default)]
    pattern: Vec<Pattern>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pattern {
    #[serde(default)]
    regexp: String,
    file: Option<usize>,
    line: Option<usize>,
    column: Option<usize>,
    severity: Option<usize>,
    code: Option<usize>,
    message: Option<usize>,
    from_path: Option<usize>,
    #[serde(default, rename = "loop")]
    repeats: bool,
}

#[derive(Debug)]
struct Matcher {
    owner: String,
    severity: String,
    from_path: String,
    patterns: Vec<(Regex, Pattern)>,
    /// What the patterns before have found, one fewer than there are patterns.
    state: Vec<Option<Match>>,
    strikes: u32,
}

/// The matchers of a job, the newest first.
#[derive(Debug, Default)]
pub struct Matchers(Vec<Matcher>);

impl Matchers {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the matchers of a file. One with the same owner is replaced.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let file = parse(text)?;
        let mut new = Vec::new();
        for definition in file.problem_matcher {
            let matcher = compile(definition)?;
            if new.iter().any(|m: &Matcher| m.owner.eq_ignore_ascii_case(&matcher.owner)) {
                return Err(format!("Duplicate owner name '{}'", matcher.owner));
            }
            new.push(matcher);
        }
        for matcher in new {
            self.remove(&matcher.owner);
            if self.0.len() >= MAX_MATCHERS {
                return Err(format!("more than {MAX_MATCHERS} problem matchers"));
            }
            self.0.insert(0, matcher);
        }
        Ok(())
    }

    /// Takes the matcher of an owner away.
    pub fn remove(&mut self, owner: &str) {
        self.0.retain(|m| !m.owner.eq_ignore_ascii_case(owner));
    }

    /// Takes away the matchers that a file names.
    pub fn remove_all(&mut self, text: &str) -> Result<(), String> {
        for definition in parse(text)?.problem_matcher {
            self.remove(&definition.owner);
        }
        Ok(())
    }

    /// The problem in a line, if a matcher finds one; the others then begin anew.
    pub fn take(&mut self, line: &str) -> Option<Match> {
        if self.0.is_empty() || line.len() > MAX_LINE {
            return None;
        }
        let plain = without_colors(line);
        let mut found = None;
        for (index, matcher) in self.0.iter_mut().enumerate() {
            match matcher.take(&plain) {
                Ok(Some(problem)) => {
                    found = Some((index, problem));
                    break;
                }
                Ok(None) => {}
                Err(()) => matcher.strikes += 1,
            }
        }
        self.0.retain(|m| m.strikes < MAX_STRIKES);
        let (index, problem) = found?;
        for (other, matcher) in self.0.iter_mut().enumerate() {
            if other != index {
                matcher.reset();
            }
        }
        Some(problem)
    }
}

fn parse(text: &str) -> Result<File, String> {
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|e| format!("they are not JSON of problem matchers: {e}"))
}

fn compile(definition: Definition) -> Result<Matcher, String> {
    let Definition { owner, severity, from_path, pattern } = definition;
    if owner.is_empty() {
        return Err("Owner must not be empty".into());
    }
    let known = ["", "error", "warning", "notice"];
    if !known.contains(&severity.to_ascii_lowercase().as_str()) {
        return Err(format!("Matcher '{owner}' contains unexpected default severity '{severity}'"));
    }
    if pattern.is_empty() || pattern.len() > MAX_MATCHERS {
        return Err(format!("Matcher '{owner}' does not contain any patterns"));
    }
    if pattern.iter().all(|p| p.message.is_none()) {
        return Err("At least one pattern must set 'message'".into());
    }
    let last = pattern.len() - 1;
    let mut patterns = Vec::new();
    for (index, pattern) in pattern.into_iter().enumerate() {
        if pattern.repeats && (index != last || index == 0) {
            return Err("Only the last pattern in a multiline matcher may set 'loop'".into());
        }
        let regex = RegexBuilder::new(&pattern.regexp)
            .backtrack_limit(MAX_STEPS)
            .build()
            .map_err(|e| format!("Matcher '{owner}': {e}"))?;
        patterns.push((regex, pattern));
    }
    let state = vec![None; last];
    Ok(Matcher { owner, severity, from_path, patterns, state, strikes: 0 })
}

impl Matcher {
    fn reset(&mut self) {
        self.state.fill(None);
    }

    /// As `IssueMatcher.Match`: the last pattern first, so that one line serves one pattern.
    fn take(&mut self, line: &str) -> Result<Option<Match>, ()> {
        let last = self.patterns.len() - 1;
        for index in (0..=last).rev() {
            let before = match index {
                0 => None,
                _ => match self.state[index - 1].clone() {
                    None => continue,
                    some => some,
                },
            };
            let (regex, pattern) = &self.patterns[index];
            let found = regex.captures(line).map_err(|_| ())?;
            match (found, index == last) {
                (Some(groups), true) => {
                    let mut problem = merged(before.clone(), pattern, &groups);
                    if problem.severity.is_empty() {
                        problem.severity.clone_from(&self.severity);
                    }
                    if problem.from_path.is_empty() {
                        problem.from_path.clone_from(&self.from_path);
                    }
                    let repeats = pattern.repeats;
                    self.reset();
                    if repeats && index > 0 {
                        self.state[index - 1] = before;
                    }
                    return Ok(Some(problem));
                }
                (Some(groups), false) => {
                    self.state[index] = Some(merged(before, pattern, &groups));
                }
                (None, true) if index > 0 => self.state[index - 1] = None,
                (None, true) => {}
                (None, false) => self.state[index] = None,
            }
        }
        Ok(None)
    }
}

fn merged(before: Option<Match>, pattern: &Pattern, groups: &Captures<'_, str>) -> Match {
    let before = before.unwrap_or_default();
    let pick = |kept: String, group: Option<usize>| match (kept.is_empty(), group) {
        (true, Some(group)) => groups.get(group).map(|m| m.as_str().to_owned()).unwrap_or_default(),
        _ => kept,
    };
    Match {
        file: pick(before.file, pattern.file),
        line: pick(before.line, pattern.line),
        column: pick(before.column, pattern.column),
        severity: pick(before.severity, pattern.severity),
        code: pick(before.code, pattern.code),
        message: pick(before.message, pattern.message),
        from_path: pick(before.from_path, pattern.from_path),
    }
}

fn without_colors(line: &str) -> std::borrow::Cow<'_, str> {
    static COLORS: OnceLock<Option<Regex>> = OnceLock::new();
    if !line.contains('\u{1b}') {
        return line.into();
    }
    match COLORS.get_or_init(|| Regex::new("\u{1b}\\[[0-9;]*m?").ok()) {
        Some(colors) => colors.replace_all(line, ""),
        None => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(definition: &str, lines: &[&str], wanted: &[&str]) {
        let mut matchers = Matchers::default();
        matchers.add(definition).unwrap();
        let found: Vec<String> = lines
            .iter()
            .filter_map(|l| matchers.take(l))
            .map(|m| format!("{}:{}:{} {} {}", m.file, m.line, m.column, m.severity, m.message))
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn one_line() {
        let tsc = r#"{"problemMatcher":[{"owner":"tsc","pattern":[{
            "regexp":"^(?:\\s+\\d+>)?([^\\s].*)\\((\\d+),(\\d+)\\):\\s*(error|warning)\\s+(\\w+)\\s*:\\s*(.*)$",
            "file":1,"line":2,"column":3,"severity":4,"code":5,"message":6}]}]}"#;
        check(
            tsc,
            &[
                "src/a.ts(3,7): error TS1: bad",
                "fine",
                "\u{1b}[31ma.ts(1,2): warning T: w\u{1b}[0m",
            ],
            &["src/a.ts:3:7 error bad", "a.ts:1:2 warning w"],
        );
    }

    #[test]
    fn several_lines_and_loops() {
        let eslint = r#"{"problemMatcher":[{"owner":"eslint","pattern":[
            {"regexp":"^([^\\s].*)$","file":1},
            {"regexp":"^\\s+(\\d+):(\\d+)\\s+(error|warning)\\s+(.*)$","line":1,"column":2,
             "severity":3,"message":4,"loop":true}]}]}"#;
        check(
            eslint,
            &["test.js", "  1:0   error  one", "  5:10  warning  two", "", "  9:9 error  lost"],
            &["test.js:1:0 error one", "test.js:5:10 warning two"],
        );
        let python = r#"{"problemMatcher":[{"owner":"python","pattern":[
            {"regexp":"^\\s*File\\s\\\"(.*)\\\",\\sline\\s(\\d+),\\sin\\s(.*)$","file":1,"line":2},
            {"regexp":"^\\s*raise\\s(.*)\\(\\'(.*)\\'\\)$","message":2}]}]}"#;
        check(
            python,
            &["  File \"t.py\", line 3, in f", "    raise ValueError('bad')"],
            &["t.py:3:  bad"],
        );
    }

    #[test]
    fn lookahead_defaults_and_faults() {
        let one = r#"{"problemMatcher":[{"owner":"x","severity":"notice","pattern":[{"regexp":"^(?!ok)(.+)!$","message":1}]}]}"#;
        check(one, &["ok!", "boom!"], &[":: notice boom"]);
        for bad in [
            "{",
            r#"{"problemMatcher":[{"owner":"","pattern":[{"regexp":"a","message":0}]}]}"#,
            r#"{"problemMatcher":[{"owner":"x","pattern":[]}]}"#,
            r#"{"problemMatcher":[{"owner":"x","pattern":[{"regexp":"(","message":0}]}]}"#,
            r#"{"problemMatcher":[{"owner":"x","pattern":[{"regexp":"a"}]}]}"#,
            r#"{"problemMatcher":[{"owner":"x","severity":"bad","pattern":[{"regexp":"a","message":0}]}]}"#,
        ] {
            assert!(Matchers::default().add(bad).is_err(), "{bad}");
        }
        let mut matchers = Matchers::default();
        matchers.add(one).unwrap();
        matchers.remove("X");
        assert!(matchers.is_empty());
    }

    #[test]
    fn a_pattern_without_end_is_taken_away() {
        let bad = r#"{"problemMatcher":[{"owner":"x","pattern":[{"regexp":"^(?:(a+)(?=a))+\\1c$","message":0}]}]}"#;
        let mut matchers = Matchers::default();
        matchers.add(bad).unwrap();
        let line = format!("{}b", "a".repeat(40));
        for _ in 0..4 {
            let _ = matchers.take(&line);
        }
        assert!(matchers.is_empty());
    }
}
