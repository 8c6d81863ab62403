//! `path_open` and closing.

use std::sync::Arc;

use super::content::Content;
use super::descriptor::{Descriptor, OpenDir, OpenFile, Opened};
use super::flags::{fdflags, follows, known, oflags};
use super::inode::{Access, InodeId, Node, Timestamp};
use super::resolve::{Found, LastLink, Place, last_link};
use super::rights::{self, Rights};
use super::tree::Tree;
use super::wire::Filetype;
use crate::errno::Errno;

/// The arguments of `path_open`, as the guest gave them.
#[derive(Debug, Clone, Copy)]
pub struct OpenRequest<'a> {
    /// [`lookupflags`](super::flags::lookupflags).
    pub lookupflags: u32,
    /// Relative to the directory.
    pub path: &'a [u8],
    /// [`oflags`].
    pub oflags: u16,
    /// Rights of the new descriptor; those that do not apply to what is opened are dropped.
    pub rights_base: Rights,
    /// Rights of descriptors opened through the new one.
    pub rights_inheriting: Rights,
    /// [`fdflags`].
    pub fdflags: u16,
}

impl Tree {
    /// `path_open`. Right `PATH_OPEN`, with `CREAT` also `PATH_CREATE_FILE`, with `TRUNC` also
    /// `PATH_FILESTAT_SET_SIZE`; the rights asked for must be among those that `dir` passes on.
    ///
    /// `EXIST`, `ISDIR`, `NOTDIR`, `LOOP` for a link not to be followed, `ROFS`, `NOSPC`, `INVAL` for flags that are
    /// unknown or contradict each other, and the errors of path resolution.
    pub fn path_open(&mut self, dir: &OpenDir, request: &OpenRequest<'_>, now: Timestamp) -> Result<Opened, Errno> {
        request.check_flags()?;
        request.check_rights(&dir.descriptor)?;
        let request = &request.with_truncation(&dir.descriptor);
        match self.to_open(dir.descriptor.inode, request)? {
            Target::Existing(id) => self.open_existing(id, request, now),
            Target::Missing(directory, name) => self.open_new(directory, name, request, now),
        }
    }

    /// Closes a descriptor; an unlinked inode goes with its last one.
    pub fn close(&mut self, opened: impl Into<Opened>) {
        self.closed(opened.into().descriptor().inode);
    }

    fn to_open(&self, start: InodeId, request: &OpenRequest<'_>) -> Result<Target, Errno> {
        match self.walk(start, request.path, request.last_link()?)? {
            Found::Directory(_) if request.must_create() => Err(Errno::EXIST),
            Found::Directory(id) => Ok(Target::Existing(id)),
            Found::Entry(place) => self.entry_to_open(&place, request),
        }
    }

    fn entry_to_open(&self, place: &Place<'_>, request: &OpenRequest<'_>) -> Result<Target, Errno> {
        if place.inode.is_some() && request.must_create() {
            return Err(Errno::EXIST);
        }
        if place.inode.is_some() || !request.has(oflags::CREAT) {
            return self.existing(place).map(Target::Existing);
        }
        if place.slash {
            return Err(Errno::ISDIR);
        }
        self.require_accepting(place.directory)?;
        Ok(Target::Missing(place.directory, place.name.into()))
    }

    fn open_new(
        &mut self,
        directory: InodeId,
        name: Arc<str>,
        request: &OpenRequest<'_>,
        now: Timestamp,
    ) -> Result<Opened, Errno> {
        let node = Node::File(Content::empty());
        let id = self.create_at(directory, name, node, Access::CopyOnWrite, now)?;
        Ok(self.open_file(id, request).into())
    }

    fn open_existing(&mut self, id: InodeId, request: &OpenRequest<'_>, now: Timestamp) -> Result<Opened, Errno> {
        let must_be_directory = request.has(oflags::DIRECTORY);
        match self.inode(id).node {
            Node::Directory(_) if request.changes() || request.has(oflags::CREAT) => Err(Errno::ISDIR),
            Node::Directory(_) => Ok(self.open_directory(id, request).into()),
            _ if must_be_directory => Err(Errno::NOTDIR),
            Node::Symlink(_) => Err(Errno::LOOP),
            Node::File(_) => self.open_existing_file(id, request, now),
        }
    }

