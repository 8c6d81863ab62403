//! The loop of the host half: waits for descriptors and for the doorbell, and serves the slots that have news.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt};

use super::stream::{Ends, Moved, Served, Stream};
use super::{Answer, Attachment, Counters, Orders, held};
use crate::block::{Block, BlockError, Half};
use crate::patience::Patience;

/// Names in epoll data: below are slots, then listeners, and the bells.
const LISTENER: u64 = 1 << 32;
const BELL: u64 = 2 << 32;

/// How long a peer that reads nothing may keep a slot whose workload has closed it.
const LINGER: Duration = Duration::from_secs(30);

/// Connections taken from one listener before the other slots get their turn.
const ACCEPT_BATCH: usize = 64;

/// Bytes after which a guest that sleeps is woken before the round is over, so that it takes them while this half reads
/// on. For less the halves would only wait for one another more often.
const EARLY: u64 = 32 * 1024;

/// How often things that no descriptor announces are looked at, while there are any.
const TICK: Duration = Duration::from_millis(250);

struct Listener {
    fd: OwnedFd,
    file: u32,
    waiting: bool,
}

/// See the module.
pub struct EventLoop {
    block: Block,
    epoll: OwnedFd,
    _doorbell: OwnedFd,
    streams: Vec<Option<Stream>>,
    /// How often each slot was opened. Kept here, because the guest can write to the block's copy.
    generations: Vec<u32>,
    listeners: Vec<Listener>,
    free: Vec<u32>,
    free_outbound: Vec<u32>,
    first_connection: u32,
    first_outbound: u32,
    /// Connections that the guest asked for and that have no slot yet.
    answers: VecDeque<Answer>,
    lingering: Vec<u32>,
    /// Slots that had their turn and have more to move.
    unfinished: Vec<u32>,
    /// A connection could not be accepted for want of something, such as descriptors.
    accept_later: bool,
    orders: Arc<Orders>,
    counters: Arc<Counters>,
    moved: Moved,
    /// The guest was told of something that it may answer.
    told_guest: bool,
    patience: Patience,
    /// The last look was not in vain, and the kernel was not asked since.
    saw_answer: bool,
}

impl EventLoop {
    pub fn new(
        block: Block,
        doorbell: OwnedFd,
        files: u32,
        first_outbound: u32,
        orders: Arc<Orders>,
        counters: Arc<Counters>,
    ) -> Result<Self, BlockError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Each ring is an edge, so the bells are never read: the guest could make that block.
        for bell in [&doorbell, &orders.bell] {
            epoll::add(&epoll, bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        }
        let first_connection = files + 1;
        let free = (first_connection..first_outbound).rev().collect();
        let free_outbound = (first_outbound..block.slots()).rev().collect();
        let streams = (0..block.slots()).map(|_| None).collect();
        let generations = vec![0; block.slots() as usize];
        Ok(Self {
            block,
            epoll,
            _doorbell: doorbell,
            streams,
            generations,
            listeners: Vec::new(),
            free,
            free_outbound,
            first_connection,
            first_outbound,
            answers: VecDeque::new(),
            lingering: Vec::new(),
            unfinished: Vec::new(),
            accept_later: false,
            orders,
            counters,
            moved: Moved::default(),
            told_guest: false,
            patience: Patience::new(),
            saw_answer: false,
        })
    }

    /// Open `slot` for the descriptors; entry `slot - 1` of the manifest.
    pub fn attach(&mut self, slot: u32, ends: Ends) -> Result<(), BlockError> {
        if slot >= self.first_connection || self.streams[slot as usize].is_some() {
            return Err(BlockError::Unusable(format!("slot {slot} is not free to attach to")));
        }
        self.open(slot, slot.wrapping_sub(1), ends, None)?;
        Ok(())
    }

