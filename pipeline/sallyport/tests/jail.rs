//! What a process inside the jail can still do to the machine: nothing. Each attempt is a process of its own, which is
//! this program again; it jails itself with the functions that a Keep uses, and tries.
#![allow(unsafe_code, reason = "raw system calls are what is tested")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "what a call that is refused is given does not matter"
)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::ptr::null;

use libc::{c_long, syscall};
use sallyport::host::Host;
use sallyport::jail::{VIOLATION_STATUS, confine, lock};
use sallyport::report::Report;

/// How far the jail is closed when the attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Confined,
    Locked,
}
use Step::{Confined, Locked};

/// A name, the call that the host must hear of, and the attempt. It answers what the kernel answered.
type Attempt = (&'static str, &'static str, fn(&Inside) -> c_long);

/// What an attempt can aim at.
struct Inside {
    doorbell: RawFd,
    parent: u32,
}

const PATH: *const libc::c_char = c"/etc/passwd".as_ptr();
const PAGE: usize = 4096;

fn page(prot: i32) -> *mut libc::c_void {
    // SAFETY: new private memory.
    unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            prot,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    }
}

macro_rules! attempts {
    ($($name:literal $call:literal $attempt:expr;)*) => {
        &[$(($name, $call, $attempt)),*]
    };
}

