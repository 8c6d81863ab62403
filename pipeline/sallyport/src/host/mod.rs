//! The host half: moves bytes between descriptors and rings, and opens nothing by itself.
//!
//! One thread runs [`event_loop::EventLoop`]; this module is its handle. What a Keep can reach was attached, or is handed
//! in by [`Host::answer`], so the guest can name slots but never addresses or files.

mod event_loop;
mod faults;
mod stream;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::block::{Block, BlockError};
use crate::layout;
use crate::report::Report;
use event_loop::EventLoop;
use stream::Ends;

/// What the loop has done so far, for metrics; says nothing about plaintext.
#[derive(Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Accepted connections that are open now.
    pub open: AtomicU64,
    /// Whether all slots for connections were ever in use.
    pub full: AtomicBool,
    /// Answers to requests for connections that wait for a free slot.
    pub waiting: AtomicU64,
    /// Bytes moved into the Keep.
    pub bytes_in: AtomicU64,
    /// Bytes moved out of the Keep.
    pub bytes_out: AtomicU64,
}

/// What the handle asks of the loop.
pub(crate) struct Orders {
    /// Wakes the loop. The Keep does not have it: what a hostile one does to its own bell stops no order.
    bell: OwnedFd,
    stop_accepting: AtomicBool,
    answers: Mutex<Vec<Answer>>,
    attachments: Mutex<Vec<Attachment>>,
    keep_ended: AtomicBool,
    finish_by: Mutex<Option<Instant>>,
}

impl Orders {
    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}

/// How long the loop may take to attach something.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);

/// What is done to the loop, between two of its turns. Answers the slot that is to be served, if it is one.
type Change = Box<dyn FnOnce(&mut EventLoop) -> Result<Option<u32>, BlockError> + Send>;

/// Something to attach while the loop runs, and who waits for that.
pub(crate) struct Attachment {
    /// What is done.
    pub change: Change,
    /// Is told how it went.
    pub done: SyncSender<Result<(), BlockError>>,
}

/// What became of a connection that the guest asked for.
pub(crate) struct Answer {
    /// Which of the manifest's grants it is for.
    pub grant: u32,
    /// The socket, or why there is none.
    pub connection: Result<OwnedFd, rustix::io::Errno>,
}

/// The host half of one Keep.
pub struct Host {
    event_loop: Mutex<Option<EventLoop>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    orders: Arc<Orders>,
    counters: Arc<Counters>,
    broken: Arc<Mutex<Option<String>>>,
    report: Report,
    block_fd: OwnedFd,
    doorbell: OwnedFd,
    control: OwnedFd,
}

impl Host {
    /// Make the block, with slots for `files` entries of the manifest, the control stream, and `connections`
    /// accepted connections.
    pub fn new(files: u32, connections: u32, ring: u32) -> Result<Self, BlockError> {
        Self::with_outbound(files, connections, 0, ring)
    }

