//! The workload's linear memory during one call, with every access checked.

use std::ops::Range;

use crate::errno::Errno;

/// Borrowed for one call, in which the workload does not run.
pub struct Memory<'a>(&'a mut [u8]);

/// One buffer of an iovec array: where it begins, and its length in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    address: u32,
    /// Bytes.
    pub len: u32,
}

impl<'a> Memory<'a> {
    /// All of the memory.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    fn range(&self, address: u32, len: u32) -> Result<Range<usize>, Errno> {
        let start = address as usize;
        let end = start.checked_add(len as usize).ok_or(Errno::FAULT)?;
        if end > self.0.len() {
            Err(Errno::FAULT)
        } else {
            Ok(start..end)
        }
    }

    /// Bytes to read.
    pub fn bytes(&self, address: u32, len: u32) -> Result<&[u8], Errno> {
        let range = self.range(address, len)?;
        Ok(&self.0[range])
    }

    /// Bytes to fill.
    pub fn bytes_mut(&mut self, address: u32, len: u32) -> Result<&mut [u8], Errno> {
        let range = self.range(address, len)?;
        Ok(&mut self.0[range])
    }

    /// Store bytes.
    pub fn put(&mut self, address: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::FAULT)?;
        self.bytes_mut(address, len)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Store a 32-bit word.
    pub fn put_u32(&mut self, address: u32, value: u32) -> Result<(), Errno> {
        self.put(address, &value.to_le_bytes())
    }

    /// Store a 64-bit word.
    pub fn put_u64(&mut self, address: u32, value: u64) -> Result<(), Errno> {
        self.put(address, &value.to_le_bytes())
    }

    fn get_u32(&self, address: u32) -> Result<u32, Errno> {
        let bytes = self.bytes(address, 4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// The buffers of an iovec array. All are inside the memory. `INVAL` if they hold more than 4 GiB together.
    pub fn buffers(&self, address: u32, count: u32) -> Result<Vec<Buffer>, Errno> {
        let mut total = 0u32;
        let size = count.checked_mul(8).ok_or(Errno::FAULT)?;
        self.range(address, size)?;
        (0..count)
            .map(|index| {
                let entry = address + 8 * index;
                let buffer = Buffer {
                    address: self.get_u32(entry)?,
                    len: self.get_u32(entry + 4)?,
                };
                self.range(buffer.address, buffer.len)?;
                total = total.checked_add(buffer.len).ok_or(Errno::INVAL)?;
                Ok(buffer)
            })
            .collect()
    }

    /// The bytes of a buffer, to read.
    pub fn buffer(&self, buffer: Buffer) -> Result<&[u8], Errno> {
        self.bytes(buffer.address, buffer.len)
    }

    /// The bytes of a buffer, to fill.
    pub fn buffer_mut(&mut self, buffer: Buffer) -> Result<&mut [u8], Errno> {
        self.bytes_mut(buffer.address, buffer.len)
    }
}
