//! What tasks made, in the store: equal bytes of all runs once. Where nobody names a root, the files
//! themselves lie at their addresses only for the latest run of a pipeline, and come back when they are
//! asked for. Deliberately absent: artifacts below a root that the caller named, which are files there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use trainyard_blob::{Output, Store};

use super::places::{default_root, runs_folder};
use crate::error::{Error, Result};
use crate::paths::create_dir;

/// The outputs of a data folder.
#[derive(Debug)]
pub struct Kept {
    data: PathBuf,
    own: String,
    store: OnceLock<std::result::Result<Store, String>>,
}

impl Kept {
    /// Those of a data folder.
    pub fn new(data: &Path) -> Kept {
        let own = format!("{}/", default_root(data));
        Kept { data: data.to_owned(), own, store: OnceLock::new() }
    }

    fn store(&self) -> std::result::Result<&Store, String> {
        let opened = self
            .store
            .get_or_init(|| crate::run::services::open_store(&self.data).map_err(|e| e.message));
        opened.as_ref().map_err(Clone::clone)
    }

    /// Whether an address is of those that are kept so.
    pub fn is_own(&self, uri: &str) -> bool {
        uri.starts_with(&self.own) && !uri.split('/').any(|part| part == "..")
    }

    /// What is kept of an address.
    pub fn find(&self, uri: &str) -> std::result::Result<Option<Output>, String> {
        match self.is_own(uri) {
            true => self.store()?.output(uri).map_err(|e| e.to_string()),
            false => Ok(None),
        }
    }

    /// Keeps a file or a folder.
    pub fn keep(&self, uri: &str, path: &Path) -> std::result::Result<Output, String> {
        let store = self.store()?;
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let mut writer = store.writer(true);
        let folder = path.is_dir();
        if folder {
            let mut archive = tar::Builder::new(&mut writer);
            archive.follow_symlinks(false);
            // Times and owners are no content, and neither is the order in a folder.
            archive.mode(tar::HeaderMode::Deterministic);
            add(&mut archive, path, Path::new(""), 0).map_err(|e| failed(&e))?;
            archive.finish().map_err(|e| failed(&e))?;
        } else {
            let mut file = fs::File::open(path).map_err(|e| failed(&e))?;
            std::io::copy(&mut file, &mut writer).map_err(|e| failed(&e))?;
        }
        let draft = writer.finish().map_err(|e| failed(&e))?;
        store.save_output(uri, folder, draft).map_err(|e| failed(&e))
    }

    /// Brings what is kept of an address to a path where nothing is; whether there was anything.
    pub fn bring(&self, uri: &str, path: &Path) -> std::result::Result<bool, String> {
        let Some(output) = self.find(uri)? else { return Ok(false) };
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let mut name = path.file_name().unwrap_or_default().to_owned();
        // Of this call alone: another run may bring the same.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        name.push(format!(".{}-{number}.part", std::process::id()));
        let part = path.with_file_name(name);
        crate::host::workspace::remove(&part);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(|e| failed(&e))?;
        let mut reader = self.store()?.reader(output.blob).map_err(|e| failed(&e))?;
        if output.folder {
            fs::create_dir(&part).map_err(|e| failed(&e))?;
            tar::Archive::new(reader).unpack(&part).map_err(|e| failed(&e))?;
        } else {
            let mut file = fs::File::create(&part).map_err(|e| failed(&e))?;
            while let Some(chunk) = reader.next_chunk().map_err(|e| failed(&e))? {
                file.write_all(&chunk).map_err(|e| failed(&e))?;
            }
        }
        match fs::rename(&part, path) {
            Ok(()) => {}
            // Another one was first, with the same.
            Err(_) if path.exists() => crate::host::workspace::remove(&part),
            Err(error) => return Err(failed(&error)),
        }
        Ok(true)
    }

    /// Removes the files of a pipeline's other runs: what they made is kept.
    pub fn drop_files_of_others(&self, pipeline: &str, uuid: &str) {
        // A name that is no path: it was checked when the pipeline was read.
        if pipeline.contains('/') || pipeline.starts_with('.') {
            return;
        }
        let folder = Path::new(&self.own).join(pipeline);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name() != uuid {
                crate::host::workspace::remove(&entry.path());
            }
        }
    }
}

/// Folders within folders.
const MAX_DEPTH: usize = 128;

fn add(
    archive: &mut tar::Builder<impl Write>,
    folder: &Path,
    name: &Path,
    depth: usize,
) -> std::io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(std::io::Error::other("its folders are nested too deep"));
    }
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = name.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            archive.append_dir(&name, entry.path())?;
            add(archive, &entry.path(), &name, depth + 1)?;
        } else if kind.is_file() || kind.is_symlink() {
            archive.append_path_with_name(entry.path(), &name)?;
        }
    }
    Ok(())
}

/// The lock of a data folder's pipelines, shared by all that run.
#[derive(Debug)]
pub struct Lock(fs::File);

/// Takes it, after whoever removes something.
pub fn lock(data: &Path) -> Result<Lock> {
    let path = runs_folder(data).join("lock");
    let failed = |e: std::io::Error| Error::io("lock", &path, &e);
    create_dir(&runs_folder(data))?;
    let file = fs::File::create(&path).map_err(failed)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared)
        .map_err(|e| failed(e.into()))?;
    Ok(Lock(file))
}

impl Lock {
    /// Whether nobody else has it; nobody gets it then, until it is dropped. Else it may be lost.
    pub fn alone(&self) -> bool {
        rustix::fs::flock(&self.0, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_come_back() {
        let data = std::env::temp_dir().join(format!("trainyard-kept-{}", std::process::id()));
        let kept = Kept::new(&data);
        let place = |name: &str| PathBuf::from(format!("{}p/r/{name}", kept.own));
        fs::create_dir_all(place("folder/sub")).unwrap();
        fs::write(place("folder/sub/a"), "text").unwrap();
        std::os::unix::fs::symlink("sub/a", place("folder/link")).unwrap();
        fs::write(place("file"), vec![7; 300_000]).unwrap();
        for name in ["folder", "file"] {
            kept.keep(&place(name).to_string_lossy(), &place(name)).unwrap();
        }
        kept.drop_files_of_others("p", "another");
        assert!(!place("file").exists());
        for name in ["folder", "file"] {
            assert!(kept.bring(&place(name).to_string_lossy(), &place(name)).unwrap());
        }
        assert_eq!(fs::read_to_string(place("folder/link")).unwrap(), "text");
        assert_eq!(fs::read(place("file")).unwrap(), vec![7; 300_000]);
        assert!(!kept.bring(&place("none").to_string_lossy(), &place("none")).unwrap());
        kept.drop_files_of_others("p", "r");
        assert!(place("file").exists());
        fs::remove_dir_all(&data).unwrap();
    }
}
