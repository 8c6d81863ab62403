//! What an open file or directory is to the guest: a handle of an inode, with its own offset, flags and rights.
//!
//! Descriptors are neither copied nor cloned: each one keeps its inode alive until it is handed to
//! [`Tree::close`](super::Tree::close). One that is dropped instead leaks its inode, never more than the limits allow.

use super::flags::{fdflags, known};
use super::inode::InodeId;
use super::rights::{self, Rights};
use super::wire::{Fdstat, Filetype};
use crate::errno::Errno;

/// What files and directories have in common.
#[derive(Debug)]
pub struct Descriptor {
    pub(super) inode: InodeId,
    filetype: Filetype,
    flags: u16,
    base: Rights,
    inheriting: Rights,
}

/// An open regular file.
#[derive(Debug)]
#[must_use = "close it by Tree::close"]
pub struct OpenFile {
    pub(super) descriptor: Descriptor,
    pub(super) offset: u64,
}

/// An open directory: the root that paths given with it cannot leave.
#[derive(Debug)]
#[must_use = "close it by Tree::close"]
pub struct OpenDir {
    pub(super) descriptor: Descriptor,
    /// Entries from this position on came after the listing began, and are not in it.
    pub(super) listing_end: u64,
}

/// What `path_open` opened.
#[derive(Debug)]
#[must_use = "close it by Tree::close"]
pub enum Opened {
    /// A regular file.
    File(OpenFile),
    /// A directory.
    Dir(OpenDir),
}

impl Descriptor {
    pub(super) fn new(inode: InodeId, filetype: Filetype, base: Rights) -> Self {
        Self {
            inode,
            filetype,
            flags: 0,
            base,
            inheriting: 0,
        }
    }

    pub(super) fn with_flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub(super) fn with_inheriting(self, inheriting: Rights) -> Self {
        Self { inheriting, ..self }
    }

    /// `NOTCAPABLE` unless this descriptor has all of `needed`.
    pub fn require(&self, needed: Rights) -> Result<(), Errno> {
        rights::require(self.base, needed)
    }

    /// `NOTCAPABLE` unless descriptors opened through this one may have all of `needed`.
    pub(super) fn require_inheriting(&self, needed: Rights) -> Result<(), Errno> {
        rights::require(self.inheriting, needed)
    }

    /// `fd_fdstat_get`. Needs no right.
    #[must_use]
    pub fn fd_fdstat_get(&self) -> Fdstat {
        Fdstat {
            filetype: self.filetype,
            flags: self.flags,
            rights_base: self.base,
            rights_inheriting: self.inheriting,
        }
    }

    /// `fd_fdstat_set_flags`. `INVAL` for unknown flags.
    ///
    /// The synchronised modes are kept and told, and mean nothing more: memory is never behind itself.
    pub fn fd_fdstat_set_flags(&mut self, flags: u16) -> Result<(), Errno> {
        self.require(rights::FD_FDSTAT_SET_FLAGS)?;
        known(flags, fdflags::ALL)?;
        self.flags = flags;
        Ok(())
    }

    /// `fd_fdstat_set_rights`. Rights only shrink: `NOTCAPABLE`, and no change, if either set has one that is not held.
    pub fn fd_fdstat_set_rights(&mut self, base: Rights, inheriting: Rights) -> Result<(), Errno> {
        self.require(base & rights::ALL)?;
        self.require_inheriting(inheriting & rights::ALL)?;
        self.base = base & rights::ALL;
        self.inheriting = inheriting & rights::ALL;
        Ok(())
    }

    pub(super) fn appends(&self) -> bool {
        self.flags & fdflags::APPEND != 0
    }
}

impl OpenFile {
    pub(super) fn new(descriptor: Descriptor) -> Self {
        let offset = 0;
        Self { descriptor, offset }
    }

    /// What it has in common with directories.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The same, to change flags and rights.
    pub fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.descriptor
    }
}

impl OpenDir {
    pub(super) fn new(descriptor: Descriptor) -> Self {
        Self {
            descriptor,
            listing_end: u64::MAX,
        }
    }

    /// What it has in common with files.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The same, to change flags and rights.
    pub fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.descriptor
    }
}

impl Opened {
    /// What both have in common.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        match self {
            Self::File(file) => &file.descriptor,
            Self::Dir(dir) => &dir.descriptor,
        }
    }

    /// The same, to change flags and rights.
    pub fn descriptor_mut(&mut self) -> &mut Descriptor {
        match self {
            Self::File(file) => &mut file.descriptor,
            Self::Dir(dir) => &mut dir.descriptor,
        }
    }

    /// The file, or `ISDIR`, as file operations on a directory fail.
    pub fn file(&self) -> Result<&OpenFile, Errno> {
        match self {
            Self::File(file) => Ok(file),
            Self::Dir(_) => Err(Errno::ISDIR),
        }
    }

    /// The same, to move its offset.
    pub fn file_mut(&mut self) -> Result<&mut OpenFile, Errno> {
        match self {
            Self::File(file) => Ok(file),
            Self::Dir(_) => Err(Errno::ISDIR),
        }
    }

    /// The directory, or `NOTDIR`, as path operations on a file fail.
    pub fn dir(&self) -> Result<&OpenDir, Errno> {
        match self {
            Self::File(_) => Err(Errno::NOTDIR),
            Self::Dir(dir) => Ok(dir),
        }
    }

    /// The same, to list it.
    pub fn dir_mut(&mut self) -> Result<&mut OpenDir, Errno> {
        match self {
            Self::File(_) => Err(Errno::NOTDIR),
            Self::Dir(dir) => Ok(dir),
        }
    }
}

impl From<OpenFile> for Opened {
    fn from(file: OpenFile) -> Self {
        Self::File(file)
    }
}

impl From<OpenDir> for Opened {
    fn from(dir: OpenDir) -> Self {
        Self::Dir(dir)
    }
}
