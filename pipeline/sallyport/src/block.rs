//! The block as both halves see it: made and checked, its dirty marks, and how one half wakes the other.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::io::Errno;

use crate::claim::Claim;
use crate::layout::{self, header};
use crate::memory::Memory;
use crate::shared::Mapping;

/// Why a block cannot be used.
#[derive(Debug)]
pub enum BlockError {
    /// The kernel refused an operation.
    System(Errno),
    /// The block is not one that we can use; the text says why.
    Unusable(String),
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(errno) => write!(f, "sallyport block: {errno}"),
            Self::Unusable(why) => write!(f, "sallyport block: {why}"),
        }
    }
}

impl From<Errno> for BlockError {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

/// A mapped block, with the shape that was checked when it was mapped.
#[derive(Clone)]
pub struct Block<M = Mapping> {
    memory: M,
    slots: u32,
    ring: u32,
}

/// Which half a mark or a wake-up is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// The half on the host.
    Host,
    /// The half inside the Keep.
    Guest,
}

impl Half {
    fn summary(self) -> usize {
        match self {
            Self::Guest => layout::DIRTY_TO_GUEST,
            Self::Host => layout::DIRTY_TO_HOST,
        }
    }
}

impl Block {
    /// Make a block; the descriptor is what the Keep gets. Its size is sealed, so that neither half can pull the
    /// memory away from under the other.
    pub fn create(slots: u32, ring: u32) -> Result<(Self, OwnedFd), BlockError> {
        let len = length(slots, ring)?;
        let file = memfd_create("sallyport", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, len as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::headed(Mapping::new(&file, len)?, slots, ring), file))
    }

    /// Make a block for two halves in this process, where the kernel gives no memory files: each takes a clone.
    pub fn inside(slots: u32, ring: u32) -> Result<Self, BlockError> {
        Ok(Self::headed(Mapping::anonymous(length(slots, ring)?)?, slots, ring))
    }

    fn headed(mapping: Mapping, slots: u32, ring: u32) -> Self {
        mapping.store32(header::VERSION, layout::VERSION);
        mapping.store32(header::SLOTS, slots);
        mapping.store32(header::RING, ring);
        mapping.store64(header::MAGIC, layout::MAGIC);
        Self::over(mapping, slots, ring)
    }

    /// Map a block that the other half made: copy its header, then check it, then use it.
    pub fn open(file: &OwnedFd) -> Result<Self, BlockError> {
        if !fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
            return Err(BlockError::Unusable("its size is not sealed".into()));
        }
        let len = usize::try_from(fstat(file)?.st_size).unwrap_or(0);
        if len < layout::SLOTS {
            return Err(BlockError::Unusable(format!("{len} bytes are too few")));
        }
        let mapping = Mapping::new(file, len)?;
        let magic = mapping.load64(header::MAGIC);
        let version = mapping.load32(header::VERSION);
        let slots = mapping.load32(header::SLOTS);
        let ring = mapping.load32(header::RING);
        if magic != layout::MAGIC || version != layout::VERSION {
            return Err(BlockError::Unusable(format!(
                "magic {magic:#x} version {version} is not ours"
            )));
        }
        if !layout::shape_is_valid(slots, ring) || layout::block_bytes(slots, ring) != len {
            return Err(BlockError::Unusable(format!(
                "{len} bytes do not hold {slots} slots with rings of {ring}"
            )));
        }
        Ok(Self::over(mapping, slots, ring))
    }
}

fn length(slots: u32, ring: u32) -> Result<usize, BlockError> {
    if !layout::shape_is_valid(slots, ring) {
        return Err(BlockError::Unusable(format!(
            "{slots} slots with rings of {ring} bytes are not possible"
        )));
    }
    Ok(layout::block_bytes(slots, ring))
}

