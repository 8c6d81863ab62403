//! The only module that touches the block's memory, and that takes descriptors given as numbers.
//!
//! The other half may write any byte of the block at any time. So words are atomics, each read once into a private
//! copy before it is checked, and bytes are copied out before anyone looks at them. No reference into the block leaves
//! this module, and what is read of a word is a [`crate::claim::Claim`], which its check uses up: a double fetch
//! cannot be written elsewhere.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use rustix::thread::futex;

use crate::memory::Memory;

/// A mapping of the whole block. A clone is the same one, which lives as long as any of them.
#[derive(Clone)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// Only to be dropped.
    _held: Arc<Held>,
}

/// What ends a mapping, once nobody holds it.
struct Held(NonNull<u8>, usize);

// SAFETY: the mapping is plain shared memory that lives until drop; all access goes through atomics or raw copies,
// which do not depend on the thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; the methods take `&self` and tolerate concurrent writers by design.
unsafe impl Sync for Mapping {}
// SAFETY: it is used once, by whichever thread drops it last.
unsafe impl Send for Held {}
// SAFETY: as above; nothing can be done with a reference to it.
unsafe impl Sync for Held {}

impl Mapping {
    /// Map `len` bytes of `file`. The caller has checked that the file is that long.
    pub fn new(file: impl AsFd, len: usize) -> Result<Self, Errno> {
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        Self::of(base, len)
    }

    /// Map `len` bytes that belong to no file: for two halves in one process.
    pub fn anonymous(len: usize) -> Result<Self, Errno> {
        // SAFETY: as in `new`.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        Self::of(base, len)
    }

    fn of(base: *mut std::ffi::c_void, len: usize) -> Result<Self, Errno> {
        let base = NonNull::new(base.cast()).ok_or(Errno::FAULT)?;
        let held = Arc::new(Held(base, len));
        Ok(Self { base, len, _held: held })
    }

    /// Bytes of the mapping.
    pub fn size(&self) -> usize {
        self.len
    }

    /// The 32-bit word at `offset`.
    ///
    /// # Panics
    /// If the word is not aligned or not inside: offsets come from the layout, never from the other half.
    #[inline]
    fn u32_at(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len);
        // SAFETY: inside the mapping and aligned (just checked; the base is page-aligned); an atomic may be written
        // by another process at any time.
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU32>() }
    }

    /// The 64-bit word at `offset`; panics as [`Mapping::u32_at`].
    #[inline]
    fn u64_at(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: as in `u32_at`.
        unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU64>() }
    }

    /// Let the kernel read from `fd` straight into up to two ranges of the block. Used by the host, which never
    /// looks at the bytes.
    pub fn read_from(&self, fd: BorrowedFd<'_>, ranges: [(usize, usize); 2]) -> Result<usize, Errno> {
        let mut parts = ranges.map(|range| rustix::io::IoSliceMut::new(self.kernel_range(range)));
        let used = if ranges[1].1 == 0 { 1 } else { 2 };
        rustix::io::readv(fd, &mut parts[..used])
    }

    /// Let the kernel write to `fd` straight from up to two ranges of the block.
    pub fn write_to(&self, fd: BorrowedFd<'_>, ranges: [(usize, usize); 2]) -> Result<usize, Errno> {
        let parts = ranges.map(|range| rustix::io::IoSlice::new(self.kernel_range(range)));
        let used = if ranges[1].1 == 0 { 1 } else { 2 };
        rustix::io::writev(fd, &parts[..used])
    }

    /// Give the pages of a range back to the kernel: they read as zeroes from now on, for both halves. Where the kernel
    /// refuses they stay, which costs memory alone.
    pub fn give_back(&self, offset: usize, len: usize) {
        assert!(len <= self.len && offset <= self.len - len);
        // SAFETY: inside the mapping (just checked), which is shared memory that anyone may change at any time; no
        // reference into it exists.
        let _ = unsafe { madvise(self.base.as_ptr().add(offset).cast(), len, Advice::LinuxRemove) };
    }

    /// A range as the slice that the system-call wrappers want.
    #[expect(
        clippy::mut_from_ref,
        reason = "never dereferenced by us: the slice only names a range to the kernel"
    )]
    fn kernel_range(&self, (offset, len): (usize, usize)) -> &mut [u8] {
        assert!(len <= self.len && offset <= self.len - len);
        // SAFETY: inside the mapping (just checked). The slice goes to readv or writev alone, which treat it as an
        // address range; no Rust code reads or writes through it.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(offset), len) }
    }
}

impl Memory for Mapping {
    #[inline]
    fn load32(&self, offset: usize) -> u32 {
        self.u32_at(offset).load(SeqCst)
    }

    #[inline]
    fn store32(&self, offset: usize, value: u32) {
        self.u32_at(offset).store(value, SeqCst);
    }

    #[inline]
    fn swap32(&self, offset: usize, value: u32) -> u32 {
        self.u32_at(offset).swap(value, SeqCst)
    }

    #[inline]
    fn add32(&self, offset: usize, value: u32) {
        self.u32_at(offset).fetch_add(value, SeqCst);
    }

    #[inline]
    fn load64(&self, offset: usize) -> u64 {
        self.u64_at(offset).load(SeqCst)
    }

    #[inline]
    fn store64(&self, offset: usize, value: u64) {
        self.u64_at(offset).store(value, SeqCst);
    }

    #[inline]
    fn swap64(&self, offset: usize, value: u64) -> u64 {
        self.u64_at(offset).swap(value, SeqCst)
    }

    #[inline]
    fn or64(&self, offset: usize, bits: u64) {
        self.u64_at(offset).fetch_or(bits, SeqCst);
    }

    #[inline]
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        assert!(into.len() <= self.len && offset <= self.len - into.len());
        // SAFETY: the source is inside the mapping (just checked) and cannot overlap `into`, which is private memory.
        // The other half may write meanwhile; then the copy holds a mixture of bytes, which is as good as any other
        // hostile bytes, and they are not looked at again in the block.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), into.as_mut_ptr(), into.len()) }
    }

    #[inline]
    fn copy_in(&self, offset: usize, from: &[u8]) {
        assert!(from.len() <= self.len && offset <= self.len - from.len());
        // SAFETY: as in `copy_out`, in the other direction.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.base.as_ptr().add(offset), from.len()) }
    }

    fn sleep(&self, offset: usize, expected: u32, limit: Option<Duration>) {
        let limit = limit.map(|limit| futex::Timespec {
            tv_sec: limit.as_secs().min(1 << 40) as i64,
            tv_nsec: i64::from(limit.subsec_nanos()) as _,
        });
        let _ = futex::wait(self.u32_at(offset), futex::Flags::empty(), expected, limit.as_ref());
    }

    fn wake(&self, offset: usize) {
        let _ = futex::wake(self.u32_at(offset), futex::Flags::empty(), 1);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and no reference into it outlives the last mapping that holds this.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), self.1) };
    }
}

/// A descriptor of our own for what `fd` names; the given one stays the caller's.
pub fn duplicate(fd: RawFd) -> Result<OwnedFd, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: borrowed only for the length of this call; fcntl answers EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_dupfd_cloexec(borrowed, 3)
}

/// Take over a descriptor that was inherited for this purpose.
pub fn adopt(fd: RawFd) -> Result<OwnedFd, Errno> {
    let own = duplicate(fd)?;
    // SAFETY: `duplicate` has shown that it is open, and the caller hands it over.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(own)
}
