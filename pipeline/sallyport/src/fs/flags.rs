//! Flag words and small enumerations of `wasi_snapshot_preview1.witx` that the file system reads.

use crate::errno::Errno;

/// `lookupflags`, 32 bits.
pub mod lookupflags {
    /// Follow a symbolic link that is the last component of the path.
    pub const SYMLINK_FOLLOW: u32 = 1 << 0;

    pub(in super::super) const ALL: u32 = SYMLINK_FOLLOW;
}

/// `oflags`, 16 bits.
pub mod oflags {
    /// Create the file if it does not exist.
    pub const CREAT: u16 = 1 << 0;
    /// Fail with `NOTDIR` if not a directory.
    pub const DIRECTORY: u16 = 1 << 1;
    /// With `CREAT`, fail with `EXIST` if the file exists.
    pub const EXCL: u16 = 1 << 2;
    /// Truncate the file to size zero.
    pub const TRUNC: u16 = 1 << 3;

    pub(in super::super) const ALL: u16 = CREAT | DIRECTORY | EXCL | TRUNC;
}

/// `fdflags`, 16 bits.
pub mod fdflags {
    /// Data written is appended to the end of the file.
    pub const APPEND: u16 = 1 << 0;
    /// Synchronised data writes.
    pub const DSYNC: u16 = 1 << 1;
    /// Non-blocking mode.
    pub const NONBLOCK: u16 = 1 << 2;
    /// Synchronised reads.
    pub const RSYNC: u16 = 1 << 3;
    /// Synchronised writes of data and metadata.
    pub const SYNC: u16 = 1 << 4;

    pub(in super::super) const ALL: u16 = APPEND | DSYNC | NONBLOCK | RSYNC | SYNC;
}

/// `fstflags`, 16 bits.
pub mod fstflags {
    /// Set the access time to the given value.
    pub const ATIM: u16 = 1 << 0;
    /// Set the access time to now.
    pub const ATIM_NOW: u16 = 1 << 1;
    /// Set the modification time to the given value.
    pub const MTIM: u16 = 1 << 2;
    /// Set the modification time to now.
    pub const MTIM_NOW: u16 = 1 << 3;

    pub(in super::super) const ALL: u16 = ATIM | ATIM_NOW | MTIM | MTIM_NOW;
}

/// Where `fd_seek` counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    /// The start of the file.
    Set,
    /// The current offset.
    Cur,
    /// The end of the file.
    End,
}

impl Whence {
    /// `whence` of `wasi_snapshot_preview1`: set, cur, end. `INVAL` for anything else.
    pub fn from_preview1(value: u8) -> Result<Self, Errno> {
        Self::pick([Self::Set, Self::Cur, Self::End], value)
    }

    /// `whence` of `wasi_unstable`, which counted cur, end, set. `INVAL` for anything else.
    pub fn from_unstable(value: u8) -> Result<Self, Errno> {
        Self::pick([Self::Cur, Self::End, Self::Set], value)
    }

    fn pick(order: [Self; 3], value: u8) -> Result<Self, Errno> {
        order.get(usize::from(value)).copied().ok_or(Errno::INVAL)
    }
}

/// The largest `advice`, `noreuse`.
pub(super) const LAST_ADVICE: u8 = 5;

/// Whether `lookupflags` ask to follow a last link; `INVAL` for unknown flags.
pub(super) fn follows(flags: u32) -> Result<bool, Errno> {
    known(flags, lookupflags::ALL)?;
    Ok(flags & lookupflags::SYMLINK_FOLLOW != 0)
}

/// Refuses bits that the specification does not name with `INVAL`.
pub(super) fn known<T>(flags: T, all: T) -> Result<(), Errno>
where
    T: Copy + PartialEq + std::ops::BitOr<Output = T>,
{
    if flags | all == all { Ok(()) } else { Err(Errno::INVAL) }
}
