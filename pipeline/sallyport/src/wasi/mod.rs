//! WASI preview 1, and its older snapshot: one table of functions, by name, with their signatures.
//!
//! Each takes the guest, the workload's memory during the call, and its arguments. Whatever the workload passes is
//! checked where it is used; a fault is an `errno`, never a panic.

mod fd;
mod file;
mod memory;
mod path;
mod poll;
mod process;
mod sock;
mod stat;
mod unstable;

use crate::deadline;
use crate::errno::Errno;
use crate::guest::Guest;
pub use memory::Memory;

/// The module that the functions are imported from.
pub const MODULE: &str = "wasi_snapshot_preview1";
/// The module that older toolchains import them from.
pub const UNSTABLE_MODULE: &str = "wasi_unstable";

/// Why a function does not return success.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// The function returns this error.
    Errno(Errno),
    /// The program has ended: nothing is returned.
    Exit,
    /// Its time has run out: nothing is returned.
    Deadline,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// What a function answers.
pub type Answer = Result<(), Stop>;

/// A parameter's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

/// The arguments of one call, as raw words in the order of the signature.
pub struct Args<'a>(pub &'a [u64]);

impl Args<'_> {
    /// Argument `index`, an `i32`.
    pub fn u32(&self, index: usize) -> u32 {
        self.0[index] as u32
    }

    /// Argument `index`, an `i64`.
    pub fn u64(&self, index: usize) -> u64 {
        self.0[index]
    }

    /// Argument `index`, an `i32` that holds 16 bits; the rest is ignored, as `u16` in the specification says.
    pub fn u16(&self, index: usize) -> u16 {
        self.0[index] as u16
    }

    /// Argument `index`, an `i32` that holds 8 bits.
    pub fn u8(&self, index: usize) -> u8 {
        self.0[index] as u8
    }
}

/// A function of the table.
pub struct Function {
    /// Its name in [`MODULE`].
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static [Kind],
    /// Whether it returns an `errno`; `proc_exit` returns nothing.
    pub returns: bool,
    /// What it does.
    pub call: fn(&mut Guest, &mut Memory, &Args) -> Answer,
}

/// Most parameters of any function.
pub const MAX_PARAMS: usize = 9;

macro_rules! functions {
    ($($name:ident($($kind:ident)*) = $call:path;)*) => {
        &[$(Function {
            name: stringify!($name),
            params: &[$(Kind::$kind),*],
            returns: !matches!(stringify!($name).as_bytes(), b"proc_exit"),
            call: $call,
        },)*]
    };
}

/// Every function of the snapshot.
pub const FUNCTIONS: &[Function] = functions! {
    args_get(I32 I32) = process::args_get;
    args_sizes_get(I32 I32) = process::args_sizes_get;
    environ_get(I32 I32) = process::environ_get;
    environ_sizes_get(I32 I32) = process::environ_sizes_get;
    clock_res_get(I32 I32) = process::clock_res_get;
    clock_time_get(I32 I64 I32) = process::clock_time_get;
    fd_advise(I32 I64 I64 I32) = file::fd_advise;
    fd_allocate(I32 I64 I64) = file::fd_allocate;
    fd_close(I32) = fd::fd_close;
    fd_datasync(I32) = file::fd_datasync;
    fd_fdstat_get(I32 I32) = stat::fd_fdstat_get;
    fd_fdstat_set_flags(I32 I32) = stat::fd_fdstat_set_flags;
    fd_fdstat_set_rights(I32 I64 I64) = stat::fd_fdstat_set_rights;
    fd_filestat_get(I32 I32) = stat::fd_filestat_get;
    fd_filestat_set_size(I32 I64) = file::fd_filestat_set_size;
    fd_filestat_set_times(I32 I64 I64 I32) = file::fd_filestat_set_times;
    fd_pread(I32 I32 I32 I64 I32) = file::fd_pread;
    fd_prestat_get(I32 I32) = stat::fd_prestat_get;
    fd_prestat_dir_name(I32 I32 I32) = stat::fd_prestat_dir_name;
    fd_pwrite(I32 I32 I32 I64 I32) = file::fd_pwrite;
    fd_read(I32 I32 I32 I32) = fd::fd_read;
    fd_readdir(I32 I32 I32 I64 I32) = path::fd_readdir;
    fd_renumber(I32 I32) = fd::fd_renumber;
    fd_seek(I32 I64 I32 I32) = file::fd_seek;
    fd_sync(I32) = file::fd_sync;
    fd_tell(I32 I32) = file::fd_tell;
    fd_write(I32 I32 I32 I32) = fd::fd_write;
    path_create_directory(I32 I32 I32) = path::path_create_directory;
    path_filestat_get(I32 I32 I32 I32 I32) = path::path_filestat_get;
    path_filestat_set_times(I32 I32 I32 I32 I64 I64 I32) = path::path_filestat_set_times;
    path_link(I32 I32 I32 I32 I32 I32 I32) = path::path_link;
    path_open(I32 I32 I32 I32 I32 I64 I64 I32 I32) = path::path_open;
    path_readlink(I32 I32 I32 I32 I32 I32) = path::path_readlink;
    path_remove_directory(I32 I32 I32) = path::path_remove_directory;
    path_rename(I32 I32 I32 I32 I32 I32) = path::path_rename;
    path_symlink(I32 I32 I32 I32 I32) = path::path_symlink;
    path_unlink_file(I32 I32 I32) = path::path_unlink_file;
    poll_oneoff(I32 I32 I32 I32) = poll::poll_oneoff;
    proc_exit(I32) = process::proc_exit;
    proc_raise(I32) = process::proc_raise;
    random_get(I32 I32) = process::random_get;
    sched_yield() = process::sched_yield;
    sock_accept(I32 I32 I32) = sock::sock_accept;
    sock_recv(I32 I32 I32 I32 I32 I32) = sock::sock_recv;
    sock_send(I32 I32 I32 I32 I32) = sock::sock_send;
    sock_shutdown(I32 I32) = sock::sock_shutdown;
};