/// Refused in both steps.
const ALWAYS_REFUSED: &[Attempt] = attempts! {
    "open a file" "openat" |_| unsafe { syscall(libc::SYS_openat, libc::AT_FDCWD, PATH, 0) };
    "open a file by the newer call" "openat2" |_| unsafe { syscall(libc::SYS_openat2, libc::AT_FDCWD, PATH, [0u64; 3].as_ptr(), 24) };
    "read what is behind the doorbell" "read" |inside| unsafe { syscall(libc::SYS_read, inside.doorbell, [0u8; 8].as_mut_ptr(), 8) };
    "write to another descriptor" "write" |_| unsafe { syscall(libc::SYS_write, 0, c"x".as_ptr(), 1) };
    "write past a file" "pwrite64" |inside| unsafe { syscall(libc::SYS_pwrite64, inside.doorbell, c"x".as_ptr(), 1, 0) };
    "control a terminal" "ioctl" |_| unsafe { syscall(libc::SYS_ioctl, 2, libc::TIOCSTI, c"x".as_ptr()) };
    "duplicate a descriptor" "fcntl" |inside| unsafe { syscall(libc::SYS_fcntl, inside.doorbell, libc::F_DUPFD, 0) };
    "take a descriptor of another process" "pidfd_getfd" |_| unsafe { syscall(libc::SYS_pidfd_getfd, 0, 0, 0) };
    "make a socket" "socket" |_| unsafe { syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0) };
    "make a pair of sockets" "socketpair" |_| unsafe { syscall(libc::SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, [0i32; 2].as_mut_ptr()) };
    "connect" "connect" |inside| unsafe { syscall(libc::SYS_connect, inside.doorbell, null::<u8>(), 0) };
    "run a program" "execve" |_| unsafe { syscall(libc::SYS_execve, c"/bin/sh".as_ptr(), null::<u8>(), null::<u8>()) };
    "run a program by a descriptor" "execveat" |_| unsafe { syscall(libc::SYS_execveat, 0, c"".as_ptr(), null::<u8>(), null::<u8>(), libc::AT_EMPTY_PATH) };
    "fork" "clone" |_| unsafe { syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    "enter new namespaces" "clone3" |_| {
        let mut args = [0u64; 11];
        args[0] = (libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWPID) as u64;
        unsafe { syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) }
    };
    "leave a namespace" "unshare" |_| unsafe { syscall(libc::SYS_unshare, libc::CLONE_NEWUSER) };
    "join a namespace" "setns" |_| unsafe { syscall(libc::SYS_setns, 0, 0) };
    "trace the parent" "ptrace" |inside| unsafe { syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, inside.parent, 0, 0) };
    "read another process" "process_vm_readv" |inside| unsafe { syscall(libc::SYS_process_vm_readv, inside.parent, null::<u8>(), 0, null::<u8>(), 0, 0) };
    "write to another process" "process_vm_writev" |inside| unsafe { syscall(libc::SYS_process_vm_writev, inside.parent, null::<u8>(), 0, null::<u8>(), 0, 0) };
    "open the memory of another process" "openat" |_| unsafe { syscall(libc::SYS_openat, libc::AT_FDCWD, c"/proc/1/mem".as_ptr(), libc::O_RDWR) };
    "kill the parent" "kill" |inside| unsafe { syscall(libc::SYS_kill, inside.parent, libc::SIGKILL) };
    "signal a thread of the parent" "tgkill" |inside| unsafe { syscall(libc::SYS_tgkill, inside.parent, inside.parent, libc::SIGABRT) };
    "signal itself with another signal" "tgkill" |_| unsafe { syscall(libc::SYS_tgkill, std::process::id(), libc::gettid(), libc::SIGSTOP) };
    "get a descriptor of the parent" "pidfd_open" |inside| unsafe { syscall(libc::SYS_pidfd_open, inside.parent, 0) };
    "start a ring of requests" "io_uring_setup" |_| unsafe { syscall(libc::SYS_io_uring_setup, 8, [0u8; 120].as_mut_ptr()) };
    "enter a ring of requests" "io_uring_enter" |inside| unsafe { syscall(libc::SYS_io_uring_enter, inside.doorbell, 1, 0, 0, 0) };
    "be traceable again" "prctl" |_| unsafe { syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    "outlive the host" "prctl" |_| unsafe { syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, 0, 0, 0, 0) };
    "take off the filter" "prctl" |_| unsafe { syscall(libc::SYS_prctl, libc::PR_SET_SECCOMP, 0, 0, 0, 0) };
    "raise a limit" "prlimit64" |_| unsafe { syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_NOFILE, [1024u64; 2].as_ptr(), 0) };
    "make memory writable and executable" "mprotect" |_| unsafe { syscall(libc::SYS_mprotect, page(libc::PROT_READ), PAGE, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) };
    "map executable memory" "mmap" |_| unsafe { syscall(libc::SYS_mmap, 0, PAGE, libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    "share memory" "mmap" |_| unsafe { syscall(libc::SYS_mmap, 0, PAGE, libc::PROT_READ, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0) };
    "map a file" "mmap" |inside| unsafe { syscall(libc::SYS_mmap, 0, PAGE, libc::PROT_READ, libc::MAP_PRIVATE, inside.doorbell, 0) };
    "make memory executable by a key" "pkey_mprotect" |_| unsafe { syscall(libc::SYS_pkey_mprotect, page(libc::PROT_READ), PAGE, libc::PROT_EXEC, -1) };
    "make a file of memory" "memfd_create" |_| unsafe { syscall(libc::SYS_memfd_create, c"x".as_ptr(), 0) };
    "handle its own page faults" "userfaultfd" |_| unsafe { syscall(libc::SYS_userfaultfd, 0) };
    "load a kernel program" "bpf" |_| unsafe { syscall(libc::SYS_bpf, 0, null::<u8>(), 0) };
    "reach the kernel's keys" "keyctl" |_| unsafe { syscall(libc::SYS_keyctl, 0, 0, 0, 0, 0) };
    "add a kernel key" "add_key" |_| unsafe { syscall(libc::SYS_add_key, null::<u8>(), null::<u8>(), null::<u8>(), 0, 0) };
    "count the machine's events" "perf_event_open" |_| unsafe { syscall(libc::SYS_perf_event_open, null::<u8>(), 0, -1, -1, 0) };
    "mount" "mount" |_| unsafe { syscall(libc::SYS_mount, null::<u8>(), null::<u8>(), null::<u8>(), 0, 0) };
    "change its root" "chroot" |_| unsafe { syscall(libc::SYS_chroot, c"/".as_ptr()) };
    "become another user" "setuid" |_| unsafe { syscall(libc::SYS_setuid, 0) };
    "load a module into the kernel" "finit_module" |_| unsafe { syscall(libc::SYS_finit_module, 0, c"".as_ptr(), 0) };
    "start another kernel" "kexec_load" |_| unsafe { syscall(libc::SYS_kexec_load, 0, 0, 0, 0) };
    "set the clock" "clock_settime" |_| unsafe { syscall(libc::SYS_clock_settime, 0, [0u64; 2].as_ptr()) };
    "move a futex's waiters" "futex" |_| unsafe { syscall(libc::SYS_futex, page(libc::PROT_READ), libc::FUTEX_REQUEUE, 0, 0, 0, 0) };
    "have its memory dumped" "madvise" |_| unsafe { syscall(libc::SYS_madvise, page(libc::PROT_READ), PAGE, libc::MADV_DODUMP) };
    "ignore the refusal" "rt_sigaction" |_| unsafe { syscall(libc::SYS_rt_sigaction, libc::SIGSYS, [0u64; 4].as_ptr(), 0, 8) };
    "send a descriptor" "sendmsg" |inside| unsafe { syscall(libc::SYS_sendmsg, inside.doorbell, [0u8; 56].as_ptr(), 0) };
    "receive a descriptor" "recvmsg" |inside| unsafe { syscall(libc::SYS_recvmsg, inside.doorbell, [0u8; 56].as_mut_ptr(), 0) };
    "share the parent's memory as a child that borrows it" "clone" |_| unsafe { syscall(libc::SYS_clone, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, 0, 0, 0, 0) };
    "limit the parent" "prlimit64" |inside| unsafe { syscall(libc::SYS_prlimit64, inside.parent, libc::RLIMIT_NOFILE, [0u64; 2].as_ptr(), 0) };
    "compare descriptors with the parent's" "kcmp" |inside| unsafe { syscall(libc::SYS_kcmp, inside.parent, inside.parent, 0, 2, 2) };
    "queue a signal to the parent" "rt_sigqueueinfo" |inside| unsafe { syscall(libc::SYS_rt_sigqueueinfo, inside.parent, libc::SIGTERM, [0u8; 128].as_ptr()) };
    "open a file by its handle" "open_by_handle_at" |_| unsafe { syscall(libc::SYS_open_by_handle_at, libc::AT_FDCWD, [0u8; 16].as_ptr(), 0) };
    "call what does not exist" "system call 1000000" |_| unsafe { syscall(1_000_000) };
};

/// Allowed while the module is compiled, and refused when the workload runs.
const REFUSED_WHEN_LOCKED: &[Attempt] = attempts! {
    "make memory executable" "mprotect" |_| unsafe { syscall(libc::SYS_mprotect, page(libc::PROT_READ), PAGE, libc::PROT_READ | libc::PROT_EXEC) };
    "close a descriptor" "close" |_| unsafe { syscall(libc::SYS_close, 0) };
    "put on another filter" "seccomp" |_| unsafe { syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, null::<u8>()) };
    "lock memory" "mlock" |_| unsafe { syscall(libc::SYS_mlock, page(libc::PROT_READ), PAGE) };
};

