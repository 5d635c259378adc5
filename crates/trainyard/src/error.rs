//! Errors that end a command, with what to do about them.

/// An error with its remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Error {
    /// An error without a remedy.
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), hint: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What failed with what, for files.
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Error::new(format!("cannot {what} {}: {error}", path.display()))
    }
}

impl From<trainyard_store::Error> for Error {
    fn from(error: trainyard_store::Error) -> Self {
        let hint = match error {
            trainyard_store::Error::Newer => "update trainyard, or use another TRAINYARD_DATA_DIR",
            trainyard_store::Error::Database(_) => "TRAINYARD_DATA_DIR names another folder for it",
        };
        Error::new(error.to_string()).hint(hint)
    }
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Error>;
