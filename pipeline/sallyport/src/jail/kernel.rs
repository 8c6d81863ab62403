//! The jail's calls that no safe wrapper has: the handler of SIGSYS, closing by range, locking the heap, and malloc's
//! own settings.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use aws_lc_rs::rand;
use rustix::time::{ClockId, clock_gettime};

use super::VIOLATION_STATUS;
use crate::report::Report;

/// Where the handler writes. Set once, before the handler is installed.
static REPORT: OnceLock<&'static Report> = OnceLock::new();

/// Where the heap begins, as the kernel said while it could still be asked; 0 if it did not.
static HEAP: AtomicUsize = AtomicUsize::new(0);

/// The thread that seeds the random generator, while it does.
static SEEDING: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);

/// `siginfo_t` of SIGSYS (sigaction(2)): the union begins at 16 on 64-bit systems.
#[repr(C)]
struct Refused {
    number: c_int,
    errno: c_int,
    code: c_int,
    _pad: c_int,
    instruction: *const c_void,
    call: c_int,
    arch: u32,
}

/// Have a thread begin what takes longest of [`warm_up`]: the random generator seeds itself by the jitter of the
/// processor, 30 ms of measuring. Without threads it is done then.
pub fn begin() {
    use_one_arena();
    let seeding = Builder::new().spawn(|| _ = rand::fill(&mut [0; 32])).ok();
    *SEEDING.lock().unwrap_or_else(PoisonError::into_inner) = seeding;
}

/// Give threads no heaps of their own: glibc opens a file before it shrinks one, which ends a Keep in its jail.
fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number that malloc reads; no memory is passed.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Do once what opens files the first time: the random generator looks for the machine's sources, the clock for where
/// the kernel put its code.
pub fn warm_up() -> Result<(), io::Error> {
    let _ = clock_gettime(ClockId::Monotonic);
    let seeding = SEEDING.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(thread) = seeding {
        let _ = thread.join(); // what it could not do is tried again here
    }
    rand::fill(&mut [0; 32]).map_err(|_| io::Error::other("no random numbers"))?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let heap = maps.lines().find(|line| line.ends_with("[heap]"));
    let start = heap.and_then(|line| usize::from_str_radix(line.split('-').next()?, 16).ok());
    HEAP.store(start.unwrap_or(0), Ordering::SeqCst);
    Ok(())
}

/// Close every descriptor but these.
pub fn close_all_but(mut kept: Vec<RawFd>) -> Result<(), io::Error> {
    kept.sort_unstable();
    let mut next = 0;
    for fd in kept {
        close_range(next, fd - 1)?;
        next = fd + 1;
    }
    close_range(next, c_int::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), io::Error> {
    if first > last {
        return Ok(());
    }
    // SAFETY: no memory is passed. Descriptors that objects of this process still name are never used again: the
    // process keeps those that it works with.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Have a refused call written into the block and the process ended.
pub fn report_violations(report: &'static Report) -> Result<(), io::Error> {
    REPORT.get_or_init(|| report);
    let handler: extern "C" fn(c_int, *mut Refused, *mut c_void) = refused;
    // SAFETY: zeroes are a valid sigaction; the handler has the signature that SA_SIGINFO asks for and does nothing
    // but store to an atomic and end the process, which is safe in a handler.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSYS, &action, null_mut())
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn refused(_: c_int, info: *mut Refused, _: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo_t to a handler with SA_SIGINFO, and SIGSYS has this form.
    let call = unsafe { (*info).call };
    if let Some(report) = REPORT.get() {
        report.note_violation(call as u32);
    }
    // SAFETY: ends the process at once, running nothing else of it.
    unsafe { libc::_exit(VIOLATION_STATUS) }
}

/// Lock the heap, in which the key is, into memory.
pub fn keep_heap_from_swap() -> Result<(), io::Error> {
    let start = HEAP.load(Ordering::SeqCst);
    // SAFETY: an increment of 0 only asks where the heap ends.
    let end = unsafe { libc::sbrk(0) } as usize;
    if start == 0 || end <= start {
        return Err(io::Error::other("the heap is not known"));
    }
    // SAFETY: locking changes nothing of what is in memory.
    match unsafe { libc::mlock(start as *const c_void, end - start) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
