//! How long a workload may run: by the clock, and by what the processor spends on it.
//!
//! The kernel keeps both times (setitimer(2)), so that no thread and no look at a clock is needed on the way. When one
//! has run out, its signal moves the engine's epoch on, which stops code that computes, and sets a flag, which stops a
//! workload that waits or calls. The signal comes again and again from then on: one that comes between the look at the
//! flag and going to sleep is followed by one that wakes.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::Duration;

use crate::engine::Interrupt;

/// What stops wasm, once there is any.
static INTERRUPT: OnceLock<Interrupt> = OnceLock::new();

/// The signal of the time that has run out first; 0 while none has.
static EXPIRED: AtomicI32 = AtomicI32::new(0);

/// Time between two signals after the first.
const AGAIN: libc::timeval = libc::timeval {
    tv_sec: 0,
    tv_usec: 10_000,
};

/// A time that can run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Since it was armed.
    Time,
    /// Of processor time of this process since it was armed.
    CpuTime,
}

impl Deadline {
    fn signal(self) -> c_int {
        match self {
            Self::Time => libc::SIGALRM,
            Self::CpuTime => libc::SIGPROF,
        }
    }

    fn timer(self) -> c_int {
        match self {
            Self::Time => libc::ITIMER_REAL,
            Self::CpuTime => libc::ITIMER_PROF,
        }
    }
}

/// Be ready for the signals: to be called while the process may still set handlers.
pub fn prepare() -> Result<(), io::Error> {
    for deadline in [Deadline::Time, Deadline::CpuTime] {
        let handler: extern "C" fn(c_int) = expired;
        // SAFETY: zeroes are a valid sigaction; the handler does nothing but atomic operations.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(deadline.signal(), &action, null_mut())
        };
        check(set)?;
    }
    Ok(())
}

/// Start the time, after which `interrupt` stops the workload.
pub fn arm(deadline: Deadline, limit: Duration, interrupt: Interrupt) -> Result<(), io::Error> {
    INTERRUPT.get_or_init(|| interrupt);
    let first = libc::timeval {
        tv_sec: limit.as_secs().min(1 << 40) as libc::time_t,
        tv_usec: libc::suseconds_t::from(limit.subsec_micros()).max(libc::suseconds_t::from(limit.as_secs() == 0)),
    };
    let timer = libc::itimerval {
        it_interval: AGAIN,
        it_value: first,
    };
    // SAFETY: a valid timer, and nowhere to put the former one.
    check(unsafe { libc::setitimer(deadline.timer(), &timer, null_mut()) })
}

/// The time that has run out, if one has.
pub fn which_expired() -> Option<Deadline> {
    match EXPIRED.load(Relaxed) {
        0 => None,
        libc::SIGALRM => Some(Deadline::Time),
        _ => Some(Deadline::CpuTime),
    }
}

/// Whether a time has run out.
#[inline]
pub fn has_expired() -> bool {
    EXPIRED.load(Relaxed) != 0
}

extern "C" fn expired(signal: c_int) {
    let _ = EXPIRED.compare_exchange(0, signal, Relaxed, Relaxed);
    if let Some(interrupt) = INTERRUPT.get() {
        interrupt.interrupt();
    }
}

fn check(answer: c_int) -> Result<(), io::Error> {
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
