//! What the workload may use, and what it uses.

use std::cell::Cell;

use crate::errno::Errno;

/// Caps of one [`Tree`](super::Tree), from the manifest's `[resources]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes over the whole tree: file contents, link targets, and for each entry its name and a fixed overhead.
    /// Bytes of a mounted file are shared with the package and count once the file is written to.
    pub max_bytes: u64,
    /// Files, directories and symbolic links, the root included.
    pub max_inodes: u64,
    /// Bytes of one file; a write past it is `FBIG`.
    pub max_file_bytes: u64,
}

/// How much of the [`Limits`] is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes, counted as `max_bytes` counts them.
    pub bytes: u64,
    /// Inodes alive, those unlinked but still open included.
    pub inodes: u64,
}

pub(super) struct Quota {
    limits: Limits,
    usage: Usage,
    /// Whether something did not fit, ever.
    refused: Cell<bool>,
}

impl Quota {
    pub(super) fn new(limits: Limits) -> Self {
        let usage = Usage::default();
        let refused = Cell::default();
        Self { limits, usage, refused }
    }

    /// What there is no room for is told apart from faults of others by this.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.get()
    }

    /// Note that something does not fit; answers what the workload is told.
    pub(super) fn refuse(&self, errno: Errno) -> Errno {
        self.refused.set(true);
        errno
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn max_file_bytes(&self) -> u64 {
        self.limits.max_file_bytes
    }

    /// The most bytes that something now charged `held` could be charged.
    pub(super) fn available_to(&self, held: u64) -> u64 {
        self.limits.max_bytes - self.usage.bytes + held
    }

    /// Replaces a charge of `from` bytes by one of `to`; `NOSPC` if that does not fit, and then nothing changes.
    pub(super) fn recharge(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        if to > self.available_to(from) {
            return Err(self.refuse(Errno::NOSPC));
        }
        self.usage.bytes = self.usage.bytes - from + to;
        Ok(())
    }

    pub(super) fn release(&mut self, bytes: u64) {
        self.usage.bytes -= bytes;
    }

    pub(super) fn take_inode(&mut self) -> Result<(), Errno> {
        if self.usage.inodes >= self.limits.max_inodes {
            return Err(self.refuse(Errno::NOSPC));
        }
        self.usage.inodes += 1;
        Ok(())
    }

    pub(super) fn release_inode(&mut self) {
        self.usage.inodes -= 1;
    }
}
