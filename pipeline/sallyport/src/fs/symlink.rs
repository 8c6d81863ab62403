//! Symbolic links: making and reading them. Following them is [`resolve`](super::resolve)'s.

use super::descriptor::OpenDir;
use super::inode::{Access, Node, Timestamp};
use super::path;
use super::rights;
use super::tree::Tree;
use crate::errno::Errno;

impl Tree {
    /// `path_symlink`: makes `path` a link to `target`, which need not exist. Right `PATH_SYMLINK`.
    ///
    /// `NOTCAPABLE` for a target from the root, the errors of a malformed path for other targets; `EXIST`, `ROFS`,
    /// `NOSPC`, the errors of path resolution.
    pub fn path_symlink(&mut self, target: &[u8], dir: &OpenDir, path: &[u8], now: Timestamp) -> Result<(), Errno> {
        dir.descriptor.require(rights::PATH_SYMLINK)?;
        let target = path::parse(target)?;
        path::require_relative(target)?;
        let (directory, name) = self.vacant_for_file(dir.descriptor.inode, path)?;
        let node = Node::Symlink(target.into());
        self.create_at(directory, name, node, Access::CopyOnWrite, now)?;
        Ok(())
    }

    /// `path_readlink`: copies the target, cut where the buffer ends; returns the bytes copied. Right `PATH_READLINK`.
    ///
    /// `INVAL` if the path names no symbolic link, the errors of path resolution.
    pub fn path_readlink(&self, dir: &OpenDir, path: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        dir.descriptor.require(rights::PATH_READLINK)?;
        let id = self.lookup(dir.descriptor.inode, path, false)?;
        let Node::Symlink(target) = &self.inode(id).node else {
            return Err(Errno::INVAL);
        };
        let count = target.len().min(buffer.len());
        buffer[..count].copy_from_slice(&target.as_bytes()[..count]);
        Ok(count)
    }
}
