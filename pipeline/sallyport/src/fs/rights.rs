//! Rights of a descriptor: `rights` of `wasi_snapshot_preview1.witx`.

use crate::errno::Errno;

/// A set of rights, one bit each. Bits the specification does not name are ignored.
pub type Rights = u64;

/// `fd_datasync`; with `path_open`, the `DSYNC` flag.
pub const FD_DATASYNC: Rights = 1 << 0;
/// `fd_read`; with `FD_SEEK`, `fd_pread`.
pub const FD_READ: Rights = 1 << 1;
/// `fd_seek`; implies `FD_TELL`.
pub const FD_SEEK: Rights = 1 << 2;
/// `fd_fdstat_set_flags`.
pub const FD_FDSTAT_SET_FLAGS: Rights = 1 << 3;
/// `fd_sync`; with `path_open`, the `RSYNC`, `DSYNC` and `SYNC` flags.
pub const FD_SYNC: Rights = 1 << 4;
/// `fd_tell`, and `fd_seek` that leaves the offset unaltered.
pub const FD_TELL: Rights = 1 << 5;
/// `fd_write`; with `FD_SEEK`, `fd_pwrite`.
pub const FD_WRITE: Rights = 1 << 6;
/// `fd_advise`.
pub const FD_ADVISE: Rights = 1 << 7;
/// `fd_allocate`.
pub const FD_ALLOCATE: Rights = 1 << 8;
/// `path_create_directory`.
pub const PATH_CREATE_DIRECTORY: Rights = 1 << 9;
/// `path_open` with `CREAT`.
pub const PATH_CREATE_FILE: Rights = 1 << 10;
/// `path_link`, this descriptor being the source directory.
pub const PATH_LINK_SOURCE: Rights = 1 << 11;
/// `path_link`, this descriptor being the target directory.
pub const PATH_LINK_TARGET: Rights = 1 << 12;
/// `path_open`.
pub const PATH_OPEN: Rights = 1 << 13;
/// `fd_readdir`.
pub const FD_READDIR: Rights = 1 << 14;
/// `path_readlink`.
pub const PATH_READLINK: Rights = 1 << 15;
/// `path_rename`, this descriptor being the source directory.
pub const PATH_RENAME_SOURCE: Rights = 1 << 16;
/// `path_rename`, this descriptor being the target directory.
pub const PATH_RENAME_TARGET: Rights = 1 << 17;
/// `path_filestat_get`.
pub const PATH_FILESTAT_GET: Rights = 1 << 18;
/// `path_open` with `TRUNC`.
pub const PATH_FILESTAT_SET_SIZE: Rights = 1 << 19;
/// `path_filestat_set_times`.
pub const PATH_FILESTAT_SET_TIMES: Rights = 1 << 20;
/// `fd_filestat_get`.
pub const FD_FILESTAT_GET: Rights = 1 << 21;
/// `fd_filestat_set_size`.
pub const FD_FILESTAT_SET_SIZE: Rights = 1 << 22;
/// `fd_filestat_set_times`.
pub const FD_FILESTAT_SET_TIMES: Rights = 1 << 23;
/// `path_symlink`.
pub const PATH_SYMLINK: Rights = 1 << 24;
/// `path_remove_directory`.
pub const PATH_REMOVE_DIRECTORY: Rights = 1 << 25;
/// `path_unlink_file`.
pub const PATH_UNLINK_FILE: Rights = 1 << 26;
/// `poll_oneoff` on `fd_read` and `fd_write` events.
pub const POLL_FD_READWRITE: Rights = 1 << 27;
/// `sock_shutdown`.
pub const SOCK_SHUTDOWN: Rights = 1 << 28;
/// `sock_accept`.
pub const SOCK_ACCEPT: Rights = 1 << 29;

/// Every right there is; what a preopened directory passes on.
pub const ALL: Rights = (1 << 30) - 1;

/// The rights that apply to a directory itself; `path_open` drops the others.
pub const DIRECTORY: Rights = FD_DATASYNC
    | FD_FDSTAT_SET_FLAGS
    | FD_SYNC
    | PATH_CREATE_DIRECTORY
    | PATH_CREATE_FILE
    | PATH_LINK_SOURCE
    | PATH_LINK_TARGET
    | PATH_OPEN
    | FD_READDIR
    | PATH_READLINK
    | PATH_RENAME_SOURCE
    | PATH_RENAME_TARGET
    | PATH_FILESTAT_GET
    | PATH_FILESTAT_SET_SIZE
    | PATH_FILESTAT_SET_TIMES
    | FD_FILESTAT_GET
    | FD_FILESTAT_SET_TIMES
    | PATH_SYMLINK
    | PATH_REMOVE_DIRECTORY
    | PATH_UNLINK_FILE;

/// The rights that apply to a regular file; `path_open` drops the others.
pub const REGULAR_FILE: Rights = READ_ONLY_FILE | FD_WRITE | CHANGE_FILE;

/// The rights that apply to a regular file that may not change.
pub const READ_ONLY_FILE: Rights = FD_DATASYNC
    | FD_READ
    | FD_SEEK
    | FD_FDSTAT_SET_FLAGS
    | FD_SYNC
    | FD_TELL
    | FD_ADVISE
    | FD_FILESTAT_GET
    | POLL_FD_READWRITE;

const CHANGE_FILE: Rights = FD_ALLOCATE | FD_FILESTAT_SET_SIZE | FD_FILESTAT_SET_TIMES;

/// Refuses with `NOTCAPABLE` unless `held` contains all of `needed`.
pub fn require(held: Rights, needed: Rights) -> Result<(), Errno> {
    if held & needed == needed {
        Ok(())
    } else {
        Err(Errno::NOTCAPABLE)
    }
}
