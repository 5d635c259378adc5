//! The store kept and found, shared, damaged, collected.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use trainyard_blob::{BlobId, Draft, Error, Lookup, NewArtifact, NewCache, Store};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trainyard-blob-{}-{number}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn draft(store: &Store, bytes: &[u8]) -> Draft {
    let mut writer = store.writer(true);
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn new<'a>(scope: &'a str, key: &'a str) -> NewCache<'a> {
    NewCache { repository: "o/r", scope, key, version: "v" }
}

fn save(store: &Store, key: &str, bytes: &[u8]) -> BlobId {
    store.save_cache(&new("refs/heads/main", key), draft(store, bytes)).unwrap().blob
}

fn content(store: &Store, blob: BlobId) -> Vec<u8> {
    let mut out = Vec::new();
    store.reader(blob).unwrap().read_to_end(&mut out).unwrap();
    out
}

fn packs(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("packs")).unwrap().count()
}

#[test]
fn what_is_written_is_read() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    for (at, size) in [0, 1, 70_000, 3_000_000, 40_000_000].into_iter().enumerate() {
        for (kind, bytes) in [("noise", noise(7, size)), ("zeros", vec![0; size])] {
            let blob = save(&store, &format!("{kind}{at}"), &bytes);
            assert!(content(&store, blob) == bytes, "{kind} {size}");
        }
    }
    drop(store);
    let store = Store::open(&folder.0).unwrap();
    let found = store.caches(Some("o/r")).unwrap();
    assert_eq!(found.len(), 10);
    assert_eq!(content(&store, found[0].blob).len() as i64, found[0].size);
}

#[test]
fn a_small_change_of_a_large_file_stores_little() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let mut bytes = noise(1, 100_000_000);
    let first = draft(&store, &bytes);
    assert!(first.stored() >= 99_000_000);
    store.save_cache(&new("s", "one"), first).unwrap();
    // One in a hundred, and shifted by what is put in.
    bytes.splice(50_000_000..50_900_000, noise(2, 1_000_000));
    let second = draft(&store, &bytes);
    assert!(second.stored() <= 8_000_000, "{}", second.stored());
    let blob = store.save_cache(&new("s", "two"), second).unwrap().blob;
    assert!(content(&store, blob) == bytes);
    assert_eq!(draft(&store, &bytes).stored(), 0);
}

#[test]
fn readers_go_to_any_place() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let bytes = noise(5, 9_000_000);
    let blob = save(&store, "x", &bytes);
    let mut reader = store.reader(blob).unwrap();
    let end = bytes.len() as i64;
    for at in [0, 1, end - 10, 4_000_000, 3_999_999, end, end + 5, 2_500_000, 0] {
        let place = reader.seek(SeekFrom::Start(at as u64)).unwrap();
        assert_eq!(place, at as u64);
        let mut out = vec![0; 10];
        let count = reader.read(&mut out).unwrap();
        let from = (at as usize).min(bytes.len());
        assert_eq!(out[..count], bytes[from..from + count], "at {at}");
        assert_eq!(count == 0, at >= end);
    }
    assert_eq!(reader.seek(SeekFrom::End(-3)).unwrap(), end as u64 - 3);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, bytes[bytes.len() - 3..]);
    assert!(reader.seek(SeekFrom::Current(-(end + 10))).is_err());
}

