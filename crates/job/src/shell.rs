//! How a script is run (actions/runner `Handlers/ScriptHandler.cs`, `ScriptHandlerHelpers.cs`).

/// A shell as a program with arguments; `{0}` in them is the path of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// As written by the author, or the default's name.
    pub shown: String,
    /// The program to look up.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What the script's name ends in.
    pub extension: &'static str,
}

/// The shell of a step. `named` is what the step or a default says; `has_bash` whether bash is
/// there, for the default.
pub fn resolve(named: Option<&str>, has_bash: bool) -> Result<Shell, String> {
    let named = named.map(str::trim).filter(|s| !s.is_empty());
    let format = match named {
        None if has_bash => "bash -e {0}",
        None => "sh -e {0}",
        Some("bash") => "bash --noprofile --norc -e -o pipefail {0}",
        Some("sh") => "sh -e {0}",
        Some("python") => "python {0}",
        Some("pwsh") => "pwsh -command \". '{0}'\"",
        Some("cmd" | "powershell") => {
            return Err(format!(
                "The shell '{}' exists on Windows only",
                named.unwrap_or_default()
            ));
        }
        Some(custom) if custom.contains("{0}") => custom,
        Some(custom) => {
            return Err(format!(
                "Invalid shell option. Shell must be a valid built-in (bash, sh, cmd, powershell, pwsh) or a format string containing '{{0}}', not '{custom}'"
            ));
        }
    };
    let mut words = split(format).into_iter();
    let program = words.next().unwrap_or_default();
    let base = program.rsplit('/').next().unwrap_or_default();
    let extension = match base {
        "bash" | "sh" => ".sh",
        "python" => ".py",
        "pwsh" => ".ps1",
        _ => "",
    };
    Ok(Shell { shown: format.to_owned(), program, args: words.collect(), extension })
}

/// Splits as .NET splits arguments: blanks, double quotes, `\"` inside them.
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut any) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'"') => {
                chars.next();
                word.push('"');
                any = true;
            }
            '"' => {
                quoted = !quoted;
                any = true;
            }
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

/// The text of the script file: PowerShell gets what makes errors count.
pub fn script_text(shell: &Shell, script: &str) -> String {
    let mut text = if shell.program == "pwsh" {
        format!(
            "$ErrorActionPreference = 'stop'\n{script}\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) {{ exit $LASTEXITCODE }}"
        )
    } else {
        script.to_owned()
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(named: Option<&str>) -> String {
        match resolve(named, true) {
            Ok(s) => format!("{} {:?} {}", s.program, s.args, s.extension),
            Err(e) => e,
        }
    }

    #[test]
    fn shells() {
        insta::assert_snapshot!(check(None), @r#"bash ["-e", "{0}"] .sh"#);
        insta::assert_snapshot!(check(Some("bash")), @r#"bash ["--noprofile", "--norc", "-e", "-o", "pipefail", "{0}"] .sh"#);
        insta::assert_snapshot!(check(Some("python")), @r#"python ["{0}"] .py"#);
        insta::assert_snapshot!(check(Some("bash -l {0}")), @r#"bash ["-l", "{0}"] .sh"#);
        insta::assert_snapshot!(check(Some("script -q -e -c \"bash -eo pipefail {0}\"")), @r#"script ["-q", "-e", "-c", "bash -eo pipefail {0}"] "#);
        insta::assert_snapshot!(check(Some("cp {0} action.yml")), @r#"cp ["{0}", "action.yml"] "#);
        insta::assert_snapshot!(check(Some("zsh")), @"Invalid shell option. Shell must be a valid built-in (bash, sh, cmd, powershell, pwsh) or a format string containing '{0}', not 'zsh'");
        assert_eq!(resolve(None, false).unwrap().program, "sh");
    }
}
