//! Copies of files and folders: blocks are shared where the file system can, never the files
//! themselves.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Folders within folders.
const MAX_DEPTH: usize = 128;

/// Copies a file with its rights, made writable for its owner.
pub fn copy_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let mut source = fs::File::open(from)?;
    let mut target = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode & 0o777 | 0o200)
        .open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    io::copy(&mut source, &mut target).map(|_| ())
}

/// Copies a folder with all that is in it, links as links; its own `.git` is left out.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    copy_level(from, to, 0)
}

/// As [`copy_tree`], with all that is in it: it is no repository.
pub fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    copy_level(from, to, 1)
}

fn copy_level(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("its folders are nested too deep"));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if depth == 0 && name == ".git" {
            continue;
        }
        let target = to.join(&name);
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_level(&path, &target, depth + 1)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &target)?;
        } else if kind.is_file() {
            copy_file(&path, &target, entry.metadata()?.permissions().mode())?;
        }
    }
    Ok(())
}
