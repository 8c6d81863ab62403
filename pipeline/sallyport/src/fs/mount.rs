//! Filling the tree before the workload starts: package assets, copies of host directories, preopens.
//!
//! Paths here are the host's own, from the guest's root, a leading slash or not; directories on the way are made.
//! Symbolic links on the way are not followed, and the read-only mark does not hold the host back.

use std::sync::Arc;

use super::content::Content;
use super::descriptor::{Descriptor, OpenDir};
use super::directory::Directory;
use super::inode::{Access, InodeId, Node, Timestamp};
use super::path;
use super::rights::{self, Rights};
use super::tree::{ROOT, Tree};
use super::wire::Filetype;
use crate::errno::Errno;

impl Tree {
    /// Puts a file at `path`; its bytes stay shared with the package until the first change.
    ///
    /// `EXIST`, `NOTDIR` for a file on the way, `INVAL` for `.` and `..`, `FBIG`, `NOSPC`, the errors of a malformed
    /// path.
    pub fn insert_file(&mut self, path: &[u8], bytes: Arc<[u8]>, access: Access, now: Timestamp) -> Result<(), Errno> {
        if bytes.len() as u64 > self.quota.max_file_bytes() {
            return Err(Errno::FBIG);
        }
        self.insert(path, Node::File(Content::Shared(bytes)), access, now)
    }

    /// Puts a symbolic link at `path`. One that leads from the root or out of it is kept, and never followed there.
    ///
    /// The errors of `insert_file`.
    pub fn insert_symlink(&mut self, path: &[u8], target: &[u8], access: Access, now: Timestamp) -> Result<(), Errno> {
        let target = path::parse(target)?;
        self.insert(path, Node::Symlink(target.into()), access, now)
    }

    /// Makes the directory at `path`, if it is not there, and sets its access. The path `/` is the root.
    ///
    /// The errors of `insert_file`, `EXIST` apart: `NOTDIR` if something else is there.
    pub fn insert_directory(&mut self, path: &[u8], access: Access, now: Timestamp) -> Result<(), Errno> {
        let id = self.make_way(path::components(path::parse(path)?), now)?;
        self.inode_mut(id).access = access;
        Ok(())
    }

    /// Opens the directory at `path` as a preopen, with the given rights for itself and to pass on.
    ///
    /// `NOENT`, `NOTDIR`, the errors of a malformed path.
    pub fn preopen(&mut self, path: &[u8], base: Rights, inheriting: Rights) -> Result<OpenDir, Errno> {
        let mut id = ROOT;
        for name in path::components(path::parse(path)?) {
            id = self.directory(id)?.find(name).ok_or(Errno::NOENT)?;
        }
        self.directory(id)?;
        self.opened(id);
        let descriptor = Descriptor::new(id, Filetype::Directory, base & rights::DIRECTORY);
        Ok(OpenDir::new(descriptor.with_inheriting(inheriting & rights::ALL)))
    }

    fn insert(&mut self, path: &[u8], node: Node, access: Access, now: Timestamp) -> Result<(), Errno> {
        let mut way = path::components(path::parse(path)?);
        let name = way.next_back().ok_or(Errno::EXIST)?;
        check_plain(name)?;
        let directory = self.make_way(way, now)?;
        if self.directory(directory)?.find(name).is_some() {
            return Err(Errno::EXIST);
        }
        self.create_at(directory, name.into(), node, access, now)?;
        Ok(())
    }

    /// The directory that these names lead to, made where it is missing.
    fn make_way<'a>(&mut self, names: impl Iterator<Item = &'a str>, now: Timestamp) -> Result<InodeId, Errno> {
        let mut id = ROOT;
        for name in names {
            check_plain(name)?;
            id = match self.directory(id)?.find(name) {
                Some(next) => next,
                None => self.make_directory(id, name, now)?,
            };
        }
        self.directory(id)?;
        Ok(id)
    }

    fn make_directory(&mut self, parent: InodeId, name: &str, now: Timestamp) -> Result<InodeId, Errno> {
        let node = Node::Directory(Directory::new(parent));
        self.create_at(parent, name.into(), node, Access::CopyOnWrite, now)
    }
}

fn check_plain(name: &str) -> Result<(), Errno> {
    if name == "." || name == ".." {
        return Err(Errno::INVAL);
    }
    path::check_name(name)
}
