//! New entries: where one may be made, and `path_create_directory`.

use std::sync::Arc;

use super::descriptor::OpenDir;
use super::directory::Directory;
use super::inode::{Access, InodeId, Node, Timestamp};
use super::resolve::{Found, LastLink, Place};
use super::rights;
use super::tree::Tree;
use crate::errno::Errno;

impl Tree {
    /// `path_create_directory`. Right `PATH_CREATE_DIRECTORY`. `EXIST`, `ROFS`, `NOSPC`, the errors of path resolution.
    pub fn path_create_directory(&mut self, dir: &OpenDir, path: &[u8], now: Timestamp) -> Result<(), Errno> {
        dir.descriptor.require(rights::PATH_CREATE_DIRECTORY)?;
        let place = self.vacant(dir.descriptor.inode, path)?;
        let (parent, name) = (place.directory, place.name.into());
        let node = Node::Directory(Directory::new(parent));
        self.create_at(parent, name, node, Access::CopyOnWrite, now)?;
        Ok(())
    }

    /// The place for a new entry: `EXIST` if something is there, or why none can be.
    fn vacant<'a>(&'a self, start: InodeId, path: &'a [u8]) -> Result<Place<'a>, Errno> {
        let Found::Entry(place) = self.walk(start, path, LastLink::Keep)? else {
            return Err(Errno::EXIST);
        };
        if place.inode.is_some() {
            return Err(Errno::EXIST);
        }
        self.require_accepting(place.directory)?;
        Ok(place)
    }

    /// The place for a new entry that will be no directory.
    ///
    /// As POSIX has it for a name with a slash: `NOENT` if nothing is there, `NOTDIR` if a file is.
    pub(super) fn vacant_for_file(&self, start: InodeId, path: &[u8]) -> Result<(InodeId, Arc<str>), Errno> {
        match self.walk(start, path, LastLink::Keep)? {
            Found::Entry(place) if place.slash => self.existing(&place).map(|_| ())?,
            Found::Entry(_) | Found::Directory(_) => {}
        }
        let place = self.vacant(start, path)?;
        Ok((place.directory, place.name.into()))
    }
}
