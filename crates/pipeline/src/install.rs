//! The lines by which the SDK has a task install its packages before it runs
//! (`sdk/python/kfp/dsl/component_factory.py`): read, so that an environment made once may stand for them.

/// What comes before a task's own command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The arguments of each `python3 -m pip install`, in order.
    pub lines: Vec<Vec<String>>,
    /// The command that follows.
    pub rest: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A word, and whether the shell would put something into it.
    Word(String, bool),
    /// `&&`, `||`, `;`, a line's end, brackets.
    Sign(&'static str),
}

/// Reads a command: `sh -c 'LINES && "$0" "$@"' PROGRAM ...`. None if it is anything else, or does
/// anything else.
pub fn install(command: &[String]) -> Option<Install> {
    let [shell, flag, script, rest @ ..] = command else { return None };
    if !matches!(shell.as_str(), "sh" | "/bin/sh" | "bash" | "/bin/bash") || flag != "-c" {
        return None;
    }
    let tokens = tokens(without_pip_check(script))?;
    let mut statements: Vec<Vec<(String, bool)>> = vec![Vec::new()];
    let mut alternative = false;
    for token in tokens {
        match token {
            Token::Word(word, open) => {
                if !alternative {
                    statements.last_mut()?.push((word, open));
                }
            }
            Token::Sign("||") => alternative = true,
            Token::Sign(_) => {
                alternative = false;
                statements.push(Vec::new());
            }
        }
    }
    statements.retain(|s| !s.is_empty());
    let last: Vec<String> = statements.pop()?.into_iter().map(|(word, _)| word).collect();
    if last != ["\"$0\"", "\"$@\""] {
        return None;
    }
    let mut lines = Vec::new();
    for statement in statements {
        let open = statement.iter().any(|(_, open)| *open);
        let words: Vec<&str> = statement
            .iter()
            .map(|(word, _)| word.as_str())
            .skip_while(|w| w.starts_with("PIP_") && w.contains('='))
            .collect();
        match words[..] {
            ["python3" | "python", "-m", "pip", "install", ..] => {
                // What the shell would put in is not known here.
                if open {
                    return None;
                }
                let args = words[4..].iter().filter(|w| **w != "--user");
                lines.push(args.map(|w| (*w).to_owned()).collect());
            }
            // Its own environment is what it gets anyway.
            ["export", variable] if variable.starts_with("PIP_") => {}
            ["tmp=$(mktemp -d)"]
            | [".", "\"$tmp/venv/bin/activate\""]
            | ["python3", "-m", "venv", "\"$tmp/venv\"", "--system-site-packages"]
            | [] => {}
            _ => return None,
        }
    }
    (!rest.is_empty()).then(|| Install { lines, rest: rest.to_vec() })
}

/// The script without its look for pip, which every environment has.
fn without_pip_check(script: &str) -> &str {
    let trimmed = script.trim_start();
    let check = "if ! [ -x \"$(command -v pip)\" ]; then";
    match (trimmed.starts_with(check), trimmed.split_once("\nfi")) {
        (true, Some((_, rest))) => rest,
        _ => script,
    }
}

