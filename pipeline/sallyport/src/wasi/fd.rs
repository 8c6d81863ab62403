//! Reading, writing and closing whatever a descriptor is.

use super::memory::Buffer;
use super::process::wall_clock;
use super::{Answer, Args, Memory, until_ready};
use crate::errno::Errno;
use crate::guest::Guest;
use crate::guest::descriptor::Descriptor;

pub fn fd_read(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let buffers = memory.buffers(args.u32(1), args.u32(2))?;
    let read = read_vectored(guest, args.u32(0), memory, &buffers)?;
    Ok(memory.put_u32(args.u32(3), read)?)
}

pub fn fd_write(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let buffers = memory.buffers(args.u32(1), args.u32(2))?;
    let written = write_vectored(guest, args.u32(0), memory, &buffers)?;
    Ok(memory.put_u32(args.u32(3), written)?)
}

/// Fill the buffers in order. Only the first bytes are waited for.
pub fn read_vectored(guest: &mut Guest, fd: u32, memory: &mut Memory, buffers: &[Buffer]) -> Result<u32, Errno> {
    let nonblocking = may_not_wait(guest, fd)?;
    let mut done = 0;
    for buffer in buffers.iter().filter(|buffer| buffer.len > 0) {
        let into = memory.buffer_mut(*buffer)?;
        let answer = until_ready(guest, nonblocking || done > 0, |guest| read_once(guest, fd, into));
        let read = match answer {
            Err(_) if done > 0 => break,
            answer => answer? as u32,
        };
        done += read;
        if read < buffer.len {
            break;
        }
    }
    Ok(done)
}

fn read_once(guest: &mut Guest, fd: u32, into: &mut [u8]) -> Result<usize, Errno> {
    match guest.table.get(fd)? {
        Descriptor::Null => Ok(0),
        Descriptor::Stream(stream) => stream.read(&mut guest.port, into),
        Descriptor::Listener { .. } => Err(Errno::NOTCONN),
        Descriptor::Network => Err(Errno::ISDIR),
        Descriptor::Opened(opened, _) => guest.tree.fd_read(opened.file_mut()?, into),
    }
}

/// Write the buffers in order. A descriptor that may wait takes everything; another takes what finds room.
pub fn write_vectored(guest: &mut Guest, fd: u32, memory: &Memory, buffers: &[Buffer]) -> Result<u32, Errno> {
    let nonblocking = may_not_wait(guest, fd)?;
    let mut done = 0;
    for buffer in buffers {
        let mut from = memory.buffer(*buffer)?;
        while !from.is_empty() {
            let written = match until_ready(guest, nonblocking, |guest| write_once(guest, fd, from)) {
                Err(_) if done > 0 => return Ok(done),
                answer => answer?,
            };
            done += written as u32;
            from = &from[written..];
        }
    }
    Ok(done)
}

fn write_once(guest: &mut Guest, fd: u32, from: &[u8]) -> Result<usize, Errno> {
    match guest.table.get(fd)? {
        Descriptor::Null => Ok(from.len()),
        Descriptor::Stream(stream) => match stream.write(&mut guest.port, from) {
            Err(Errno::AGAIN) if stream.writable(&mut guest.port).is_some() => stream.write(&mut guest.port, from),
            answer => answer,
        },
        Descriptor::Listener { .. } => Err(Errno::NOTCONN),
        Descriptor::Network => Err(Errno::ISDIR),
        Descriptor::Opened(opened, _) => guest.tree.fd_write(opened.file_mut()?, from, wall_clock()),
    }
}

fn may_not_wait(guest: &mut Guest, fd: u32) -> Result<bool, Errno> {
    Ok(match guest.table.get(fd)? {
        Descriptor::Stream(stream) => stream.nonblocking,
        Descriptor::Listener { nonblocking, .. } => *nonblocking,
        Descriptor::Null | Descriptor::Network | Descriptor::Opened(..) => true,
    })
}

pub fn fd_close(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let descriptor = guest.table.remove(args.u32(0))?;
    close(guest, descriptor);
    Ok(())
}

pub fn fd_renumber(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    if let Some(replaced) = guest.table.renumber(args.u32(0), args.u32(1))? {
        close(guest, replaced);
    }
    Ok(())
}

/// Close whatever a descriptor was.
pub fn close(guest: &mut Guest, descriptor: Descriptor) {
    match descriptor {
        Descriptor::Null | Descriptor::Network => {}
        Descriptor::Stream(stream) => stream.close(&mut guest.port),
        Descriptor::Listener { file, .. } => guest.close_listener(file),
        Descriptor::Opened(opened, _) => guest.tree.close(opened),
    }
}
