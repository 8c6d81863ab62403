//! The protocol between the halves in every order of their steps (loom): nothing that was put is lost or read before
//! it is there, and neither half sleeps on although there is news.
//!
//! The block, its marks and the guest's port are the real ones, over memory of loom's. The host's side of a stream is
//! written out here step by step as `src/host/stream.rs` has it, because that one moves bytes by the kernel's hand.

use std::collections::BTreeMap;
use std::time::Duration;

use loom::sync::atomic::AtomicU8;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::{Arc, Condvar, Mutex};
use sallyport::block::{Block, Half};
use sallyport::guest::port::{Doorbell, News, Port};
use sallyport::layout::{self, slot as word, state};
use sallyport::memory::Memory;
use sallyport::ring::Positions;

/// Bytes of a ring: small, so that it wraps and fills within a few steps.
const RING: u32 = 2;
const SLOTS: u32 = 2;
const SLOT: u32 = 0;

/// The words and bytes of one block. The words are behind one lock, which gives their accesses the single order that
/// sequential consistency is; loom's own atomics take it for something weaker.
struct Model {
    words: Mutex<BTreeMap<usize, u64>>,
    woken: Condvar,
    bytes: Vec<AtomicU8>,
}

#[derive(Clone)]
struct Shared(Arc<Model>);

impl Shared {
    fn new() -> Self {
        Self(Arc::new(Model {
            words: Mutex::new(BTreeMap::new()),
            woken: Condvar::new(),
            bytes: (0..2 * SLOTS * RING).map(|_| AtomicU8::new(0)).collect(),
        }))
    }

    fn block(&self) -> Block<Self> {
        Block::over(self.clone(), SLOTS, RING)
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        &self.0.bytes[offset - layout::rings_offset(SLOTS)]
    }

    /// Change a word in one step, and answer what it was.
    fn update(&self, offset: usize, change: impl FnOnce(u64) -> u64) -> u64 {
        let mut words = self.0.words.lock().unwrap();
        let word = words.entry(offset).or_default();
        std::mem::replace(word, change(*word))
    }
}

impl Memory for Shared {
    const MAY_LOOK: bool = false;

    fn load32(&self, offset: usize) -> u32 {
        self.load64(offset) as u32
    }

    fn store32(&self, offset: usize, value: u32) {
        self.store64(offset, value.into());
    }

    fn swap32(&self, offset: usize, value: u32) -> u32 {
        self.swap64(offset, value.into()) as u32
    }

    fn add32(&self, offset: usize, value: u32) {
        self.update(offset, |word| (word as u32).wrapping_add(value).into());
    }

    fn load64(&self, offset: usize) -> u64 {
        self.update(offset, |word| word)
    }

    fn store64(&self, offset: usize, value: u64) {
        self.update(offset, |_| value);
    }

    fn swap64(&self, offset: usize, value: u64) -> u64 {
        self.update(offset, |_| value)
    }

    fn or64(&self, offset: usize, bits: u64) {
        self.update(offset, |word| word | bits);
    }

    // Bytes are plain memory: only the words around them may order these.
    fn copy_out(&self, offset: usize, into: &mut [u8]) {
        for (at, byte) in into.iter_mut().enumerate() {
            *byte = self.byte(offset + at).load(Relaxed);
        }
    }

    fn copy_in(&self, offset: usize, from: &[u8]) {
        for (at, byte) in from.iter().enumerate() {
            self.byte(offset + at).store(*byte, Relaxed);
        }
    }

    fn sleep(&self, offset: usize, expected: u32, _: Option<Duration>) {
        let words = self.0.words.lock().unwrap();
        if words.get(&offset).copied().unwrap_or_default() == u64::from(expected) {
            drop(self.0.woken.wait(words).unwrap());
        }
    }

    fn wake(&self, _: usize) {
        let _words = self.0.words.lock().unwrap();
        self.0.woken.notify_one();
    }
}

/// An eventfd that is watched for edges.
#[derive(Clone)]
struct Bell(Arc<(Mutex<u32>, Condvar)>);

