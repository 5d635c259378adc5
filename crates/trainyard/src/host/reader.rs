//! The output of a process: cut into lines, commands picked out, secrets hidden.

use trainyard_job::command::may_hold_command;
use trainyard_job::mask::{MaskStream, Masker};

/// Bytes of one line that are held; longer lines pass without being looked at for commands.
const MAX_LINE: usize = 1024 * 1024;

/// A stream on its way to the log.
#[derive(Default)]
pub struct OutputReader {
    line: Vec<u8>,
    /// Inside a line that was too long to hold.
    overlong: bool,
    mask: MaskStream,
    ended_with_newline: bool,
}

/// What to do with a piece of output.
pub trait Sink {
    /// The masker as it is now.
    fn masker(&self) -> &Masker;
    /// Masked bytes for the log.
    fn write(&mut self, bytes: &[u8]);
    /// A line that may hold a command, without its newline; every line while [`Self::wants_all`].
    fn line(&mut self, line: &str);
    /// Whether lines without a command are wanted one by one.
    fn wants_all(&self) -> bool {
        false
    }
}

impl OutputReader {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        // A progress bar returns to the start of its line: a line ends there, too (the runner reads
        // with .NET's `ReadLine`).
        let Some(newline) = memchr::memrchr2(b'\n', b'\r', bytes) else {
            self.line.extend_from_slice(bytes);
            if self.line.len() > MAX_LINE {
                let piece = std::mem::take(&mut self.line);
                self.overlong = true;
                self.emit(&piece, sink);
            }
            return;
        };
        let (head, tail) = bytes.split_at(newline + 1);
        if self.line.is_empty() {
            self.lines(head, sink);
        } else {
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(head);
            self.lines(&whole, sink);
        }
        self.line.extend_from_slice(tail);
    }

    /// Takes the end of the stream.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.lines(&rest, sink);
        }
        let mut out = Vec::new();
        self.mask.finish(sink.masker(), &mut out);
        sink.write(&out);
        if !self.ended_with_newline && (!rest.is_empty() || !out.is_empty() || self.overlong) {
            sink.write(b"\n");
        }
    }

    fn emit(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let mut out = Vec::with_capacity(bytes.len());
        self.mask.push(sink.masker(), bytes, &mut out);
        sink.write(&out);
        self.ended_with_newline = bytes.ends_with(b"\n");
    }

    /// Whole lines, but perhaps the last.
    fn lines(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let mut rest = bytes;
        if self.overlong {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
            self.emit(&rest[..end], sink);
            self.overlong = !rest[..end].ends_with(b"\n");
            rest = &rest[end..];
        }
        if !may_hold_command(rest) && !sink.wants_all() {
            if !rest.is_empty() {
                self.emit(rest, sink);
            }
            return;
        }
        let mut plain = 0;
        let mut at = 0;
        while at < rest.len() {
            let end = match memchr::memchr2(b'\n', b'\r', &rest[at..]).map(|i| at + i) {
                Some(i) if rest[i..].starts_with(b"\r\n") => i + 2,
                Some(i) => i + 1,
                None => rest.len(),
            };
            let line = &rest[at..end];
            if may_hold_command(line) || sink.wants_all() {
                self.emit_if_any(&rest[plain..at], sink);
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                sink.line(&String::from_utf8_lossy(text));
                self.ended_with_newline = true;
                plain = end;
            }
            at = end;
        }
        self.emit_if_any(&rest[plain..], sink);
    }

    fn emit_if_any(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        if !bytes.is_empty() {
            self.emit(bytes, sink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept {
        masker: Masker,
        log: Vec<u8>,
    }

    impl Sink for Kept {
        fn masker(&self) -> &Masker {
            &self.masker
        }
        fn write(&mut self, bytes: &[u8]) {
            self.log.extend_from_slice(bytes);
        }
        fn line(&mut self, line: &str) {
            if let Some(value) = line.strip_prefix("::add-mask::") {
                self.masker.add(value);
            } else {
                let masked = self.masker.mask(line);
                self.log.extend_from_slice(format!("<{masked}>\n").as_bytes());
            }
        }
    }

    fn run(pieces: &[&str]) -> String {
        let (mut reader, mut sink) = (OutputReader::default(), Kept::default());
        for piece in pieces {
            reader.push(piece.as_bytes(), &mut sink);
        }
        reader.finish(&mut sink);
        String::from_utf8(sink.log).unwrap()
    }

    #[test]
    fn masks_hold_from_their_line_on() {
        let text = "secret\n::add-mask::secret\nthe secret\n::error::secret!\nend";
        let wanted = "secret\nthe ***\n<::error::***!>\nend\n";
        assert_eq!(run(&[text]), wanted);
        for cut in 0..text.len() {
            assert_eq!(run(&[&text[..cut], &text[cut..]]), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn endless_lines_pass() {
        let long = "x".repeat(3 * MAX_LINE);
        assert_eq!(run(&[&long, "y\nz\n"]), format!("{long}y\nz\n"));
    }
}
