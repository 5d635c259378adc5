//! `actions/cache`, with its `restore` and `save` (v3 to v5): into the store, without HTTP and
//! without an archive on the disk.
//!
//! Entries saved here are found here; those of the toolkit's client, which packs otherwise, have
//! other versions and are found by it. Deliberately absent: `upload-chunk-size`, which means
//! nothing without an upload.

use std::collections::BTreeSet;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use trainyard_blob::{Lookup, NewCache, Store};

use super::{JobFacts, append, archive, flag, input, lines, variable, warn, why};
use crate::error::{Error, Result};
use crate::host::globs::{Globs, Options};
use crate::host::view::Files;
use crate::run::services::open_store;

/// The inputs of actions/cache and its two parts, with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("path", None),
    ("key", None),
    ("restore-keys", None),
    ("upload-chunk-size", None),
    ("enableCrossOsArchive", Some("false")),
    ("fail-on-cache-miss", Some("false")),
    ("lookup-only", Some("false")),
    ("save-always", Some("false")),
];

/// Bytes of a repository's entries when nothing is set.
const QUOTA: u64 = 50 * 1024 * 1024 * 1024;

struct Wanted {
    key: String,
    restore: Vec<String>,
    patterns: Vec<String>,
    files: Files,
    workspace: PathBuf,
    temp: PathBuf,
    home: PathBuf,
}

impl Wanted {
    fn read() -> Result<Wanted> {
        let required = |name: &str| {
            let value = input(name);
            match value.is_empty() {
                true => Err(Error::new(format!("Input required and not supplied: {name}"))),
                false => Ok(value),
            }
        };
        let key = required("key")?;
        required("path")?;
        let restore = lines("restore-keys");
        for key in std::iter::once(&key).chain(&restore) {
            check_key(key)?;
        }
        if restore.len() > 9 {
            return Err(Error::new("Key Validation Error: Keys are limited to a maximum of 10."));
        }
        let files = Files::here();
        let folder = |value: String| PathBuf::from(files.named(&value));
        Ok(Wanted {
            key,
            restore,
            patterns: lines("path").iter().map(|line| files.pattern(line)).collect(),
            workspace: folder(variable("GITHUB_WORKSPACE")?),
            temp: folder(variable("RUNNER_TEMP")?),
            home: folder(std::env::var("HOME").unwrap_or_default()),
            files,
        })
    }

    /// What must be the same for an entry to fit: the paths, and how they are packed.
    fn version(&self) -> String {
        // The folders of a job are not always the same ones.
        let (workspace, temp) = (self.workspace.to_string_lossy(), self.temp.to_string_lossy());
        let paths = self.patterns.join("|");
        let paths = paths.replace(workspace.as_ref(), "$WORKSPACE").replace(temp.as_ref(), "$TEMP");
        let text = format!("trainyard-tar-1|{paths}");
        Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
    }

    fn globs(&self) -> Result<Globs> {
        // As the toolkit's (`cacheUtils.ts`): links are followed, folders stand for themselves.
        let options = Options { follow: true, ..Options::default() };
        Globs::among(
            self.files.clone(),
            &self.patterns.join("\n"),
            &self.workspace,
            &self.home,
            options,
        )
        .map_err(|e| Error::new(format!("path: {e}")))
    }
}

fn check_key(key: &str) -> Result<()> {
    if key.encode_utf16().count() > 512 {
        return Err(Error::new(format!(
            "Key Validation Error: {key} cannot be larger than 512 characters."
        )));
    }
    if key.contains(',') {
        return Err(Error::new(format!("Key Validation Error: {key} cannot contain commas.")));
    }
    Ok(())
}

fn said(error: &dyn std::fmt::Display) -> Error {
    Error::new(error.to_string())
}