impl Bell {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(0), Condvar::new())))
    }

    /// What epoll does: waits for a ring since the last one that was heard.
    fn wait(&self, heard: &mut u32) {
        let mut rung = self.0.0.lock().unwrap();
        while *rung == *heard {
            rung = self.0.1.wait(rung).unwrap();
        }
        *heard = *rung;
    }
}

impl Doorbell for Bell {
    fn ring(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_one();
    }
}

/// The host's side of one stream.
struct HostSide {
    block: Block<Shared>,
    incoming: Positions,
    outgoing: Positions,
    state: u32,
    bell: Bell,
    heard: u32,
}

impl HostSide {
    fn open(shared: &Shared, bell: &Bell) -> Self {
        let block = shared.block();
        block.publish(SLOT, word::HOST_STATE, state::OPEN);
        block.publish(SLOT, word::HOST_GENERATION, 1);
        block.mark(Half::Guest, SLOT);
        Self {
            block,
            incoming: Positions::default(),
            outgoing: Positions::default(),
            state: state::OPEN,
            bell: bell.clone(),
            heard: 0,
        }
    }

    /// Whether the guest's line speaks of this opening; then its positions are looked at.
    fn look(&mut self) -> bool {
        if self.block.peek(SLOT, word::GUEST_GENERATION).value() != 1 {
            return false;
        }
        let tail = self.block.peek(SLOT, word::OUT_TAIL);
        self.outgoing.see_tail(tail, RING).unwrap();
        self.incoming.see_head(self.block.peek(SLOT, word::IN_HEAD)).unwrap();
        true
    }

    fn put(&mut self, bytes: &[u8]) -> usize {
        let room = bytes.len().min(self.incoming.room(RING) as usize);
        let ranges = self.incoming.free_ranges(self.block.in_ring(SLOT), RING);
        let first = room.min(ranges[0].1);
        self.block.memory().copy_in(ranges[0].0, &bytes[..first]);
        self.block.memory().copy_in(ranges[1].0, &bytes[first..room]);
        self.incoming.put(room as u32, RING);
        self.block.publish(SLOT, word::IN_TAIL, self.incoming.tail());
        self.block.mark(Half::Guest, SLOT);
        self.block.wake_guest();
        room
    }

    fn take(&mut self, into: &mut Vec<u8>) {
        let ranges = self.outgoing.filled_ranges(self.block.out_ring(SLOT), RING);
        let mut taken = 0;
        for (offset, len) in ranges {
            let mut bytes = [0; RING as usize];
            self.block.memory().copy_out(offset, &mut bytes[..len]);
            into.extend(&bytes[..len]);
            taken += len as u32;
        }
        if taken > 0 {
            self.outgoing.take(taken);
            self.block.publish(SLOT, word::OUT_HEAD, self.outgoing.head());
            if self.block.peek(SLOT, word::GUEST_STATE).has(state::WANTS_ROOM) {
                self.block.mark(Half::Guest, SLOT);
                self.block.wake_guest();
            }
        }
    }

    fn ask_for_room(&mut self) {
        self.state |= state::WANTS_ROOM;
        self.block.publish(SLOT, word::HOST_STATE, self.state);
        self.look();
    }

    fn wait(&mut self) {
        if self.block.host_may_sleep() {
            self.bell.wait(&mut self.heard);
        }
        self.block.host_is_awake();
        self.block.take_marks(Half::Host, &mut Vec::new());
    }
}

fn guest(shared: &Shared, bell: &Bell) -> Port<Shared, Bell> {
    Port::new(shared.block(), bell.clone())
}

/// Wait until the host has opened the slot.
fn opened(port: &mut Port<Shared, Bell>) {
    let mut news = Vec::new();
    while !news.contains(&News::Opened { slot: SLOT, file: 0 }) {
        port.wait(None);
        port.news(&mut news);
    }
}

