//! `fd_readdir`: a listing in pieces, continued by cookie.

use super::descriptor::OpenDir;
use super::inode::InodeId;
use super::rights;
use super::tree::Tree;
use super::wire::Dirent;
use crate::errno::Errno;

impl Tree {
    /// `fd_readdir`: fills `buffer` with entries from `cookie` on, and returns the bytes used. Right `FD_READDIR`.
    ///
    /// `.` and `..` come first. The last entry is cut where the buffer ends; fewer bytes than the buffer holds mean
    /// the end of the directory. Cookie 0 starts a listing, which leaves out entries created after that: a program
    /// that makes one file for each it is shown comes to an end.
    pub fn fd_readdir(&self, dir: &mut OpenDir, buffer: &mut [u8], cookie: u64) -> Result<usize, Errno> {
        dir.descriptor.require(rights::FD_READDIR)?;
        let id = dir.descriptor.inode;
        if cookie == 0 {
            dir.listing_end = self.directory(id)?.end();
        }
        let mut used = 0;
        for (position, name, inode) in self.listing(id, cookie, dir.listing_end)? {
            used += put(&mut buffer[used..], &self.dirent(position, name, inode).encode());
            used += put(&mut buffer[used..], name.as_bytes());
            if used == buffer.len() {
                break;
            }
        }
        Ok(used)
    }

    fn listing(&self, id: InodeId, from: u64, end: u64) -> Result<impl Iterator<Item = (u64, &str, InodeId)>, Errno> {
        let directory = self.directory(id)?;
        let dots = [(0, ".", id), (1, "..", directory.parent)];
        let dots = dots.into_iter().filter(move |(position, ..)| *position >= from);
        Ok(dots.chain(directory.list(from, end)))
    }

    fn dirent(&self, position: u64, name: &str, id: InodeId) -> Dirent {
        let inode = self.inode(id);
        Dirent {
            d_next: position + 1,
            d_ino: inode.ino,
            d_namlen: name.len() as u32,
            d_type: inode.filetype(),
        }
    }
}

/// Copies as much as fits.
fn put(buffer: &mut [u8], bytes: &[u8]) -> usize {
    let count = bytes.len().min(buffer.len());
    buffer[..count].copy_from_slice(&bytes[..count]);
    count
}
