//! Questions whose answers bollard's types are too strict for, and Podman's own API.
//!
//! Podman 4 says that a container is `stopped`, which Docker's API does not know. HTTP/1.0, so
//! that an answer ends with its connection.

use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::container::Client;
use crate::error::{ContainerError, Result};

/// Bytes of an answer.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// Where the engine listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// A socket.
    Unix(std::path::PathBuf),
    /// `HOST:PORT`
    Tcp(String),
}

impl Client {
    /// Asks, and gives the status with the JSON of the answer.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        body: Option<&Json>,
    ) -> Result<(u16, Json)> {
        let body = body.map(Json::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let lost = |e: std::io::Error| {
            ContainerError::new(format!("the container engine does not answer: {e}"))
        };
        let answer = match &self.address {
            Address::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(lost)?;
                talk(stream, &request).await
            }
            Address::Tcp(host) => {
                let stream = tokio::net::TcpStream::connect(host).await.map_err(lost)?;
                talk(stream, &request).await
            }
        };
        parse(&answer.map_err(lost)?)
            .ok_or_else(|| ContainerError::new("the container engine's answer cannot be read"))
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<(u16, Json)> {
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..at]).ok()?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let body = &answer[at + 4..];
    let json = match body.trim_ascii() {
        [] => Json::Null,
        body => serde_json::from_slice(body).ok()?,
    };
    Some((status, json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |text: &str| format!("{:?}", parse(text.as_bytes()));
        insta::assert_snapshot!(check("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"a\":1}\n"), @r#"Some((200, Object {"a": Number(1)}))"#);
        insta::assert_snapshot!(check("HTTP/1.1 204 No Content\r\n\r\n"), @"Some((204, Null))");
        insta::assert_snapshot!(check("HTTP/1.1 500 Oh\r\n\r\nno json"), @"None");
        insta::assert_snapshot!(check("nothing"), @"None");
    }
}
