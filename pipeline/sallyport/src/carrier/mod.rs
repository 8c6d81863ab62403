//! The block where no memory can be shared: a carrier beside each half keeps two blocks alike, by frames over a stream.
//!
//! Each half has a block of its own, as ever. The carrier beside it plays the other half on that block: what its half
//! publishes there it sends, and what comes it checks as that half's own would be, and publishes. Positions are the same
//! on both ends, so the ring itself is the credit: nobody sends what the other has no room for, and a stream that nobody
//! reads holds up no other.
//!
//! Two threads are a carrier: [`outgoing`] looks at the half's line and sends, [`incoming`] receives and publishes. What
//! the other end sends is a stranger's, on both ends: the first frame that cannot be ends the carrier with its reason.

pub mod frame;
pub mod incoming;
pub mod outgoing;
mod side;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use crate::block::{Block, BlockError, Half};
use crate::guest::port::{Bell, Doorbell};
use crate::host::held;
use frame::{Fault, Frame};
use incoming::Incoming;
use outgoing::Outgoing;
pub use side::Side;

/// Bytes that are read at once, and about what is written at once.
const BATCH: usize = 128 * 1024;

/// What the two threads of a carrier tell one another.
struct Common {
    /// By slot: up to where the other end knows that this end's half has taken.
    told_heads: Vec<AtomicU32>,
    /// The half has ended, or the other end's: send what is left, then say that this was all.
    finishing: AtomicBool,
    ended: Mutex<Ended>,
    news: Condvar,
}

/// How far the end has come.
#[derive(Default)]
struct Ended {
    /// The other end has said that it will send no more, or the stream is at its end.
    incoming: bool,
    outgoing: bool,
    fault: Option<String>,
}

impl Common {
    fn of(slots: u32) -> Arc<Self> {
        Arc::new(Self {
            told_heads: (0..slots).map(|_| AtomicU32::default()).collect(),
            finishing: AtomicBool::default(),
            ended: Mutex::default(),
            news: Condvar::default(),
        })
    }

    fn note(&self, end: impl FnOnce(&mut Ended)) {
        end(&mut held(&self.ended));
        self.news.notify_all();
    }