#[test]
fn digests_are_of_the_whole() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let empty = draft(&store, b"");
    assert_eq!(empty.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let abc = draft(&store, b"abc");
    assert_eq!(abc.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn lookups_go_scope_by_scope_and_key_by_key() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    for (scope, key) in [
        ("main", "pip-a"),
        ("main", "pip-ab"),
        ("main", "pip-exact"),
        ("own", "pip-b"),
        ("other", "pip-exact2"),
    ] {
        store.save_cache(&new(scope, key), draft(&store, key.as_bytes())).unwrap();
    }
    let scopes = ["own".to_owned(), "main".to_owned()];
    let check = |key: &str, restore: &[&str], wanted: Option<&str>| {
        let restore: Vec<String> = restore.iter().map(|k| (*k).to_owned()).collect();
        let wanted_lookup = Lookup {
            repository: "o/r",
            scopes: &scopes,
            key,
            restore_keys: &restore,
            version: "v",
        };
        let found = store.find_cache(&wanted_lookup).unwrap();
        assert_eq!(found.map(|e| e.key).as_deref(), wanted, "{key} {restore:?}");
        let other = Lookup { version: "w", ..wanted_lookup };
        assert_eq!(store.find_cache(&other).unwrap(), None);
    };
    check("pip-exact", &[], Some("pip-exact"));
    // The own scope's beginning comes before another scope's very key.
    check("pip-exact", &["pip-"], Some("pip-b"));
    // The newest of those that begin so.
    check("pip-a", &[], Some("pip-a"));
    check("pip-x", &["pip-a"], Some("pip-ab"));
    check("pip-exact2", &[], None);
    check("npm", &["np%", "_"], None);
    let near = store
        .nearest_cache(&Lookup {
            repository: "o/r",
            scopes: &scopes,
            key: "pip-exact2",
            restore_keys: &[],
            version: "w",
        })
        .unwrap()
        .unwrap();
    assert_eq!(near.entry.key, "pip-exact2");
    assert_eq!(near.differs, "its paths or its packing are others, it belongs to other");
}

#[test]
fn of_many_saves_of_one_key_one_wins() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let folder = &folder.0;
                scope.spawn(move || {
                    // A process of its own has a store of its own.
                    let store = Store::open(folder).unwrap();
                    let bytes = noise(i, 500_000);
                    match store.save_cache(&new("s", "k"), draft(&store, &bytes)) {
                        Ok(entry) => {
                            assert!(content(&store, entry.blob) == bytes);
                            1
                        }
                        Err(Error::Taken) => 0,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
    assert_eq!(packs(&folder.0), 1, "what lost left nothing");
    assert_eq!(store.caches(None).unwrap().len(), 1);
}

#[test]
fn the_collector_takes_what_no_name_reaches() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let (one, two) = (noise(1, 5_000_000), noise(2, 5_000_000));
    save(&store, "one", &one);
    // Most of this one's pack goes, and what `three` shares with it stays.
    let both = [two.clone(), one.clone()].concat();
    save(&store, "both", &both);
    let three = save(&store, "three", &two[..4_000_000]);
    for entry in store.caches(None).unwrap().iter().filter(|e| e.key != "three") {
        assert!(store.delete_cache(entry.id).unwrap());
    }
    let other = Store::open(&folder.0).unwrap();
    assert!(!store.collect().unwrap().ran, "another uses it");
    drop(other);
    let collected = store.collect().unwrap();
    assert!(collected.ran && collected.bytes > 4_000_000, "{collected:?}");
    assert!(content(&store, three) == two[..4_000_000]);
    assert!(store.usage().unwrap().stored < 5_500_000);
    // A draft that was dropped, and a file that a killed writer left.
    drop(draft(&store, &noise(9, 1_000_000)));
    std::fs::write(folder.0.join("packs/new-1-1"), "x").unwrap();
    let before = packs(&folder.0);
    store.collect().unwrap();
    assert_eq!(packs(&folder.0), before - 1);
}

#[test]
fn a_thin_pack_is_written_anew() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let bytes = noise(3, 20_000_000);
    save(&store, "large", &bytes);
    let part = save(&store, "part", &bytes[..4_000_000]);
    let large = store.caches(None).unwrap().into_iter().find(|e| e.key == "large").unwrap();
    store.delete_cache(large.id).unwrap();
    let freed = store.collect().unwrap().bytes;
    assert!(freed > 12_000_000, "{freed}");
    assert!(content(&store, part) == bytes[..4_000_000]);
}

#[test]
fn quotas_take_the_longest_unused() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    for key in ["a", "b", "c"] {
        save(&store, key, &noise(key.len() as u64, 1000));
        // Until the clock shows another millisecond.
        let now = std::time::Instant::now();
        while now.elapsed().as_millis() < 2 {}
    }
    let scopes = ["refs/heads/main".to_owned()];
    let used =
        Lookup { repository: "o/r", scopes: &scopes, key: "a", restore_keys: &[], version: "v" };
    store.find_cache(&used).unwrap().unwrap();
    let gone = store.evict_caches("o/r", 2500).unwrap();
    assert_eq!(gone.into_iter().map(|e| e.key).collect::<Vec<_>>(), ["b"]);
    // One that is too large by itself takes no other with it.
    save(&store, "large", &noise(9, 5000));
    let gone = store.evict_caches("o/r", 2500).unwrap();
    assert_eq!(gone.into_iter().map(|e| e.key).collect::<Vec<_>>(), ["large"]);
}

#[test]
fn damage_is_seen() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let blob = save(&store, "x", &noise(4, 2_000_000));
    let pack = std::fs::read_dir(folder.0.join("packs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let mut out = Vec::new();
    let error = store.reader(blob).unwrap().read_to_end(&mut out).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    // What is damaged is stored anew by the next that has it.
    assert_eq!(store.forget_caches(blob).unwrap(), 1);
    let blob = save(&store, "x", &noise(4, 2_000_000));
    assert!(content(&store, blob) == noise(4, 2_000_000));
    std::fs::remove_file(&pack).unwrap();
    for pack in std::fs::read_dir(folder.0.join("packs")).unwrap().flatten() {
        std::fs::remove_file(pack.path()).unwrap();
    }
    assert!(store.reader(blob).unwrap().read_to_end(&mut out).is_err());
    assert!(draft(&store, &noise(4, 2_000_000)).stored() > 0);
    assert!(store.collect().unwrap().ran);
}

#[test]
fn artifacts_have_one_name_in_a_run() {
    let folder = Folder::new();
    let store = Store::open(&folder.0).unwrap();
    let new = |run| NewArtifact {
        repository: "o/r",
        run,
        name: "model",
        node: 1,
        mime: "application/zip",
        expires: Some(1),
    };
    let kept = store.save_artifact(&new(1), draft(&store, b"abc")).unwrap();
    assert_eq!(kept.sha256.len(), 64);
    assert!(matches!(store.save_artifact(&new(1), draft(&store, b"x")), Err(Error::Taken)));
    store.save_artifact(&new(2), draft(&store, b"x")).unwrap();
    assert_eq!(store.artifacts(Some(1)).unwrap(), [kept]);
    assert_eq!(store.expire_artifacts().unwrap(), 2);
    assert_eq!(store.artifacts(None).unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However it is written, it is the same blob.
    #[test]
    fn pieces_do_not_matter(seed in 0u64..50, sizes in prop::collection::vec(0usize..700_000, 0..12)) {
        let folder = Folder::new();
        let store = Store::open(&folder.0).unwrap();
        let bytes = noise(seed, sizes.iter().sum());
        let mut writer = store.writer(false);
        let mut at = 0;
        for size in &sizes {
            writer.write_all(&bytes[at..at + size]).unwrap();
            at += size;
        }
        let blob = store.save_cache(&new("s", "pieces"), writer.finish().unwrap()).unwrap().blob;
        prop_assert!(content(&store, blob) == bytes);
        prop_assert_eq!(draft(&store, &bytes).stored(), 0);
    }
}
