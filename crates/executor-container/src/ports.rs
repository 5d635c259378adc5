//! `ports:` and `-p`: what of a container is reached from this machine.

use crate::error::{ContainerError, Result};

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The address of this machine; all of them when empty.
    pub address: String,
    /// The port of this machine; any free one when none.
    pub host: Option<u16>,
    /// The port of the container.
    pub container: u16,
    /// `tcp`, `udp` or `sctp`
    pub protocol: String,
}

impl Port {
    /// `80/tcp`
    pub fn key(&self) -> String {
        format!("{}/{}", self.container, self.protocol)
    }
}

/// More ports than anyone needs of one range.
const MAX_RANGE: u16 = 1_000;

/// Reads `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`; host and container may be ranges of equal length.
///
/// # Errors
///
/// When it is none of that.
pub fn parse(text: &str) -> Result<Vec<Port>> {
    let bad = |why: &str| {
        ContainerError::new(format!("the port '{text}' {why}")).hint(
            "CONTAINER, HOST:CONTAINER or ADDRESS:HOST:CONTAINER, with /udp or /tcp behind it",
        )
    };
    let (rest, protocol) = text.trim().split_once('/').unwrap_or((text.trim(), "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(bad("has an unknown protocol"));
    }
    let (rest, container) = rest.rsplit_once(':').map_or((None, rest), |(r, c)| (Some(r), c));
    let (address, host) = match rest {
        None => (String::new(), ""),
        // An address of IPv6 stands in brackets.
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, host)) => (address.trim_matches(['[', ']']).to_owned(), host),
            None => (String::new(), rest),
        },
    };
    let range = |part: &str| -> Result<(u16, u16)> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let number = |t: &str| t.parse::<u16>().ok().filter(|n| *n > 0);
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to && to - from < MAX_RANGE => Ok((from, to)),
            _ => Err(bad("is no port from 1 to 65535")),
        }
    };
    let (from, to) = range(container)?;
    let host = match host {
        "" => None,
        host => Some(range(host)?),
    };
    if let Some((first, last)) = host
        && last - first != to - from
    {
        return Err(bad("has ranges of different lengths"));
    }
    Ok((from..=to)
        .map(|container| Port {
            address: address.clone(),
            host: host.map(|(first, _)| first + (container - from)),
            container,
            protocol: protocol.clone(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match parse(text) {
            Ok(ports) => ports
                .iter()
                .map(|p| format!("{}|{:?}|{}", p.address, p.host, p.key()))
                .collect::<Vec<_>>()
                .join(" "),
            Err(e) => e.message,
        }
    }

    #[test]
    fn ports() {
        insta::assert_snapshot!(check("5432"), @"|None|5432/tcp");
        insta::assert_snapshot!(check("8080:80"), @"|Some(8080)|80/tcp");
        insta::assert_snapshot!(check("127.0.0.1:5432:5432/tcp"), @"127.0.0.1|Some(5432)|5432/tcp");
        insta::assert_snapshot!(check("127.0.0.1::53/UDP"), @"127.0.0.1|None|53/udp");
        insta::assert_snapshot!(check("[::1]:1:2"), @"::1|Some(1)|2/tcp");
        insta::assert_snapshot!(check("9000-9001:90-91"), @"|Some(9000)|90/tcp |Some(9001)|91/tcp");
        insta::assert_snapshot!(check("9000-9002:90-91"), @"the port '9000-9002:90-91' has ranges of different lengths");
        insta::assert_snapshot!(check("http"), @"the port 'http' is no port from 1 to 65535");
        insta::assert_snapshot!(check("70000"), @"the port '70000' is no port from 1 to 65535");
        insta::assert_snapshot!(check("80/quic"), @"the port '80/quic' has an unknown protocol");
    }
}
