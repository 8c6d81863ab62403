//! Paths and directories of the private file system.

use super::fd::close;
use super::process::wall_clock;
use super::{Answer, Args, Memory};
use crate::errno::Errno;
use crate::fs::flags::{fdflags, oflags};
use crate::fs::{Filestat, Filetype, OpenDir, OpenRequest, Opened, TimesRequest, Tree};
use crate::guest::Guest;
use crate::guest::descriptor::Descriptor;

fn directory(guest: &mut Guest, fd: u32) -> Result<(&mut Tree, &mut OpenDir), Errno> {
    match guest.table.get(fd)? {
        Descriptor::Opened(opened, _) => Ok((&mut guest.tree, opened.dir_mut()?)),
        _ => Err(Errno::NOTDIR),
    }
}

fn two_directories(guest: &mut Guest, one: u32, other: u32) -> Result<(&mut Tree, &OpenDir, &OpenDir), Errno> {
    match guest.table.both(one, other)? {
        (Opened::Dir(one), Opened::Dir(other)) => Ok((&mut guest.tree, one, other)),
        _ => Err(Errno::NOTDIR),
    }
}

pub fn fd_readdir(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let into = memory.bytes_mut(args.u32(1), args.u32(2))?;
    let (tree, dir) = directory(guest, args.u32(0))?;
    let used = tree.fd_readdir(dir, into, args.u64(3))? as u32;
    Ok(memory.put_u32(args.u32(4), used)?)
}

pub fn path_create_directory(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let path = memory.bytes(args.u32(1), args.u32(2))?;
    let (tree, dir) = directory(guest, args.u32(0))?;
    Ok(tree.path_create_directory(dir, path, wall_clock())?)
}

pub fn path_filestat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let stat = filestat(guest, memory, args)?;
    Ok(memory.put(args.u32(4), &stat.encode())?)
}

/// What `path_filestat_get` is asked for.
pub fn filestat(guest: &mut Guest, memory: &Memory, args: &Args) -> Result<Filestat, Errno> {
    let path = memory.bytes(args.u32(2), args.u32(3))?;
    if is_network(guest, args.u32(0))? {
        guest.granted(path)?;
        return Ok(Filestat::of_stream(Filetype::SocketStream));
    }
    let (tree, dir) = directory(guest, args.u32(0))?;
    tree.path_filestat_get(dir, args.u32(1), path)
}

pub fn path_filestat_set_times(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let path = memory.bytes(args.u32(2), args.u32(3))?;
    let request = TimesRequest {
        atim: args.u64(4),
        mtim: args.u64(5),
        fstflags: args.u16(6),
    };
    let (tree, dir) = directory(guest, args.u32(0))?;
    Ok(tree.path_filestat_set_times(dir, args.u32(1), path, &request, wall_clock())?)
}

pub fn path_link(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let old_path = memory.bytes(args.u32(2), args.u32(3))?;
    let new_path = memory.bytes(args.u32(5), args.u32(6))?;
    let (tree, old, new) = two_directories(guest, args.u32(0), args.u32(4))?;
    Ok(tree.path_link(old, args.u32(1), old_path, new, new_path, wall_clock())?)
}

pub fn path_open(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let opened = if is_network(guest, args.u32(0))? {
        connect(guest, memory, args)?
    } else {
        open(guest, memory, args)?
    };
    // What cannot be given a number, or told, is closed again, so that its inode does not stay.
    let fd = guest.table.insert(opened).map_err(|(errno, unused)| {
        close(guest, unused);
        errno
    })?;
    memory.put_u32(args.u32(8), fd).inspect_err(|_| {
        if let Ok(untold) = guest.table.remove(fd) {
            close(guest, untold);
        }
    })?;
    Ok(())
}

fn is_network(guest: &mut Guest, fd: u32) -> Result<bool, Errno> {
    Ok(matches!(guest.table.get(fd)?, Descriptor::Network))
}

/// A name of the network's directory is connected to. Creating and truncating mean nothing, as for a device; the
/// result can be written to and read, whatever rights were asked for.
fn connect(guest: &mut Guest, memory: &Memory, args: &Args) -> Result<Descriptor, Errno> {
    let (oflags, fdflags) = (args.u16(4), args.u16(7));
    let path = memory.bytes(args.u32(2), args.u32(3))?;
    guest.granted(path)?;
    if oflags & oflags::DIRECTORY != 0 {
        return Err(Errno::NOTDIR);
    }
    if oflags & oflags::EXCL != 0 {
        return Err(Errno::EXIST);
    }
    let mut stream = guest.connect_to(path)?;
    stream.nonblocking = fdflags & fdflags::NONBLOCK != 0;
    Ok(Descriptor::Stream(stream))
}

fn open(guest: &mut Guest, memory: &Memory, args: &Args) -> Result<Descriptor, Errno> {
    let request = OpenRequest {
        lookupflags: args.u32(1),
        path: memory.bytes(args.u32(2), args.u32(3))?,
        oflags: args.u16(4),
        rights_base: args.u64(5),
        rights_inheriting: args.u64(6),
        fdflags: args.u16(7),
    };
    let (tree, dir) = directory(guest, args.u32(0))?;
    let opened = tree.path_open(dir, &request, wall_clock())?;
    Ok(Descriptor::Opened(opened, None))
}

pub fn path_readlink(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let path = memory.bytes(args.u32(1), args.u32(2))?.to_vec();
    let into = memory.bytes_mut(args.u32(3), args.u32(4))?;
    let (tree, dir) = directory(guest, args.u32(0))?;
    let used = tree.path_readlink(dir, &path, into)? as u32;
    Ok(memory.put_u32(args.u32(5), used)?)
}

pub fn path_remove_directory(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let path = memory.bytes(args.u32(1), args.u32(2))?;
    let (tree, dir) = directory(guest, args.u32(0))?;
    Ok(tree.path_remove_directory(dir, path, wall_clock())?)
}

pub fn path_rename(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let old_path = memory.bytes(args.u32(1), args.u32(2))?;
    let new_path = memory.bytes(args.u32(4), args.u32(5))?;
    let (tree, old, new) = two_directories(guest, args.u32(0), args.u32(3))?;
    Ok(tree.path_rename(old, old_path, new, new_path, wall_clock())?)
}

pub fn path_symlink(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let target = memory.bytes(args.u32(0), args.u32(1))?;
    let path = memory.bytes(args.u32(3), args.u32(4))?;
    let (tree, dir) = directory(guest, args.u32(2))?;
    Ok(tree.path_symlink(target, dir, path, wall_clock())?)
}

pub fn path_unlink_file(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let path = memory.bytes(args.u32(1), args.u32(2))?;
    let (tree, dir) = directory(guest, args.u32(0))?;
    Ok(tree.path_unlink_file(dir, path, wall_clock())?)
}
