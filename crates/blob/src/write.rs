//! Writing: bytes are cut into chunks, hashed and compressed by workers, and the new ones appended
//! to a pack in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use fastcdc::v2020::FastCDC;
use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

use crate::{BlobId, Error, Result, Store};

/// Bytes of a chunk: at least, on average, at most. What is smaller than the least is one chunk.
const CHUNK: (usize, usize, usize) = (256 * 1024, 1024 * 1024, 4 * 1024 * 1024);
/// Bytes that are cut at once.
const WINDOW: usize = 4 * CHUNK.2;
/// Stored bytes up to which the chunks of a blob go into the database.
const INLINE: usize = 64 * 1024;
/// Threads that hash and compress.
const WORKERS: usize = 2;
/// Chunks on their way through them: the memory that a writer holds is bounded by it.
const IN_FLIGHT: usize = 8;

type Hash = [u8; 32];

/// A chunk as it is stored.
struct Packed {
    hash: Hash,
    size: usize,
    /// Compressed, or none if that does not pay.
    compressed: Option<Vec<u8>>,
    raw: Vec<u8>,
}

impl Packed {
    fn bytes(&self) -> &[u8] {
        self.compressed.as_deref().unwrap_or(&self.raw)
    }
}

/// Where a new chunk lies in the pack.
struct Placed {
    size: usize,
    stored: usize,
    packed: bool,
    place: u64,
}

/// Takes bytes, and gives a [`Draft`] of a blob.
pub struct BlobWriter<'s> {
    store: &'s Store,
    buffer: Vec<u8>,
    size: u64,
    sha256: Option<Sha256>,
    work: SyncSender<(u64, Vec<u8>)>,
    done: Receiver<(u64, Packed)>,
    workers: Vec<JoinHandle<()>>,
    sent: u64,
    /// Chunks that came back before their turn.
    early: BTreeMap<u64, Packed>,
    parts: Vec<Hash>,
    new: BTreeMap<Hash, Placed>,
    old: BTreeSet<Hash>,
    /// New chunks, while they are few.
    held: Vec<u8>,
    pack: Option<(PathBuf, BufWriter<File>)>,
    at: u64,
}

/// A blob whose bytes are on the disk and whose name is not yet given. Dropped, it is as if it
/// never was.
pub struct Draft {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal; empty if it was not asked for.
    pub sha256: String,
    parts: Vec<Hash>,
    new: BTreeMap<Hash, Placed>,
    held: Vec<u8>,
    pack: Option<PathBuf>,
}

