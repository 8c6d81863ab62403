//! Sockets: accept, receive, send, shut down.

use super::fd::{close, read_vectored, write_vectored};
use super::{Answer, Args, Memory, until_ready};
use crate::errno::Errno;
use crate::fs::flags::fdflags;
use crate::guest::Guest;
use crate::guest::descriptor::{Descriptor, Stream};

/// `riflags`: leave the bytes where they are.
const RECV_PEEK: u16 = 1 << 0;
/// `riflags`: wait until all buffers are full.
const RECV_WAITALL: u16 = 1 << 1;
/// `sdflags`.
const SHUT_READ: u8 = 1 << 0;
const SHUT_WRITE: u8 = 1 << 1;

pub fn sock_accept(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let Descriptor::Listener { file, nonblocking } = *guest.table.get(args.u32(0))? else {
        return Err(Errno::NOTSOCK.into());
    };
    let flags = args.u16(1);
    if flags & !fdflags::NONBLOCK != 0 {
        return Err(Errno::INVAL.into());
    }
    memory.put_u32(args.u32(2), 0)?;
    let mut stream = until_ready(guest, nonblocking, |guest| {
        guest.next_connection(file).ok_or(Errno::AGAIN)
    })?;
    stream.nonblocking = flags & fdflags::NONBLOCK != 0;
    let fd = guest
        .table
        .insert(Descriptor::Stream(stream))
        .map_err(|(errno, unused)| {
            close(guest, unused);
            errno
        })?;
    Ok(memory.put_u32(args.u32(2), fd)?)
}

pub fn sock_recv(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let (fd, flags) = (args.u32(0), args.u16(3));
    socket(guest, fd)?;
    if flags & !(RECV_PEEK | RECV_WAITALL) != 0 {
        return Err(Errno::NOTSUP.into());
    }
    let read = match (flags & RECV_PEEK != 0, flags & RECV_WAITALL != 0) {
        (true, all) => peek(guest, memory, args, all)?,
        (false, false) => {
            let buffers = memory.buffers(args.u32(1), args.u32(2))?;
            read_vectored(guest, fd, memory, &buffers)?
        }
        (false, true) => read_all(guest, memory, args)?,
    };
    memory.put_u32(args.u32(4), read)?;
    memory.put(args.u32(5), &0u16.to_le_bytes())?;
    Ok(())
}

/// Look at bytes that stay; with `all`, wait until there are as many as the buffers and the stream can hold, or the
/// stream has ended.
fn peek(guest: &mut Guest, memory: &mut Memory, args: &Args, all: bool) -> Result<u32, Errno> {
    let buffers = memory.buffers(args.u32(1), args.u32(2))?;
    let limit = buffers.iter().map(|buffer| buffer.len as usize).sum();
    let ring = guest.port.ring_bytes();
    let stream = socket(guest, args.u32(0))?;
    let nonblocking = stream.nonblocking;
    let mut seen = vec![0; stream.peek_limit(ring).min(limit)];
    let count = until_ready(guest, nonblocking, |guest| {
        let Descriptor::Stream(stream) = guest.table.get(args.u32(0))? else {
            return Err(Errno::NOTSOCK);
        };
        let count = stream.peek(&mut guest.port, &mut seen)?;
        let waits = all && !nonblocking && count < seen.len() && !stream.has_ended(&mut guest.port);
        if waits { Err(Errno::AGAIN) } else { Ok(count) }
    })?;
    let mut left = &seen[..count];
    for buffer in buffers {
        let into = memory.buffer_mut(buffer)?;
        let (part, rest) = left.split_at(left.len().min(into.len()));
        into[..part.len()].copy_from_slice(part);
        left = rest;
    }
    Ok(count as u32)
}

/// Wait for every byte that the buffers hold, or the end.
fn read_all(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Result<u32, Errno> {
    let fd = args.u32(0);
    let nonblocking = socket(guest, fd)?.nonblocking;
    let mut done = 0;
    for buffer in memory.buffers(args.u32(1), args.u32(2))? {
        let mut into = memory.buffer_mut(buffer)?;
        while !into.is_empty() {
            let read = until_ready(guest, nonblocking, |guest| {
                let Descriptor::Stream(stream) = guest.table.get(fd)? else {
                    return Err(Errno::NOTSOCK);
                };
                stream.read(&mut guest.port, into)
            });
            match read {
                Ok(0) => return Ok(done),
                Err(_) if done > 0 => return Ok(done),
                read => {
                    let read = read?;
                    done += read as u32;
                    into = &mut into[read..];
                }
            }
        }
    }
    Ok(done)
}

pub fn sock_send(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let fd = args.u32(0);
    socket(guest, fd)?;
    if args.u16(3) != 0 {
        return Err(Errno::NOTSUP.into());
    }
    let buffers = memory.buffers(args.u32(1), args.u32(2))?;
    let written = write_vectored(guest, fd, memory, &buffers)?;
    Ok(memory.put_u32(args.u32(4), written)?)
}

pub fn sock_shutdown(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let how = args.u8(1);
    if how == 0 || how & !(SHUT_READ | SHUT_WRITE) != 0 {
        return Err(Errno::INVAL.into());
    }
    let Descriptor::Stream(stream) = guest.table.get(args.u32(0))? else {
        return Err(Errno::NOTSOCK.into());
    };
    if !stream.is_socket() {
        return Err(Errno::NOTSOCK.into());
    }
    if how & SHUT_READ != 0 {
        stream.shut_read();
    }
    if how & SHUT_WRITE != 0 {
        stream.shut_write(&mut guest.port);
    }
    Ok(())
}

fn socket(guest: &mut Guest, fd: u32) -> Result<&mut Stream, Errno> {
    match guest.table.get(fd)? {
        Descriptor::Stream(stream) if stream.is_socket() => Ok(stream),
        _ => Err(Errno::NOTSOCK),
    }
}
