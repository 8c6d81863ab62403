//! Reading, writing and seeking in a regular file.

use super::content::Content;
use super::descriptor::{Descriptor, OpenFile};
use super::flags::{LAST_ADVICE, Whence};
use super::inode::{InodeId, Node, Timestamp};
use super::rights;
use super::tree::Tree;
use crate::errno::Errno;

/// Offsets travel as signed 64-bit numbers (`filedelta`).
const MAX_OFFSET: u64 = i64::MAX as u64;

impl Tree {
    /// `fd_read` into one buffer, moving the offset; 0 at the end of the file. Right `FD_READ`.
    ///
    /// For several buffers call it for each, until one is not filled.
    pub fn fd_read(&self, file: &mut OpenFile, buffer: &mut [u8]) -> Result<usize, Errno> {
        file.descriptor.require(rights::FD_READ)?;
        let count = self.content(file.descriptor.inode)?.read_at(file.offset, buffer);
        file.offset += count as u64;
        Ok(count)
    }

    /// `fd_pread` into one buffer, leaving the offset. Rights `FD_READ` and `FD_SEEK`.
    pub fn fd_pread(&self, file: &OpenFile, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
        file.descriptor.require(rights::FD_READ | rights::FD_SEEK)?;
        Ok(self.content(file.descriptor.inode)?.read_at(offset, buffer))
    }

    /// `fd_write` of one buffer at the offset, or at the end with `APPEND`, moving the offset. Right `FD_WRITE`.
    ///
    /// Writes what fits, so the count may be short; `NOSPC` or `FBIG` if nothing does. For several buffers call it
    /// for each, until one is not written whole.
    pub fn fd_write(&mut self, file: &mut OpenFile, data: &[u8], now: Timestamp) -> Result<usize, Errno> {
        file.descriptor.require(rights::FD_WRITE)?;
        let id = file.descriptor.inode;
        let offset = if file.descriptor.appends() {
            self.content(id)?.len()
        } else {
            file.offset
        };
        let count = self.write_at(id, offset, data, now)?;
        file.offset = offset + count as u64;
        Ok(count)
    }

    /// `fd_pwrite` of one buffer, leaving the offset; `APPEND` does not matter. Rights `FD_WRITE` and `FD_SEEK`.
    pub fn fd_pwrite(&mut self, file: &OpenFile, data: &[u8], offset: u64, now: Timestamp) -> Result<usize, Errno> {
        file.descriptor.require(rights::FD_WRITE | rights::FD_SEEK)?;
        self.write_at(file.descriptor.inode, offset, data, now)
    }

    /// `fd_seek`: the new offset, which may lie past the end. Right `FD_SEEK`, or `FD_TELL` if nothing moves.
    ///
    /// `INVAL` for an offset that is negative or does not fit.
    pub fn fd_seek(&self, file: &mut OpenFile, delta: i64, whence: Whence) -> Result<u64, Errno> {
        if delta == 0 && whence == Whence::Cur {
            return self.fd_tell(file);
        }
        file.descriptor.require(rights::FD_SEEK)?;
        let base = match whence {
            Whence::Set => 0,
            Whence::Cur => file.offset,
            Whence::End => self.content(file.descriptor.inode)?.len(),
        };
        file.offset = moved(base, delta)?;
        Ok(file.offset)
    }

    /// `fd_tell`. Right `FD_TELL`, which `FD_SEEK` implies.
    pub fn fd_tell(&self, file: &OpenFile) -> Result<u64, Errno> {
        let implied = file.descriptor.require(rights::FD_SEEK);
        implied.or_else(|_| file.descriptor.require(rights::FD_TELL))?;
        Ok(file.offset)
    }

    /// `fd_allocate`: the file is at least `offset + length` bytes afterwards. Right `FD_ALLOCATE`.
    ///
    /// `INVAL` for no bytes at all, `FBIG`, `NOSPC`.
    pub fn fd_allocate(&mut self, file: &OpenFile, offset: u64, length: u64, now: Timestamp) -> Result<(), Errno> {
        file.descriptor.require(rights::FD_ALLOCATE)?;
        if length == 0 {
            return Err(Errno::INVAL);
        }
        let end = offset.checked_add(length).ok_or(Errno::FBIG)?;
        let id = file.descriptor.inode;
        if end <= self.content(id)?.len() {
            return Ok(());
        }
        self.set_size(id, end, now)
    }