/// The functions of the older snapshot that work on other records.
const UNSTABLE: &[Function] = functions! {
    fd_filestat_get(I32 I32) = unstable::fd_filestat_get;
    fd_seek(I32 I64 I32 I32) = unstable::fd_seek;
    path_filestat_get(I32 I32 I32 I32 I32) = unstable::path_filestat_get;
    poll_oneoff(I32 I32 I32 I32) = unstable::poll_oneoff;
};

/// The functions of the older snapshot: all but `sock_accept`, which came later.
pub fn unstable_functions() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS
        .iter()
        .filter(|function| function.name != "sock_accept")
        .map(|function| {
            UNSTABLE
                .iter()
                .find(|other| other.name == function.name)
                .unwrap_or(function)
        })
}

/// Call a function. The host is told of what was put or taken before the workload computes on: one that never waits,
/// such as a loop over a non-blocking descriptor, would otherwise leave it asleep for ever.
pub fn perform(function: &Function, guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let answer = (function.call)(guest, memory, args);
    guest.take_turn();
    guest.port.tell_host();
    if deadline::has_expired() {
        return Err(Stop::Deadline);
    }
    if let Err(Stop::Errno(errno @ (Errno::NOSPC | Errno::FBIG | Errno::MFILE))) = answer {
        guest.note_limit(errno);
    }
    answer
}

/// Do `attempt` until it answers something else than `AGAIN`, waiting in between unless the descriptor must not.
fn until_ready<T>(
    guest: &mut Guest,
    nonblocking: bool,
    mut attempt: impl FnMut(&mut Guest) -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match attempt(guest) {
            Err(Errno::AGAIN) if deadline::has_expired() => return Err(Errno::AGAIN),
            Err(Errno::AGAIN) if !nonblocking => guest.wait(None),
            Err(Errno::AGAIN) => {
                guest.pump();
                return attempt(guest);
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_46_functions_of_the_snapshot_are_there_once() {
        let mut names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((FUNCTIONS.len(), names.len()), (46, 46));
        assert!(FUNCTIONS.iter().all(|function| function.params.len() <= MAX_PARAMS));
    }

    #[test]
    fn the_older_snapshot_has_the_same_signatures_and_no_sock_accept() {
        assert_eq!(unstable_functions().count(), 45);
        for function in unstable_functions() {
            let newer = FUNCTIONS.iter().find(|newer| newer.name == function.name).unwrap();
            assert_eq!((function.params, function.returns), (newer.params, newer.returns));
            assert_ne!(function.name, "sock_accept");
        }
    }

    #[test]
    fn only_proc_exit_returns_nothing() {
        let silent: Vec<_> = FUNCTIONS.iter().filter(|function| !function.returns).collect();
        assert_eq!(silent.len(), 1);
        assert_eq!(silent[0].name, "proc_exit");
    }
}
