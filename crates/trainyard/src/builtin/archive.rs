//! Files as a tar, uncompressed: the store finds equal pieces in it, and compresses them itself.
//!
//! Entries below the workspace are named `w/…`, those below the job's temporary folder `t/…`, others
//! `a/…` by their whole path. What comes out
//! is laid only where the cache's own paths are, and never through a link that came out with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::host::view::Files;

/// Writes these files, and folders with all that is in them.
/// The bases are the workspace and the temporary folder.
pub fn pack(
    files: &Files,
    paths: &[PathBuf],
    bases: (&Path, &Path),
    target: impl Write,
) -> io::Result<u64> {
    let mut builder = Builder::new(target);
    builder.follow_symlinks(false);
    let mut count = 0;
    for path in paths {
        pack_one(&mut builder, path, &files.place(path)?, bases, &mut count)?;
    }
    builder.into_inner()?.flush()?;
    Ok(count)
}

fn pack_one(
    builder: &mut Builder<impl Write>,
    path: &Path,
    real: &Path,
    bases: (&Path, &Path),
    count: &mut u64,
) -> io::Result<()> {
    let meta = real.symlink_metadata()?;
    let name = match (path.strip_prefix(bases.0), path.strip_prefix(bases.1)) {
        (Ok(inside), _) => Path::new("w").join(inside),
        (_, Ok(inside)) => Path::new("t").join(inside),
        _ => Path::new("a").join(path.strip_prefix("/").unwrap_or(path)),
    };
    *count += 1;
    if meta.is_dir() {
        builder.append_dir(&name, real)?;
        let mut children: Vec<OsString> =
            fs::read_dir(real)?.map(|e| e.map(|e| e.file_name())).collect::<io::Result<_>>()?;
        children.sort();
        for child in children {
            pack_one(builder, &path.join(&child), &real.join(&child), bases, count)?;
        }
    } else if meta.is_file() {
        let mut file = File::open(real)?;
        let mut header = Header::new_gnu();
        header.set_metadata(&file.metadata()?);
        // A file that grows meanwhile would tear the archive.
        let size = header.size()?;
        builder.append_data(
            &mut header,
            &name,
            (&mut file).take(size).chain(Zeros(size)).take(size),
        )?;
    } else if meta.is_symlink() {
        builder.append_path_with_name(real, &name)?;
    }
    // Sockets and pipes mean nothing elsewhere.
    Ok(())
}

/// What stands for the rest of a file that shrank while it was read.
struct Zeros(u64);

impl Read for Zeros {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.0).unwrap_or(usize::MAX).min(out.len());
        out[..count].fill(0);
        self.0 -= count as u64;
        Ok(count)
    }
}

/// Lays the files where they were. `roots` are the only places where something may be laid.
pub fn unpack(
    files: &Files,
    source: impl Read,
    bases: (&Path, &Path),
    roots: &[PathBuf],
) -> io::Result<u64> {
    let mut archive = Archive::new(source);
    let mut folders: Vec<(PathBuf, u32, u64)> = Vec::new();
    let mut laid = Laid::among(files);
    let mut count = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let refused = |why: &str| io::Error::other(format!("the entry '{}' {why}", name.display()));
        let target = place(&name, bases).ok_or_else(|| refused("has a name that leads away"))?;
        if !roots.iter().any(|root| target.starts_with(root)) {
            return Err(refused("lies outside the paths of the cache"));
        }
        let parent = laid.folder(target.parent().unwrap_or(Path::new("/")))?;
        let place = match parent.as_os_str().is_empty() {
            true => files.place(&target)?,
            false => parent.join(target.file_name().unwrap_or_default()),
        };
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        let time = entry.header().mtime().unwrap_or(0);
        count += 1;
        match entry.header().entry_type() {
            EntryType::Directory => {
                folders.push((laid.folder(&target)?, mode, time));
            }
            EntryType::Symlink => {
                let link = entry.link_name()?.ok_or_else(|| refused("leads nowhere"))?;
                remove(&place)?;
                std::os::unix::fs::symlink(link, &place)?;
                laid.link(&target);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                remove(&place)?;
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode | 0o200)
                    .open(&place)?;
                io::copy(&mut entry, &mut file)?;
                set_time(&file, time);
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            _ => return Err(refused("is neither a file, a folder nor a symbolic link")),
        }
    }
    // Last, the innermost first: a folder without the right to write takes no files.
    for (folder, mode, time) in folders.iter().rev() {
        fs::set_permissions(folder, fs::Permissions::from_mode(*mode))?;
        if let Ok(file) = File::open(folder) {
            set_time(&file, *time);
        }
    }
    Ok(count)
}

/// A time that cannot be set is no reason to have no file.
fn set_time(file: &File, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let _ = file.set_modified(time);
}

/// Where an entry belongs; none if its name is not one that [`pack`] gives.
fn place(name: &Path, bases: (&Path, &Path)) -> Option<PathBuf> {
    let mut parts = name.components();
    let base = match parts.next()? {
        Component::Normal(kind) if kind == "w" => bases.0.to_owned(),
        Component::Normal(kind) if kind == "t" => bases.1.to_owned(),
        Component::Normal(kind) if kind == "a" => PathBuf::from("/"),
        _ => return None,
    };
    parts.try_fold(base, |path, part| match part {
        Component::Normal(part) => Some(path.join(part)),
        _ => None,
    })
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Folders that are there, and links that came out of the archive: nothing is laid through those.
struct Laid<'a> {
    files: &'a Files,
    /// Where the folders are on this machine.
    folders: BTreeMap<PathBuf, PathBuf>,
    links: BTreeSet<PathBuf>,
}

