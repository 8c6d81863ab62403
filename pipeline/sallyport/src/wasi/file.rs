//! Operations on regular files, which live in the private file system.

use super::process::wall_clock;
use super::{Answer, Args, Memory};
use crate::errno::Errno;
use crate::fs::flags::Whence;
use crate::fs::{Opened, TimesRequest, Tree};
use crate::guest::Guest;
use crate::guest::descriptor::Descriptor;

/// The file or directory `fd`; a stream cannot be sought: `SPIPE`.
fn opened(guest: &mut Guest, fd: u32) -> Result<(&mut Tree, &mut Opened), Errno> {
    match guest.table.get(fd)? {
        Descriptor::Opened(opened, _) => Ok((&mut guest.tree, opened)),
        _ => Err(Errno::SPIPE),
    }
}

pub fn fd_advise(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let (tree, opened) = opened(guest, args.u32(0))?;
    Ok(tree.fd_advise(opened.file()?, args.u8(3))?)
}

pub fn fd_allocate(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let (tree, opened) = opened(guest, args.u32(0))?;
    Ok(tree.fd_allocate(opened.file()?, args.u64(1), args.u64(2), wall_clock())?)
}

/// What is written to a stream is on its way already.
pub fn fd_sync(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    match guest.table.get(args.u32(0))? {
        Descriptor::Opened(opened, _) => Ok(guest.tree.fd_sync(opened.descriptor())?),
        _ => Ok(()),
    }
}

pub fn fd_datasync(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    match guest.table.get(args.u32(0))? {
        Descriptor::Opened(opened, _) => Ok(guest.tree.fd_datasync(opened.descriptor())?),
        _ => Ok(()),
    }
}

/// As POSIX has it for `ftruncate`: `INVAL` for a stream.
pub fn fd_filestat_set_size(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let Descriptor::Opened(opened, _) = guest.table.get(args.u32(0))? else {
        return Err(Errno::INVAL.into());
    };
    let tree = &mut guest.tree;
    Ok(tree.fd_filestat_set_size(opened.file()?, args.u64(1), wall_clock())?)
}

pub fn fd_filestat_set_times(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    let request = TimesRequest {
        atim: args.u64(1),
        mtim: args.u64(2),
        fstflags: args.u16(3),
    };
    let (tree, opened) = opened(guest, args.u32(0))?;
    Ok(tree.fd_filestat_set_times(opened.descriptor(), &request, wall_clock())?)
}

pub fn fd_pread(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let buffers = memory.buffers(args.u32(1), args.u32(2))?;
    let (tree, opened) = opened(guest, args.u32(0))?;
    let (mut offset, mut done) = (args.u64(3), 0);
    for buffer in buffers {
        let read = tree.fd_pread(opened.file()?, memory.buffer_mut(buffer)?, offset)? as u32;
        done += read;
        offset = offset.saturating_add(u64::from(read));
        if read < buffer.len {
            break;
        }
    }
    Ok(memory.put_u32(args.u32(4), done)?)
}

pub fn fd_pwrite(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let buffers = memory.buffers(args.u32(1), args.u32(2))?;
    let (tree, opened) = opened(guest, args.u32(0))?;
    let (mut offset, mut done) = (args.u64(3), 0);
    for buffer in buffers {
        let from = memory.buffer(buffer)?;
        let written = match tree.fd_pwrite(opened.file()?, from, offset, wall_clock()) {
            Err(_) if done > 0 => break,
            answer => answer? as u32,
        };
        done += written;
        offset = offset.saturating_add(u64::from(written));
        if written < buffer.len {
            break;
        }
    }
    Ok(memory.put_u32(args.u32(4), done)?)
}

pub fn fd_seek(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    seek(guest, memory, args, Whence::from_preview1(args.u8(2))?)
}

/// `fd_seek`, once it is known what it counts from.
pub fn seek(guest: &mut Guest, memory: &mut Memory, args: &Args, whence: Whence) -> Answer {
    let (tree, opened) = opened(guest, args.u32(0))?;
    let offset = tree.fd_seek(opened.file_mut()?, args.u64(1) as i64, whence)?;
    Ok(memory.put_u64(args.u32(3), offset)?)
}

pub fn fd_tell(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let (tree, opened) = opened(guest, args.u32(0))?;
    let offset = tree.fd_tell(opened.file()?)?;
    Ok(memory.put_u64(args.u32(1), offset)?)
}