    fn open_existing_file(&mut self, id: InodeId, request: &OpenRequest<'_>, now: Timestamp) -> Result<Opened, Errno> {
        if request.changes() {
            self.require_writable(id)?;
        }
        if request.has(oflags::TRUNC) {
            self.set_size(id, 0, now)?;
        }
        Ok(self.open_file(id, request).into())
    }

    fn open_file(&mut self, id: InodeId, request: &OpenRequest<'_>) -> OpenFile {
        let applicable = match self.inode(id).access {
            Access::ReadOnly => rights::READ_ONLY_FILE,
            Access::CopyOnWrite => rights::REGULAR_FILE,
        };
        self.opened(id);
        let base = request.rights_base & applicable;
        let descriptor = Descriptor::new(id, Filetype::RegularFile, base);
        OpenFile::new(descriptor.with_flags(request.fdflags))
    }

    fn open_directory(&mut self, id: InodeId, request: &OpenRequest<'_>) -> OpenDir {
        self.opened(id);
        let base = request.rights_base & rights::DIRECTORY;
        let descriptor = Descriptor::new(id, Filetype::Directory, base);
        let inheriting = request.rights_inheriting & rights::ALL;
        OpenDir::new(descriptor.with_flags(request.fdflags).with_inheriting(inheriting))
    }
}

/// What a request comes down to.
enum Target {
    Existing(InodeId),
    Missing(InodeId, Arc<str>),
}

impl OpenRequest<'_> {
    fn has(&self, flag: u16) -> bool {
        self.oflags & flag != 0
    }

    fn must_create(&self) -> bool {
        self.has(oflags::CREAT) && self.has(oflags::EXCL)
    }

    fn changes(&self) -> bool {
        self.has(oflags::TRUNC) || self.rights_base & rights::FD_WRITE != 0
    }

    fn last_link(&self) -> Result<LastLink, Errno> {
        let follow = follows(self.lookupflags)?;
        if self.must_create() {
            // POSIX open: with O_CREAT and O_EXCL a link is an existing file, wherever it points.
            return Ok(LastLink::Keep);
        }
        Ok(last_link(follow))
    }

    fn check_flags(&self) -> Result<(), Errno> {
        known(self.oflags, oflags::ALL)?;
        known(self.fdflags, fdflags::ALL)?;
        if self.has(oflags::DIRECTORY) && self.oflags != oflags::DIRECTORY {
            return Err(Errno::INVAL);
        }
        Ok(())
    }

    fn check_rights(&self, dir: &Descriptor) -> Result<(), Errno> {
        dir.require(self.rights_needed())?;
        let wanted = (self.rights_base | self.rights_inheriting) & rights::ALL;
        dir.require_inheriting(wanted | self.rights_for_flags())
    }

    /// A directory by which files are opened that may change in size may truncate them as they are opened: two calls
    /// come to the same, and Go's `os.Root` asks for the one right and relies on the other.
    fn with_truncation(self, dir: &Descriptor) -> Self {
        let implied = rights::PATH_FILESTAT_SET_SIZE;
        let may_resize = self.rights_inheriting & rights::FD_FILESTAT_SET_SIZE != 0;
        let added = if may_resize && dir.require_inheriting(implied).is_ok() {
            implied
        } else {
            0
        };
        Self {
            rights_base: self.rights_base | added,
            ..self
        }
    }

    fn rights_needed(&self) -> Rights {
        let mut needed = rights::PATH_OPEN;
        if self.has(oflags::CREAT) {
            needed |= rights::PATH_CREATE_FILE;
        }
        if self.has(oflags::TRUNC) {
            needed |= rights::PATH_FILESTAT_SET_SIZE;
        }
        needed
    }

    fn rights_for_flags(&self) -> Rights {
        let mut needed = 0;
        if self.fdflags & fdflags::DSYNC != 0 {
            needed |= rights::FD_DATASYNC;
        }
        if self.fdflags & (fdflags::RSYNC | fdflags::SYNC) != 0 {
            needed |= rights::FD_SYNC;
        }
        needed
    }
}
