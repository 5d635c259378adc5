//! Workflow commands in output: `::name key=value::data` and `##[name key=value]data`
//! (actions/runner `ActionCommand.cs`).

/// A command as it stands in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineCommand {
    /// Its name in lower case.
    pub name: String,
    /// Its properties in order, keys as written.
    pub properties: Vec<(String, String)>,
    /// What follows, unescaped.
    pub data: String,
}

impl LineCommand {
    /// A property; keys ignore case.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, v)| v.as_str())
    }
}

/// The commands that the runner knows; everything else is ordinary output.
pub const NAMES: &[&str] = &[
    "add-mask",
    "add-matcher",
    "add-path",
    "debug",
    "echo",
    "endgroup",
    "error",
    "group",
    "internal-set-repo-path",
    "notice",
    "remove-matcher",
    "save-state",
    "set-env",
    "set-output",
    "stop-commands",
    "warning",
];

/// Whether a line may hold a command at all.
pub fn may_hold_command(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"::").is_some() || memchr::memmem::find(line, b"##[").is_some()
}

/// The command in a line, if it holds one that the runner knows.
pub fn parse(line: &str) -> Option<LineCommand> {
    colons(line).or_else(|| brackets(line)).filter(|c| NAMES.contains(&c.name.as_str()))
}

/// The text between the colons, whether or not it names a command: for the token that ends
/// `stop-commands`.
pub fn bare_name(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("::")?;
    rest.split_once("::").map(|(name, _)| name.trim())
}

fn colons(line: &str) -> Option<LineCommand> {
    let rest = line.trim_start().strip_prefix("::")?;
    let (head, data) = rest.split_once("::")?;
    let (name, properties) = head.trim_start().split_once(' ').unwrap_or((head, ""));
    let properties =
        read_properties(properties, ',', |value| unescape(value, &[("%3A", ":"), ("%2C", ",")]));
    Some(LineCommand {
        name: name.trim().to_ascii_lowercase(),
        properties,
        data: unescape(data, &[]),
    })
}

fn brackets(line: &str) -> Option<LineCommand> {
    let start = line.find("##[")?;
    let (head, data) = line[start + 3..].split_once(']')?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let more = [("%3B", ";"), ("%5D", "]")];
    let properties = read_properties(properties, ';', |value| unescape(value, &more));
    Some(LineCommand {
        name: name.trim().to_ascii_lowercase(),
        properties,
        data: unescape(data, &more),
    })
}

fn read_properties(
    text: &str,
    separator: char,
    unescape: impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    text.trim()
        .split(separator)
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_owned(), unescape(value)))
        })
        .collect()
}

/// `%25` last, so that an escaped escape stays one.
fn unescape(text: &str, more: &[(&str, &str)]) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = text.replace("%0D", "\r").replace("%0A", "\n");
    for (escaped, plain) in more {
        out = out.replace(escaped, plain);
    }
    out.replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> String {
        match parse(line) {
            None => "-".into(),
            Some(c) => format!("{} {:?} {:?}", c.name, c.properties, c.data),
        }
    }

    #[test]
    fn both_forms() {
        insta::assert_snapshot!(check("  ::Error file=a.py,line=1::it%0Abroke%2525"), @r#"error [("file", "a.py"), ("line", "1")] "it\nbroke%25""#);
        insta::assert_snapshot!(check("x ##[warning file=a;line=2]m%5D"), @r#"warning [("file", "a"), ("line", "2")] "m]""#);
        insta::assert_snapshot!(check("::set-output name=a%2Cb%3A::v::w"), @r#"set-output [("name", "a,b:")] "v::w""#);
        insta::assert_snapshot!(check("::endgroup::"), @r#"endgroup [] """#);
        insta::assert_snapshot!(check("x ::error::no"), @"-");
        insta::assert_snapshot!(check("::unknown::x"), @"-");
        insta::assert_snapshot!(check("std::vector::push"), @"-");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in "\\PC{0,60}") {
            let _ = check(&line);
            let _ = check(&format!("::{line}"));
            let _ = check(&format!("##[{line}"));
        }
    }
}
