//! Where each word of the block lies. `README.md` beside this crate is the specification.

/// "ENARXSP1" read as a little-endian word: the first eight bytes of every block.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ENARXSP1");
/// Version of the layout; a half that meets another one refuses the block.
pub const VERSION: u32 = 1;

/// Bytes of a page, the unit that regions are aligned to.
pub const PAGE: usize = 4096;
/// Bytes of a cache line, the unit in which words with different writers are kept apart.
pub const LINE: usize = 64;

/// Most slots a block can have: two levels of 64-bit words cover 64 × 64 × 4.
pub const MAX_SLOTS: u32 = 16_384;
/// Smallest and largest ring, in bytes; a ring is a power of two.
pub const MIN_RING: u32 = 4096;
/// See [`MIN_RING`].
pub const MAX_RING: u32 = 16 << 20;

/// The slot of the control stream, over which the two halves' Python sides talk.
pub const CONTROL: u32 = 0;

/// Header: magic (u64), version (u32), slots (u32), ring bytes (u32). Written by the host before the Keep starts.
pub mod header {
    /// Offset of the magic word.
    pub const MAGIC: usize = 0x00;
    /// Offset of the version.
    pub const VERSION: usize = 0x08;
    /// Offset of the number of slots.
    pub const SLOTS: usize = 0x0c;
    /// Offset of the size of one ring.
    pub const RING: usize = 0x10;
}

/// Futex word that the guest sleeps on; the host counts it up to wake the guest.
pub const GUEST_BELL: usize = 0x40;
/// 1 while the guest sleeps or is about to; the waker swaps it to 0.
pub const GUEST_ASLEEP: usize = 0x80;
/// 1 while the host sleeps or is about to; the waker swaps it to 0 and writes to the doorbell eventfd.
pub const HOST_ASLEEP: usize = 0xc0;

/// The guest's line of the header, which the host shows and never acts on.
pub mod report {
    /// The system call that the jail refused: bit 31, and its number (u32). Written once, as the guest's last act.
    pub const VIOLATION: usize = 0x100;
    /// TLS handshakes with clients that were finished (u64).
    pub const HANDSHAKES_DONE: usize = 0x108;
    /// TLS handshakes with clients that failed or took too long (u64).
    pub const HANDSHAKES_FAILED: usize = 0x110;
}

/// Words of a summary: each bit stands for one word of a bitmap.
pub const SUMMARY_WORDS: usize = 4;
/// Words of a bitmap: each bit stands for one slot.
pub const BITMAP_WORDS: usize = MAX_SLOTS as usize / 64;
/// Slots that the guest should look at: summary, then bitmap.
pub const DIRTY_TO_GUEST: usize = PAGE;
/// Slots that the host should look at: summary, then bitmap.
pub const DIRTY_TO_HOST: usize = 2 * PAGE;
/// Offset of a bitmap from the start of its summary.
pub const BITMAP: usize = LINE;
/// Where the slots' two lines begin.
pub const SLOTS: usize = 3 * PAGE;

/// One slot is two lines: the first is written by the host alone, the second by the guest alone.
pub mod slot {
    /// Bytes of a slot.
    pub const BYTES: usize = 2 * super::LINE;

    /// Host's line: how often the slot was opened (u32).
    pub const HOST_GENERATION: usize = 0x00;
    /// Host's line: [`super::state`] bits (u32).
    pub const HOST_STATE: usize = 0x04;
    /// Host's line: bytes ever put into the in-ring, modulo 2^32.
    pub const IN_TAIL: usize = 0x08;
    /// Host's line: bytes ever taken from the out-ring, modulo 2^32.
    pub const OUT_HEAD: usize = 0x0c;
    /// Host's line: index in the manifest's `files` that the stream belongs to (u32).
    pub const FILE: usize = 0x10;
    /// Host's line: WASI error number that ended the stream, 0 while there is none (u32).
    pub const ERROR: usize = 0x14;

    /// Guest's line: the generation that the rest of the line speaks of (u32).
    pub const GUEST_GENERATION: usize = 0x40;
    /// Guest's line: [`super::state`] bits (u32).
    pub const GUEST_STATE: usize = 0x44;
    /// Guest's line: bytes ever taken from the in-ring, modulo 2^32.
    pub const IN_HEAD: usize = 0x48;
    /// Guest's line: bytes ever put into the out-ring, modulo 2^32.
    pub const OUT_TAIL: usize = 0x4c;
}

/// Bits of a slot's state words.
pub mod state {
    /// Host: the stream is open.
    pub const OPEN: u32 = 1;
    /// Either: no more bytes will be put into the ring that this side fills.
    pub const FIN: u32 = 2;
    /// Guest: done with the slot; the host may use it anew once the out-ring is drained.
    pub const RELEASED: u32 = 4;
    /// Either: waits for room in the ring that this side fills.
    pub const WANTS_ROOM: u32 = 8;
}

/// Bytes of a block with `slots` slots and rings of `ring` bytes.
pub fn block_bytes(slots: u32, ring: u32) -> usize {
    rings_offset(slots) + slots as usize * 2 * ring as usize
}

/// Where the rings begin: behind the slots, on a page.
pub fn rings_offset(slots: u32) -> usize {
    (SLOTS + slots as usize * slot::BYTES).next_multiple_of(PAGE)
}

/// Whether a block of this shape is one that both halves can use.
pub fn shape_is_valid(slots: u32, ring: u32) -> bool {
    (1..=MAX_SLOTS).contains(&slots) && (MIN_RING..=MAX_RING).contains(&ring) && ring.is_power_of_two()
}
