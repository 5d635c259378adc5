//! What tasks made, in the store: equal bytes of all runs once. Where nobody names a root, the files
//! themselves lie at their addresses only for the latest run of a pipeline, and come back when they are
//! asked for. Deliberately absent: artifacts below a root that the caller named, which are files there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use trainyard_blob::{Output, Store};

use super::places::default_root;

/// The outputs of a data folder.
#[derive(Debug)]
pub struct Kept {
    data: PathBuf,
    own: String,
    store: OnceLock<Result<Store, String>>,
    /// One comes back at a time.
    coming: Mutex<()>,
}

impl Kept {
    /// Those of a data folder.
    pub fn new(data: &Path) -> Kept {
        let own = format!("{}/", default_root(data));
        Kept { data: data.to_owned(), own, store: OnceLock::new(), coming: Mutex::default() }
    }

    fn store(&self) -> Result<&Store, String> {
        let opened = self
            .store
            .get_or_init(|| crate::run::services::open_store(&self.data).map_err(|e| e.message));
        opened.as_ref().map_err(Clone::clone)
    }

    /// Whether an address is of those that are kept so.
    pub fn is_own(&self, uri: &str) -> bool {
        uri.starts_with(&self.own)
    }

    /// What is kept of an address.
    pub fn find(&self, uri: &str) -> Result<Option<Output>, String> {
        match self.is_own(uri) {
            true => self.store()?.output(uri).map_err(|e| e.to_string()),
            false => Ok(None),
        }
    }

    /// Keeps a file or a folder.
    pub fn keep(&self, uri: &str, path: &Path) -> Result<Output, String> {
        let store = self.store()?;
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let mut writer = store.writer(true);
        let folder = path.is_dir();
        if folder {
            let mut archive = tar::Builder::new(&mut writer);
            archive.follow_symlinks(false);
            // Times and owners are no content.
            archive.mode(tar::HeaderMode::Deterministic);
            archive.append_dir_all(".", path).map_err(|e| failed(&e))?;
            archive.finish().map_err(|e| failed(&e))?;
        } else {
            let mut file = fs::File::open(path).map_err(|e| failed(&e))?;
            std::io::copy(&mut file, &mut writer).map_err(|e| failed(&e))?;
        }
        let draft = writer.finish().map_err(|e| failed(&e))?;
        store.save_output(uri, folder, draft).map_err(|e| failed(&e))
    }

    /// Brings what is kept of an address to a path where nothing is; whether there was anything.
    pub fn bring(&self, uri: &str, path: &Path) -> Result<bool, String> {
        let _turn = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() {
            return Ok(true);
        }
        let Some(output) = self.find(uri)? else { return Ok(false) };
        let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
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
        fs::rename(&part, path).map_err(|e| failed(&e))?;
        Ok(true)
    }

    /// Removes the files of a pipeline's other runs: what they made is kept.
    pub fn drop_files_of_others(&self, pipeline: &str, uuid: &str) {
        let folder = Path::new(&self.own).join(pipeline);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name() != uuid {
                crate::host::workspace::remove(&entry.path());
            }
        }
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
