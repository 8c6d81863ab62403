//! The jail of a Keep that is a process: what it may still ask of the kernel, in two steps that are never undone.
//!
//! 1. [`confine`], before anything of the package is received: no file, no socket, no program, no new thread; no
//!    descriptor but the doorbell, standard error and the file of compiled code. Code can still be made executable.
//! 2. [`lock`], before the first instruction of the workload: memory, futexes, time, randomness, the doorbell,
//!    complaints on standard error, and the end.
//!
//! A call that is not allowed is not made: the kernel raises SIGSYS in its place, whose handler writes the call's
//! number into the block, where the host finds it, and ends the process.

mod kernel;
mod rules;

use std::fmt;
use std::os::fd::RawFd;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{BpfProgram, apply_filter_all_threads};

use crate::deadline;
use crate::report::Report;

/// Exit status of a Keep that asked for what its jail refuses: what shells make of SIGSYS.
pub const VIOLATION_STATUS: i32 = 128 + libc::SIGSYS;

/// What Landlock is asked for; an older kernel gives as much of it as it has.
const LANDLOCK: ABI = ABI::V6;

/// Limits for the rest of the process's life, beside what the filters refuse anyway.
const LIMITS: [Resource; 3] = [Resource::Core, Resource::Nofile, Resource::Nproc];

/// Why a Keep could not be jailed. It must not go on then.
#[derive(Debug)]
pub struct JailError(String);

impl fmt::Display for JailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "jail: {}", self.0)
    }
}

impl JailError {
    fn at(step: &'static str) -> impl Fn(&dyn fmt::Display) -> Self {
        move |fault| Self(format!("{step}: {fault}"))
    }
}

/// To be called as early as can be, so that what takes long of the first step is done beside other things.
pub fn prepare() {
    kernel::begin();
}

/// Step 1. `code` is the file that compiled code is written to. Answers what this kernel lacks, a line for each.
///
/// To be called when everything that will be imported is, and while no other thread is being started. The first two
/// steps of it are not undone where a later one fails.
pub fn confine(report: &'static Report, doorbell: RawFd, code: Option<RawFd>) -> Result<Vec<String>, JailError> {
    kernel::warm_up().map_err(|fault| JailError::at("randomness")(&fault))?;
    let mut kept = vec![libc::STDERR_FILENO, doorbell];
    kept.extend(code);
    kernel::close_all_but(kept).map_err(|fault| JailError::at("descriptors")(&fault))?;
    leave_no_dump().map_err(|fault| JailError::at("core dumps")(&fault))?;
    let lacking = restrict_by_landlock().map_err(|fault| JailError::at("Landlock")(&fault))?;
    for resource in LIMITS {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(resource, none).map_err(|fault| JailError::at("limits")(&fault))?;
    }
    deadline::prepare().map_err(|fault| JailError::at("deadlines")(&fault))?;
    kernel::report_violations(report).map_err(|fault| JailError::at("SIGSYS")(&fault))?;
    apply(rules::confined(doorbell, code))?;
    Ok(lacking.into_iter().collect())
}

/// Step 2. Answers what this kernel or this user's limits do not allow, a line for each.
pub fn lock(doorbell: RawFd) -> Result<Vec<String>, JailError> {
    let unlocked = kernel::keep_heap_from_swap()
        .err()
        .map(|fault| format!("the key's memory may be written to swap space: mlock: {fault} (see `ulimit -l`)"));
    apply(rules::locked(doorbell))?;
    Ok(unlocked.into_iter().collect())
}

fn apply(filter: Result<BpfProgram, seccompiler::BackendError>) -> Result<(), JailError> {
    let filter = filter.map_err(|fault| JailError::at("filter")(&fault))?;
    apply_filter_all_threads(&filter).map_err(|fault| JailError::at("seccomp")(&fault))
}

/// Nothing of this process's memory goes into a core dump, whoever makes one, and nobody of this user may trace it.
fn leave_no_dump() -> Result<(), std::io::Error> {
    std::fs::write("/proc/self/coredump_filter", "0")?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// No file, no TCP, no signal and no abstract socket outside. This thread alone, and those it starts.
fn restrict_by_landlock() -> Result<Option<String>, landlock::RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => {
            Some("Landlock: this kernel has a part of it (all of it: Linux 6.12)".into())
        }
        RulesetStatus::NotEnforced => Some("Landlock: this kernel has none, so that seccomp stands alone".into()),
    })
}