impl Draft {
    /// Bytes that were not in the store before, as they are stored.
    pub fn stored(&self) -> u64 {
        self.new.values().map(|p| p.stored as u64).sum()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = self.pack.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Bytes in the middle of a chunk by which it is judged whether compressing it pays.
const SAMPLE: usize = 32 * 1024;

fn pack_chunk(raw: Vec<u8>) -> Packed {
    let hash = *blake3::hash(&raw).as_bytes();
    let size = raw.len();
    let compress = |bytes: &[u8]| {
        zstd::bulk::compress(bytes, 1).ok().filter(|c| c.len() + c.len() / 16 < bytes.len())
    };
    // Most of what is large is compressed already, and trying costs more than all the rest.
    let middle = size / 2;
    let worth = size < 4 * SAMPLE || compress(&raw[middle..middle + SAMPLE]).is_some();
    let compressed = if worth { compress(&raw) } else { None };
    Packed { hash, size, compressed, raw }
}

/// The threads that pack chunks: what they take, what they give, and they themselves.
type Workers = (SyncSender<(u64, Vec<u8>)>, Receiver<(u64, Packed)>, Vec<JoinHandle<()>>);

fn workers(count: usize) -> Workers {
    let (work, todo) = sync_channel::<(u64, Vec<u8>)>(IN_FLIGHT);
    let (sender, done): (Sender<(u64, Packed)>, _) = channel();
    let todo = Arc::new(std::sync::Mutex::new(todo));
    let threads = (0..count)
        .map(|_| {
            let (todo, sender) = (Arc::clone(&todo), sender.clone());
            std::thread::spawn(move || {
                loop {
                    let next = {
                        let todo = todo.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        todo.recv()
                    };
                    let Ok((number, raw)) = next else { return };
                    if sender.send((number, pack_chunk(raw))).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    (work, done, threads)
}

impl Store {
    /// A writer of a new blob; `sha256` whether its digest is wanted.
    pub fn writer(&self, sha256: bool) -> BlobWriter<'_> {
        let (work, done, workers) = workers(WORKERS);
        BlobWriter {
            store: self,
            buffer: Vec::new(),
            size: 0,
            sha256: sha256.then(Sha256::new),
            work,
            done,
            workers,
            sent: 0,
            early: BTreeMap::new(),
            parts: Vec::new(),
            new: BTreeMap::new(),
            old: BTreeSet::new(),
            held: Vec::new(),
            pack: None,
            at: 0,
        }
    }

    /// Whether a chunk is there already.
    fn has(&self, hash: &Hash) -> Result<bool> {
        let database = self.database();
        let mut statement = database.prepare_cached("SELECT 1 FROM chunks WHERE hash = ?1")?;
        Ok(statement.query_row(params![hash], |_| Ok(())).optional()?.is_some())
    }

    /// Records a draft: the pack is named, the chunks, the blob.
    pub(crate) fn commit(&self, tx: &Transaction<'_>, draft: &mut Draft) -> Result<BlobId> {
        let mut pack = None;
        if let Some(path) = &draft.pack {
            let size = path.metadata().map_err(|e| self.io(path, e))?.len();
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            tx.execute("INSERT INTO packs (size) VALUES (?1)", params![size])?;
            let id = tx.last_insert_rowid();
            let target = self.pack_path(id);
            std::fs::rename(path, &target).map_err(|e| self.io(&target, e))?;
            sync_folder(&self.root.join("packs")).map_err(|e| self.io(&target, e))?;
            draft.pack = None;
            pack = Some(id);
        }
        {
            // Two writers may have had the same chunk at once: the first one's stands.
            let mut insert = tx.prepare_cached(
                "INSERT OR IGNORE INTO chunks (hash, size, stored, packed, pack, place, data)
                 VALUES (?1,?2,?3,?4,?5,?6,?7)",
            )?;
            for (hash, placed) in &draft.new {
                let from = usize::try_from(placed.place).unwrap_or(usize::MAX);
                let data = match pack {
                    Some(_) => None,
                    None => draft.held.get(from..from + placed.stored),
                };
                let place = i64::try_from(placed.place).unwrap_or(i64::MAX);
                let numbers = (placed.size as i64, placed.stored as i64);
                insert.execute(params![
                    hash,
                    numbers.0,
                    numbers.1,
                    placed.packed,
                    pack,
                    place,
                    data
                ])?;
            }
        }
        let size = i64::try_from(draft.size).unwrap_or(i64::MAX);
        tx.execute("INSERT INTO blobs (size, sha256) VALUES (?1,?2)", params![size, draft.sha256])?;
        let blob = tx.last_insert_rowid();
        let mut insert =
            tx.prepare_cached("INSERT INTO parts (blob, seq, chunk) VALUES (?1,?2,?3)")?;
        for (seq, hash) in draft.parts.iter().enumerate() {
            insert.execute(params![blob, i64::try_from(seq).unwrap_or(i64::MAX), hash])?;
        }
        Ok(BlobId(blob))
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &std::path::Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl BlobWriter<'_> {
    /// Cuts what is in the buffer; the rest of it stays, as its chunk may go on.
    fn cut(&mut self, last: bool) -> io::Result<()> {
        let keep = if last { 0 } else { CHUNK.2 };
        let mut from = 0;
        {
            let cutter = FastCDC::new(&self.buffer, CHUNK.0, CHUNK.1, CHUNK.2);
            let mut ends = Vec::new();
            while self.buffer.len() - from > keep {
                let (_, end) = cutter.cut(from, self.buffer.len() - from);
                if end <= from {
                    break;
                }
                ends.push((from, end));
                from = end;
            }
            for (start, end) in ends {
                let raw = self.buffer[start..end].to_vec();
                self.send(raw)?;
            }
        }
        self.buffer.drain(..from);
        Ok(())
    }

    fn send(&mut self, raw: Vec<u8>) -> io::Result<()> {
        while self.sent - self.parts.len() as u64 >= (IN_FLIGHT + WORKERS) as u64 {
            self.receive()?;
        }
        let number = self.sent;
        self.sent += 1;
        self.work
            .send((number, raw))
            .map_err(|_| io::Error::other("the threads that pack chunks are gone"))
    }

    /// Waits for the next chunk in order and places it.
    fn receive(&mut self) -> io::Result<()> {
        let wanted = self.parts.len() as u64;
        let packed = loop {
            if let Some(packed) = self.early.remove(&wanted) {
                break packed;
            }
            let (number, packed) = self
                .done
                .recv()
                .map_err(|_| io::Error::other("the threads that pack chunks are gone"))?;
            self.early.insert(number, packed);
        };
        self.parts.push(packed.hash);
        if self.new.contains_key(&packed.hash) || self.old.contains(&packed.hash) {
            return Ok(());
        }
        if self.store.has(&packed.hash).map_err(io::Error::other)? {
            self.old.insert(packed.hash);
            return Ok(());
        }
        let bytes = packed.bytes();
        let placed = Placed {
            size: packed.size,
            stored: bytes.len(),
            packed: packed.compressed.is_some(),
            place: self.at,
        };
        self.at += bytes.len() as u64;
        if self.pack.is_none() && self.held.len() + bytes.len() > INLINE {
            let path = self.fresh_pack();
            let mut file = BufWriter::with_capacity(1024 * 1024, File::create(&path)?);
            file.write_all(&self.held)?;
            self.held = Vec::new();
            self.pack = Some((path, file));
        }
        match &mut self.pack {
            Some((_, file)) => file.write_all(bytes)?,
            None => self.held.extend_from_slice(bytes),
        }
        self.new.insert(packed.hash, placed);
        Ok(())
    }

    fn fresh_pack(&self) -> PathBuf {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.store.root.join("packs").join(format!("new-{}-{number}", std::process::id()))
    }

    /// The blob, its bytes durable, its name still to be given.
    pub fn finish(mut self) -> Result<Draft> {
        let failed = |store: &Store, e: io::Error| store.io(&store.root.join("packs"), e);
        self.cut(true).map_err(|e| failed(self.store, e))?;
        while (self.parts.len() as u64) < self.sent {
            self.receive().map_err(|e| failed(self.store, e))?;
        }
        let mut pack = None;
        if let Some((path, file)) = self.pack.take() {
            pack = Some(path);
            let synced = file.into_inner().map_err(io::IntoInnerError::into_error);
            let synced = synced.and_then(|f| f.sync_data());
            if let Err(error) = synced {
                if let Some(path) = &pack {
                    let _ = std::fs::remove_file(path);
                }
                return Err(failed(self.store, error));
            }
        }
        let sha256 = self.sha256.take().map(|s| hex(&s.finalize())).unwrap_or_default();
        Ok(Draft {
            size: self.size,
            sha256,
            parts: std::mem::take(&mut self.parts),
            new: std::mem::take(&mut self.new),
            held: std::mem::take(&mut self.held),
            pack,
        })
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = &bytes[..bytes.len().min(WINDOW)];
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(taken);
        }
        self.size += taken.len() as u64;
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() >= WINDOW {
            self.cut(false)?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        // The threads end when nothing can come any more.
        let (work, _) = sync_channel(1);
        self.work = work;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        if let Some((path, _)) = self.pack.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}
