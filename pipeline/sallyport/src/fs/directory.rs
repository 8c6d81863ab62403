//! The entries of one directory, found by name and listed by cookie.
//!
//! An entry keeps one position from its creation to its removal, and positions are never used twice: a cookie is the
//! position to continue from, so it stays good whatever was created or removed in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inode::InodeId;

/// Positions 0 and 1 are `.` and `..`.
const FIRST_POSITION: u64 = 2;

/// Bytes charged for an entry besides its name: about what both maps use for it.
const ENTRY_BYTES: u64 = 96;

pub(super) struct Directory {
    pub(super) parent: InodeId,
    // Ordered maps and not hashed ones: a hasher would ask the host for its random seed.
    by_name: BTreeMap<Arc<str>, Entry>,
    by_position: BTreeMap<u64, (Arc<str>, InodeId)>,
    next_position: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    inode: InodeId,
    position: u64,
}

impl Directory {
    pub(super) fn new(parent: InodeId) -> Self {
        Self {
            parent,
            by_name: BTreeMap::new(),
            by_position: BTreeMap::new(),
            next_position: FIRST_POSITION,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn find(&self, name: &str) -> Option<InodeId> {
        self.by_name.get(name).map(|entry| entry.inode)
    }

    /// Adds a name that is not there yet.
    pub(super) fn insert(&mut self, name: Arc<str>, inode: InodeId) {
        let position = self.next_position;
        self.next_position += 1;
        self.put(name, inode, position);
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(entry) = self.by_name.remove(name) {
            self.by_position.remove(&entry.position);
        }
    }

    /// Gives an entry another name in its own place, so that a listing under way meets it once, not twice or never.
    pub(super) fn rename(&mut self, old: &str, new: Arc<str>) {
        if let Some(entry) = self.by_name.remove(old) {
            self.put(new, entry.inode, entry.position);
        }
    }

    fn put(&mut self, name: Arc<str>, inode: InodeId, position: u64) {
        self.by_position.insert(position, (name.clone(), inode));
        self.by_name.insert(name, Entry { inode, position });
    }

    /// The position after the newest entry.
    pub(super) fn end(&self) -> u64 {
        self.next_position
    }

    /// Entries from position `from` up to `end`, in order.
    pub(super) fn list(&self, from: u64, end: u64) -> impl Iterator<Item = (u64, &str, InodeId)> {
        let from = from.min(end);
        self.by_position
            .range(from..end)
            .map(|(position, (name, inode))| (*position, &**name, *inode))
    }
}

/// What the quota counts for an entry of this name.
pub(super) fn entry_charge(name: &str) -> u64 {
    ENTRY_BYTES + name.len() as u64
}