/// What a workload's run needs; each answers 0 or more.
const ALLOWED: &[Attempt] = attempts! {
    "ring" "" |inside| unsafe { syscall(libc::SYS_write, inside.doorbell, [1u64].as_ptr(), 8) };
    "complain" "" |_| unsafe { syscall(libc::SYS_write, 2, c"complaint".as_ptr(), 9) };
    "get memory" "" |_| if page(libc::PROT_READ | libc::PROT_WRITE) == libc::MAP_FAILED { -1 } else { 0 };
    "give memory back" "" |_| unsafe { syscall(libc::SYS_madvise, page(libc::PROT_READ), PAGE, libc::MADV_DONTNEED) };
    "wake a thread" "" |_| unsafe { syscall(libc::SYS_futex, page(libc::PROT_READ), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1, 0, 0, 0) };
    "know the time" "" |_| unsafe { syscall(libc::SYS_clock_gettime, libc::CLOCK_PROCESS_CPUTIME_ID, [0u64; 2].as_mut_ptr()) };
    "know the time as WASI asks for it" "" |_| c_long::from(rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec == 0);
    "have WASI's random numbers" "" |_| if aws_lc_rs::rand::fill(&mut [0; 16]).is_ok() { 0 } else { -1 };
    "get random numbers" "" |_| unsafe { syscall(libc::SYS_getrandom, [0u8; 16].as_mut_ptr(), 16, 0) };
    "keep its list of robust futexes, as a thread that begins" "" |_| unsafe { syscall(libc::SYS_set_robust_list, page(libc::PROT_READ), 24) };
    "ask for restartable sequences, as a thread that begins" "" |_| {
        // Its first thread has asked already, and is told so.
        unsafe { syscall(libc::SYS_rseq, page(libc::PROT_READ), 32, 0, 0) };
        0
    };
};

