//! References to actions and workflows of other repositories: `owner/name[/path]@ref`.

/// A reference, in its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Who owns the repository.
    pub owner: String,
    /// The repository's name.
    pub name: String,
    /// The folder or file in it; empty for its root.
    pub path: String,
    /// Branch, tag or commit; branches may hold slashes.
    pub reference: String,
}

impl Reference {
    /// Reads `owner/name[/path]@ref`. Nothing that could leave a folder gets through, as the parts
    /// become paths.
    pub fn parse(uses: &str) -> Option<Reference> {
        let (path, reference) = uses.split_once('@')?;
        let mut parts = path.split(['/', '\\']).filter(|p| !p.is_empty());
        let (owner, name) = (parts.next()?, parts.next()?);
        let rest: Vec<&str> = parts.collect();
        let plain = |p: &str| {
            !matches!(p, "." | "..") && !p.starts_with('-') && !p.contains(['\0', '\n', '\r', ':'])
        };
        let parts = [owner, name].into_iter().chain(rest.iter().copied());
        let good = parts.chain(reference.split('/')).all(|p| !p.is_empty() && plain(p));
        good.then(|| Reference {
            owner: owner.to_owned(),
            name: name.to_owned(),
            path: rest.join("/"),
            reference: reference.to_owned(),
        })
    }

    /// `owner/name`
    pub fn slug(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    /// Whether the ref is a whole commit id.
    pub fn is_commit(&self) -> bool {
        is_commit(&self.reference)
    }
}

/// Whether a text is a whole commit id.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (uses, wanted) in [
            ("actions/cache@v4", Some(("actions/cache", "", "v4"))),
            ("actions/cache/restore@v4", Some(("actions/cache", "restore", "v4"))),
            ("o/n/a/b@release/v1", Some(("o/n", "a/b", "release/v1"))),
            ("o/n", None),
            ("n@v1", None),
            ("o/n/../x@v1", None),
            ("../n@v1", None),
            ("o/n@../v1", None),
            ("o/-n@v1", None),
            ("o/n@-v1", None),
            ("o/n@", None),
        ] {
            let found = Reference::parse(uses);
            let found = found.as_ref().map(|r| (r.slug(), r.path.as_str(), r.reference.as_str()));
            let found = found.as_ref().map(|(s, p, r)| (s.as_str(), *p, *r));
            assert_eq!(found, wanted, "{uses}");
        }
    }
}
