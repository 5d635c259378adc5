//! Runs within runs: a step that calls `trainyard pipeline run` begins a run of its own, and the job's view
//! shows it.

use trainyard_store::Parent;

/// The variable by which a step's processes know whose they are.
pub const PARENT: &str = "TRAINYARD_PARENT_RUN";

/// Its value.
pub fn text(parent: Parent) -> String {
    format!("{}/{}/{}", parent.run, parent.node, parent.attempt)
}

/// The job that this process is of, if it is of any.
pub fn parent() -> Option<Parent> {
    parse(&std::env::var(PARENT).ok()?)
}

fn parse(text: &str) -> Option<Parent> {
    let mut parts = text.split('/').map(str::parse);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(run)), Some(Ok(node)), Some(Ok(attempt)), None) => {
            Some(Parent { run, node, attempt })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose() {
        let parent = Parent { run: 12, node: 3, attempt: 1 };
        assert_eq!(parse(&text(parent)), Some(parent));
        assert_eq!(parse("1/2"), None);
        assert_eq!(parse("1/2/3/4"), None);
    }
}