/// Calls that the rules name, by whose arguments it depends in part; what is let through of them is tested above.
const RULED: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_write,
    libc::SYS_writev,
];

/// `uretprobe` and `uprobe` of x86-64, which newer kernels keep from every filter: they do nothing for a process that
/// whoever may trace the machine has not put a probe into.
const PROBES: [c_long; 2] = [335, 336];

/// One more than the highest number of a call that a kernel of today has.
const NUMBERS: c_long = 480;

/// Set in the numbers of calls of programs with short pointers, which come by the same gate.
const SHORT_POINTERS: c_long = 0x4000_0000;

fn all() -> impl Iterator<Item = &'static Attempt> {
    [ALWAYS_REFUSED, REFUSED_WHEN_LOCKED, ALLOWED, OTHER_ARCHITECTURE]
        .into_iter()
        .flatten()
}

/// What became of an attempt, as the host sees it.
struct Seen {
    status: ExitStatus,
    violation: Option<String>,
    complaints: String,
}

/// Run this program again as a process that jails itself and makes the attempt.
fn attempted(name: &str, step: Step) -> Seen {
    let host = Host::new(0, 0, 4096).unwrap();
    let given = [host.block_fd(), host.doorbell_fd()].map(|fd| {
        let inherited = sallyport::shared::duplicate(fd).unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        inherited
    });
    let [block, doorbell] = [given[0].as_raw_fd(), given[1].as_raw_fd()];
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inside", "--ignored", "--nocapture", "--test-threads=1"])
        .env("ATTEMPT", format!("{name}\n{step:?}\n{block}\n{doorbell}"))
        .stdout(Stdio::null())
        .output()
        .unwrap();
    Seen {
        status: ended.status,
        violation: host.report().violation(),
        complaints: String::from_utf8_lossy(&ended.stderr).into_owned(),
    }
}

/// Status of an attempt that was let through, and of one that the kernel answered with an error.
const LET_THROUGH: i32 = 10;
const FAILED: i32 = 11;

#[test]
#[ignore = "the other processes of these tests"]
fn inside() {
    let order = std::env::var("ATTEMPT").unwrap();
    let [name, step, block, doorbell] = order.split('\n').collect::<Vec<_>>()[..] else {
        panic!("{order}")
    };
    let (_, _, attempt) = all().find(|(known, ..)| *known == name).unwrap();
    // SAFETY: the parent gave this descriptor for this purpose.
    let block = unsafe { OwnedFd::from_raw_fd(block.parse().unwrap()) };
    let doorbell = doorbell.parse().unwrap();
    let report = Box::leak(Box::new(Report::of(&block).unwrap()));
    drop(block);
    let parent = std::os::unix::process::parent_id();
    confine(report, doorbell, None).unwrap();
    if step == "Locked" {
        lock(doorbell).unwrap();
    }
    let status = if attempt(&Inside { doorbell, parent }) < 0 {
        FAILED
    } else {
        LET_THROUGH
    };
    // SAFETY: ends this process.
    unsafe { libc::_exit(status) }
}