impl<'a> Laid<'a> {
    fn among(files: &'a Files) -> Laid<'a> {
        Laid { files, folders: BTreeMap::new(), links: BTreeSet::new() }
    }

    fn folder(&mut self, path: &Path) -> io::Result<PathBuf> {
        if let Some(found) = self.folders.get(path) {
            return Ok(found.clone());
        }
        // One that may not be looked at, and is there as the job's folders lie in it.
        if self.files.is_around(path) && self.files.real(path).is_err() {
            return Ok(PathBuf::new());
        }
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        if self.links.contains(path) {
            let message = format!("an entry goes through the link '{}'", path.display());
            return Err(io::Error::other(message));
        }
        // Links that were here before are the user's own.
        let real = self.files.real(path)?;
        match real.symlink_metadata() {
            Ok(_) if real.is_dir() => {}
            Ok(_) => {
                fs::remove_file(&real)?;
                fs::create_dir(&real)?;
            }
            Err(_) => fs::create_dir(&real)?,
        }
        self.folders.insert(path.to_owned(), real.clone());
        Ok(real)
    }

    fn link(&mut self, path: &Path) {
        self.folders.retain(|folder, _| !folder.starts_with(path));
        self.links.insert(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("trainyard-archive-{name}"));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("ws")).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn evil(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_size(0);
                header.set_link_name(content).unwrap();
            } else {
                header.set_size(content.len() as u64);
            }
            // The builder itself would refuse such names.
            let bytes = name.as_bytes();
            header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
            header.set_cksum();
            let size = usize::try_from(header.size().unwrap()).unwrap();
            builder.append(&header, &content.as_bytes()[..size]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let folder = Folder::new("whole");
        let ws = folder.0.join("ws");
        fs::create_dir_all(ws.join("d/e")).unwrap();
        fs::write(ws.join("d/e/run.sh"), "hi").unwrap();
        fs::set_permissions(ws.join("d/e/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("e/run.sh", ws.join("d/link")).unwrap();
        fs::create_dir_all(folder.0.join("home")).unwrap();
        fs::write(folder.0.join("home/x"), "away").unwrap();
        fs::set_permissions(ws.join("d/e"), fs::Permissions::from_mode(0o555)).unwrap();
        let paths = [ws.join("d"), folder.0.join("home")];
        let mut bytes = Vec::new();
        pack(&Files::default(), &paths, (&ws, &folder.0.join("temp")), &mut bytes).unwrap();
        let old = ws.join("d/e/run.sh").metadata().unwrap().modified().unwrap();
        fs::set_permissions(ws.join("d/e"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_dir_all(ws.join("d")).unwrap();
        fs::remove_dir_all(folder.0.join("home")).unwrap();
        assert_eq!(
            unpack(&Files::default(), bytes.as_slice(), (&ws, &folder.0.join("temp")), &paths)
                .unwrap(),
            6
        );
        let meta = ws.join("d/e/run.sh").metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o755);
        let seconds =
            |t: std::time::SystemTime| t.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds(meta.modified().unwrap()), seconds(old));
        assert_eq!(fs::read_link(ws.join("d/link")).unwrap(), Path::new("e/run.sh"));
        assert_eq!(fs::read_to_string(folder.0.join("home/x")).unwrap(), "away");
        let mode = ws.join("d/e").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o555);
        fs::set_permissions(ws.join("d/e"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn names_and_links_that_lead_away_are_refused() {
        let folder = Folder::new("away");
        let ws = folder.0.join("ws");
        let outside = folder.0.join("outside");
        fs::create_dir_all(&outside).unwrap();
        let target = outside.to_string_lossy().into_owned();
        for entries in [
            vec![("w/../outside/x", EntryType::Regular, "bad")],
            vec![("w/d/../../x", EntryType::Regular, "bad")],
            vec![("/etc/x", EntryType::Regular, "bad")],
            vec![("x", EntryType::Regular, "bad")],
            vec![("w/other/x", EntryType::Regular, "bad")],
            vec![("a/tmp/x", EntryType::Regular, "bad")],
            vec![
                ("w/d/l", EntryType::Symlink, target.as_str()),
                ("w/d/l/x", EntryType::Regular, "bad"),
            ],
            vec![("w/d/h", EntryType::Link, "/etc/passwd")],
            vec![("w/d/p", EntryType::Fifo, "")],
        ] {
            let bytes = evil(&entries);
            let done = unpack(
                &Files::default(),
                bytes.as_slice(),
                (&ws, &folder.0.join("temp")),
                &[ws.join("d")],
            );
            assert!(done.is_err(), "{entries:?}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // A link that came out, and then a file of its name: the file replaces it.
        let bytes = evil(&[
            ("w/d/f", EntryType::Symlink, &format!("{target}/kept")),
            ("w/d/f", EntryType::Regular, "good"),
        ]);
        unpack(&Files::default(), bytes.as_slice(), (&ws, &folder.0.join("temp")), &[ws.join("d")])
            .unwrap();
        assert!(!outside.join("kept").exists());
        assert_eq!(fs::read_to_string(ws.join("d/f")).unwrap(), "good");
    }
}
