//! Records that the guest reads from its memory, little-endian, laid out as `wasi_snapshot_preview1.witx` says.

use super::inode::Timestamp;
use super::rights::Rights;

/// `filetype`, 8 bits; the file system itself has directories, regular files and symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Filetype {
    /// Not known: the entry `null`.
    Unknown = 0,
    /// Standard input and output: libc takes it for a terminal and writes line by line.
    CharacterDevice = 2,
    /// A directory.
    Directory = 3,
    /// A regular file.
    RegularFile = 4,
    /// A socket.
    SocketStream = 6,
    /// A symbolic link.
    SymbolicLink = 7,
}

/// `filestat`: what `fd_filestat_get` and `path_filestat_get` say about an inode or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filestat {
    /// The device; the same for the whole tree.
    pub dev: u64,
    /// Unique in the tree, and not used again after the inode is gone.
    pub ino: u64,
    /// The kind of inode.
    pub filetype: Filetype,
    /// How many entries name the inode; 0 once it is unlinked.
    pub nlink: u64,
    /// Bytes of a file or of a symbolic link's target; 0 for a directory.
    pub size: u64,
    /// Last access; reads do not move it, as on a file system mounted `noatime`.
    pub atim: Timestamp,
    /// Last change of the content or of a directory's entries.
    pub mtim: Timestamp,
    /// Last change of anything.
    pub ctim: Timestamp,
}

impl Filestat {
    /// What is said of a stream: its type, one link, and nothing of the host's device, inode or times.
    #[must_use]
    pub fn of_stream(filetype: Filetype) -> Self {
        Self {
            dev: 0,
            ino: 0,
            filetype,
            nlink: 1,
            size: 0,
            atim: 0,
            mtim: 0,
            ctim: 0,
        }
    }

    /// Bytes of the record in `wasi_snapshot_preview1`.
    pub const SIZE: usize = 64;
    /// Bytes of the record in `wasi_unstable`, where `nlink` had 32 bits.
    pub const UNSTABLE_SIZE: usize = 56;

    /// The record of `wasi_snapshot_preview1`.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut record = [0; Self::SIZE];
        self.put_head(&mut record);
        put_u64(&mut record, 24, self.nlink);
        self.put_tail(&mut record, 32);
        record
    }

    /// The record of `wasi_unstable`.
    #[must_use]
    pub fn encode_unstable(&self) -> [u8; Self::UNSTABLE_SIZE] {
        let mut record = [0; Self::UNSTABLE_SIZE];
        self.put_head(&mut record);
        put_u32(&mut record, 20, u32::try_from(self.nlink).unwrap_or(u32::MAX));
        self.put_tail(&mut record, 24);
        record
    }

    fn put_head(&self, record: &mut [u8]) {
        put_u64(record, 0, self.dev);
        put_u64(record, 8, self.ino);
        record[16] = self.filetype as u8;
    }

    fn put_tail(&self, record: &mut [u8], at: usize) {
        put_u64(record, at, self.size);
        put_u64(record, at + 8, self.atim);
        put_u64(record, at + 16, self.mtim);
        put_u64(record, at + 24, self.ctim);
    }
}

/// `fdstat`: what `fd_fdstat_get` says about a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fdstat {
    /// The kind of inode.
    pub filetype: Filetype,
    /// `fdflags` in force.
    pub flags: u16,
    /// Rights of this descriptor.
    pub rights_base: Rights,
    /// The most that descriptors opened through this one may hold.
    pub rights_inheriting: Rights,
}

impl Fdstat {
    /// Bytes of the record.
    pub const SIZE: usize = 24;

    /// The record, the same in both snapshots.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut record = [0; Self::SIZE];
        record[0] = self.filetype as u8;
        record[2..4].copy_from_slice(&self.flags.to_le_bytes());
        put_u64(&mut record, 8, self.rights_base);
        put_u64(&mut record, 16, self.rights_inheriting);
        record
    }
}

/// `dirent`: the head of one entry that `fd_readdir` writes; the name follows it, not terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirent {
    /// The cookie that continues after this entry.
    pub d_next: u64,
    /// The inode that the entry names.
    pub d_ino: u64,
    /// Bytes of the name.
    pub d_namlen: u32,
    /// The kind of inode.
    pub d_type: Filetype,
}

impl Dirent {
    /// Bytes of the head.
    pub const SIZE: usize = 24;

    /// The head, the same in both snapshots.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut record = [0; Self::SIZE];
        put_u64(&mut record, 0, self.d_next);
        put_u64(&mut record, 8, self.d_ino);
        put_u32(&mut record, 16, self.d_namlen);
        record[20] = self.d_type as u8;
        record
    }
}

fn put_u64(record: &mut [u8], at: usize, value: u64) {
    record[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(record: &mut [u8], at: usize, value: u32) {
    record[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
