//! Questions whose answers bollard's types are too strict for, and Podman's own API.
//!
//! Podman 4 says that a container is `stopped`, which Docker's API does not know. HTTP/1.0, so
//! that an answer ends with its connection.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::container::Client;
use crate::error::{ContainerError, Result};

/// Bytes of an answer.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// Time for an answer: an engine that makes a container's network may take its time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time for a ping.
const PING: Duration = Duration::from_secs(10);

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
        let answer = exchange(&self.address, &request, PATIENCE).await;
        parse(&answer.map_err(lost)?)
            .ok_or_else(|| ContainerError::new("the container engine's answer cannot be read"))
    }
}

/// What the headers of a ping tell; `/version` runs programs in Podman, which takes a quarter of a
/// second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ping {
    /// Major and minor version of the API.
    pub(crate) api: (usize, usize),
    /// `Docker` or `Libpod`
    pub(crate) name: String,
    /// The engine's version.
    pub(crate) version: String,
}

/// Asks an engine who it is.
pub(crate) async fn ping(address: &Address) -> std::io::Result<Ping> {
    let answer = exchange(address, "GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n", PING).await?;
    read_ping(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| std::io::Error::other("its answer to a ping cannot be read"))
}

fn read_ping(answer: &str) -> Option<Ping> {
    let mut ping = Ping::default();
    let mut lines = answer.lines();
    if !lines.next()?.contains(" 200") {
        return None;
    }
    for line in lines.take_while(|l| !l.trim().is_empty()) {
        let (key, value) = line.split_once(':')?;
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "api-version" => {
                let (major, minor) = value.split_once('.')?;
                ping.api = (major.parse().ok()?, minor.parse().ok()?);
            }
            // `Docker/28.2.2 (linux)`
            "server" => {
                let (name, rest) = value.split_once('/')?;
                let version = rest.split_whitespace().next()?;
                (ping.name, ping.version) = (name.to_owned(), version.to_owned());
            }
            _ => {}
        }
    }
    Some(ping)
}

async fn exchange(
    address: &Address,
    request: &str,
    patience: Duration,
) -> std::io::Result<Vec<u8>> {
    let asked = async {
        match address {
            Address::Unix(path) => {
                talk(tokio::net::UnixStream::connect(path).await?, request).await
            }
            Address::Tcp(host) => talk(tokio::net::TcpStream::connect(host).await?, request).await,
        }
    };
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| Err(late()))
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
    fn pings() {
        let check = |text: &str| match read_ping(text) {
            Some(ping) => format!("{} {} {:?}", ping.name, ping.version, ping.api),
            None => "none".to_owned(),
        };
        insta::assert_snapshot!(check("HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\nServer: Libpod/4.3.1 (linux)\r\n\r\nOK"), @"Libpod 4.3.1 (1, 41)");
        insta::assert_snapshot!(check("HTTP/1.1 200 OK\r\nApi-Version: 1.48\r\nServer: Docker/28.2.2 (linux)\r\n\r\nOK"), @"Docker 28.2.2 (1, 48)");
        insta::assert_snapshot!(check("HTTP/1.1 404 Not Found\r\n\r\n"), @"none");
        insta::assert_snapshot!(check("SSH-2.0"), @"none");
    }

    #[test]
    fn answers() {
        let check = |text: &str| format!("{:?}", parse(text.as_bytes()));
        insta::assert_snapshot!(check("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"a\":1}\n"), @r#"Some((200, Object {"a": Number(1)}))"#);
        insta::assert_snapshot!(check("HTTP/1.1 204 No Content\r\n\r\n"), @"Some((204, Null))");
        insta::assert_snapshot!(check("HTTP/1.1 500 Oh\r\n\r\nno json"), @"None");
        insta::assert_snapshot!(check("nothing"), @"None");
    }
}
