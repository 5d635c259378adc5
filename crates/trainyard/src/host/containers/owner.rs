//! Whose the files of a job are, where its container has another user.

use std::path::{Path, PathBuf};

use trainyard_executor_container::{Engine, GiveBack};

use super::inner::Inner;
use super::{JobContainers, PathMap, paths};

/// The files of commands in the job's container.
const COMMANDS: &str = "/__w/_temp/_runner_file_commands";

impl JobContainers {
    /// A file that steps write, whoever they are.
    pub fn open_file(&self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        if !self.foreign {
            return;
        }
        if !chown_all(&[&path.to_owned()], self.owner.0, self.owner.1) {
            // Then it is open to all; a folder around it is not.
            let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666));
        }
    }

    /// The user of the container may write where steps write: root gives it the files; another
    /// user, who could not take them back, opens them.
    pub(super) fn give_to_user(&self, engine: &Engine, inner: &Inner) {
        let folders = [&self.workspace.root, &self.workspace.command_files];
        if chown_all(&folders, self.owner.0, self.owner.1) {
            return;
        }
        // Where that does not work, the step says what it may not write.
        let _ = engine.ask(&inner.id, &["chmod", "-R", "a+rwX", paths::WORK, COMMANDS], Some("0"));
    }

    /// Before a step that runs on this machine: what the container's user made is this user's.
    pub fn take_back(&self) {
        let (true, Some(inner), Ok(engine)) = (self.foreign, self.inner.get(), self.engines.get())
        else {
            return;
        };
        if let Some(back) = self.give_back(&engine, &self.map, &[paths::WORK]) {
            let mut command = vec!["chown", "-R", &back.owner];
            command.extend(back.folders.iter().map(String::as_str));
            // What stays another's is named by the step that needs it.
            let _ = engine.ask(&inner.id, &command, Some("0"));
        }
    }

    /// After a step that ran on this machine: what it laid is the container's user's.
    pub fn hand_over(&self) {
        if let (true, Some(inner), Ok(engine)) =
            (self.foreign, self.inner.get(), self.engines.get())
        {
            self.give_to_user(&engine, inner);
        }
    }

    /// Who owns files that were made in the container, when that is not this user anyway.
    pub(super) fn give_back(
        &self,
        engine: &Engine,
        map: &PathMap,
        folders: &[&str],
    ) -> Option<GiveBack> {
        let owner = owner(engine)?;
        let places = folders.iter().map(|f| PathBuf::from(map.outside(f))).collect();
        let folders = folders.iter().map(|f| (*f).to_owned()).collect();
        Some(GiveBack { owner, folders, places })
    }
}

/// Who this machine's user is in containers of an engine; none for root, who may do all anyway.
pub fn owner(engine: &Engine) -> Option<String> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    match (uid, engine.rootless) {
        (0, _) => None,
        // The container's root is this user.
        (_, true) => Some("0:0".to_owned()),
        (_, false) => Some(format!("{uid}:{gid}")),
    }
}

/// Gives folders and all in them to a user; false where this user may not.
fn chown_all(folders: &[&PathBuf], uid: u32, gid: u32) -> bool {
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
