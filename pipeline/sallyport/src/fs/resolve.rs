//! Path resolution (POSIX 4.16), confined to the directory that it starts from.

use super::inode::{InodeId, Node};
use super::path;
use super::tree::Tree;
use crate::errno::Errno;

/// Symbolic links followed in one resolution (`SYMLOOP_MAX`).
const MAX_LINKS: u32 = 40;

/// What to do with a symbolic link that is the last component.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLink {
    /// It is itself what the path names: the operation works on entries.
    Keep,
    /// Follow it only when a slash comes after it.
    FollowBeforeSlash,
    /// Follow it.
    Follow,
}

/// Where a path ends.
pub(super) enum Found<'a> {
    /// At the starting directory, or in `.` or `..`: a directory, and no entry to work on.
    Directory(InodeId),
    /// At a name in a directory.
    Entry(Place<'a>),
}

/// A name in a directory, whether or not something has it.
pub(super) struct Place<'a> {
    pub(super) directory: InodeId,
    pub(super) name: &'a str,
    pub(super) inode: Option<InodeId>,
    /// The path ends in a slash, so it can only mean a directory.
    pub(super) slash: bool,
}

struct Walk<'a> {
    tree: &'a Tree,
    /// From the starting directory, which `..` never pops, to where the walk stands.
    ancestors: Vec<InodeId>,
    /// Components still to come, the next one last.
    pending: Vec<&'a str>,
    slash: bool,
    links: u32,
}

impl Tree {
    /// Finds where `path` ends. Every component before the last must be a directory or a link to one.
    ///
    /// `NOENT`, `NOTDIR`, `LOOP`, `NOTCAPABLE` for a way out, and the errors of a malformed path.
    pub(super) fn walk<'a>(&'a self, start: InodeId, path: &'a [u8], last: LastLink) -> Result<Found<'a>, Errno> {
        let mut walk = Walk {
            tree: self,
            ancestors: vec![start],
            pending: Vec::new(),
            slash: false,
            links: 0,
        };
        walk.push(path::parse(path)?)?;
        walk.run(last)
    }

    /// The inode at `path`, a last link followed if `follow` says so. `NOENT` if there is none.
    pub(super) fn lookup(&self, start: InodeId, path: &[u8], follow: bool) -> Result<InodeId, Errno> {
        match self.walk(start, path, last_link(follow))? {
            Found::Directory(id) => Ok(id),
            Found::Entry(place) => self.existing(&place),
        }
    }

    /// The inode at a place: `NOENT` if there is none, `NOTDIR` if a slash comes after what is no directory.
    pub(super) fn existing(&self, place: &Place<'_>) -> Result<InodeId, Errno> {
        let id = place.inode.ok_or(Errno::NOENT)?;
        if place.slash && !self.inode(id).is_directory() {
            return Err(Errno::NOTDIR);
        }
        Ok(id)
    }
}

/// The usual reading of `lookupflags`.
pub(super) fn last_link(follow: bool) -> LastLink {
    if follow {
        LastLink::Follow
    } else {
        LastLink::FollowBeforeSlash
    }
}

impl<'a> Walk<'a> {
    fn run(mut self, last: LastLink) -> Result<Found<'a>, Errno> {
        while let Some(name) = self.pending.pop() {
            match name {
                "." => {}
                ".." => self.leave()?,
                _ => {
                    if let Some(place) = self.enter(name, last)? {
                        return Ok(Found::Entry(place));
                    }
                }
            }
        }
        Ok(Found::Directory(self.here()))
    }

    fn here(&self) -> InodeId {
        *self.ancestors.last().expect("`..` never pops the start")
    }

    fn leave(&mut self) -> Result<(), Errno> {
        if self.ancestors.len() == 1 {
            return Err(Errno::NOTCAPABLE);
        }
        self.ancestors.pop();
        Ok(())
    }

    /// Goes through a link or into a directory, or ends at the last name.
    fn enter(&mut self, name: &'a str, last: LastLink) -> Result<Option<Place<'a>>, Errno> {
        path::check_name(name)?;
        let tree = self.tree;
        let inode = tree.directory(self.here())?.find(name);
        let is_last = self.pending.is_empty();
        match inode.map(|id| (id, &tree.inode(id).node)) {
            Some((_, Node::Symlink(target))) if !is_last || self.follows(last) => {
                self.follow(target)?;
                Ok(None)
            }
            _ if is_last => Ok(Some(self.place(name, inode))),
            Some((id, Node::Directory(_))) => {
                self.ancestors.push(id);
                Ok(None)
            }
            Some(_) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn follows(&self, last: LastLink) -> bool {
        match last {
            LastLink::Keep => false,
            LastLink::FollowBeforeSlash => self.slash,
            LastLink::Follow => true,
        }
    }

    fn follow(&mut self, target: &'a str) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        self.push(target)
    }

    /// Puts a path before what is still to come.
    fn push(&mut self, path: &'a str) -> Result<(), Errno> {
        path::require_relative(path)?;
        if self.pending.is_empty() {
            self.slash |= path.ends_with('/');
        }
        self.pending.extend(path::components(path).rev());
        Ok(())
    }

    fn place(&self, name: &'a str, inode: Option<InodeId>) -> Place<'a> {
        Place {
            directory: self.here(),
            name,
            inode,
            slash: self.slash,
        }
    }
}
