//! What `wasi_unstable` (snapshot 0), which older toolchains emit, has otherwise: smaller `filestat`, larger
//! `subscription`, another order of `whence`, and no `sock_accept`.

use super::file::seek;
use super::poll::{UNSTABLE, poll};
use super::{Answer, Args, Memory, path, stat};
use crate::fs::flags::Whence;
use crate::guest::Guest;

pub fn fd_filestat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let stat = stat::filestat(guest, args.u32(0))?;
    Ok(memory.put(args.u32(1), &stat.encode_unstable())?)
}

pub fn path_filestat_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let stat = path::filestat(guest, memory, args)?;
    Ok(memory.put(args.u32(4), &stat.encode_unstable())?)
}

pub fn fd_seek(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    seek(guest, memory, args, Whence::from_unstable(args.u8(2))?)
}

pub fn poll_oneoff(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    poll(guest, memory, args, &UNSTABLE)
}
