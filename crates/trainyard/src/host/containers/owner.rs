//! Whose the files of a job are, where its container has another user.

use std::path::Path;

/// Gives folders and all in them to a user; false where this user may not.
pub fn chown_all(folders: &[&std::path::PathBuf], uid: u32, gid: u32) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    folders.iter().all(|folder| chown_tree(folder, uid, gid, 0))
}

fn chown_tree(path: &Path, uid: u32, gid: u32, depth: usize) -> bool {
    // Links are given away, never followed.
    if std::os::unix::fs::lchown(path, Some(uid), Some(gid)).is_err() {
        return false;
    }
    let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    if !is_folder || depth > 128 {
        return true;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut fine = true;
    for entry in entries {
        // One that cannot be given away keeps none of the others from it.
        fine &= chown_tree(&entry.path(), uid, gid, depth + 1);
    }
    fine
}
