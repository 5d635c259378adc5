use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A duration as people read it.
pub fn duration(millis: i64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..=59 => format!("{}.{}s", seconds, millis % 1000 / 100),
        60..=3599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Copies pieces of a log.
pub(super) fn copy_pieces(
    log: &Path,
    pieces: &[(u64, u64)],
    out: &mut dyn Write,
) -> io::Result<()> {
    let Ok(mut file) = File::open(log) else { return Ok(()) };
    for (from, to) in pieces {
        file.seek(SeekFrom::Start(*from))?;
        let mut part = (&mut file).take(to - from);
        io::copy(&mut part, out)?;
    }
    Ok(())
}

/// The text at the end of pieces of a log, so many bytes of it at most.
pub(super) fn end_of(log: &Path, pieces: &[(u64, u64)], most: u64) -> String {
    let Ok(mut file) = File::open(log) else { return String::new() };
    let mut bytes = Vec::new();
    let mut room = most;
    for (from, to) in pieces.iter().rev() {
        let from = (*from).max(to.saturating_sub(room));
        let mut part = Vec::new();
        let read = file
            .seek(SeekFrom::Start(from))
            .and_then(|_| (&mut file).take(to - from).read_to_end(&mut part));
        if read.is_err() {
            break;
        }
        room = room.saturating_sub(to - from);
        part.extend_from_slice(&bytes);
        bytes = part;
        if room == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes a line to standard output. Nobody is left to be told if nobody reads it.
pub fn line(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut rest) = (0, count);
    while rest >= 10 * 1024 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    format!("{rest} {}", UNITS[unit])
}

/// How long ago a time was, in milliseconds since the epoch.
pub fn ago(millis: i64) -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    match (now - millis) / 1000 {
        seconds if seconds < 60 => "now".to_owned(),
        seconds if seconds < 3600 => format!("{} min ago", seconds / 60),
        seconds if seconds < 48 * 3600 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86400),
    }
}

/// A span of time as people write it: `30m`, `12h`, `7d`, `2w`.
pub fn span(text: &str) -> Option<std::time::Duration> {
    let unit = text.chars().last()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        'w' => 7 * 86400,
        _ => return None,
    };
    Some(std::time::Duration::from_secs(number.checked_mul(seconds)?))
}