fn is_refused((name, call, _): &Attempt, step: Step) -> Result<(), String> {
    let seen = attempted(name, step);
    let as_told = seen.status.code() == Some(VIOLATION_STATUS) && seen.violation.as_deref() == Some(call);
    as_told.then_some(()).ok_or_else(|| {
        format!(
            "{name} ({step:?}): {}, and the host heard of {:?}, not of {call}: {}",
            seen.status, seen.violation, seen.complaints
        )
    })
}

#[test]
fn whatever_reaches_out_ends_the_process_and_the_host_hears_which_call_it_was() {
    let faults: Vec<_> = [Confined, Locked]
        .into_iter()
        .flat_map(|step| ALWAYS_REFUSED.iter().map(move |attempt| is_refused(attempt, step)))
        .filter_map(Result::err)
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// How a child ends that is locked and makes the call of this number, with no arguments. It has none of the handler
/// that tells the host.
fn called(number: c_long) -> ExitStatus {
    let mut status = 0;
    // SAFETY: the child does nothing but what is tested, and ends.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let is_locked = lock(libc::STDERR_FILENO).is_ok();
            syscall(number, 0, 0, 0, 0, 0, 0);
            libc::_exit(if is_locked { LET_THROUGH } else { FAILED });
        }
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
    }
    ExitStatus::from_raw(status)
}

#[test]
fn every_other_call_of_the_kernel_ends_the_process() {
    let is_other = |number: &c_long| !RULED.contains(number) && !PROBES.contains(number);
    let others = (0..NUMBERS).filter(is_other);
    let faults: Vec<_> = others
        .chain(RULED.iter().map(|number| number | SHORT_POINTERS))
        .map(|number| (number, called(number)))
        .filter(|(_, ended)| ended.signal() != Some(libc::SIGSYS))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(called(libc::SYS_getpid).code(), Some(LET_THROUGH));
}

#[test]
fn what_only_the_compiler_needs_is_refused_when_the_workload_runs() {
    for attempt in REFUSED_WHEN_LOCKED {
        is_refused(attempt, Locked).unwrap();
        let before = attempted(attempt.0, Confined);
        assert_ne!(before.status.code(), Some(VIOLATION_STATUS), "{}", attempt.0);
        assert_eq!(before.violation, None);
    }
}

#[test]
fn what_a_workload_needs_is_allowed() {
    for (name, ..) in ALLOWED {
        for step in [Confined, Locked] {
            let seen = attempted(name, step);
            assert_eq!(
                seen.status.code(),
                Some(LET_THROUGH),
                "{name} ({step:?}): {:?}",
                seen.violation
            );
            assert_eq!(seen.violation, None, "{name}");
        }
    }
}

/// `getpid` as 32-bit programs call it, which by its number alone would be another call.
#[cfg(target_arch = "x86_64")]
const OTHER_ARCHITECTURE: &[Attempt] = attempts! {
    "call as a 32-bit program" "" |_| {
        let answer: c_long;
        // SAFETY: changes no memory.
        unsafe { std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => answer) };
        answer
    };
};
#[cfg(not(target_arch = "x86_64"))]
const OTHER_ARCHITECTURE: &[Attempt] = &[];

#[test]
fn a_call_of_another_architecture_ends_the_process_at_once() {
    for (name, ..) in OTHER_ARCHITECTURE {
        let seen = attempted(name, Locked);
        assert_eq!(seen.status.signal(), Some(libc::SIGSYS), "{}", seen.status);
    }
}
