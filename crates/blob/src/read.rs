//! Reading: chunk by chunk, each compared with its hash.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rusqlite::{OptionalExtension, params};

use crate::{BlobId, Error, Result, Store};

/// Open packs that a reader keeps.
const MAX_OPEN: usize = 64;

/// The bytes of a blob, in order.
pub struct BlobReader<'s> {
    store: &'s Store,
    chunks: Vec<[u8; 32]>,
    /// Where each chunk begins.
    starts: Vec<u64>,
    next: usize,
    current: Vec<u8>,
    at: usize,
    packs: BTreeMap<i64, File>,
    scratch: Vec<u8>,
    size: u64,
}

impl Store {
    /// A reader of a blob.
    pub fn reader(&self, blob: BlobId) -> Result<BlobReader<'_>> {
        let database = self.database();
        let size: Option<i64> = database
            .query_row("SELECT size FROM blobs WHERE id = ?1", params![blob.0], |r| r.get(0))
            .optional()?;
        let Some(size) = size else {
            return Err(Error::Damaged(format!("there is no blob {}", blob.0)));
        };
        let mut statement = database.prepare_cached(
            "SELECT p.chunk, c.size FROM parts p LEFT JOIN chunks c ON c.hash = p.chunk
             WHERE p.blob = ?1 ORDER BY p.seq",
        )?;
        let rows = statement.query_map(params![blob.0], |r| {
            Ok((r.get::<_, [u8; 32]>(0)?, r.get::<_, Option<i64>>(1)?))
        })?;
        let (mut chunks, mut starts, mut at) = (Vec::new(), Vec::new(), 0u64);
        for row in rows {
            let (hash, size) = row?;
            let size = size.and_then(|s| u64::try_from(s).ok());
            let lost = || Error::Damaged(format!("chunk {}", crate::write::hex(&hash)));
            starts.push(at);
            at += size.ok_or_else(lost)?;
            chunks.push(hash);
        }
        Ok(BlobReader {
            store: self,
            chunks,
            starts,
            next: 0,
            current: Vec::new(),
            at: 0,
            packs: BTreeMap::new(),
            scratch: Vec::new(),
            size: u64::try_from(size).unwrap_or(0),
        })
    }
}

impl BlobReader<'_> {
    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next chunk; none at the end. Who takes chunks does not seek back into the last one.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(hash) = self.chunks.get(self.next).copied() else { return Ok(None) };
        self.next += 1;
        self.load(&hash)?;
        self.at = 0;
        Ok(Some(std::mem::take(&mut self.current)))
    }

    /// Loads a chunk. One that is damaged is forgotten, so that the next blob that has it stores
    /// it anew.
    fn load(&mut self, hash: &[u8; 32]) -> Result<()> {
        let loaded = self.load_chunk(hash);
        if loaded.is_err() {
            let database = self.store.database();
            database.execute("DELETE FROM chunks WHERE hash = ?1", params![hash])?;
        }
        loaded.map_err(|error| match error {
            Error::Io { path, error } => Error::Damaged(format!("{}: {error}", path.display())),
            other => other,
        })
    }

    fn load_chunk(&mut self, hash: &[u8; 32]) -> Result<()> {
        type Row = (i64, i64, bool, Option<i64>, Option<i64>, Option<Vec<u8>>);
        let row: Option<Row> = {
            let database = self.store.database();
            let mut statement = database.prepare_cached(
                "SELECT size, stored, packed, pack, place, data FROM chunks WHERE hash = ?1",
            )?;
            statement
                .query_row(params![hash], |r| {
                    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?))
                })
                .optional()?
        };
        let damaged =
            |what: &str| Error::Damaged(format!("chunk {}: {what}", crate::write::hex(hash)));
        let Some((size, stored, packed, pack, place, data)) = row else {
            return Err(damaged("it is not there"));
        };
        let size = usize::try_from(size).map_err(|_| damaged("its size"))?;
        let stored = usize::try_from(stored).map_err(|_| damaged("its size"))?;
        match (data, pack) {
            (Some(data), _) => self.scratch = data,
            (None, Some(pack)) => {
                self.scratch.resize(stored, 0);
                let place = place.and_then(|p| u64::try_from(p).ok()).unwrap_or(0);
                if !self.packs.contains_key(&pack) {
                    if self.packs.len() >= MAX_OPEN {
                        self.packs.clear();
                    }
                    let path = self.store.pack_path(pack);
                    let file = File::open(&path).map_err(|e| self.store.io(&path, e))?;
                    self.packs.insert(pack, file);
                }
                let file = &self.packs[&pack];
                file.read_exact_at(&mut self.scratch, place)
                    .map_err(|e| self.store.io(&self.store.pack_path(pack), e))?;
            }
            (None, None) => return Err(damaged("it is nowhere")),
        }
        if packed {
            self.current.clear();
            self.current.reserve(size);
            let mut decoder =
                zstd::bulk::Decompressor::new().map_err(|e| damaged(&e.to_string()))?;
            decoder
                .decompress_to_buffer(&self.scratch, &mut self.current)
                .map_err(|e| damaged(&e.to_string()))?;
        } else {
            std::mem::swap(&mut self.current, &mut self.scratch);
        }
        if self.current.len() != size || blake3::hash(&self.current).as_bytes() != hash {
            return Err(damaged("its bytes are not what they were"));
        }
        self.at = 0;
        Ok(())
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.current.len() {
            let Some(hash) = self.chunks.get(self.next).copied() else { return Ok(0) };
            self.next += 1;
            self.load(&hash)?;
        }
        let count = out.len().min(self.current.len() - self.at);
        out[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl io::Seek for BlobReader<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let now = match self.next {
            0 => 0,
            next => self.starts[next - 1] + self.at as u64,
        };
        let target = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::End(by) => self.size.checked_add_signed(by),
            io::SeekFrom::Current(by) => now.checked_add_signed(by),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "before the beginning");
        let target = target.ok_or_else(outside)?;
        // The chunk that holds the place; past the end there is none.
        let index = self.starts.partition_point(|s| *s <= target);
        if index == 0 || target >= self.size {
            self.next = if index == 0 { 0 } else { self.chunks.len() };
            self.at = self.current.len();
            if self.next > 0 && !self.chunks.is_empty() {
                // So that the place is the end, whatever chunk was held.
                let last = self.chunks[self.next - 1];
                self.load(&last)?;
                self.at = self.current.len();
            }
            return Ok(target);
        }
        if self.next != index {
            let hash = self.chunks[index - 1];
            self.load(&hash)?;
            self.next = index;
        }
        let within = usize::try_from(target - self.starts[index - 1]).unwrap_or(usize::MAX);
        self.at = within.min(self.current.len());
        Ok(target)
    }
}
