//! The table of inodes, and the few moves that keep links, descriptors and quota in step.

use std::sync::Arc;

use super::directory::{Directory, entry_charge};
use super::inode::{Access, Inode, InodeId, Node, Times, Timestamp};
use super::quota::{Limits, Quota, Usage};
use crate::errno::Errno;

pub(super) const ROOT: InodeId = InodeId(0);

/// A whole file system. See the [module](super) for its invariants.
pub struct Tree {
    slots: Vec<Option<Inode>>,
    free: Vec<InodeId>,
    next_ino: u64,
    pub(super) quota: Quota,
}

impl Tree {
    /// A tree with an empty, writable root. `NOSPC` if the limits leave no room for the root itself.
    pub fn new(limits: Limits, now: Timestamp) -> Result<Self, Errno> {
        let mut tree = Self {
            slots: Vec::new(),
            free: Vec::new(),
            next_ino: 1,
            quota: Quota::new(limits),
        };
        let root = tree.create(Node::Directory(Directory::new(ROOT)), Access::CopyOnWrite, now)?;
        tree.inode_mut(root).links = 1;
        Ok(tree)
    }

    /// Whether something did not fit into the limits, ever.
    pub fn has_refused(&self) -> bool {
        self.quota.has_refused()
    }

    /// How much of the limits is in use.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.quota.usage()
    }

    pub(super) fn inode(&self, id: InodeId) -> &Inode {
        self.slots[id.0 as usize].as_ref().expect(ALIVE)
    }

    pub(super) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        self.slots[id.0 as usize].as_mut().expect(ALIVE)
    }

    pub(super) fn directory(&self, id: InodeId) -> Result<&Directory, Errno> {
        match &self.inode(id).node {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) | Node::Symlink(_) => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn directory_mut(&mut self, id: InodeId) -> Result<&mut Directory, Errno> {
        match &mut self.inode_mut(id).node {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) | Node::Symlink(_) => Err(Errno::NOTDIR),
        }
    }

    /// Refuses a change of a read-only inode with `ROFS`.
    pub(super) fn require_writable(&self, id: InodeId) -> Result<(), Errno> {
        match self.inode(id).access {
            Access::ReadOnly => Err(Errno::ROFS),
            Access::CopyOnWrite => Ok(()),
        }
    }

    /// Refuses a new entry with `ROFS` in a read-only directory, with `NOENT` in a removed one.
    pub(super) fn require_accepting(&self, directory: InodeId) -> Result<(), Errno> {
        if self.inode(directory).links == 0 {
            return Err(Errno::NOENT);
        }
        self.require_writable(directory)
    }

    /// Makes an inode and its first entry; neither exists if there is no room for both (`NOSPC`).
    pub(super) fn create_at(
        &mut self,
        directory: InodeId,
        name: Arc<str>,
        node: Node,
        access: Access,
        now: Timestamp,
    ) -> Result<InodeId, Errno> {
        let id = self.create(node, access, now)?;
        let added = self.add_entry(directory, name, id, now);
        self.retire(id);
        added.map(|()| id)
    }

    fn create(&mut self, node: Node, access: Access, now: Timestamp) -> Result<InodeId, Errno> {
        self.quota.take_inode()?;
        if let Err(errno) = self.quota.recharge(0, node.charge()) {
            self.quota.release_inode();
            return Err(errno);
        }
        let inode = Inode {
            ino: self.next_ino,
            links: 0,
            opens: 0,
            access,
            times: Times::all(now),
            node,
        };
        self.next_ino += 1;
        Ok(self.store(inode))
    }

    fn store(&mut self, inode: Inode) -> InodeId {
        if let Some(id) = self.free.pop() {
            self.slots[id.0 as usize] = Some(inode);
            return id;
        }
        let place = u32::try_from(self.slots.len()).expect("inodes are far larger than a byte");
        self.slots.push(Some(inode));
        InodeId(place)
    }

    /// Names an inode in a directory that has no such name yet. `NOSPC` if the entry does not fit.
    pub(super) fn add_entry(
        &mut self,
        directory: InodeId,
        name: Arc<str>,
        inode: InodeId,
        now: Timestamp,
    ) -> Result<(), Errno> {
        self.quota.recharge(0, entry_charge(&name))?;
        self.directory_mut(directory)?.insert(name, inode);
        self.inode_mut(directory).times.modified(now);
        self.inode_mut(inode).links += 1;
        self.inode_mut(inode).times.ctim = now;
        Ok(())
    }

    /// Takes a name away; the inode goes with its last name, or when its last descriptor is closed.
    pub(super) fn remove_entry(
        &mut self,
        directory: InodeId,
        name: &str,
        inode: InodeId,
        now: Timestamp,
    ) -> Result<(), Errno> {
        self.directory_mut(directory)?.remove(name);
        self.quota.release(entry_charge(name));
        self.inode_mut(directory).times.modified(now);
        self.unlinked(inode, now);
        Ok(())
    }

    /// Counts one entry less for `inode`.
    pub(super) fn unlinked(&mut self, id: InodeId, now: Timestamp) {
        let inode = self.inode_mut(id);
        inode.links -= 1;
        inode.times.ctim = now;
        if let Node::Directory(directory) = &mut inode.node {
            // The parent may go before a descriptor of this directory does.
            directory.parent = id;
        }
        self.retire(id);
    }

    pub(super) fn opened(&mut self, id: InodeId) {
        self.inode_mut(id).opens += 1;
    }

    pub(super) fn closed(&mut self, id: InodeId) {
        self.inode_mut(id).opens -= 1;
        self.retire(id);
    }

    /// Frees an inode that nothing names any more.
    fn retire(&mut self, id: InodeId) {
        let inode = self.inode(id);
        if inode.links > 0 || inode.opens > 0 {
            return;
        }
        self.quota.release(inode.node.charge());
        self.quota.release_inode();
        self.slots[id.0 as usize] = None;
        self.free.push(id);
    }
}

const ALIVE: &str = "an inode that an entry or a descriptor names is alive";

#[cfg(test)]
impl Tree {
    /// Counts everything again and compares: charges, links, parents, and that what is named is alive.
    pub(super) fn assert_consistent(&self) {
        let mut bytes = 0;
        let mut links = vec![0; self.slots.len()];
        links[ROOT.0 as usize] = 1;
        for (place, inode) in self.slots.iter().enumerate() {
            let Some(inode) = inode else { continue };
            bytes += inode.node.charge();
            let Node::Directory(directory) = &inode.node else {
                continue;
            };
            for (_, name, id) in directory.list(0, u64::MAX) {
                assert_eq!(directory.find(name), Some(id));
                bytes += entry_charge(name);
                links[id.0 as usize] += 1;
                if let Ok(below) = self.directory(id) {
                    assert_eq!(below.parent.0 as usize, place);
                }
            }
        }
        for (inode, links) in self.slots.iter().zip(links) {
            assert_eq!(inode.as_ref().map_or(0, |inode| inode.links), links);
            let named = inode.as_ref().is_none_or(|inode| links + inode.opens > 0);
            assert!(named, "an inode without a name is alive");
        }
        let inodes = self.slots.iter().flatten().count() as u64;
        assert_eq!(self.usage(), Usage { bytes, inodes });
    }
}
