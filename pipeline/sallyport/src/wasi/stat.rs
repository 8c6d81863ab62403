//! What a descriptor is, and its flags and rights.

use std::borrow::Cow;

use super::{Answer, Args, Memory};
use crate::errno::Errno;
use crate::fs::flags::fdflags;
use crate::fs::rights::{self, Rights};
use crate::fs::{Fdstat, Filestat, Filetype, Opened};
use crate::guest::Guest;
use crate::guest::descriptor::{Descriptor, listener_stat, network_stat, null_stat};
use crate::guest::network;

/// `preopentype`: a directory is the only one that the specification has.
const PREOPEN_DIRECTORY: u32 = 0;
/// What an entry of `files` is, which is no directory. C libraries look for directories from descriptor 3 on, up to the
/// first number that is no preopen at all: they pass over a kind that they do not know, and find those after it.
const PREOPEN_FILE: u32 = 0xff;
const FIRST_PREOPEN: u32 = 3;
/// What a listener passes on: what it accepts can be read and written.
const ACCEPTED: Rights = rights::FD_READ | rights::FD_WRITE | rights::FD_FDSTAT_SET_FLAGS | rights::POLL_FD_READWRITE;

pub fn fd_fdstat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let stat = match guest.table.get(args.u32(0))? {
        Descriptor::Opened(opened, _) => opened.descriptor().fd_fdstat_get(),
        Descriptor::Null => fdstat(null_stat(), false),
        Descriptor::Network => network_fdstat(),
        Descriptor::Stream(stream) => fdstat(stream.stat(), stream.nonblocking),
        Descriptor::Listener { nonblocking, .. } => Fdstat {
            rights_inheriting: ACCEPTED,
            ..fdstat(listener_stat(), *nonblocking)
        },
    };
    Ok(memory.put(args.u32(1), &stat.encode())?)
}

/// A stream passes no rights on.
fn fdstat((filetype, rights_base): (Filetype, Rights), nonblocking: bool) -> Fdstat {
    Fdstat {
        filetype,
        flags: if nonblocking { fdflags::NONBLOCK } else { 0 },
        rights_base,
        rights_inheriting: 0,
    }
}

/// What is opened in the directory is a connection.
fn network_fdstat() -> Fdstat {
    let (filetype, rights_base, rights_inheriting) = network_stat();
    Fdstat {
        rights_inheriting,
        ..fdstat((filetype, rights_base), false)
    }
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
    let stat = filestat(guest, args.u32(0))?;
    Ok(memory.put(args.u32(1), &stat.encode())?)
}

/// What is known of the descriptor `fd`.
pub fn filestat(guest: &mut Guest, fd: u32) -> Result<Filestat, Errno> {
    match guest.table.get(fd)? {
        Descriptor::Opened(opened, _) => guest.tree.fd_filestat_get(opened.descriptor()),
        Descriptor::Null => Ok(Filestat::of_stream(null_stat().0)),
        Descriptor::Network => Ok(Filestat::of_stream(network_stat().0)),
        Descriptor::Stream(stream) => Ok(Filestat::of_stream(stream.stat().0)),
        Descriptor::Listener { .. } => Ok(Filestat::of_stream(listener_stat().0)),
    }
}

/// The kind and the name of a preopen. What is no directory is named by its number, and no name is there twice.
fn preopen(guest: &mut Guest, fd: u32) -> Result<(u32, Cow<'_, [u8]>), Errno> {
    let listed = FIRST_PREOPEN..guest.files;
    match guest.table.get(fd)? {
        Descriptor::Opened(Opened::Dir(_), Some(name)) => Ok((PREOPEN_DIRECTORY, Cow::Borrowed(name))),
        Descriptor::Network => Ok((PREOPEN_DIRECTORY, Cow::Borrowed(network::DIRECTORY))),
        Descriptor::Null | Descriptor::Stream(_) | Descriptor::Listener { .. } if listed.contains(&fd) => {
            Ok((PREOPEN_FILE, fd.to_string().into_bytes().into()))
        }
        _ => Err(Errno::BADF),
    }
}

pub fn fd_prestat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let (kind, name) = preopen(guest, args.u32(0))?;
    memory.put_u32(args.u32(1), kind)?;
    memory.put_u32(args.u32(1).checked_add(4).ok_or(Errno::FAULT)?, name.len() as u32)?;
    Ok(())
}

pub fn fd_prestat_dir_name(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let (_, name) = preopen(guest, args.u32(0))?;
    if (args.u32(2) as usize) < name.len() {
        return Err(Errno::NAMETOOLONG.into());
    }
    Ok(memory.put(args.u32(1), &name)?)
}
