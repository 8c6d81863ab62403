//! The bytes of a regular file: shared with the package until the first change, then its own.

use std::sync::Arc;

use crate::errno::Errno;

/// Up to this much a growing file doubles its memory; beyond, it gains an eighth, to waste little of a small Keep.
const DOUBLING_BYTES: usize = 64 * 1024;

pub(super) enum Content {
    Shared(Arc<[u8]>),
    Owned(Vec<u8>),
}

impl Content {
    pub(super) fn empty() -> Self {
        Self::Owned(Vec::new())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// What the quota counts.
    pub(super) fn charge(&self) -> u64 {
        match self {
            Self::Shared(_) => 0,
            Self::Owned(bytes) => bytes.len() as u64,
        }
    }

    /// Copies what lies at `offset`, nothing past the end.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let bytes = self.bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        count
    }

    /// Puts `data` at `offset`, filling a gap before it with zeros. `NOMEM` if memory runs out before the quota.
    pub(super) fn write_at(&mut self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        let end = offset + data.len();
        let bytes = self.own(end)?;
        if bytes.len() < offset {
            bytes.resize(offset, 0);
        }
        let overlap = data.len().min(bytes.len() - offset);
        bytes[offset..offset + overlap].copy_from_slice(&data[..overlap]);
        bytes.extend_from_slice(&data[overlap..]);
        Ok(())
    }

    /// Cuts, or extends with zeros. `NOMEM` if memory runs out before the quota.
    pub(super) fn resize(&mut self, size: usize) -> Result<(), Errno> {
        if size == 0 {
            *self = Self::empty();
            return Ok(());
        }
        let bytes = self.own(size)?;
        bytes.resize(size, 0);
        if size < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        Ok(())
    }

    /// Makes the bytes the file's own, with room for `size` of them.
    fn own(&mut self, size: usize) -> Result<&mut Vec<u8>, Errno> {
        if let Self::Shared(shared) = self {
            let mut bytes = Vec::new();
            reserve(&mut bytes, size.max(shared.len()))?;
            bytes.extend_from_slice(shared);
            *self = Self::Owned(bytes);
        }
        match self {
            Self::Owned(bytes) => reserve(bytes, size).map(|()| bytes),
            Self::Shared(_) => unreachable!("made its own above"),
        }
    }
}

fn reserve(bytes: &mut Vec<u8>, size: usize) -> Result<(), Errno> {
    let capacity = bytes.capacity();
    if size <= capacity {
        return Ok(());
    }
    let step = capacity.min(DOUBLING_BYTES).max(capacity / 8);
    let wanted = size.max(capacity + step);
    bytes.try_reserve_exact(wanted - bytes.len()).map_err(|_| Errno::NOMEM)
}