fn tokens(script: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut has_word = false;
    let mut open = false;
    let mut chars = script.chars().peekable();
    let mut depth = 0usize;
    while let Some(c) = chars.next() {
        let sign = match c {
            '&' if chars.peek() == Some(&'&') => Some("&&"),
            '|' if chars.peek() == Some(&'|') => Some("||"),
            '&' | '|' | '<' | '>' | '`' | '\\' if depth == 0 => return None,
            ';' | '\n' => Some(";"),
            '(' | ')' if depth == 0 && !word.ends_with('$') => Some("("),
            _ => None,
        };
        if let Some(sign) = sign {
            if sign.len() == 2 {
                chars.next();
            }
            if has_word {
                out.push(Token::Word(std::mem::take(&mut word), std::mem::take(&mut open)));
                has_word = false;
            }
            out.push(Token::Sign(sign));
            continue;
        }
        match c {
            ' ' | '\t' if depth == 0 => {
                if has_word {
                    out.push(Token::Word(std::mem::take(&mut word), std::mem::take(&mut open)));
                    has_word = false;
                }
            }
            '\'' => {
                has_word = true;
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            // Kept with its quotes where the shell would put something in.
            '"' => {
                has_word = true;
                let mut inside = String::new();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => return None,
                        c => inside.push(c),
                    }
                }
                match inside.contains(['$', '`']) {
                    true => {
                        open = true;
                        word.push_str(&format!("\"{inside}\""));
                    }
                    false => word.push_str(&inside),
                }
            }
            '(' => {
                depth += 1;
                word.push(c);
            }
            ')' => {
                depth = depth.saturating_sub(1);
                word.push(c);
            }
            c => {
                has_word = true;
                open |= matches!(c, '$' | '~' | '*' | '?');
                word.push(c);
            }
        }
    }
    if has_word {
        out.push(Token::Word(word, open));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str) -> String {
        let command = ["sh", "-c", script, "sh", "-ec", "run"].map(str::to_owned);
        match install(&command) {
            Some(found) => {
                let lines: Vec<String> = found.lines.iter().map(|l| l.join(" ")).collect();
                format!("{} => {}", lines.join(" ; "), found.rest.join(" "))
            }
            None => "none".to_owned(),
        }
    }

    #[test]
    fn what_the_sdks_write() {
        const LOOK: &str = "\nif ! [ -x \"$(command -v pip)\" ]; then\n    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip\nfi\n\n";
        insta::assert_snapshot!(check(&format!("{LOOK}PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-warn-script-location 'kfp==2.14.3' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'  &&  python3 -m pip install --quiet 'pandas==2.2.0' 'x' && \"$0\" \"$@\"\n")), @r#"--quiet --no-warn-script-location kfp==2.14.3 --no-deps typing-extensions>=3.7.4,<5; python_version<"3.9" ; --quiet pandas==2.2.0 x => sh -ec run"#);
        insta::assert_snapshot!(check("(PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet 'a' || PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet 'a' --user) && \"$0\" \"$@\""), @"--quiet a => sh -ec run");
        insta::assert_snapshot!(check("python3 -m pip install --index-url https://x/simple 'yapf'  &&  \nexport PIP_DISABLE_PIP_VERSION_CHECK=1\ntmp=$(mktemp -d)\npython3 -m venv \"$tmp/venv\" --system-site-packages\n. \"$tmp/venv/bin/activate\"\n python3 -m pip install 'kfp' && \"$0\" \"$@\"\n"), @"--index-url https://x/simple yapf ; kfp => sh -ec run");
        insta::assert_snapshot!(check("\"$0\" \"$@\""), @" => sh -ec run");
        // What has a single quote in it stands in double ones.
        insta::assert_snapshot!(check("python3 -m pip install --quiet \"x; python_version<'3.9'\" && \"$0\" \"$@\""), @"--quiet x; python_version<'3.9' => sh -ec run");
    }

    #[test]
    fn anything_else_is_left_alone() {
        insta::assert_snapshot!(check("set -e -x\necho \"$0\"\n"), @"none");
        insta::assert_snapshot!(check("export LD_LIBRARY_PATH=/x && \"$0\" \"$@\""), @"none");
        insta::assert_snapshot!(check("python3 -m pip install $EXTRA && \"$0\" \"$@\""), @"none");
        insta::assert_snapshot!(check("pip download x && \"$0\" \"$@\""), @"none");
        insta::assert_snapshot!(check("python3 -m pip install x > log && \"$0\" \"$@\""), @"none");
        insta::assert_snapshot!(check("python3 -m pip install 'x"), @"none");
        insta::assert_snapshot!(check("echo hi; python3 -m pip install x && \"$0\" \"$@\""), @"none");
    }
}
