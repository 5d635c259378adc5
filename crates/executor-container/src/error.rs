//! What can go wrong with containers, in words for people.

use bollard::errors::Error as Api;

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ContainerError {
    /// What went wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A result with a [`ContainerError`].
pub type Result<T> = std::result::Result<T, ContainerError>;

impl ContainerError {
    /// Without a hint.
    pub fn new(message: impl Into<String>) -> ContainerError {
        ContainerError { message: message.into(), hint: None }
    }

    /// With one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> ContainerError {
        self.hint = Some(hint.into());
        self
    }

    /// Both in one line.
    pub fn said(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        }
    }

    /// What the engine answered, while doing this.
    pub(crate) fn api(doing: &str, error: &Api) -> ContainerError {
        let text = engine_words(error);
        let lower = text.to_lowercase();
        let said = ContainerError::new(format!("{doing}: {text}"));
        if lower.contains("no space left") {
            said.hint("the disk of the container engine is full: `docker system df` or `podman system df` tells of what")
        } else if lower.contains("address already in use")
            || lower.contains("port is already allocated")
        {
            said.hint("something on this machine listens there: leave the host's port out (`ports: [5432]`) and read `job.services.NAME.ports`")
        } else if lower.contains("permission denied") && lower.contains("socket") {
            said.hint(
                "this user may not use the engine's socket: join its group, or use rootless Podman",
            )
        } else {
            said
        }
    }
}

/// The engine's own words, without the frame around them.
pub(crate) fn engine_words(error: &Api) -> String {
    match error {
        Api::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Api::DockerStreamError { error } => error.trim().to_owned(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            text
        }
    }
}

/// The status of an answer.
pub(crate) fn status(error: &Api) -> Option<u16> {
    match error {
        Api::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}