    /// `fd_advise`, which changes nothing: memory has no access pattern to prepare for. Right `FD_ADVISE`.
    ///
    /// `INVAL` for an advice the specification does not have.
    pub fn fd_advise(&self, file: &OpenFile, advice: u8) -> Result<(), Errno> {
        file.descriptor.require(rights::FD_ADVISE)?;
        if advice > LAST_ADVICE {
            return Err(Errno::INVAL);
        }
        Ok(())
    }

    /// `fd_sync`: what is written is there already. Right `FD_SYNC`.
    pub fn fd_sync(&self, descriptor: &Descriptor) -> Result<(), Errno> {
        descriptor.require(rights::FD_SYNC)
    }

    /// `fd_datasync`: what is written is there already. Right `FD_DATASYNC`.
    pub fn fd_datasync(&self, descriptor: &Descriptor) -> Result<(), Errno> {
        descriptor.require(rights::FD_DATASYNC)
    }

    /// `fd_filestat_set_size`. Right `FD_FILESTAT_SET_SIZE`. `FBIG`, `NOSPC`.
    pub fn fd_filestat_set_size(&mut self, file: &OpenFile, size: u64, now: Timestamp) -> Result<(), Errno> {
        file.descriptor.require(rights::FD_FILESTAT_SET_SIZE)?;
        self.set_size(file.descriptor.inode, size, now)
    }

    /// Cuts a file or extends it with zeros; a hole is charged like written bytes.
    pub(super) fn set_size(&mut self, id: InodeId, size: u64, now: Timestamp) -> Result<(), Errno> {
        self.require_writable(id)?;
        let content = self.content(id)?;
        if size != content.len() {
            let charge = content.charge();
            let bytes = self.within_file_limit(size)?;
            self.recharged(charge, size, |tree| tree.content_mut(id)?.resize(bytes))?;
        }
        self.inode_mut(id).times.modified(now);
        Ok(())
    }

    fn write_at(&mut self, id: InodeId, offset: u64, data: &[u8], now: Timestamp) -> Result<usize, Errno> {
        self.require_writable(id)?;
        if data.is_empty() {
            return Ok(0);
        }
        let end = self.writable_end(id, offset, data.len())?;
        let start = self.within_file_limit(offset)?;
        let data = &data[..(end - offset) as usize];
        let content = self.content(id)?;
        let (from, to) = (content.charge(), end.max(content.len()));
        self.recharged(from, to, |tree| tree.content_mut(id)?.write_at(start, data))?;
        self.inode_mut(id).times.modified(now);
        Ok(data.len())
    }

    /// How far a write at `offset` gets: `FBIG` or `NOSPC` if nowhere.
    fn writable_end(&self, id: InodeId, offset: u64, length: usize) -> Result<u64, Errno> {
        let largest = self.quota.max_file_bytes();
        if offset >= largest {
            return Err(self.quota.refuse(Errno::FBIG));
        }
        let content = self.content(id)?;
        let available = self.quota.available_to(content.charge());
        if content.len() > available || offset >= available {
            return Err(self.quota.refuse(Errno::NOSPC));
        }
        let end = offset.saturating_add(length as u64);
        Ok(end.min(largest).min(available))
    }

    fn within_file_limit(&self, size: u64) -> Result<usize, Errno> {
        if size > self.quota.max_file_bytes() {
            return Err(self.quota.refuse(Errno::FBIG));
        }
        usize::try_from(size).map_err(|_| Errno::FBIG)
    }

    /// Does a change that moves the charge of an inode, and takes the charge back if it fails.
    fn recharged(
        &mut self,
        from: u64,
        to: u64,
        change: impl FnOnce(&mut Self) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.quota.recharge(from, to)?;
        change(self).inspect_err(|_| {
            let taken_back = self.quota.recharge(to, from);
            debug_assert!(taken_back.is_ok(), "it was charged before");
        })
    }

    fn content(&self, id: InodeId) -> Result<&Content, Errno> {
        match &self.inode(id).node {
            Node::File(content) => Ok(content),
            Node::Directory(_) => Err(Errno::ISDIR),
            Node::Symlink(_) => Err(Errno::LOOP),
        }
    }

    fn content_mut(&mut self, id: InodeId) -> Result<&mut Content, Errno> {
        match &mut self.inode_mut(id).node {
            Node::File(content) => Ok(content),
            Node::Directory(_) => Err(Errno::ISDIR),
            Node::Symlink(_) => Err(Errno::LOOP),
        }
    }
}

fn moved(base: u64, delta: i64) -> Result<u64, Errno> {
    base.checked_add_signed(delta)
        .filter(|offset| *offset <= MAX_OFFSET)
        .ok_or(Errno::INVAL)
}
