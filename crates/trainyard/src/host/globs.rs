//! Globs as actions know them (`actions/toolkit` `packages/glob`): patterns in lines, `!` takes
//! away, the last one that matches decides; no braces; hidden files match like others.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::view::Files;

/// Folders within folders that are walked.
const MAX_DEPTH: usize = 64;

/// How the files are looked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether links to folders are walked into.
    pub follow: bool,
    /// Whether what is in a folder that matches, matches too.
    pub descendants: bool,
    /// Whether names that begin with a dot are passed over.
    pub no_hidden: bool,
}

struct Pattern {
    negated: bool,
    matcher: GlobMatcher,
    root: PathBuf,
    /// Whether it has no wildcard, and so nothing but its root matches.
    literal: bool,
}

/// Patterns, ready to be looked for.
pub struct Globs {
    patterns: Vec<Pattern>,
    options: Options,
    files: Files,
}

impl Globs {
    /// Reads patterns, one a line; relative ones are below `base`, `~` is `home`.
    pub fn new(text: &str, base: &Path, home: &Path, options: Options) -> Result<Globs, String> {
        Globs::among(Files::default(), text, base, home, options)
    }

    /// As [`Self::new`], among the files that steps see.
    pub fn among(
        files: Files,
        text: &str,
        base: &Path,
        home: &Path,
        options: Options,
    ) -> Result<Globs, String> {
        let mut patterns = Vec::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let bangs = line.len() - line.trim_start_matches('!').len();
            let negated = bangs % 2 == 1;
            let plain = line[bangs..].trim();
            if plain.is_empty() {
                continue;
            }
            // A leading `./` is the base itself; further on they are not allowed.
            let rest = plain.strip_prefix("./").unwrap_or(plain);
            if rest != "." && rest.split('/').any(|part| matches!(part, "." | "..")) {
                return Err(format!(
                    "Invalid pattern '{plain}'. Relative pathing '.' and '..' is not allowed."
                ));
            }
            let full = absolute(plain, base, home);
            let shown = full.to_string_lossy().into_owned();
            let mut forms = vec![shown.clone()];
            if options.descendants && !shown.ends_with("/**") {
                forms.push(format!("{}/**", shown.trim_end_matches('/')));
            }
            for form in forms {
                // The toolkit's globs know no braces.
                let literal_form = form == shown;
                let form = form.replace('{', "[{]").replace('}', "[}]");
                let glob = GlobBuilder::new(&form).literal_separator(true).build();
                let matcher = glob.map_err(|e| format!("'{line}': {e}"))?.compile_matcher();
                let root = search_root(&full);
                let literal = root == full && literal_form;
                patterns.push(Pattern { negated, matcher, root, literal });
            }
        }
        Ok(Globs { patterns, options, files })
    }

    /// The folders (or files) before the first wildcards; one within another is left out.
    pub fn search_paths(&self) -> Vec<PathBuf> {
        let mut roots: Vec<PathBuf> = Vec::new();
        for pattern in self.patterns.iter().filter(|p| !p.negated) {
            if !roots.contains(&pattern.root) {
                roots.push(pattern.root.clone());
            }
        }
        let all = roots.clone();
        roots.retain(|r| !all.iter().any(|o| o != r && r.starts_with(o)));
        roots
    }

    /// Whether something below a folder may match.
    fn may_match_below(&self, folder: &Path) -> bool {
        self.patterns.iter().filter(|p| !p.negated).any(|p| match p.literal {
            true => p.root != folder && p.root.starts_with(folder),
            false => p.root.starts_with(folder) || folder.starts_with(&p.root),
        })
    }

    fn matches(&self, path: &Path) -> bool {
        let last = self.patterns.iter().rev().find(|p| p.matcher.is_match(path));
        last.is_some_and(|p| !p.negated)
    }

    /// What matches, folder by folder: files, links, and folders too.
    pub fn find(&self) -> std::io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for root in self.search_paths() {
            if self.files.place(&root)?.symlink_metadata().is_ok() {
                self.walk(&root, &mut Vec::new(), &mut found)?;
            }
        }
        Ok(found)
    }

    /// `above` are the folders on the way, as they really are: a link to one of them is a circle.
    fn walk(
        &self,
        path: &Path,
        above: &mut Vec<PathBuf>,
        found: &mut Vec<PathBuf>,
    ) -> std::io::Result<()> {
        let depth = above.len();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if depth > MAX_DEPTH || (self.options.no_hidden && hidden) {
            return Ok(());
        }
        let own = self.files.place(path)?.symlink_metadata()?;
        let real = self.files.real(path)?;
        let meta = match own.is_symlink() && (self.options.follow || depth == 0) {
            // A broken link is left out.
            true => match real.metadata() {
                Ok(meta) => meta,
                Err(_) => return Ok(()),
            },
            false => own,
        };
        if meta.is_dir() && self.options.follow {
            let canonical = self.files.canonical(path)?;
            if above.contains(&canonical) {
                return Ok(());
            }
            above.push(canonical);
        } else if meta.is_dir() {
            above.push(path.to_owned());
        }
        if self.matches(path) {
            found.push(path.to_owned());
        }
        if meta.is_dir() {
            let below = self.may_match_below(path);
            let mut children: Vec<PathBuf> = match below {
                true => {
                    let entries = std::fs::read_dir(&real)?.flatten();
                    entries.map(|e| path.join(e.file_name())).collect()
                }
                false => Vec::new(),
            };
            children.sort();
            for child in children {
                match self.walk(&child, above, found) {
                    // Gone meanwhile.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
            above.pop();
        }
        Ok(())
    }
}

/// The pattern from the root of the file system down, without `.` and `..`.
fn absolute(pattern: &str, base: &Path, home: &Path) -> PathBuf {
    let path = match pattern.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => base.join(pattern),
    };
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The folders of a pattern before its first wildcard (toolkit `internal-pattern-helper.ts`).
fn search_root(pattern: &Path) -> PathBuf {
    let plain =
        |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    pattern.components().take_while(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn check(patterns: &str, options: Options, wanted: &[&str]) {
        let name = crate::builtin::short_hash(&format!("{patterns}{options:?}"));
        let folder = Folder(std::env::temp_dir().join(format!("trainyard-globs-{name}")));
        let root = &folder.0;
        for file in ["a.txt", "d/b.txt", "d/e/c.bin", "d/.hid", ".dot/x", "d{1}/y", "z/q"] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let _ = std::os::unix::fs::symlink("z", root.join("link"));
        let _ = std::os::unix::fs::symlink("..", root.join("d/e/up"));
        let globs = Globs::new(patterns, root, &root.join("d"), options).unwrap();
        let found: Vec<String> = globs
            .find()
            .unwrap()
            .iter()
            .filter(|p| !p.is_dir() || !options.descendants)
            .map(|p| p.strip_prefix(root).unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(found, wanted, "{patterns}");
    }

    #[test]
    fn as_the_toolkit_finds() {
        let upload = Options { follow: true, descendants: true, no_hidden: true };
        let plain = Options::default();
        check("d", upload, &["d/b.txt", "d/e/c.bin"]);
        check("d", plain, &["d"]);
        check("d\n!d/e", upload, &["d/b.txt"]);
        check("!d/e\nd", upload, &["d/b.txt", "d/e/c.bin"]);
        check("**/*.txt", upload, &["a.txt", "d/b.txt"]);
        check("*.txt", upload, &["a.txt"]);
        check("~/b.txt", upload, &["d/b.txt"]);
        check("d{1}", upload, &["d{1}/y"]);
        check("link", upload, &["link/q"]);
        check(".dot", Options { no_hidden: false, ..upload }, &[".dot/x"]);
        check("nothing/*", upload, &[]);
        check("# remark\n./a.txt", upload, &["a.txt"]);
        assert!(Globs::new("../x", Path::new("/a"), Path::new("/h"), upload).is_err());
        check("d/*\nz", plain, &["d/.hid", "d/b.txt", "d/e", "z"]);
    }
}
