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

/// Bytes that are looked at for the end of a log.
const TAIL_BYTES: u64 = 64 * 1024;

/// The last lines of pieces of a log.
pub fn tail(log: &Path, pieces: &[(u64, u64)], lines: usize) -> Vec<String> {
    let Ok(mut file) = File::open(log) else { return Vec::new() };
    let mut bytes = Vec::new();
    let mut room = TAIL_BYTES;
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
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|l| (*l).to_owned()).collect()
}

/// Writes a line to standard output. Nobody is left to be told if nobody reads it.
pub fn line(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
