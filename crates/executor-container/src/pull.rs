//! Images got from registries.

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio::time::Duration;

use crate::container::Client;
use crate::engine::EngineKind;
use crate::error::{ContainerError, Result, engine_words};
use crate::image::{Credentials, Pull, known, split_reference};
use crate::progress::Progress;
use crate::task::TaskOutput;

/// How often a pull is tried, as the runner does, and the pause after the first try.
const PULLS: usize = 3;
const RETRY: Duration = Duration::from_secs(2);

impl Client {
    pub(crate) async fn login(&self, credentials: &Credentials) -> Result<()> {
        // A registry answers a question for its API with 401 until the password is right; the
        // engine asks it with what it is given.
        let image = format!("{}/trainyard-login-probe:none", credentials.server);
        let options = CreateImageOptionsBuilder::default().from_image(&image).build();
        let mut stream = self.docker.create_image(Some(options), None, Some(credentials.api()));
        while let Some(piece) = stream.next().await {
            let words = match piece {
                Ok(piece) => piece.error_detail.and_then(|d| d.message).unwrap_or_default(),
                Err(error) => engine_words(&error),
            };
            let absent = ["manifest unknown", "not found", "name unknown", "does not exist"];
            if words.is_empty() || absent.iter().any(|w| words.to_lowercase().contains(w)) {
                continue;
            }
            return Err(ContainerError::new(format!(
                "{} refuses '{}': {}",
                credentials.server,
                credentials.username,
                words.trim()
            )));
        }
        Ok(())
    }

    /// Gets an image as the policy says.
    pub(crate) async fn pull(
        &self,
        image: &str,
        policy: Pull,
        credentials: Option<&Credentials>,
        out: &mut TaskOutput,
    ) -> Result<()> {
        let there = policy != Pull::Always && self.has_image(image).await;
        if there {
            return Ok(());
        }
        if policy == Pull::Never {
            return Err(ContainerError::new(format!(
                "the image '{image}' is not on this machine, and nothing is pulled (--offline)"
            ))
            .hint(format!("pull it while there is a network: {} pull {image}", self.command())));
        }
        out.line(&format!("pulling {image}")).await;
        let known = known(image, credentials).await;
        let mut pause = RETRY;
        for _ in 1..PULLS {
            match self.pull_once(image, known.as_ref(), out).await {
                Err(error) if passing(&error.message) => {
                    let line = format!(
                        "##[warning]{}, another try in {} seconds",
                        error.message,
                        pause.as_secs()
                    );
                    out.line(&line).await;
                    tokio::time::sleep(pause).await;
                    pause *= 3;
                }
                done => return done,
            }
        }
        self.pull_once(image, known.as_ref(), out).await
    }

    async fn pull_once(
        &self,
        image: &str,
        credentials: Option<&Credentials>,
        out: &mut TaskOutput,
    ) -> Result<()> {
        let (name, tag) = split_reference(image);
        let mut options = CreateImageOptionsBuilder::default().from_image(name);
        if !image.contains('@') {
            options = options.tag(tag);
        }
        let mut stream = self.docker.create_image(
            Some(options.build()),
            None,
            credentials.map(Credentials::api),
        );
        let mut progress = Progress::default();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| pull_error(image, &engine_words(&e), credentials))?;
            if let Some(detail) = piece.error_detail.and_then(|d| d.message) {
                return Err(pull_error(image, &detail, credentials));
            }
            progress.tell(piece.id, piece.status, piece.progress_detail, out).await;
        }
        match self.has_image(image).await {
            true => Ok(()),
            false => Err(pull_error(image, "the engine did not bring it", credentials)),
        }
    }

    fn command(&self) -> &'static str {
        match self.kind {
            EngineKind::Docker => "docker",
            EngineKind::Podman => "podman",
        }
    }
}

/// Whether what failed may work a moment later.
fn passing(words: &str) -> bool {
    let lower = words.to_lowercase();
    [
        "timeout",
        "timed out",
        "reset by peer",
        "unexpected eof",
        "toomanyrequests",
        "too many requests",
    ]
    .iter()
    .chain(&["500 internal", "502 bad", "503 service", "504 gateway", "temporary failure"])
    .any(|w| lower.contains(w))
}

pub(crate) fn denied(words: &str) -> bool {
    let lower = words.to_lowercase();
    ["unauthorized", "denied", "authentication required", "401", "403", "no basic auth"]
        .iter()
        .any(|w| lower.contains(w))
}

fn pull_error(image: &str, words: &str, credentials: Option<&Credentials>) -> ContainerError {
    let said =
        ContainerError::new(format!("the image '{image}' cannot be pulled: {}", words.trim()));
    let lower = words.to_lowercase();
    if denied(words) {
        return match credentials {
            Some(c) => {
                said.hint(format!("the registry refuses '{}': look at `credentials`", c.username))
            }
            None => said.hint("a private image wants `credentials: {username: …, password: …}`"),
        };
    }
    if ["not found", "manifest unknown", "name unknown", "does not exist"]
        .iter()
        .any(|w| lower.contains(w))
    {
        return said.hint("look at its name and tag");
    }
    if lower.contains("no space left") {
        return said.hint("the disk of the container engine is full");
    }
    said
}
