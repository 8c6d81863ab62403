//! `path_rename`, with the cases of POSIX `rename`.

use std::sync::Arc;

use super::descriptor::OpenDir;
use super::directory::entry_charge;
use super::inode::{InodeId, Timestamp};
use super::resolve::{Found, LastLink};
use super::rights;
use super::tree::Tree;
use crate::errno::Errno;

/// The end of one path: a name in a directory, and what has it now.
struct End {
    directory: InodeId,
    name: Arc<str>,
    inode: Option<InodeId>,
    slash: bool,
}

impl Tree {
    /// `path_rename`. Right `PATH_RENAME_SOURCE` on the old directory, `PATH_RENAME_TARGET` on the new one.
    ///
    /// Replaces a file by a file and an empty directory by a directory; two names of one inode stay as they are.
    /// `BUSY` for `.` and `..`, `INVAL` for a directory into itself, `ISDIR`, `NOTDIR`, `NOTEMPTY`, `ROFS`, `NOSPC`,
    /// the errors of path resolution.
    pub fn path_rename(
        &mut self,
        old_dir: &OpenDir,
        old_path: &[u8],
        new_dir: &OpenDir,
        new_path: &[u8],
        now: Timestamp,
    ) -> Result<(), Errno> {
        old_dir.descriptor.require(rights::PATH_RENAME_SOURCE)?;
        new_dir.descriptor.require(rights::PATH_RENAME_TARGET)?;
        let old = self.end(old_dir, old_path)?;
        let new = self.end(new_dir, new_path)?;
        let id = old.inode.ok_or(Errno::NOENT)?;
        self.check_slashes(id, &old, &new)?;
        if new.inode == Some(id) {
            return Ok(());
        }
        self.check_kinds(id, &new)?;
        self.check_access(id, &old, &new)?;
        self.replace(id, old, new, now)
    }

    fn end(&self, dir: &OpenDir, path: &[u8]) -> Result<End, Errno> {
        let Found::Entry(place) = self.walk(dir.descriptor.inode, path, LastLink::Keep)? else {
            return Err(Errno::BUSY);
        };
        Ok(End {
            directory: place.directory,
            name: place.name.into(),
            inode: place.inode,
            slash: place.slash,
        })
    }

    fn check_slashes(&self, id: InodeId, old: &End, new: &End) -> Result<(), Errno> {
        if (old.slash || new.slash) && !self.inode(id).is_directory() {
            return Err(Errno::NOTDIR);
        }
        Ok(())
    }

    fn check_kinds(&self, id: InodeId, new: &End) -> Result<(), Errno> {
        let is_directory = self.inode(id).is_directory();
        if is_directory && self.is_within(new.directory, id) {
            return Err(Errno::INVAL);
        }
        match new.inode {
            None => Ok(()),
            Some(target) if is_directory => self.require_empty(target),
            Some(target) if self.inode(target).is_directory() => Err(Errno::ISDIR),
            Some(_) => Ok(()),
        }
    }

    /// Whether `directory` is `ancestor` or below it. Bounded by the number of inodes: parents make no circle.
    fn is_within(&self, mut directory: InodeId, ancestor: InodeId) -> bool {
        while directory != ancestor {
            match self.directory(directory) {
                Ok(entries) if entries.parent != directory => directory = entries.parent,
                _ => return false,
            }
        }
        true
    }

    fn check_access(&self, id: InodeId, old: &End, new: &End) -> Result<(), Errno> {
        self.require_writable(old.directory)?;
        self.require_accepting(new.directory)?;
        self.require_writable(id)?;
        new.inode.map_or(Ok(()), |target| self.require_writable(target))
    }

    fn replace(&mut self, id: InodeId, old: End, new: End, now: Timestamp) -> Result<(), Errno> {
        let charged = entry_charge(&old.name) + new.inode.map_or(0, |_| entry_charge(&new.name));
        self.quota.recharge(charged, entry_charge(&new.name))?;
        self.directory_mut(new.directory)?.remove(&new.name);
        self.move_entry(id, &old, &new)?;
        self.inode_mut(old.directory).times.modified(now);
        self.inode_mut(new.directory).times.modified(now);
        self.inode_mut(id).times.ctim = now;
        if let Some(target) = new.inode {
            self.unlinked(target, now);
        }
        Ok(())
    }

    fn move_entry(&mut self, id: InodeId, old: &End, new: &End) -> Result<(), Errno> {
        if old.directory == new.directory {
            let directory = self.directory_mut(old.directory)?;
            directory.rename(&old.name, new.name.clone());
            return Ok(());
        }
        self.directory_mut(old.directory)?.remove(&old.name);
        self.directory_mut(new.directory)?.insert(new.name.clone(), id);
        if let Ok(moved) = self.directory_mut(id) {
            moved.parent = new.directory;
        }
        Ok(())
    }
}
