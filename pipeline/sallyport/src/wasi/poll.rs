//! `poll_oneoff`: wait for clocks and descriptors.

use std::time::{Duration, Instant};

use super::process::now;
use super::{Answer, Args, Memory};
use crate::deadline;
use crate::errno::Errno;
use crate::guest::Guest;
use crate::guest::descriptor::Descriptor;

/// How a snapshot lays out a `subscription`: userdata at 0, tag at 8, then at 16 a descriptor, or a clock (id, timeout,
/// precision, flags), which older ones have after an identifier.
pub struct Layout {
    /// Bytes of the record.
    size: u32,
    /// Where the clock's id is.
    clock: usize,
}

/// That of `wasi_snapshot_preview1`.
const PREVIEW1: Layout = Layout { size: 48, clock: 16 };
/// That of `wasi_unstable`.
pub const UNSTABLE: Layout = Layout { size: 56, clock: 24 };

/// Bytes of an `event`.
const EVENT: u32 = 32;
/// `eventtype`.
const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;
/// `subclockflags`: the timeout is a point in time.
const ABSOLUTE: u16 = 1;
/// `eventrwflags`: the peer has closed.
const HANGUP: u16 = 1;

/// `clockid` `realtime` and `monotonic`, the ones that can be waited for.
const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;

#[derive(Clone, Copy)]
enum Wants {
    Until(Option<Instant>),
    Read(u32),
    Write(u32),
    Refused(Errno),
}

#[derive(Clone, Copy)]
struct Subscription {
    userdata: u64,
    kind: u8,
    wants: Wants,
}

struct Event {
    subscription: Subscription,
    error: Errno,
    bytes: u64,
    flags: u16,
}

pub fn poll_oneoff(guest: &mut Guest, memory: &mut Memory, args: &Args) -> Answer {
    poll(guest, memory, args, &PREVIEW1)
}

/// `poll_oneoff` with subscriptions of this layout.
pub fn poll(guest: &mut Guest, memory: &mut Memory, args: &Args, layout: &Layout) -> Answer {
    let (count, out) = (args.u32(2), args.u32(1));
    if count == 0 {
        return Err(Errno::INVAL.into());
    }
    let subscriptions = read_subscriptions(guest, memory, args.u32(0), count, layout)?;
    memory.bytes(out, count.checked_mul(EVENT).ok_or(Errno::FAULT)?)?;
    let events = wait_for_events(guest, &subscriptions);
    for (index, event) in events.iter().enumerate() {
        memory.put(out + index as u32 * EVENT, &encode(event))?;
    }
    Ok(memory.put_u32(args.u32(3), events.len() as u32)?)
}

fn wait_for_events(guest: &mut Guest, subscriptions: &[Subscription]) -> Vec<Event> {
    let deadline = subscriptions
        .iter()
        .filter_map(|subscription| match subscription.wants {
            Wants::Until(at) => at,
            _ => None,
        })
        .min();
    guest.pump();
    loop {
        let events: Vec<_> = subscriptions
            .iter()
            .filter_map(|subscription| look(guest, *subscription))
            .collect();
        if !events.is_empty() || deadline::has_expired() {
            return events;
        }
        guest.wait(deadline);
    }
}

/// Whether what was subscribed to has come about.
fn look(guest: &mut Guest, subscription: Subscription) -> Option<Event> {
    let event = |error, bytes, flags| {
        Some(Event {
            subscription,
            error,
            bytes,
            flags,
        })
    };
    match subscription.wants {
        Wants::Refused(error) => event(error, 0, 0),
        Wants::Until(at) => match at {
            Some(at) if Instant::now() >= at => event(Errno::SUCCESS, 0, 0),
            _ => None,
        },
        Wants::Read(fd) => match readable(guest, fd) {
            Ok(None) => None,
            Ok(Some((bytes, flags))) => event(Errno::SUCCESS, bytes, flags),
            Err(error) => event(error, 0, 0),
        },
        Wants::Write(fd) => match writable(guest, fd) {
            Ok(None) => None,
            Ok(Some((bytes, flags))) => event(Errno::SUCCESS, bytes, flags),
            Err(error) => event(error, 0, 0),
        },
    }
}

fn readable(guest: &mut Guest, fd: u32) -> Result<Option<(u64, u16)>, Errno> {
    match guest.table.get(fd)? {
        Descriptor::Null | Descriptor::Network | Descriptor::Opened(..) => Ok(Some((0, 0))),
        Descriptor::Stream(stream) => {
            let bytes = stream.readable(&mut guest.port);
            let flags = if stream.is_hung_up(&mut guest.port) { HANGUP } else { 0 };
            Ok(bytes.map(|bytes| (bytes, flags)))
        }
        Descriptor::Listener { file, .. } => {
            let file = *file;
            Ok(guest.has_connection(file).then_some((1, 0)))
        }
    }
}

fn writable(guest: &mut Guest, fd: u32) -> Result<Option<(u64, u16)>, Errno> {
    match guest.table.get(fd)? {
        Descriptor::Null | Descriptor::Network | Descriptor::Opened(..) => Ok(Some((u64::from(u32::MAX), 0))),
        Descriptor::Stream(stream) => Ok(stream.writable(&mut guest.port).map(|room| (room, 0))),
        Descriptor::Listener { .. } => Err(Errno::NOTCONN),
    }
}

fn read_subscriptions(
    guest: &mut Guest,
    memory: &Memory,
    address: u32,
    count: u32,
    layout: &Layout,
) -> Result<Vec<Subscription>, Errno> {
    let bytes = memory.bytes(address, count.checked_mul(layout.size).ok_or(Errno::FAULT)?)?;
    bytes
        .chunks_exact(layout.size as usize)
        .map(|record| decode(guest, record, layout.clock))
        .collect()
}

fn decode(guest: &mut Guest, record: &[u8], clock: usize) -> Result<Subscription, Errno> {
    let word = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let kind = record[8];
    let wants = match kind {
        CLOCK => until(guest, word(clock), long(clock + 8), word(clock + 24) as u16),
        FD_READ => Wants::Read(word(16)),
        FD_WRITE => Wants::Write(word(16)),
        _ => return Err(Errno::INVAL),
    };
    Ok(Subscription {
        userdata: long(0),
        kind,
        wants,
    })
}

fn until(guest: &mut Guest, clock: u32, timeout: u64, flags: u16) -> Wants {
    if flags & !ABSOLUTE != 0 {
        return Wants::Refused(Errno::INVAL);
    }
    if clock != REALTIME && clock != MONOTONIC {
        return Wants::Refused(Errno::NOTSUP);
    }
    let wait = match (flags & ABSOLUTE != 0, now(guest, clock)) {
        (false, _) => timeout,
        (true, Ok(now)) => timeout.saturating_sub(now),
        (true, Err(fault)) => return Wants::Refused(fault),
    };
    Wants::Until(Instant::now().checked_add(Duration::from_nanos(wait)))
}

/// `event`: userdata at 0, error at 8, type at 10, bytes at 16, flags at 24.
fn encode(event: &Event) -> [u8; EVENT as usize] {
    let mut record = [0; EVENT as usize];
    record[0..8].copy_from_slice(&event.subscription.userdata.to_le_bytes());
    record[8..10].copy_from_slice(&event.error.0.to_le_bytes());
    record[10] = event.subscription.kind;
    record[16..24].copy_from_slice(&event.bytes.to_le_bytes());
    record[24..26].copy_from_slice(&event.flags.to_le_bytes());
    record
}