impl<M: Memory> Block<M> {
    /// A block of a valid shape in memory that holds it.
    pub fn over(memory: M, slots: u32, ring: u32) -> Self {
        Self { memory, slots, ring }
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Bytes of one ring.
    pub fn ring(&self) -> u32 {
        self.ring
    }

    /// Where a word of a slot's lines lies.
    fn slot_word(&self, slot: u32, word: usize) -> usize {
        assert!(slot < self.slots && word < layout::slot::BYTES);
        layout::SLOTS + slot as usize * layout::slot::BYTES + word
    }

    /// Where the in-ring of a slot begins (host to guest).
    pub fn in_ring(&self, slot: u32) -> usize {
        assert!(slot < self.slots);
        layout::rings_offset(self.slots) + slot as usize * 2 * self.ring as usize
    }

    /// Where the out-ring of a slot begins (guest to host).
    pub fn out_ring(&self, slot: u32) -> usize {
        self.in_ring(slot) + self.ring as usize
    }

    /// Tell `half` to look at a slot. Follow a batch of marks with a wake-up.
    pub fn mark(&self, half: Half, slot: u32) {
        let word = slot as usize / 64;
        let summary = half.summary();
        self.memory.or64(summary + layout::BITMAP + 8 * word, 1 << (slot % 64));
        self.memory.or64(summary + 8 * (word / 64), 1 << (word % 64));
    }

    /// Words of a summary that stand for slots of this block.
    fn summary_words(&self) -> usize {
        (self.slots as usize).div_ceil(64 * 64)
    }

    /// Whether `half` has been told to look at anything.
    #[inline]
    pub fn is_marked(&self, half: Half) -> bool {
        let summary = half.summary();
        (0..self.summary_words()).any(|word| self.memory.load64(summary + 8 * word) != 0)
    }

    /// Take all marks of `half` and add the slots to `into`. Marks of slots that do not exist are dropped.
    pub fn take_marks(&self, half: Half, into: &mut Vec<u32>) {
        let summary = half.summary();
        for upper in 0..self.summary_words() {
            let offset = summary + 8 * upper;
            if self.memory.load64(offset) == 0 {
                continue;
            }
            for lower in bits(self.memory.swap64(offset, 0)) {
                let word = upper * 64 + lower;
                let marks = self.memory.swap64(summary + layout::BITMAP + 8 * word, 0);
                into.extend(
                    bits(marks)
                        .map(|bit| (word * 64 + bit) as u32)
                        .filter(|slot| *slot < self.slots),
                );
            }
        }
    }

    /// Host: wake the guest if it sleeps and has marks. Without marks there is nothing that it could do.
    pub fn wake_guest(&self) {
        if self.memory.load32(layout::GUEST_ASLEEP) != 0
            && self.is_marked(Half::Guest)
            && self.memory.swap32(layout::GUEST_ASLEEP, 0) != 0
        {
            self.memory.add32(layout::GUEST_BELL, 1);
            self.memory.wake(layout::GUEST_BELL);
        }
    }

    /// Guest: sleep until marked, at most for `limit`. Returns at once if already marked.
    ///
    /// The bell is read before sleep is announced. A waker that was late, and answers this sleep for news that were
    /// taken before it, takes the announcement away; then the bell has moved on, and there is no sleep without one.
    pub fn guest_sleep(&self, limit: Option<Duration>) {
        let before = self.memory.load32(layout::GUEST_BELL);
        self.memory.store32(layout::GUEST_ASLEEP, 1);
        if !self.is_marked(Half::Guest) {
            self.memory.sleep(layout::GUEST_BELL, before, limit);
        }
        self.memory.store32(layout::GUEST_ASLEEP, 0);
    }

    /// Host: say that it is about to sleep; false if there is something to do first.
    pub fn host_may_sleep(&self) -> bool {
        self.memory.store32(layout::HOST_ASLEEP, 1);
        if self.is_marked(Half::Host) {
            self.host_is_awake();
            return false;
        }
        true
    }

    /// Host: say that it is awake.
    pub fn host_is_awake(&self) {
        self.memory.store32(layout::HOST_ASLEEP, 0);
    }

    /// Host: sleep until the guest has taken the announcement of it away, in the place of a doorbell's descriptor.
    pub fn host_sleep(&self) {
        self.memory.sleep(layout::HOST_ASLEEP, 1, None);
    }

    /// Guest: wake a host that sleeps so.
    pub fn wake_host(&self) {
        self.memory.wake(layout::HOST_ASLEEP);
    }

    /// Guest: whether the doorbell must be rung to wake the host. True once per sleep.
    pub fn host_needs_bell(&self) -> bool {
        self.memory.load32(layout::HOST_ASLEEP) != 0 && self.memory.swap32(layout::HOST_ASLEEP, 0) != 0
    }

    /// The other half's word, read once.
    #[inline]
    pub fn peek(&self, slot: u32, word: usize) -> Claim {
        Claim::read(self.memory.load32(self.slot_word(slot, word)))
    }

    /// Publish a word of our own line.
    #[inline]
    pub fn publish(&self, slot: u32, word: usize, value: u32) {
        self.memory.store32(self.slot_word(slot, word), value);
    }
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    #[test]
    fn a_block_opens_with_the_shape_it_was_made_with() {
        let (made, file) = Block::create(64, 4096).unwrap();
        let opened = Block::open(&file).unwrap();
        assert_eq!(
            (opened.slots(), opened.ring(), opened.memory().size()),
            (64, 4096, made.memory().size())
        );
    }

    #[test]
    fn a_header_that_lies_about_the_shape_is_refused() {
        for (word, value) in [
            (header::SLOTS, 65),
            (header::RING, 8192),
            (header::RING, 5000),
            (header::VERSION, 2),
        ] {
            let (made, file) = Block::create(64, 4096).unwrap();
            made.memory().store32(word, value);
            assert!(
                matches!(Block::open(&file), Err(BlockError::Unusable(_))),
                "{word:#x}={value}"
            );
        }
    }

    #[test]
    fn a_block_whose_size_is_not_sealed_is_refused() {
        let file = memfd_create("unsealed", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, layout::block_bytes(1, 4096) as u64).unwrap();
        assert!(Block::open(&file).is_err());
    }

    #[test]
    fn marks_are_taken_once_and_only_for_slots_that_exist() {
        let (block, _file) = Block::create(1000, 4096).unwrap();
        for slot in [0, 63, 64, 999] {
            block.mark(Half::Guest, slot);
        }
        let bitmap = layout::DIRTY_TO_GUEST + layout::BITMAP;
        block.memory().or64(bitmap + 8 * 15, 1 << 63);
        let mut marked = Vec::new();
        block.take_marks(Half::Guest, &mut marked);
        assert_eq!(marked, [0, 63, 64, 999]);
        assert!(!block.is_marked(Half::Guest));
        assert!(!block.is_marked(Half::Host));
    }

    #[test]
    fn no_wake_up_is_lost_to_a_waker_that_is_late() {
        const ROUNDS: u32 = 100_000;
        let (block, _file) = Block::create(64, 4096).unwrap();
        let taken = AtomicU32::new(0);
        let slowest = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut marked = Vec::new();
                while taken.load(SeqCst) < ROUNDS {
                    block.take_marks(Half::Guest, &mut marked);
                    if taken.fetch_add(marked.drain(..).count() as u32, SeqCst) < ROUNDS {
                        block.guest_sleep(Some(Duration::from_secs(100)));
                    }
                }
            });
            let mut slowest = Duration::ZERO;
            for round in 0..ROUNDS {
                let asked = std::time::Instant::now();
                block.mark(Half::Guest, round % 64);
                while taken.load(SeqCst) <= round {
                    block.wake_guest();
                }
                slowest = slowest.max(asked.elapsed());
                // Late wakers, for news that have been taken: they meet the guest on its way to sleep.
                (0..round % 97).for_each(|_| block.wake_guest());
                if slowest > Duration::from_secs(50) {
                    taken.store(ROUNDS, SeqCst);
                    break;
                }
            }
            slowest
        });
        assert!(
            slowest <= Duration::from_secs(50),
            "a mark was only seen when the sleep's own limit had passed"
        );
    }

    #[test]
    fn a_sleeping_guest_is_woken_by_a_mark() {
        let (block, _file) = Block::create(4, 4096).unwrap();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                while !block.is_marked(Half::Guest) {
                    block.guest_sleep(None);
                }
            });
            block.mark(Half::Guest, 1);
            block.wake_guest();
            sleeper.join().unwrap();
        });
    }
}