    /// Accept connections on `fd` for entry `file` of the manifest.
    pub fn listen(&mut self, file: u32, fd: OwnedFd) -> Result<(), BlockError> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let name = LISTENER | self.listeners.len() as u64;
        epoll::add(
            &self.epoll,
            &fd,
            EventData::new_u64(name),
            EventFlags::IN | EventFlags::ET,
        )?;
        self.listeners.push(Listener {
            fd,
            file,
            waiting: true,
        });
        Ok(())
    }

    fn open(&mut self, slot: u32, file: u32, ends: Ends, fault: Option<Errno>) -> Result<(), Errno> {
        if let Some((fd, readiness)) = ends.to_watch() {
            let watch = readiness | EventFlags::ET | EventFlags::RDHUP;
            match epoll::add(&self.epoll, fd, EventData::new_u64(slot.into()), watch) {
                // A regular file is always ready, and epoll will not watch it.
                Ok(()) | Err(Errno::PERM) => {}
                Err(fault) => return Err(fault),
            }
        }
        let generation = self.generations[slot as usize].wrapping_add(1);
        self.generations[slot as usize] = generation;
        self.streams[slot as usize] = Some(Stream::open(&self.block, slot, generation, file, ends, fault));
        Ok(())
    }

    /// Run until the Keep has ended and all is delivered. An error says how the guest broke the protocol.
    pub fn run(mut self) -> Result<(), String> {
        let end = self.turn();
        for slot in 0..self.block.slots() {
            self.close(slot);
        }
        end
    }

    fn turn(&mut self) -> Result<(), String> {
        let mut events = Vec::with_capacity(256);
        let mut work: Vec<u32> = (0..self.first_connection).collect();
        loop {
            self.accept_all();
            self.serve_all(&mut work)?;
            self.open_answers();
            self.block.wake_guest();
            self.publish_counters();
            if self.is_finished() {
                return Ok(());
            }
            if !self.sees_answer() {
                self.wait(&mut events)?;
                self.note_events(&mut events, &mut work);
            }
            self.block.take_marks(Half::Host, &mut work);
            work.append(&mut self.unfinished);
            self.note_orders(&mut work);
        }
    }

    fn serve_all(&mut self, work: &mut Vec<u32>) -> Result<(), String> {
        let mut announced = 0;
        for slot in work.drain(..) {
            self.serve(slot)?;
            if self.moved.into_keep >= announced + EARLY {
                self.block.wake_guest();
                announced = self.moved.into_keep;
            }
        }
        Ok(())
    }

    fn serve(&mut self, slot: u32) -> Result<(), String> {
        let Some(stream) = &mut self.streams[slot as usize] else {
            return Ok(());
        };
        let served = stream.serve(&self.block, &mut self.moved);
        self.told_guest |= stream.told_guest;
        if stream.is_unfinished {
            self.unfinished.push(slot);
        }
        match served.map_err(|_| format!("slot {slot}: the guest published an impossible position"))? {
            Served::Done => self.close(slot),
            Served::Lingers if stream.released_at.is_none() => {
                stream.released_at = Some(Instant::now());
                self.lingering.push(slot);
            }
            Served::Open | Served::Lingers => {}
        }
        Ok(())
    }

    fn close(&mut self, slot: u32) {
        let Some(stream) = self.streams[slot as usize].take() else {
            return;
        };
        stream.close(&self.block);
        if slot >= self.first_outbound {
            self.free_outbound.push(slot);
        } else if slot >= self.first_connection {
            self.free.push(slot);
            self.counters.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn accept_all(&mut self) {
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPT_BATCH {
                if !self.listeners[index].waiting || self.free.is_empty() {
                    break;
                }
                self.accept_one(index);
            }
        }
    }

    fn accept_one(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        let file = listener.file;
        match accept_with(&listener.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => self.open_connection(socket, file),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => listener.waiting = false,
            // MFILE and its like: the connection stays in the queue, and epoll does not announce it again.
            Err(_) => {
                listener.waiting = false;
                self.accept_later = true;
            }
        }
    }

    /// A connection that cannot be opened is dropped, which its peer sees as a reset.
    fn open_connection(&mut self, socket: OwnedFd, file: u32) {
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        let Some(slot) = self.free.pop() else { return };
        if self.free.is_empty() {
            self.counters.full.store(true, Ordering::Relaxed);
        }
        let opened = Ends::socket(socket).and_then(|ends| self.open(slot, file, ends, None));
        if opened.is_err() {
            self.free.push(slot);
            return;
        }
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.counters.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Give the connections that the guest asked for their slots, as far as there are free ones.
    fn open_answers(&mut self) {
        self.answers.extend(held(&self.orders.answers).drain(..));
        while !self.free_outbound.is_empty()
            && let Some(answer) = self.answers.pop_front()
        {
            self.counters.waiting.fetch_sub(1, Ordering::SeqCst);
            self.open_answer(answer);
        }
    }

    /// A connection that cannot be opened is answered with that fault.
    fn open_answer(&mut self, answer: Answer) {
        let Some(slot) = self.free_outbound.pop() else { return };
        let file = (self.first_connection - 1).saturating_add(answer.grant);
        let opened = answer
            .connection
            .and_then(Ends::socket)
            .and_then(|ends| self.open(slot, file, ends, None));
        if let Err(fault) = opened {
            // Without descriptors there is nothing to fail.
            let _ = self.open(slot, file, Ends::none(), Some(fault));
        }
    }

    /// Look for the guest's answer to what it was just told, which is often near, before the kernel is asked for
    /// anything. Not twice in a row: descriptors have their turn in between.
    fn sees_answer(&mut self) -> bool {
        let block = &self.block;
        self.saw_answer = std::mem::take(&mut self.told_guest)
            && !self.saw_answer
            && !self.has_more_to_do()
            && self.patience.look(|| block.is_marked(Half::Host));
        self.saw_answer
    }

    /// Whether there is work that neither the kernel nor the guest has to announce.
    fn has_more_to_do(&self) -> bool {
        let more_to_accept = self.listeners.iter().any(|listener| listener.waiting) && !self.free.is_empty();
        more_to_accept || !self.unfinished.is_empty()
    }

    fn wait(&mut self, events: &mut Vec<Event>) -> Result<(), String> {
        let may_sleep = !self.has_more_to_do() && self.block.host_may_sleep();
        let limit = if !may_sleep {
            Some(Duration::ZERO)
        } else if self.has_timed_work() {
            Some(TICK)
        } else {
            None
        };
        let limit = limit.map(|limit| Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(limit.subsec_nanos()) as _,
        });
        let waited = epoll::wait(&self.epoll, spare_capacity(events), limit.as_ref());
        self.block.host_is_awake();
        self.patience.slept();
        match waited {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(fault) => Err(format!("epoll: {fault}")),
        }
    }

    fn note_events(&mut self, events: &mut Vec<Event>, work: &mut Vec<u32>) {
        for event in events.drain(..) {
            let (name, flags) = (event.data.u64(), event.flags);
            match name & !0xffff_ffff {
                BELL => {}
                LISTENER => self.note_connection((name & 0xffff_ffff) as usize),
                _ => {
                    let slot = name as u32;
                    let Some(stream) = &mut self.streams[slot as usize] else {
                        continue;
                    };
                    note_readiness(stream, flags);
                    work.push(slot);
                }
            }
        }
    }

    /// Listeners that are closed here may be open elsewhere, and are then still heard of.
    fn note_connection(&mut self, index: usize) {
        if let Some(listener) = self.listeners.get_mut(index) {
            listener.waiting = true;
        }
    }

    fn note_orders(&mut self, work: &mut Vec<u32>) {
        if std::mem::take(&mut self.accept_later) {
            self.listeners.iter_mut().for_each(|listener| listener.waiting = true);
        }
        self.make_changes(work);
        if self.orders.stop_accepting.load(Ordering::SeqCst) {
            self.listeners.clear();
        }
        if self.orders.keep_ended.load(Ordering::SeqCst) {
            self.listeners.clear();
            self.answers.clear();
            for slot in 0..self.block.slots() {
                if let Some(stream) = &mut self.streams[slot as usize] {
                    // What it wrote before it died counts; so its line is read once more before the end is noted.
                    let _ = stream.serve(&self.block, &mut self.moved);
                    stream.keep_has_ended();
                    work.push(slot);
                }
            }
        }
        self.drop_lingering();
    }

    fn make_changes(&mut self, work: &mut Vec<u32>) {
        let asked: Vec<_> = held(&self.orders.attachments).drain(..).collect();
        for Attachment { change, done } in asked {
            let changed = change(self).map(|slot| work.extend(slot));
            // Who has given up waiting needs no answer.
            let _ = done.send(changed);
        }
    }

    /// Slots whose workload is done but whose peer takes nothing are given up after a while.
    fn drop_lingering(&mut self) {
        let lingering = std::mem::take(&mut self.lingering);
        for slot in lingering {
            let released = self.streams[slot as usize]
                .as_ref()
                .and_then(|stream| stream.released_at);
            match released {
                Some(since) if since.elapsed() > LINGER => self.close(slot),
                Some(_) => self.lingering.push(slot),
                None => {}
            }
        }
    }

    fn has_timed_work(&self) -> bool {
        self.accept_later || !self.lingering.is_empty() || self.orders.keep_ended.load(Ordering::SeqCst)
    }

    fn is_finished(&self) -> bool {
        if !self.orders.keep_ended.load(Ordering::SeqCst) {
            return false;
        }
        let by = *held(&self.orders.finish_by);
        self.streams.iter().all(Option::is_none) || by.is_some_and(|by| Instant::now() >= by)
    }

    fn publish_counters(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        if moved.into_keep != 0 {
            self.counters.bytes_in.fetch_add(moved.into_keep, Ordering::Relaxed);
        }
        if moved.out_of_keep != 0 {
            self.counters.bytes_out.fetch_add(moved.out_of_keep, Ordering::Relaxed);
        }
    }
}

fn note_readiness(stream: &mut Stream, flags: EventFlags) {
    let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
    stream.writable |= broken || flags.contains(EventFlags::OUT);
    stream.hung_up |= broken || flags.contains(EventFlags::RDHUP);
    stream.readable |= stream.hung_up || flags.contains(EventFlags::IN);
}
