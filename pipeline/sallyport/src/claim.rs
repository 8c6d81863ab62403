//! What the other half says, read once and not believed yet.

/// A word of the other half's. It cannot be copied, and looking at it uses it up, so that what was checked and what is
/// used are one value: the word in the block may be another by then.
#[derive(Debug)]
#[must_use = "a word that was read and not looked at tells nothing"]
pub struct Claim(u32);

impl Claim {
    /// What was read of a word in the block.
    pub(crate) fn read(value: u32) -> Self {
        Self(value)
    }

    /// The value, for its check.
    pub fn value(self) -> u32 {
        self.0
    }

    /// Whether any of these bits is set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}
