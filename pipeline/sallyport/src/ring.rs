//! One direction of a stream: a byte ring with one producer and one consumer that do not trust each other.
//!
//! Positions count bytes ever moved, modulo 2^32. Each side keeps its own position privately and publishes it; of
//! the other side's it takes one copy and refuses it if it is impossible.

use crate::claim::Claim;

/// The other half published a position that cannot be: it is broken or hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Impossible;

/// Private positions of one side of a ring.
#[derive(Debug, Clone, Copy, Default)]
pub struct Positions {
    head: u32,
    tail: u32,
}

impl Positions {
    /// Bytes that can be taken.
    pub fn filled(&self) -> u32 {
        self.tail.wrapping_sub(self.head)
    }

    /// Bytes that can be put into a ring of `size` bytes.
    pub fn room(&self, size: u32) -> u32 {
        size - self.filled()
    }

    /// Position up to which bytes were taken.
    pub fn head(&self) -> u32 {
        self.head
    }

    /// Position up to which bytes were put.
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Consumer: believe the producer's position if it is possible, that is if it never goes back and never
    /// claims more than the ring holds.
    pub fn see_tail(&mut self, tail: Claim, size: u32) -> Result<(), Impossible> {
        let tail = tail.value();
        let filled = tail.wrapping_sub(self.head);
        if filled > size || filled < self.filled() {
            return Err(Impossible);
        }
        self.tail = tail;
        Ok(())
    }

    /// Producer: believe the consumer's position if it is possible, that is if it takes nothing that is not there.
    pub fn see_head(&mut self, head: Claim) -> Result<(), Impossible> {
        let head = head.value();
        if self.tail.wrapping_sub(head) > self.filled() {
            return Err(Impossible);
        }
        self.head = head;
        Ok(())
    }

    /// Consumer: `bytes` were taken.
    ///
    /// # Panics
    /// If that many were not there.
    pub fn take(&mut self, bytes: u32) {
        assert!(bytes <= self.filled());
        self.head = self.head.wrapping_add(bytes);
    }

    /// Producer: `bytes` were put.
    ///
    /// # Panics
    /// If there was no room for them.
    pub fn put(&mut self, bytes: u32, size: u32) {
        assert!(bytes <= self.room(size));
        self.tail = self.tail.wrapping_add(bytes);
    }

    /// The filled part of a ring at `base`: one range, or two where it wraps.
    pub fn filled_ranges(&self, base: usize, size: u32) -> [(usize, usize); 2] {
        ranges(base, size, self.head, self.filled())
    }

    /// The free part of a ring at `base`.
    pub fn free_ranges(&self, base: usize, size: u32) -> [(usize, usize); 2] {
        ranges(base, size, self.tail, self.room(size))
    }
}

/// `len` bytes from position `from` of the ring at `base`, as ranges of the block.
fn ranges(base: usize, size: u32, from: u32, len: u32) -> [(usize, usize); 2] {
    let start = from & (size - 1);
    let first = len.min(size - start);
    [(base + start as usize, first as usize), (base, (len - first) as usize)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tail_that_claims_more_than_the_ring_holds_is_impossible() {
        let mut positions = Positions::default();
        assert_eq!(positions.see_tail(Claim::read(4097), 4096), Err(Impossible));
        assert_eq!(positions.filled(), 0);
    }

    #[test]
    fn a_tail_that_goes_back_is_impossible() {
        let mut positions = Positions::default();
        positions.see_tail(Claim::read(10), 4096).unwrap();
        assert_eq!(positions.see_tail(Claim::read(9), 4096), Err(Impossible));
    }

    #[test]
    fn a_head_that_takes_what_is_not_there_is_impossible() {
        let mut positions = Positions::default();
        positions.put(10, 4096);
        assert_eq!(positions.see_head(Claim::read(11)), Err(Impossible));
        assert_eq!(positions.see_head(Claim::read(u32::MAX)), Err(Impossible));
        assert_eq!(positions.see_head(Claim::read(10)), Ok(()));
        assert_eq!(positions.see_head(Claim::read(9)), Err(Impossible));
    }

    proptest! {
        #[test]
        fn whatever_the_other_side_claims_the_ranges_stay_inside(
            start in any::<u32>(), claims in prop::collection::vec(any::<u32>(), 1..40)
        ) {
            let (base, size) = (12_288, 4096);
            let mut positions = Positions { head: start, tail: start };
            for claim in claims {
                if claim % 2 == 0 { let _ = positions.see_tail(Claim::read(claim), size); } else { let _ = positions.see_head(Claim::read(claim)); }
                for ranges in [positions.filled_ranges(base, size), positions.free_ranges(base, size)] {
                    for (offset, len) in ranges {
                        prop_assert!(offset >= base && offset + len <= base + size as usize);
                    }
                }
                prop_assert!(positions.filled() <= size);
            }
        }

        #[test]
        fn what_goes_in_comes_out(chunks in prop::collection::vec(1u32..5000, 1..60)) {
            let size = 4096;
            let (mut producer, mut consumer) = (Positions::default(), Positions::default());
            let (mut put, mut taken) = (0u64, 0u64);
            for chunk in chunks {
                let bytes = chunk.min(producer.room(size));
                producer.put(bytes, size);
                put += u64::from(bytes);
                consumer.see_tail(Claim::read(producer.tail()), size).unwrap();
                let bytes = chunk.min(consumer.filled());
                consumer.take(bytes);
                taken += u64::from(bytes);
                producer.see_head(Claim::read(consumer.head())).unwrap();
            }
            prop_assert_eq!(put - taken, u64::from(consumer.filled()));
        }
    }
}