/// Looks the entry up and lays it; the key that matched.
fn find(facts: &JobFacts, wanted: &Wanted) -> Result<Option<String>> {
    let store = open_store(&facts.data)?;
    let version = wanted.version();
    let repository = variable("GITHUB_REPOSITORY")?;
    let lookup = Lookup {
        repository: &repository,
        scopes: &facts.scopes,
        key: &wanted.key,
        restore_keys: &wanted.restore,
        version: &version,
    };
    let Some(entry) = store.find_cache(&lookup).map_err(|e| said(&e))? else {
        let keys: Vec<&str> =
            std::iter::once(&wanted.key).chain(&wanted.restore).map(String::as_str).collect();
        if flag("fail-on-cache-miss")? {
            return Err(Error::new(format!(
                "Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: {}",
                wanted.key
            )));
        }
        println!("Cache not found for input keys: {}", keys.join(", "));
        let near = store.nearest_cache(&lookup).map_err(|e| said(&e))?;
        if let Some(near) = &near {
            println!("The nearest is '{}': {}", near.entry.key, near.differs);
        }
        why(&match near {
            Some(near) => format!(
                "cache miss for '{}': the nearest is '{}': {}",
                wanted.key, near.entry.key, near.differs
            ),
            None => format!("cache miss for '{}': there is no entry like it", wanted.key),
        });
        return Ok(None);
    };
    why(&match same(&entry.key, &wanted.key) {
        true => format!("cache hit for '{}'", wanted.key),
        false => format!("cache hit for '{}' by its restore key: '{}'", wanted.key, entry.key),
    });
    if flag("lookup-only")? {
        println!("Cache found and can be restored from key: {}", entry.key);
        return Ok(Some(entry.key));
    }
    println!("Cache Size: ~{} MB ({} B)", entry.size / 1024 / 1024, entry.size);
    let roots = match wanted.globs() {
        Ok(globs) => globs.search_paths(),
        Err(error) => {
            warn(&error.message);
            return Ok(None);
        }
    };
    let laid = store.reader(entry.blob).map_err(std::io::Error::other).and_then(|reader| {
        archive::unpack(&wanted.files, reader, (&wanted.workspace, &wanted.temp), &roots)
    });
    let count = match laid {
        Ok(count) => count,
        Err(error) => {
            // As in the action: what cannot be restored is no failure of the step. If the bytes
            // are damaged, the next save makes them anew.
            warn(&format!("Failed to restore: {error}"));
            if error.to_string().contains("damaged") {
                store.forget_caches(entry.blob).map_err(|e| said(&e))?;
            }
            return Ok(None);
        }
    };
    println!("Cache restored from key: {} ({count} files and folders)", entry.key);
    Ok(Some(entry.key))
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// The main stage of `actions/cache`.
pub fn run(facts: &JobFacts) -> Result<()> {
    let wanted = Wanted::read()?;
    append("GITHUB_STATE", &[format!("CACHE_KEY={}", wanted.key)])?;
    if let Some(matched) = find(facts, &wanted)? {
        append("GITHUB_STATE", &[format!("CACHE_RESULT={matched}")])?;
        append("GITHUB_OUTPUT", &[format!("cache-hit={}", same(&matched, &wanted.key))])?;
    }
    Ok(())
}

/// `actions/cache/restore`
pub fn restore(facts: &JobFacts) -> Result<()> {
    let wanted = Wanted::read()?;
    append("GITHUB_OUTPUT", &[format!("cache-primary-key={}", wanted.key)])?;
    if let Some(matched) = find(facts, &wanted)? {
        append(
            "GITHUB_OUTPUT",
            &[
                format!("cache-hit={}", same(&matched, &wanted.key)),
                format!("cache-matched-key={matched}"),
            ],
        )?;
    }
    Ok(())
}

/// `actions/cache/save`
pub fn save(facts: &JobFacts) -> Result<()> {
    // What goes wrong here is a remark, as in the action (`saveImpl.ts`).
    let done = Wanted::read().and_then(|wanted| keep(facts, &wanted));
    done.or_else(|error| {
        warn(&error.message);
        Ok(())
    })
}

/// The post stage of `actions/cache`.
pub fn post(facts: &JobFacts) -> Result<()> {
    let done = Wanted::read().and_then(|mut wanted| {
        if let Ok(key) = std::env::var("STATE_CACHE_KEY") {
            wanted.key = key;
        }
        let restored = std::env::var("STATE_CACHE_RESULT").unwrap_or_default();
        if same(&restored, &wanted.key) {
            println!("Cache hit occurred on the primary key {}, not saving cache.", wanted.key);
            why("not saved: the entry it would make is the one that was restored");
            return Ok(());
        }
        keep(facts, &wanted)
    });
    done.or_else(|error| {
        warn(&error.message);
        Ok(())
    })
}

fn keep(facts: &JobFacts, wanted: &Wanted) -> Result<()> {
    let paths = wanted.globs()?.find().map_err(|e| said(&e))?;
    if paths.is_empty() {
        return Err(Error::new(
            "Path Validation Error: Path(s) specified in the action for caching do(es) not exist, hence no cache is being saved.",
        ));
    }
    let store = open_store(&facts.data)?;
    let repository = variable("GITHUB_REPOSITORY")?;
    let (scope, version) = (facts.scopes.first().cloned().unwrap_or_default(), wanted.version());
    let new =
        NewCache { repository: &repository, scope: &scope, key: &wanted.key, version: &version };
    let taken = || {
        why("not saved: there is an entry of that key already");
        println!(
            "Failed to save: Unable to reserve cache with key {}, another job may be creating this cache.",
            wanted.key
        );
    };
    if store.has_cache(&new).map_err(|e| said(&e))? {
        taken();
        return Ok(());
    }
    let draft = pack(&store, wanted, &paths)?;
    let (size, stored) = (draft.size, draft.stored());
    match store.save_cache(&new, draft) {
        Ok(_) => {
            println!(
                "Cache saved with key: {} ({size} B, of which {stored} B are new)",
                wanted.key
            );
            why(&format!("cache saved as '{}'", wanted.key));
        }
        Err(trainyard_blob::Error::Taken) => taken(),
        Err(error) => return Err(said(&error)),
    }
    let quota = facts.quota.unwrap_or(QUOTA);
    for gone in store.evict_caches(&repository, quota).map_err(|e| said(&e))? {
        println!("The cache entry '{}' gave way (quota)", gone.key);
    }
    Ok(())
}

fn pack(store: &Store, wanted: &Wanted, paths: &[PathBuf]) -> Result<trainyard_blob::Draft> {
    // One within another is packed with that one; through a link that is packed itself nothing is.
    let all: BTreeSet<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let covered = |p: &Path| p.ancestors().skip(1).any(|a| all.contains(a));
    let outer: Vec<PathBuf> = paths.iter().filter(|p| !covered(p)).cloned().collect();
    let mut writer = store.writer(false);
    let buffered = BufWriter::with_capacity(1024 * 1024, &mut writer);
    archive::pack(&wanted.files, &outer, (&wanted.workspace, &wanted.temp), buffered)
        .map_err(|e| Error::new(format!("the files cannot be packed: {e}")))?;
    writer.finish().map_err(|e| said(&e))
}
