//! One inode: a file, a directory or a symbolic link, and what is known about it.

use std::sync::Arc;

use super::content::Content;
use super::directory::Directory;
use super::wire::Filetype;

/// Nanoseconds since 1970-01-01T00:00:00Z (`timestamp` of the realtime clock).
pub type Timestamp = u64;

/// Whether the workload may change what the host mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any change is `ROFS`. On a directory this covers its entries, not what lies below them.
    ReadOnly,
    /// Changes are private to the Keep; bytes of the package are copied at the first one.
    CopyOnWrite,
}

/// The place of an inode in the tree's table. Valid while an entry or a descriptor names the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InodeId(pub(super) u32);

pub(super) struct Inode {
    pub(super) ino: u64,
    pub(super) links: u64,
    pub(super) opens: u64,
    pub(super) access: Access,
    pub(super) times: Times,
    pub(super) node: Node,
}

pub(super) enum Node {
    File(Content),
    Directory(Directory),
    Symlink(Arc<str>),
}

#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) atim: Timestamp,
    pub(super) mtim: Timestamp,
    pub(super) ctim: Timestamp,
}

impl Inode {
    pub(super) fn filetype(&self) -> Filetype {
        match self.node {
            Node::File(_) => Filetype::RegularFile,
            Node::Directory(_) => Filetype::Directory,
            Node::Symlink(_) => Filetype::SymbolicLink,
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        self.filetype() == Filetype::Directory
    }
}

impl Node {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File(content) => content.len(),
            Self::Directory(_) => 0,
            Self::Symlink(target) => target.len() as u64,
        }
    }

    /// What the quota counts.
    pub(super) fn charge(&self) -> u64 {
        match self {
            Self::File(content) => content.charge(),
            Self::Directory(_) => 0,
            Self::Symlink(target) => target.len() as u64,
        }
    }
}

impl Times {
    pub(super) fn all(now: Timestamp) -> Self {
        let (atim, mtim, ctim) = (now, now, now);
        Self { atim, mtim, ctim }
    }

    /// Records a change of content, or of a directory's entries.
    pub(super) fn modified(&mut self, now: Timestamp) {
        self.mtim = now;
        self.ctim = now;
    }
}
