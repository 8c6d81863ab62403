//! Removing directories and unlinking files.

use super::descriptor::OpenDir;
use super::inode::{InodeId, Timestamp};
use super::resolve::{Found, LastLink};
use super::rights;
use super::tree::Tree;
use crate::errno::Errno;

impl Tree {
    /// `path_remove_directory`. Right `PATH_REMOVE_DIRECTORY`.
    ///
    /// `NOTEMPTY`, `NOTDIR` (a link to a directory is none), `INVAL` for `.` and `..`, `ROFS`, the errors of path
    /// resolution.
    pub fn path_remove_directory(&mut self, dir: &OpenDir, path: &[u8], now: Timestamp) -> Result<(), Errno> {
        dir.descriptor.require(rights::PATH_REMOVE_DIRECTORY)?;
        match self.walk(dir.descriptor.inode, path, LastLink::Keep)? {
            Found::Directory(_) => Err(Errno::INVAL),
            Found::Entry(place) => {
                let id = self.existing(&place)?;
                self.require_empty(id)?;
                self.remove_place(place.directory, &String::from(place.name), id, now)
            }
        }
    }

    /// `path_unlink_file`: takes a file's or a link's name away. Right `PATH_UNLINK_FILE`.
    ///
    /// `ISDIR`, `NOTDIR` for a slash after a file, `ROFS`, the errors of path resolution.
    pub fn path_unlink_file(&mut self, dir: &OpenDir, path: &[u8], now: Timestamp) -> Result<(), Errno> {
        dir.descriptor.require(rights::PATH_UNLINK_FILE)?;
        match self.walk(dir.descriptor.inode, path, LastLink::Keep)? {
            Found::Directory(_) => Err(Errno::ISDIR),
            Found::Entry(place) => {
                let id = self.existing(&place)?;
                if self.inode(id).is_directory() {
                    return Err(Errno::ISDIR);
                }
                self.remove_place(place.directory, &String::from(place.name), id, now)
            }
        }
    }

    /// `NOTDIR` unless a directory, `NOTEMPTY` unless without entries.
    pub(super) fn require_empty(&self, id: InodeId) -> Result<(), Errno> {
        if self.directory(id)?.is_empty() {
            Ok(())
        } else {
            Err(Errno::NOTEMPTY)
        }
    }

    fn remove_place(&mut self, directory: InodeId, name: &str, id: InodeId, now: Timestamp) -> Result<(), Errno> {
        self.require_writable(directory)?;
        self.require_writable(id)?;
        self.remove_entry(directory, name, id, now)
    }
}
