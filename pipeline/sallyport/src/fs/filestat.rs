//! What is known about an inode, and setting its times.

use super::descriptor::{Descriptor, OpenDir};
use super::flags::{follows, fstflags, known};
use super::inode::{InodeId, Timestamp};
use super::rights;
use super::tree::Tree;
use super::wire::Filestat;
use crate::errno::Errno;

/// The one device that the tree is.
const DEVICE: u64 = 1;

/// The arguments of `fd_filestat_set_times` and `path_filestat_set_times`.
#[derive(Debug, Clone, Copy)]
pub struct TimesRequest {
    /// The access time, with [`fstflags::ATIM`].
    pub atim: Timestamp,
    /// The modification time, with [`fstflags::MTIM`].
    pub mtim: Timestamp,
    /// [`fstflags`].
    pub fstflags: u16,
}

impl Tree {
    /// `fd_filestat_get`. Right `FD_FILESTAT_GET`.
    pub fn fd_filestat_get(&self, descriptor: &Descriptor) -> Result<Filestat, Errno> {
        descriptor.require(rights::FD_FILESTAT_GET)?;
        Ok(self.filestat(descriptor.inode))
    }

    /// `path_filestat_get`. Right `PATH_FILESTAT_GET`. The errors of path resolution.
    pub fn path_filestat_get(&self, dir: &OpenDir, lookupflags: u32, path: &[u8]) -> Result<Filestat, Errno> {
        dir.descriptor.require(rights::PATH_FILESTAT_GET)?;
        let id = self.lookup_flagged(dir, lookupflags, path)?;
        Ok(self.filestat(id))
    }

    /// `fd_filestat_set_times`. Right `FD_FILESTAT_SET_TIMES`.
    ///
    /// `INVAL` for a time both given and now, or an unknown flag, and then no time changes; `ROFS`.
    pub fn fd_filestat_set_times(
        &mut self,
        descriptor: &Descriptor,
        request: &TimesRequest,
        now: Timestamp,
    ) -> Result<(), Errno> {
        descriptor.require(rights::FD_FILESTAT_SET_TIMES)?;
        self.set_times(descriptor.inode, request, now)
    }

    /// `path_filestat_set_times`. Right `PATH_FILESTAT_SET_TIMES`.
    ///
    /// The errors of `fd_filestat_set_times` and of path resolution.
    pub fn path_filestat_set_times(
        &mut self,
        dir: &OpenDir,
        lookupflags: u32,
        path: &[u8],
        request: &TimesRequest,
        now: Timestamp,
    ) -> Result<(), Errno> {
        dir.descriptor.require(rights::PATH_FILESTAT_SET_TIMES)?;
        let id = self.lookup_flagged(dir, lookupflags, path)?;
        self.set_times(id, request, now)
    }

    fn lookup_flagged(&self, dir: &OpenDir, flags: u32, path: &[u8]) -> Result<InodeId, Errno> {
        self.lookup(dir.descriptor.inode, path, follows(flags)?)
    }

    fn filestat(&self, id: InodeId) -> Filestat {
        let inode = self.inode(id);
        Filestat {
            dev: DEVICE,
            ino: inode.ino,
            filetype: inode.filetype(),
            nlink: inode.links,
            size: inode.node.size(),
            atim: inode.times.atim,
            mtim: inode.times.mtim,
            ctim: inode.times.ctim,
        }
    }

    fn set_times(&mut self, id: InodeId, request: &TimesRequest, now: Timestamp) -> Result<(), Errno> {
        let atim = request.time(fstflags::ATIM, fstflags::ATIM_NOW, request.atim, now)?;
        let mtim = request.time(fstflags::MTIM, fstflags::MTIM_NOW, request.mtim, now)?;
        known(request.fstflags, fstflags::ALL)?;
        self.require_writable(id)?;
        let times = &mut self.inode_mut(id).times;
        times.atim = atim.unwrap_or(times.atim);
        times.mtim = mtim.unwrap_or(times.mtim);
        times.ctim = now;
        Ok(())
    }
}

impl TimesRequest {
    /// The time to set, if any.
    fn time(&self, given: u16, current: u16, time: Timestamp, now: Timestamp) -> Result<Option<Timestamp>, Errno> {
        match (self.fstflags & given != 0, self.fstflags & current != 0) {
            (true, true) => Err(Errno::INVAL),
            (true, false) => Ok(Some(time)),
            (false, true) => Ok(Some(now)),
            (false, false) => Ok(None),
        }
    }
}