/// Try every order in which at most `preemptions` times a half is stopped between two steps of its own.
fn every_order(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

#[test]
fn no_mark_is_lost_to_a_guest_that_goes_to_sleep() {
    every_order(4, || {
        let shared = Shared::new();
        let host = shared.clone();
        let marker = loom::thread::spawn(move || {
            let block = host.block();
            for slot in 0..SLOTS {
                block.mark(Half::Guest, slot);
                block.wake_guest();
            }
        });
        let block = shared.block();
        let mut marked = Vec::new();
        while !(marked.contains(&0) && marked.contains(&1)) {
            block.guest_sleep(None);
            block.take_marks(Half::Guest, &mut marked);
        }
        marker.join().unwrap();
    });
}

#[test]
fn no_mark_is_lost_to_a_host_that_goes_to_sleep() {
    every_order(4, || host_goes_to_sleep(false));
}

#[test]
fn no_mark_is_lost_to_a_host_that_looks_before_it_goes_to_sleep() {
    every_order(4, || host_goes_to_sleep(true));
}

fn host_goes_to_sleep(looks: bool) {
    let (shared, bell) = (Shared::new(), Bell::new());
    let (guest, guests_bell) = (shared.clone(), bell.clone());
    let marker = loom::thread::spawn(move || {
        let block = guest.block();
        for slot in 0..SLOTS {
            block.mark(Half::Host, slot);
            if block.host_needs_bell() {
                guests_bell.ring();
            }
        }
    });
    let block = shared.block();
    let (mut marked, mut heard) = (Vec::new(), 0);
    while !(marked.contains(&0) && marked.contains(&1)) {
        let seen = looks && block.is_marked(Half::Host);
        if !seen && block.host_may_sleep() {
            bell.wait(&mut heard);
        }
        block.host_is_awake();
        block.take_marks(Half::Host, &mut marked);
    }
    marker.join().unwrap();
}

#[test]
fn what_the_host_puts_the_guest_reads_in_order_though_the_ring_fills() {
    every_order(3, || {
        let (shared, bell) = (Shared::new(), Bell::new());
        let (hosts, hosts_bell) = (shared.clone(), bell.clone());
        let host = loom::thread::spawn(move || {
            let mut side = HostSide::open(&hosts, &hosts_bell);
            let mut left: &[u8] = &[1, 2, 3];
            loop {
                left = &left[side.put(left)..];
                if left.is_empty() {
                    return;
                }
                side.ask_for_room();
                if side.incoming.room(RING) == 0 {
                    side.wait();
                    side.look();
                }
            }
        });
        let mut port = guest(&shared, &bell);
        opened(&mut port);
        let (mut read, mut news): (Vec<u8>, _) = (Vec::new(), Vec::new());
        while read.len() < 3 {
            let mut bytes = [0; 3];
            let count = port.read(SLOT, &mut bytes);
            read.extend(&bytes[..count]);
            if count == 0 {
                port.wait(None);
                port.news(&mut news);
            }
        }
        port.tell_host();
        assert_eq!(read, [1, 2, 3]);
        host.join().unwrap();
    });
}

#[test]
fn what_the_guest_writes_the_host_takes_in_order_though_the_ring_fills() {
    every_order(3, || {
        let (shared, bell) = (Shared::new(), Bell::new());
        let (guests, guests_bell) = (shared.clone(), bell.clone());
        let mut side = HostSide::open(&shared, &bell);
        let keep = loom::thread::spawn(move || {
            let mut port = guest(&guests, &guests_bell);
            opened(&mut port);
            let (mut left, mut news): (&[u8], _) = (&[1, 2, 3], Vec::new());
            loop {
                left = &left[port.write(SLOT, left)..];
                if left.is_empty() {
                    return port.tell_host();
                }
                port.ask_for_room(SLOT);
                if port.room(SLOT) == 0 {
                    port.wait(None);
                    port.news(&mut news);
                }
                port.has_room(SLOT);
            }
        });
        let mut taken: Vec<u8> = Vec::new();
        while taken.len() < 3 {
            if side.look() {
                side.take(&mut taken);
            }
            if taken.len() < 3 {
                side.wait();
            }
        }
        assert_eq!(taken, [1, 2, 3]);
        keep.join().unwrap();
    });
}