    /// The same, with slots for `outbound` connections that the guest may ask for while it runs.
    pub fn with_outbound(files: u32, connections: u32, outbound: u32, ring: u32) -> Result<Self, BlockError> {
        let first_outbound = files.saturating_add(1).saturating_add(connections);
        let slots = first_outbound.saturating_add(outbound);
        let (block, block_fd) = Block::create(slots, ring)?;
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (control, inner) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&inner, true)?;
        let orders = Arc::new(Orders {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop_accepting: AtomicBool::default(),
            answers: Mutex::default(),
            attachments: Mutex::default(),
            keep_ended: AtomicBool::default(),
            finish_by: Mutex::default(),
        });
        let counters = Arc::new(Counters::default());
        let doorbell_end = doorbell.try_clone().map_err(|_| rustix::io::Errno::MFILE)?;
        let mut event_loop = EventLoop::new(
            block,
            doorbell_end,
            files,
            first_outbound,
            orders.clone(),
            counters.clone(),
        )?;
        event_loop.attach(layout::CONTROL, Ends::socket(inner)?)?;
        Ok(Self {
            event_loop: Mutex::new(Some(event_loop)),
            thread: Mutex::default(),
            orders,
            counters,
            broken: Arc::default(),
            report: Report::of(&block_fd)?,
            block_fd,
            doorbell,
            control,
        })
    }

    /// Do something to the loop: at once before it has started, else between two of its turns, which is waited for.
    fn change(
        &self,
        change: impl FnOnce(&mut EventLoop) -> Result<Option<u32>, BlockError> + Send + 'static,
    ) -> Result<(), BlockError> {
        if let Some(event_loop) = held(&self.event_loop).as_mut() {
            return change(event_loop).map(drop);
        }
        let (done, answer) = sync_channel(1);
        held(&self.orders.attachments).push(Attachment {
            change: Box::new(change),
            done,
        });
        self.orders.ring();
        let ended = |_| BlockError::Unusable("the host half has ended".into());
        answer.recv_timeout(ATTACH_LIMIT).map_err(ended)?
    }

    fn attach(
        &self,
        file: u32,
        ends: impl FnOnce() -> Result<Ends, rustix::io::Errno> + Send + 'static,
    ) -> Result<(), BlockError> {
        self.change(move |event_loop| {
            let slot = file.saturating_add(1);
            event_loop.attach(slot, ends()?)?;
            Ok(Some(slot))
        })
    }

    /// Attach a connected socket as entry `file` of the manifest.
    pub fn attach_socket(&self, file: u32, fd: OwnedFd) -> Result<(), BlockError> {
        self.attach(file, || Ends::socket(fd))
    }

    /// Attach something to read from (the workload's standard input) as entry `file`.
    pub fn attach_source(&self, file: u32, fd: OwnedFd) -> Result<(), BlockError> {
        self.attach(file, || Ends::source(fd))
    }

    /// Attach something to write to (the workload's standard output) as entry `file`.
    pub fn attach_sink(&self, file: u32, fd: OwnedFd) -> Result<(), BlockError> {
        self.attach(file, || Ends::sink(fd))
    }

    /// Attach a listening socket as entry `file`; its connections become streams of that entry.
    pub fn attach_listener(&self, file: u32, fd: OwnedFd) -> Result<(), BlockError> {
        self.change(move |event_loop| event_loop.listen(file, fd).map(|()| None))
    }

    /// Start moving bytes, on a thread of its own.
    pub fn start(&self) -> Result<(), BlockError> {
        let event_loop = held(&self.event_loop).take();
        let event_loop = event_loop.ok_or_else(|| BlockError::Unusable("the host half has been started".into()))?;
        let broken = self.broken.clone();
        let run = move || *held(&broken) = event_loop.run().err();
        let thread = std::thread::Builder::new().name("sallyport-host".into()).spawn(run);
        *held(&self.thread) = Some(thread.map_err(|_| rustix::io::Errno::AGAIN)?);
        Ok(())
    }

    /// Accept nothing more; connections that are open go on.
    pub fn stop_accepting(&self) {
        self.orders.stop_accepting.store(true, Ordering::SeqCst);
        self.orders.ring();
    }

    /// A connection that the guest asked for: it becomes a stream of the manifest's grant `grant`, or the guest is told
    /// why there is none. It is for the caller to ask only for what the manifest grants.
    pub fn answer(&self, grant: u32, connection: Result<OwnedFd, rustix::io::Errno>) {
        self.counters.waiting.fetch_add(1, Ordering::SeqCst);
        held(&self.orders.answers).push(Answer { grant, connection });
        self.orders.ring();
    }

    /// The Keep has ended: deliver what it wrote, for at most `limit`, then end. Returns the fault that broke the
    /// block, if one did.
    pub fn finish(&self, limit: Duration) -> Option<String> {
        *held(&self.orders.finish_by) = Some(Instant::now() + limit);
        self.orders.keep_ended.store(true, Ordering::SeqCst);
        self.orders.ring();
        let thread = held(&self.thread).take();
        match thread.map(JoinHandle::join) {
            Some(Err(_)) => Some("the host half panicked".into()),
            _ => self.broken(),
        }
    }

    /// Why the loop gave up while the Keep was alive, if it did: the guest broke the protocol.
    pub fn broken(&self) -> Option<String> {
        held(&self.broken).clone()
    }

    /// What was moved so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the guest says of itself.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The block, to be inherited by the Keep.
    pub fn block_fd(&self) -> RawFd {
        self.block_fd.as_raw_fd()
    }

    /// The doorbell, to be inherited by the Keep.
    pub fn doorbell_fd(&self) -> RawFd {
        self.doorbell.as_raw_fd()
    }

    /// Our end of the control stream.
    pub fn control_fd(&self) -> RawFd {
        self.control.as_raw_fd()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

/// What a lock holds. A thread that panicked with it in hand has left it whole: all that is done under it is one
/// assignment.
pub(crate) fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
