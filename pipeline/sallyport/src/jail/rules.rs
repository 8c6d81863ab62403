//! Which system calls are allowed in each step, and with which arguments.
//!
//! The calls that a running workload makes most are `futex` and `write`, and time of day comes without a call. The
//! compiled filter is in the order of numbers, so that `write` is its first comparison on x86-64, and calls that are
//! allowed whatever their arguments are pass by the kernel's own bitmap before any filter runs.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Allowed in both steps, whatever the arguments: memory, time, randomness, signal handling, and the end.
const ALWAYS: &[c_long] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,  // abort(3)
    libc::SYS_sigaltstack,     // wasmtime, at the first call into wasm
    libc::SYS_restart_syscall, // a wait that a stop and continue interrupted
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_getrandom,
    libc::SYS_getpid, // abort(3)
    libc::SYS_gettid,
    // A thread of the compiler begins with these, and with its signals blocked, so that a refusal of them ends the
    // process without a word. One that no processor was free for may begin as late as in step 2.
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Allowed in the first step beside those: what the compiler asks for, and the way to step two.
const CONFINED: &[c_long] = &[
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier, // how new code is made known to all processors, where the architecture needs that
    libc::SYS_setitimer,  // the workload's deadlines
    libc::SYS_close,
    libc::SYS_mlock,
];

/// `futex(2)` operations: to wait and to wake, with or without a bit set.
const FUTEX: &[i32] = &[
    libc::FUTEX_WAIT,
    libc::FUTEX_WAKE,
    libc::FUTEX_WAIT_BITSET,
    libc::FUTEX_WAKE_BITSET,
];
/// What may be set beside the operation.
const FUTEX_FLAGS: i32 = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;

/// `madvise(2)`: giving memory back, and what allocators ask for. Nothing that undoes what was asked.
const MADVISE: &[i32] = &[
    libc::MADV_DONTNEED,
    libc::MADV_FREE,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_DONTDUMP,
    libc::MADV_WIPEONFORK,
];

/// The signals whose disposition may change: a fault that is not wasm's is let through to end the process.
const FAULTS: &[i32] = &[libc::SIGSEGV, libc::SIGBUS];

/// Whether memory may still be made executable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Made,
    Fixed,
}

/// The filter of step 1.
pub fn confined(doorbell: RawFd, code: Option<RawFd>) -> Result<BpfProgram, BackendError> {
    let mut rules = Rules::common(doorbell, Code::Made)?;
    rules.always(CONFINED);
    if let Some(fd) = code {
        rules.when(libc::SYS_pwrite64, &[(0, Eq, fd as u64)])?;
        rules.when(libc::SYS_ftruncate, &[(0, Eq, fd as u64)])?;
    }
    // wasmtime's logger, when another engine is made, asks whether it would write to a terminal.
    rules.when(
        libc::SYS_ioctl,
        &[(0, Eq, libc::STDERR_FILENO as u64), (1, Eq, libc::TCGETS)],
    )?;
    rules.when(libc::SYS_prctl, &[(0, Eq, libc::PR_SET_NO_NEW_PRIVS as u64)])?;
    rules.when(libc::SYS_prctl, &[(0, Eq, libc::PR_SET_NAME as u64)])?;
    rules.when(libc::SYS_seccomp, &[(0, Eq, u64::from(libc::SECCOMP_SET_MODE_FILTER))])?;
    rules.compile()
}

/// The filter of step 2, which comes on top.
pub fn locked(doorbell: RawFd) -> Result<BpfProgram, BackendError> {
    Rules::common(doorbell, Code::Fixed)?.compile()
}

/// A comparison with an argument, by its index.
type Condition = (u8, SeccompCmpOp, u64);

/// By call, the alternatives that allow it; none means always.
struct Rules(BTreeMap<c_long, Vec<SeccompRule>>);

impl Rules {
    fn common(doorbell: RawFd, code: Code) -> Result<Self, BackendError> {
        let mut rules = Self(BTreeMap::new());
        rules.always(ALWAYS);
        for fd in [doorbell, libc::STDERR_FILENO] {
            rules.when(libc::SYS_write, &[(0, Eq, fd as u64)])?;
        }
        rules.when(libc::SYS_writev, &[(0, Eq, libc::STDERR_FILENO as u64)])?;
        for operation in FUTEX {
            let mask = u64::from(!(FUTEX_FLAGS as u32));
            rules.when(libc::SYS_futex, &[(1, MaskedEq(mask), *operation as u64)])?;
        }
        for advice in MADVISE {
            rules.when(libc::SYS_madvise, &[(2, Eq, *advice as u64)])?;
        }
        rules.memory(code)?;
        for signal in FAULTS {
            rules.when(libc::SYS_rt_sigaction, &[(0, Eq, *signal as u64)])?;
        }
        let own = u64::from(std::process::id());
        rules.when(libc::SYS_tgkill, &[(0, Eq, own), (2, Eq, libc::SIGABRT as u64)])?;
        Ok(rules)
    }

    /// New memory is private and of no file, and never writable and executable at once.
    fn memory(&mut self, code: Code) -> Result<(), BackendError> {
        let kinds = (libc::MAP_PRIVATE | libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u64;
        let ours = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let executable = libc::PROT_EXEC as u64;
        self.when(
            libc::SYS_mmap,
            &[(2, MaskedEq(executable), 0), (3, MaskedEq(kinds), ours)],
        )?;
        self.when(libc::SYS_mprotect, &[(2, MaskedEq(executable), 0)])?;
        if code == Code::Made {
            let writable = libc::PROT_WRITE as u64;
            self.when(libc::SYS_mprotect, &[(2, MaskedEq(writable), 0)])?;
        }
        Ok(())
    }

    fn always(&mut self, calls: &[c_long]) {
        self.0.extend(calls.iter().map(|call| (*call, Vec::new())));
    }

    fn when(&mut self, call: c_long, conditions: &[Condition]) -> Result<(), BackendError> {
        let conditions = conditions
            .iter()
            .map(|(index, how, value)| SeccompCondition::new(*index, Dword, how.clone(), *value))
            .collect::<Result<_, _>>()?;
        self.0.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok(())
    }

    fn compile(self) -> Result<BpfProgram, BackendError> {
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(self.0, SeccompAction::Trap, SeccompAction::Allow, arch)?.try_into()
    }
}
