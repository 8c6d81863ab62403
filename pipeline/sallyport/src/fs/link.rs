//! `path_link`: another name for a file.

use super::descriptor::OpenDir;
use super::flags::follows;
use super::inode::{InodeId, Timestamp};
use super::rights;
use super::tree::Tree;
use crate::errno::Errno;

impl Tree {
    /// `path_link`. Right `PATH_LINK_SOURCE` on the old directory, `PATH_LINK_TARGET` on the new one.
    ///
    /// A symbolic link is linked itself unless `lookupflags` says to follow it. `PERM` for a directory, `EXIST`,
    /// `NOENT` also for a new path that ends in a slash, `ROFS`, `NOSPC`, the errors of path resolution.
    pub fn path_link(
        &mut self,
        old_dir: &OpenDir,
        lookupflags: u32,
        old_path: &[u8],
        new_dir: &OpenDir,
        new_path: &[u8],
        now: Timestamp,
    ) -> Result<(), Errno> {
        old_dir.descriptor.require(rights::PATH_LINK_SOURCE)?;
        new_dir.descriptor.require(rights::PATH_LINK_TARGET)?;
        let id = self.linkable(old_dir.descriptor.inode, lookupflags, old_path)?;
        let (directory, name) = self.vacant_for_file(new_dir.descriptor.inode, new_path)?;
        self.add_entry(directory, name, id, now)
    }

    fn linkable(&self, start: InodeId, flags: u32, path: &[u8]) -> Result<InodeId, Errno> {
        let id = self.lookup(start, path, follows(flags)?)?;
        if self.inode(id).is_directory() {
            return Err(Errno::PERM);
        }
        self.require_writable(id)?;
        Ok(id)
    }
}
