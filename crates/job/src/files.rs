//! The files that steps write: environment, outputs, path, state
//! (actions/runner `FileCommandManager.cs`).

/// What a step's files hold after its process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileCommands {
    /// `GITHUB_ENV`
    pub env: Vec<u8>,
    /// `GITHUB_OUTPUT`
    pub output: Vec<u8>,
    /// `GITHUB_PATH`
    pub path: Vec<u8>,
    /// `GITHUB_STATE`
    pub state: Vec<u8>,
    /// `TRAINYARD_REASONS`, ours: a line each.
    pub reasons: Vec<u8>,
    /// `GITHUB_STEP_SUMMARY`
    pub summary: Vec<u8>,
}

/// Pairs of a file and the fault that ended the reading; pairs before a fault count.
pub struct Pairs {
    /// Names and values, in order.
    pub pairs: Vec<(String, String)>,
    /// What is wrong, if something is.
    pub fault: Option<String>,
}

/// Reads `NAME=VALUE` lines and `NAME<<DELIMITER` blocks. Which of `=` and `<<` comes first on the
/// line decides; values are not trimmed; on Linux a CR is data.
pub fn parse_pairs(bytes: &[u8]) -> Pairs {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut pairs = Vec::new();
    let fault = read(text, &mut pairs).err();
    Pairs { pairs, fault }
}

fn read(text: &str, pairs: &mut Vec<(String, String)>) -> Result<(), String> {
    let mut rest = text;
    while let Some((line, _, after)) = next_line(rest) {
        rest = after;
        if line.is_empty() {
            continue;
        }
        let equals = line.find('=');
        let heredoc = line.find("<<");
        match (equals, heredoc) {
            (Some(at), None) => set(pairs, line, at)?,
            (Some(at), Some(other)) if at < other => set(pairs, line, at)?,
            (_, Some(at)) => {
                let (name, delimiter) = (&line[..at], &line[at + 2..]);
                if name.is_empty() || delimiter.is_empty() {
                    return Err(format!(
                        "Invalid format '{line}'. Name must not be empty and delimiter must not be empty"
                    ));
                }
                let (value, after) = block(rest, delimiter)?;
                pairs.push((name.to_owned(), value));
                rest = after;
            }
            (None, None) => return Err(format!("Invalid format '{line}'")),
        }
    }
    Ok(())
}

fn set(pairs: &mut Vec<(String, String)>, line: &str, at: usize) -> Result<(), String> {
    if at == 0 {
        return Err(format!("Invalid format '{line}'. Name must not be empty"));
    }
    pairs.push((line[..at].to_owned(), line[at + 1..].to_owned()));
    Ok(())
}

/// The text up to a line that is the delimiter, its last newline cut.
fn block<'a>(text: &'a str, delimiter: &str) -> Result<(String, &'a str), String> {
    let mut value_end = 0;
    let mut rest = text;
    let mut first = true;
    loop {
        let Some((line, newline, after)) = next_line(rest) else {
            return Err(format!("Invalid value. Matching delimiter not found '{delimiter}'"));
        };
        if line == delimiter {
            let value = &text[..value_end];
            let value = if first { "" } else { value.strip_suffix('\n').unwrap_or(value) };
            return Ok((value.to_owned(), after));
        }
        if newline.is_empty() {
            return Err(format!("Invalid value. Matching delimiter not found '{delimiter}'"));
        }
        first = false;
        value_end += line.len() + newline.len();
        rest = after;
    }
}

/// A line, its newline (or nothing at the end of the file), and what follows.
fn next_line(text: &str) -> Option<(&str, &str, &str)> {
    if text.is_empty() {
        return None;
    }
    Some(match text.find('\n') {
        Some(at) => (&text[..at], &text[at..=at], &text[at + 1..]),
        None => (text, "", ""),
    })
}

/// The lines of a `GITHUB_PATH` file, blank ones left out.
pub fn parse_path(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let read = parse_pairs(text.as_bytes());
        format!("{:?} {}", read.pairs, read.fault.unwrap_or_default())
    }

    #[test]
    fn pairs() {
        insta::assert_snapshot!(check("a=b=c\n\nd= x \ne="), @r#"[("a", "b=c"), ("d", " x "), ("e", "")] "#);
        insta::assert_snapshot!(check("m<<EOF\none\ntwo=2\n\nEOF\nn=<<x\n"), @r#"[("m", "one\ntwo=2\n"), ("n", "<<x")] "#);
        insta::assert_snapshot!(check("m<<E\nE\n"), @r#"[("m", "")] "#);
        insta::assert_snapshot!(check("a=1\nnonsense\nb=2"), @r#"[("a", "1")] Invalid format 'nonsense'"#);
        insta::assert_snapshot!(check("<<E\nx\nE"), @"[] Invalid format '<<E'. Name must not be empty and delimiter must not be empty");
        insta::assert_snapshot!(check("a<<E\nx\n"), @"[] Invalid value. Matching delimiter not found 'E'");
        insta::assert_snapshot!(check("=x"), @"[] Invalid format '=x'. Name must not be empty");
        insta::assert_snapshot!(check("a=1\r\n"), @r#"[("a", "1\r")] "#);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a=<\\nE]{0,40}") {
            let _ = check(&text);
        }
    }
}
