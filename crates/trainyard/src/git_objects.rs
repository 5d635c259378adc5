//! The commit that is checked out, read from the object files: starting git costs more than all
//! else that a small run does before its first step. Whatever is not in the plainest of forms
//! (a loose object, or a whole object in a version 2 pack) is left to git.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a commit that are read.
const MAX_COMMIT: u64 = 16 * 1024 * 1024;
/// Packs that are looked into.
const MAX_PACKS: usize = 64;
/// `\377tOc` and version 2.
const INDEX_HEADER: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];

/// The id that HEAD stands for.
pub fn head(git_dir: &Path, common_dir: &Path) -> Option<String> {
    let head = std::fs::read_to_string(git_dir.join("HEAD")).ok()?;
    let id = match head.trim().strip_prefix("ref: ") {
        None => head,
        Some(name) => match std::fs::read_to_string(common_dir.join(name)) {
            Ok(id) => id,
            Err(_) => std::fs::read_to_string(common_dir.join("packed-refs"))
                .ok()?
                .lines()
                .find_map(|line| {
                    let (id, packed) = line.split_once(' ')?;
                    (packed == name).then(|| id.to_owned())
                })?,
        },
    };
    let id = id.trim();
    (id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// The text of a commit.
pub fn commit(common_dir: &Path, id: &str) -> Option<String> {
    let objects = common_dir.join("objects");
    loose(&objects, id).or_else(|| packed(&objects.join("pack"), id))
}

fn inflate(reader: impl Read) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    flate2::read::ZlibDecoder::new(reader).take(MAX_COMMIT).read_to_end(&mut out).ok()?;
    Some(out)
}

fn loose(objects: &Path, id: &str) -> Option<String> {
    let bytes = inflate(File::open(objects.join(&id[..2]).join(&id[2..])).ok()?)?;
    let text = String::from_utf8_lossy(&bytes);
    let (header, body) = text.split_once('\0')?;
    header.starts_with("commit ").then(|| body.to_owned())
}

fn packed(folder: &Path, id: &str) -> Option<String> {
    let bytes: Vec<u8> = (0..20)
        .map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16))
        .collect::<Result<_, _>>()
        .ok()?;
    let indexes = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    indexes
        .filter(|p| p.extension().is_some_and(|e| e == "idx"))
        .take(MAX_PACKS)
        .find_map(|index| entry(&index.with_extension("pack"), offset(&index, &bytes)?))
}

/// The place of an object in its pack, by the pack's index.
fn offset(index: &Path, id: &[u8]) -> Option<u64> {
    let mut file = BufReader::new(File::open(index).ok()?);
    let mut header = [0u8; 8];
    file.read_exact(&mut header).ok()?;
    if header != INDEX_HEADER {
        return None;
    }
    let mut fan = [0u8; 1024];
    file.read_exact(&mut fan).ok()?;
    let count =
        |i: usize| u32::from_be_bytes([fan[4 * i], fan[4 * i + 1], fan[4 * i + 2], fan[4 * i + 3]]);
    let first = usize::from(id[0]);
    let (mut low, mut high) = (if first == 0 { 0 } else { count(first - 1) }, count(first));
    let total = u64::from(count(255));
    let (names, offsets) = (8 + 1024, 8 + 1024 + total * 24);
    while low < high {
        let middle = low + (high - low) / 2;
        file.seek(SeekFrom::Start(names + u64::from(middle) * 20)).ok()?;
        let mut name = [0u8; 20];
        file.read_exact(&mut name).ok()?;
        match name.as_slice().cmp(id) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => {
                file.seek(SeekFrom::Start(offsets + u64::from(middle) * 4)).ok()?;
                let mut at = [0u8; 4];
                file.read_exact(&mut at).ok()?;
                let at = u32::from_be_bytes(at);
                // The top bit means a table of larger offsets: left to git.
                return (at & 0x8000_0000 == 0).then_some(u64::from(at));
            }
        }
    }
    None
}

/// A whole commit at a place in a pack; none for a delta.
fn entry(pack: &Path, offset: u64) -> Option<String> {
    let mut file = BufReader::new(File::open(pack).ok()?);
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut byte = [0u8; 1];
    file.read_exact(&mut byte).ok()?;
    let kind = (byte[0] >> 4) & 7;
    // The size follows in bytes of seven bits; the inflater finds the end by itself.
    while byte[0] & 0x80 != 0 {
        file.read_exact(&mut byte).ok()?;
    }
    if kind != 1 {
        return None;
    }
    Some(String::from_utf8_lossy(&inflate(file)?).into_owned())
}
