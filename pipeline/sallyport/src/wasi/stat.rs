//! What a descriptor is, and its flags and rights.

use super::{Answer, Args, Memory};
use crate::errno::Errno;
use crate::fs::Opened;
use crate::fs::flags::fdflags;
use crate::fs::rights::{self, Rights};
use crate::guest::Guest;
use crate::guest::descriptor::{Descriptor, listener_stat, network_stat, null_stat};
use crate::guest::network;

/// `preopentype`: a directory is the only one.
const PREOPEN_DIRECTORY: u32 = 0;
/// `device` and `inode` of what is not in the file system.
const FILESTAT_BYTES: usize = 64;

pub fn fd_fdstat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let record = match guest.table.get(args.u32(0))? {
        Descriptor::Opened(opened, _) => opened.descriptor().fd_fdstat_get().encode(),
        Descriptor::Null => fdstat(null_stat(), false),
        Descriptor::Network => network_fdstat(),
        Descriptor::Stream(stream) => fdstat(stream.stat(), stream.nonblocking),
        Descriptor::Listener { nonblocking, .. } => listener_fdstat(*nonblocking),
    };
    Ok(memory.put(args.u32(1), &record)?)
}

/// `fdstat`, 24 bytes: file type, flags, rights, and the rights passed on, which are none.
fn fdstat((filetype, rights): (u8, Rights), nonblocking: bool) -> [u8; 24] {
    let mut record = [0; 24];
    record[0] = filetype;
    if nonblocking {
        record[2..4].copy_from_slice(&fdflags::NONBLOCK.to_le_bytes());
    }
    record[8..16].copy_from_slice(&rights.to_le_bytes());
    record
}

/// What is opened in the directory is a connection.
fn network_fdstat() -> [u8; 24] {
    let (filetype, rights, passed_on) = network_stat();
    let mut record = fdstat((filetype, rights), false);
    record[16..24].copy_from_slice(&passed_on.to_le_bytes());
    record
}

/// What a listener accepts can be read and written.
fn listener_fdstat(nonblocking: bool) -> [u8; 24] {
    let mut record = fdstat(listener_stat(), nonblocking);
    let passed_on = rights::FD_READ | rights::FD_WRITE | rights::FD_FDSTAT_SET_FLAGS | rights::POLL_FD_READWRITE;
    record[16..24].copy_from_slice(&passed_on.to_le_bytes());
    record
}

pub fn fd_fdstat_set_flags(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let flags = args.u16(1);
    let wanted = flags & fdflags::NONBLOCK != 0;
    match guest.table.get(args.u32(0))? {
        Descriptor::Opened(opened, _) => return Ok(opened.descriptor_mut().fd_fdstat_set_flags(flags)?),
        Descriptor::Null | Descriptor::Network => {}
        Descriptor::Stream(stream) if flags & !fdflags::NONBLOCK == 0 => stream.nonblocking = wanted,
        Descriptor::Listener { nonblocking, .. } if flags & !fdflags::NONBLOCK == 0 => *nonblocking = wanted,
        Descriptor::Stream(_) | Descriptor::Listener { .. } => return Err(Errno::INVAL.into()),
    }
    Ok(())
}

/// Rights of streams are what they are; asking for no more than that changes nothing.
pub fn fd_fdstat_set_rights(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let (base, inheriting) = (args.u64(1), args.u64(2));
    let held = match guest.table.get(args.u32(0))? {
        Descriptor::Opened(opened, _) => {
            return Ok(opened.descriptor_mut().fd_fdstat_set_rights(base, inheriting)?);
        }
        Descriptor::Null => null_stat().1,
        Descriptor::Network => network_stat().1,
        Descriptor::Stream(stream) => stream.stat().1,
        Descriptor::Listener { .. } => listener_stat().1,
    };
    Ok(rights::require(held, base)?)
}

pub fn fd_filestat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let record = match guest.table.get(args.u32(0))? {
        Descriptor::Opened(opened, _) => guest.tree.fd_filestat_get(opened.descriptor())?.encode(),
        Descriptor::Null => filestat(null_stat().0),
        Descriptor::Network => filestat(network_stat().0),
        Descriptor::Stream(stream) => filestat(stream.stat().0),
        Descriptor::Listener { .. } => filestat(listener_stat().0),
    };
    Ok(memory.put(args.u32(1), &record)?)
}

/// `filestat` of a stream: its type, one link, and nothing of the host's device, inode or times.
pub fn filestat(filetype: u8) -> [u8; FILESTAT_BYTES] {
    let mut record = [0; FILESTAT_BYTES];
    record[16] = filetype;
    record[24] = 1;
    record
}

fn preopen(guest: &mut Guest, fd: u32) -> Result<&[u8], Errno> {
    match guest.table.get(fd)? {
        Descriptor::Opened(Opened::Dir(_), Some(name)) => Ok(name),
        Descriptor::Network => Ok(network::DIRECTORY),
        _ => Err(Errno::BADF),
    }
}

pub fn fd_prestat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let len = preopen(guest, args.u32(0))?.len() as u32;
    memory.put_u32(args.u32(1), PREOPEN_DIRECTORY)?;
    memory.put_u32(args.u32(1).checked_add(4).ok_or(Errno::FAULT)?, len)?;
    Ok(())
}

pub fn fd_prestat_dir_name(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let name = preopen(guest, args.u32(0))?;
    if (args.u32(2) as usize) < name.len() {
        return Err(Errno::NAMETOOLONG.into());
    }
    Ok(memory.put(args.u32(1), name)?)
}
