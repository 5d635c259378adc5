//! A zip of stored files, written in one go: sizes and checksums stand before the bytes, so that
//! readers of streams can read it, and the bytes are plain, so that the store finds equal pieces.
//! The crates at hand write either of the two only to something that can be gone back in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Sizes from here on need the wide form (zip64).
const WIDE: u64 = 0xFFFF_FFFF;
/// 1980-01-01, as nothing of an artifact's times is kept, and equal files are to be equal pieces.
const DATE: u16 = 0x21;

struct Entry {
    name: String,
    size: u64,
    sum: u32,
    at: u64,
}

/// Takes files, and gives a zip.
pub struct ZipWriter<W: Write> {
    target: W,
    at: u64,
    entries: Vec<Entry>,
}

impl<W: Write> ZipWriter<W> {
    /// A zip into that.
    pub fn new(target: W) -> Self {
        ZipWriter { target, at: 0, entries: Vec::new() }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.target.write_all(bytes)
    }

    /// Adds a file under a name.
    pub fn add(&mut self, name: &str, path: &Path) -> io::Result<()> {
        let mut buffer = vec![0; 1024 * 1024];
        let mut hasher = crc32fast::Hasher::new();
        let mut size = 0u64;
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    hasher.update(&buffer[..count]);
                    size += count as u64;
                }
            }
        }
        let sum = hasher.finalize();
        let at = self.at;
        let name_bytes = u16::try_from(name.len())
            .map_err(|_| io::Error::other(format!("the name is too long: {name}")))?;
        let mut head = Vec::new();
        head.extend(b"PK\x03\x04");
        numbers(&mut head, &[if size >= WIDE { 45 } else { 20 }, 0x0800, 0, 0, DATE]);
        head.extend(sum.to_le_bytes());
        let short = u32::try_from(size).unwrap_or(u32::MAX);
        let extra: Vec<u8> = match size >= WIDE {
            true => [
                &1u16.to_le_bytes()[..],
                &16u16.to_le_bytes(),
                &size.to_le_bytes(),
                &size.to_le_bytes(),
            ]
            .concat(),
            false => Vec::new(),
        };
        head.extend(short.to_le_bytes());
        head.extend(short.to_le_bytes());
        numbers(&mut head, &[name_bytes, extra.len() as u16]);
        head.extend(name.as_bytes());
        head.extend(extra);
        self.put(&head)?;
        // Read again: what is in it must be what was summed up.
        let mut file = File::open(path)?;
        let mut left = size;
        let mut hasher = crc32fast::Hasher::new();
        while left > 0 {
            let count = file.read(&mut buffer)?;
            let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            self.put(&buffer[..count])?;
            left -= count as u64;
        }
        if left > 0 || hasher.finalize() != sum {
            return Err(io::Error::other(format!("{} changed while it was read", path.display())));
        }
        self.entries.push(Entry { name: name.to_owned(), size, sum, at });
        Ok(())
    }

    /// Writes the directory, and gives back what it was written into.
    pub fn finish(mut self) -> io::Result<W> {
        let start = self.at;
        for entry in std::mem::take(&mut self.entries) {
            let mut wide = Vec::new();
            for number in [entry.size, entry.size, entry.at] {
                if number >= WIDE {
                    wide.extend(number.to_le_bytes());
                }
            }
            let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
            let mut row = Vec::new();
            row.extend(b"PK\x01\x02");
            let version = if wide.is_empty() { 20 } else { 45 };
            // Made on Unix, so that the rights below count.
            numbers(&mut row, &[0x0300 | version, version, 0x0800, 0, 0, DATE]);
            row.extend(entry.sum.to_le_bytes());
            row.extend(short(entry.size));
            row.extend(short(entry.size));
            let extra = if wide.is_empty() { 0 } else { wide.len() as u16 + 4 };
            numbers(&mut row, &[entry.name.len() as u16, extra, 0, 0, 0]);
            row.extend((0o100_644u32 << 16).to_le_bytes());
            row.extend(short(entry.at));
            row.extend(entry.name.as_bytes());
            if !wide.is_empty() {
                numbers(&mut row, &[1, wide.len() as u16]);
                row.extend(wide);
            }
            self.put(&row)?;
            self.entries.push(entry);
        }
        let (count, size) = (self.entries.len() as u64, self.at - start);
        let mut end = Vec::new();
        if count >= 0xFFFF || size >= WIDE || start >= WIDE {
            let at = self.at;
            end.extend(b"PK\x06\x06");
            end.extend(44u64.to_le_bytes());
            numbers(&mut end, &[0x032D, 45]);
            end.extend([0; 8]);
            for number in [count, count, size, start] {
                end.extend(number.to_le_bytes());
            }
            end.extend(b"PK\x06\x07");
            end.extend([0; 4]);
            end.extend(at.to_le_bytes());
            end.extend(1u32.to_le_bytes());
        }
        let few = u16::try_from(count).unwrap_or(u16::MAX);
        end.extend(b"PK\x05\x06");
        numbers(&mut end, &[0, 0, few, few]);
        end.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        end.extend(u32::try_from(start).unwrap_or(u32::MAX).to_le_bytes());
        numbers(&mut end, &[0]);
        self.put(&end)?;
        self.target.flush()?;
        Ok(self.target)
    }
}

fn numbers(out: &mut Vec<u8>, numbers: &[u16]) {
    for number in numbers {
        out.extend(number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_reader_reads_it() {
        let folder = std::env::temp_dir().join(format!("trainyard-zip-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut zip = ZipWriter::new(Vec::new());
        let names: Vec<String> =
            (0..70_000).map(|i| format!("d/{i}")).chain(["é/ü.txt".to_owned()]).collect();
        std::fs::write(folder.join("x"), b"content").unwrap();
        for name in &names {
            zip.add(name, &folder.join("x")).unwrap();
        }
        let bytes = zip.finish().unwrap();
        let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), names.len());
        for name in ["d/0", "d/69999", "é/ü.txt"] {
            let mut text = String::new();
            archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        }
        let _ = std::fs::remove_dir_all(&folder);
    }
}
