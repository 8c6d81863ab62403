//! What the block needs of the memory that holds it. [`crate::shared::Mapping`] is the real one; `tests/loom.rs` has
//! one in which every order of the two halves' steps is tried.

use std::time::Duration;

/// Memory that two halves share. Every access to a word is sequentially consistent.
///
/// # Panics
/// Each method panics if the place is not aligned or not inside: offsets come from the layout, never from the other
/// half.
pub trait Memory {
    /// Whether a half may look for news for a while before it sleeps (see [`crate::patience`]): not where every step
    /// is one to be tried in each order.
    const MAY_LOOK: bool = true;

    /// The 32-bit word at `offset`, read once.
    fn load32(&self, offset: usize) -> u32;

    /// Write the word.
    fn store32(&self, offset: usize, value: u32);

    /// Write the word, and answer what it was.
    fn swap32(&self, offset: usize, value: u32) -> u32;

    /// Count the word up, modulo 2^32.
    fn add32(&self, offset: usize, value: u32);

    /// The 64-bit word at `offset`, read once.
    fn load64(&self, offset: usize) -> u64;

    /// Write the word.
    fn store64(&self, offset: usize, value: u64);

    /// Write the word, and answer what it was.
    fn swap64(&self, offset: usize, value: u64) -> u64;

    /// Set bits of the word.
    fn or64(&self, offset: usize, bits: u64);

    /// Copy bytes out of the block.
    fn copy_out(&self, offset: usize, into: &mut [u8]);

    /// Copy bytes into the block.
    fn copy_in(&self, offset: usize, from: &[u8]);

    /// Sleep on a word until it is woken, unless it has another value than `expected`; at most for `limit`. May return
    /// for no reason.
    fn sleep(&self, offset: usize, expected: u32, limit: Option<Duration>);

    /// Wake one sleeper on a word.
    fn wake(&self, offset: usize);
}
