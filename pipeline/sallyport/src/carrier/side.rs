//! Which half a carrier is beside, and where in the block that half's words and the other one's are.

use crate::block::{Block, Half};
use crate::layout::{slot as word, state};

/// Which half a carrier is beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The host half.
    Host,
    /// The guest half, in the Keep.
    Guest,
}

/// Where the words of one half's line are.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub generation: usize,
    pub state: usize,
    pub tail: usize,
    pub head: usize,
    /// State bits that are sent. The others are for the two on one block.
    pub bits: u32,
}

const HOSTS: Line = Line {
    generation: word::HOST_GENERATION,
    state: word::HOST_STATE,
    tail: word::IN_TAIL,
    head: word::OUT_HEAD,
    bits: state::OPEN | state::FIN,
};

const GUESTS: Line = Line {
    generation: word::GUEST_GENERATION,
    state: word::GUEST_STATE,
    tail: word::OUT_TAIL,
    head: word::IN_HEAD,
    bits: state::FIN | state::RELEASED,
};

impl Side {
    /// The line of the half on this end.
    pub fn own(self) -> Line {
        match self {
            Self::Host => HOSTS,
            Self::Guest => GUESTS,
        }
    }

    /// The line of the half on the other end, which the carrier writes here.
    pub fn others(self) -> Line {
        match self {
            Self::Host => GUESTS,
            Self::Guest => HOSTS,
        }
    }

    /// Whom the marks are for that the half on this end takes.
    pub fn half(self) -> Half {
        match self {
            Self::Host => Half::Host,
            Self::Guest => Half::Guest,
        }
    }

    /// Whom the marks are for that the half on this end sets.
    pub fn other_half(self) -> Half {
        match self {
            Self::Host => Half::Guest,
            Self::Guest => Half::Host,
        }
    }

    /// Where the ring begins that the half on this end fills.
    pub fn filled_ring(self, block: &Block, slot: u32) -> usize {
        match self {
            Self::Host => block.in_ring(slot),
            Self::Guest => block.out_ring(slot),
        }
    }

    /// Where the ring begins that the half on this end empties.
    pub fn emptied_ring(self, block: &Block, slot: u32) -> usize {
        match self {
            Self::Host => block.out_ring(slot),
            Self::Guest => block.in_ring(slot),
        }
    }
}

/// Whether the guest is done with the stream of this generation.
pub fn is_released(block: &Block, slot: u32, generation: u32) -> bool {
    block.peek(slot, word::GUEST_GENERATION).value() == generation
        && block.peek(slot, word::GUEST_STATE).has(state::RELEASED)
}
