//! Arguments, environment, clocks, randomness, and the end.

use aws_lc_rs::rand;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::{Answer, Args, Memory, Stop};
use crate::errno::Errno;
use crate::guest::Guest;

/// `clockid` of WASI preview 1, by number.
const CLOCKS: [ClockId; 4] = [
    ClockId::Realtime,
    ClockId::Monotonic,
    ClockId::ProcessCPUTime,
    ClockId::ThreadCPUTime,
];
/// `clockid` `monotonic`.
const MONOTONIC: u32 = 1;

pub fn args_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    put_strings(&guest.args, memory, args.u32(0), args.u32(1))
}

pub fn args_sizes_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    put_sizes(&guest.args, memory, args.u32(0), args.u32(1))
}

pub fn environ_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    put_strings(&guest.env, memory, args.u32(0), args.u32(1))
}

pub fn environ_sizes_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    put_sizes(&guest.env, memory, args.u32(0), args.u32(1))
}

fn put_sizes(strings: &[Vec<u8>], memory: &mut Memory, count: u32, bytes: u32) -> Answer {
    memory.put_u32(count, strings.len() as u32)?;
    memory.put_u32(bytes, strings.iter().map(|string| string.len() as u32 + 1).sum())?;
    Ok(())
}

fn put_strings(strings: &[Vec<u8>], memory: &mut Memory, pointers: u32, buffer: u32) -> Answer {
    let (mut pointer, mut place) = (pointers, buffer);
    for string in strings {
        memory.put_u32(pointer, place)?;
        memory.put(place, string)?;
        place = place.checked_add(string.len() as u32).ok_or(Errno::FAULT)?;
        memory.put(place, &[0])?;
        place = place.checked_add(1).ok_or(Errno::FAULT)?;
        pointer = pointer.checked_add(4).ok_or(Errno::FAULT)?;
    }
    Ok(())
}

fn clock(id: u32) -> Result<ClockId, Errno> {
    CLOCKS.get(id as usize).copied().ok_or(Errno::INVAL)
}

fn nanoseconds(time: Timespec) -> u64 {
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

/// Nanoseconds of a clock. The monotonic one never goes back, even if the host's does.
pub fn now(guest: &mut Guest, id: u32) -> Result<u64, Errno> {
    let time = nanoseconds(clock_gettime(clock(id)?));
    if id != MONOTONIC {
        return Ok(time);
    }
    guest.monotonic = guest.monotonic.max(time);
    Ok(guest.monotonic)
}

/// Nanoseconds since 1970, for the file system.
pub fn wall_clock() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

pub fn clock_res_get(_: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let resolution = nanoseconds(clock_getres(clock(args.u32(0))?));
    Ok(memory.put_u64(args.u32(1), resolution)?)
}

pub fn clock_time_get(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let time = now(guest, args.u32(0))?;
    Ok(memory.put_u64(args.u32(2), time)?)
}

pub fn random_get(_: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    let bytes = memory.bytes_mut(args.u32(0), args.u32(1))?;
    Ok(rand::fill(bytes).map_err(|_| Errno::IO)?)
}

pub fn sched_yield(guest: &mut Guest, _: &mut Memory, _: &Args) -> Answer {
    guest.pump();
    Ok(())
}

/// There are no signals in a Keep.
pub fn proc_raise(_: &mut Guest, _: &mut Memory, _: &Args) -> Answer {
    Err(Errno::NOSYS.into())
}

pub fn proc_exit(guest: &mut Guest, _: &mut Memory, args: &Args) -> Answer {
    guest.exit = Some(args.u32(0));
    Err(Stop::Exit)
}
