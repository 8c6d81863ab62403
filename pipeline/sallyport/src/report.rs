//! What the guest half says of itself in the block's header, and the host half only ever shows: numbers for a log and
//! for metrics. They are as good as the guest's word.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::block::Block;
use crate::layout::{self, report};
use crate::memory::Memory;
use crate::shared::Mapping;

/// Set in the word beside the number of the call, so that call 0 is told from none.
const KNOWN: u32 = 1 << 31;

/// The header's page.
pub struct Report(Mapping);

impl Report {
    /// Of this block, which is at least a page.
    pub fn of(block: &OwnedFd) -> Result<Self, Errno> {
        Ok(Self(Mapping::new(block, layout::PAGE)?))
    }

    /// Of a block in this process.
    pub fn over(block: &Block) -> Self {
        Self(block.memory().clone())
    }

    /// Guest: the jail has refused this system call. Called in a signal handler: one store and nothing else.
    pub fn note_violation(&self, call: u32) {
        self.0.store32(report::VIOLATION, KNOWN | call);
    }

    /// Host: the name of the system call that the jail refused, if one was.
    pub fn violation(&self) -> Option<String> {
        let word = self.0.load32(report::VIOLATION);
        let call = (word & KNOWN != 0).then_some(word & !KNOWN)?;
        Some(match syscalls::Sysno::new(call as usize) {
            Some(known) => known.name().into(),
            None => format!("system call {call}"),
        })
    }

    /// Host: TLS handshakes with clients that the guest has finished, and those that it gave up.
    pub fn handshakes(&self) -> (u64, u64) {
        let word = |offset| self.0.load64(offset);
        (word(report::HANDSHAKES_DONE), word(report::HANDSHAKES_FAILED))
    }
}