    /// Wait until `done`, at most until `deadline`; whether it came to that.
    fn wait(&self, deadline: Option<Instant>, done: impl Fn(&Ended) -> bool) -> bool {
        let mut ended = held(&self.ended);
        while !done(&ended) {
            let left = deadline.map_or(Duration::from_secs(3600), |by| {
                by.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            let waited = self.news.wait_timeout(ended, left);
            ended = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        true
    }
}

/// Where frames come from and where they go: one stream, or two.
#[derive(Clone)]
struct Channel {
    incoming: Arc<File>,
    outgoing: Arc<File>,
}

impl Channel {
    fn of(stream: OwnedFd) -> Self {
        let incoming = Arc::new(File::from(stream));
        let outgoing = incoming.clone();
        Self { incoming, outgoing }
    }

    /// Have whoever reads or writes stop; whether that could be, as of a socket.
    fn end(&self) -> bool {
        let ended = [&self.incoming, &self.outgoing].map(|stream| shutdown(stream, Shutdown::Both).is_ok());
        ended == [true, true]
    }
}

/// See the module.
pub struct Carrier {
    common: Arc<Common>,
    waker: Waker,
    channel: Channel,
    threads: Mutex<Vec<JoinHandle<()>>>,
    block_fd: Option<OwnedFd>,
}

impl Carrier {
    /// Beside the host half of this block: tells the other end the block's shape, then carries. `doorbell` wakes the host
    /// half.
    pub fn beside_host(block_fd: OwnedFd, doorbell: OwnedFd, stream: OwnedFd) -> Result<Self, BlockError> {
        let block = Block::open(&block_fd)?;
        Self::start(Side::Host, block, doorbell.into(), Channel::of(stream), Some(block_fd))
    }

    /// Beside the guest half: waits for the shape, makes a block of it, then carries. The descriptors for the guest half
    /// are [`Carrier::block_fd`] and [`Carrier::doorbell_fd`].
    pub fn beside_guest(stream: OwnedFd) -> Result<Self, BlockError> {
        let channel = Channel::of(stream);
        let (slots, ring) = shape(&channel.incoming)?;
        let (block, block_fd) = Block::create(slots, ring)?;
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC)?;
        Self::start(Side::Guest, block, doorbell.into(), channel, Some(block_fd))
    }

    /// Beside a guest half in this very process, for an enclave: its library OS has neither memory files nor eventfds.
    /// The guest half is made of [`Carrier::inside`].
    pub fn within(incoming: OwnedFd, outgoing: OwnedFd) -> Result<Self, BlockError> {
        let channel = Channel {
            incoming: Arc::new(incoming.into()),
            outgoing: Arc::new(outgoing.into()),
        };
        let (slots, ring) = shape(&channel.incoming)?;
        let block = Block::inside(slots, ring)?;
        let bell = Bell::Word(block.clone());
        Self::start(Side::Guest, block, bell, channel, None)
    }

    fn start(
        side: Side,
        block: Block,
        doorbell: Bell,
        channel: Channel,
        block_fd: Option<OwnedFd>,
    ) -> Result<Self, BlockError> {
        let common = Common::of(block.slots());
        let outgoing = Outgoing::new(side, block.clone(), common.clone());
        let incoming = Incoming::new(side, block.clone(), common.clone());
        let carrier = Self {
            common,
            waker: Waker { side, block, doorbell },
            channel,
            threads: Mutex::default(),
            block_fd,
        };
        carrier.spawn("sallyport-send", |carried| carried.send(outgoing))?;
        carrier.spawn("sallyport-receive", |carried| carried.receive(incoming))?;
        Ok(carrier)
    }

    fn spawn(&self, name: &str, run: impl FnOnce(Carried) + Send + 'static) -> Result<(), BlockError> {
        let carried = Carried {
            common: self.common.clone(),
            waker: self.waker.clone(),
            channel: self.channel.clone(),
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(|| run(carried));
        held(&self.threads).push(thread.map_err(|_| Errno::AGAIN)?);
        Ok(())
    }

    /// The block of the half that this carrier is beside; none for one [`Carrier::within`] a process.
    pub fn block_fd(&self) -> Option<RawFd> {
        self.block_fd.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// The doorbell by which a guest half wakes its carrier, or a carrier its host half; none likewise.
    pub fn doorbell_fd(&self) -> Option<RawFd> {
        self.waker.doorbell.descriptor()
    }

    /// The block and the doorbell, for a guest half in this process.
    pub fn inside(&self) -> (Block, Bell) {
        (self.waker.block.clone(), self.waker.doorbell.clone())
    }

    /// Wait until nothing more will come; answers how the other end broke the protocol, if it did.
    pub fn wait(&self) -> Option<String> {
        self.common.wait(None, |ended| ended.incoming);
        self.fault()
    }

    /// How the other end broke the protocol, if it did.
    pub fn fault(&self) -> Option<String> {
        held(&self.common.ended).fault.clone()
    }

    /// This end's half has ended: send what it published, and wait, for at most `limit`, until the other end has it all.
    pub fn finish(&self, limit: Duration) -> bool {
        self.common.finishing.store(true, SeqCst);
        self.waker.wake_sender();
        let by = Instant::now() + limit;
        self.common.wait(Some(by), |ended| ended.incoming && ended.outgoing)
    }
}

impl Drop for Carrier {
    /// Ends at once. A stream that is no socket ends with its other end or with the process, and so do the threads.
    fn drop(&mut self) {
        self.common.finishing.store(true, SeqCst);
        self.waker.wake_sender();
        if self.channel.end() {
            for thread in held(&self.threads).drain(..) {
                let _ = thread.join();
            }
        }
    }
}

/// The first frame, which nothing may stand before. Not one byte more is read.
fn shape(mut stream: &File) -> Result<(u32, u32), BlockError> {
    let mut bytes = [0; frame::HELLO_BYTES];
    stream
        .read_exact(&mut bytes)
        .map_err(|_| BlockError::Unusable("the host's carrier said nothing of the block".into()))?;
    match frame::take(&bytes) {
        Ok(Some((0, Frame::Hello { slots, ring }, _))) => Ok((slots, ring)),
        _ => Err(BlockError::Unusable(
            "the host's carrier speaks another protocol, or another version of it".into(),
        )),
    }
}

/// How a thread of a carrier wakes its half, and the thread that sends.
#[derive(Clone)]
struct Waker {
    side: Side,
    block: Block,
    doorbell: Bell,
}

impl Waker {
    /// Wake the half, if it sleeps and there are marks for it.
    fn wake_half(&self) {
        match self.side {
            Side::Host => self.wake_by_bell(),
            Side::Guest => self.block.wake_guest(),
        }
    }

    fn wake_by_bell(&self) {
        if self.block.host_needs_bell() {
            self.doorbell.ring();
        }
    }

    fn wake_sender(&self) {
        match self.side {
            Side::Host => {
                self.block.mark(Half::Guest, 0);
                self.block.wake_guest();
            }
            Side::Guest => {
                self.block.mark(Half::Host, 0);
                self.wake_by_bell();
            }
        }
    }

    /// Wait until this end's half has published something.
    fn sleep(&self) {
        match self.side {
            Side::Host => self.block.guest_sleep(None),
            Side::Guest => {
                if self.block.host_may_sleep() {
                    self.doorbell.wait();
                    self.block.host_is_awake();
                }
            }
        }
    }
}

/// What each thread of a carrier has.
struct Carried {
    common: Arc<Common>,
    waker: Waker,
    channel: Channel,
}

impl Carried {
    fn send(self, mut outgoing: Outgoing) {
        let sent = self.send_all(&mut outgoing);
        let fault = sent.err();
        if fault.is_some() {
            self.channel.end();
        }
        self.common.note(|ended| {
            ended.outgoing = true;
            ended.fault = ended.fault.take().or(fault);
        });
    }

    /// An error says how the half on this end broke the block. That the stream has ended is for [`Carried::receive`].
    fn send_all(&self, outgoing: &mut Outgoing) -> Result<(), String> {
        loop {
            // Asked first: what was published before the half ended is then sent.
            let finishing = self.common.finishing.load(SeqCst);
            let carried = outgoing.send_news(&mut &*self.channel.outgoing)?;
            if carried.is_err() {
                return Ok(());
            }
            if finishing {
                let _ = outgoing.send_end(&mut &*self.channel.outgoing);
                return Ok(());
            }
            // The mark that came with the order to finish may have been taken with the news.
            if !self.common.finishing.load(SeqCst) {
                self.waker.sleep();
            }
        }
    }

    fn receive(self, mut incoming: Incoming) {
        let fault = self.receive_all(&mut incoming).err();
        if fault.is_some() {
            self.channel.end();
        }
        self.common.finishing.store(true, SeqCst);
        self.waker.wake_sender();
        self.common.note(|ended| {
            ended.incoming = true;
            ended.fault = ended.fault.take().or(fault.map(|fault| fault.to_string()));
        });
    }

    fn receive_all(&self, incoming: &mut Incoming) -> Result<(), Fault> {
        let mut bytes = vec![0; BATCH];
        let mut filled = 0;
        loop {
            match rustix::io::read(&*self.channel.incoming, &mut bytes[filled..]) {
                Ok(0) => return Ok(()),
                Ok(read) => filled += read,
                Err(Errno::INTR) => continue,
                Err(_) => return Ok(()),
            }
            let taken = incoming.take(&bytes[..filled])?;
            bytes.copy_within(taken..filled, 0);
            filled -= taken;
            self.waker.wake_half();
            if incoming.has_ended() {
                return Ok(());
            }
        }
    }
}
