//! The Keep's private file system: one tree of inodes in guest memory, with the semantics of WASI preview 1.
//!
//! Nothing here touches the host. A [`Tree`] is filled before the workload starts (`insert_*`), then serves the
//! `fd_*` and `path_*` functions of `wasi_snapshot_preview1`; the layer above owns the descriptor table and guest
//! memory. Time is a parameter in nanoseconds since 1970, for the module reads no clock.
//!
//! Invariants, whatever the workload asks for:
//!
//! 1. No path leaves the directory it is resolved from: not by `..`, a leading slash, or a symbolic link.
//! 2. Bytes, inodes and the size of one file stay within [`Limits`].
//! 3. A read-only inode never changes: content, times, links, and, for a directory, entries.
//! 4. Every loop is bounded by the limits or by a constant below, and nothing recurses.
//! 5. An inode lives exactly as long as an entry or a descriptor names it.

mod content;
mod create;
mod descriptor;
mod directory;
mod file;
mod filestat;
pub mod flags;
mod inode;
mod link;
mod mount;
mod open;
mod path;
mod quota;
mod readdir;
mod remove;
mod rename;
mod resolve;
pub mod rights;
mod symlink;
mod tree;
pub mod wire;

#[cfg(test)]
mod tests;

pub use descriptor::{Descriptor, OpenDir, OpenFile, Opened};
pub use filestat::TimesRequest;
pub use inode::{Access, Timestamp};
pub use open::OpenRequest;
pub use quota::{Limits, Usage};
pub use tree::Tree;
pub use wire::{Dirent, Fdstat, Filestat, Filetype};
