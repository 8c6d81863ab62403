//! The gate between a Keep and its host.
//!
//! - [`layout`], [`memory`], [`shared`], [`block`]: the shared memory
//! - [`carrier`]: the block where no memory can be shared, by frames over a stream
//! - [`claim`], [`ring`]: what may be believed of what the other half writes there
//! - [`patience`]: how long a half looks for news before it sleeps
//! - [`host`]: the host half, which moves bytes between descriptors and rings
//! - [`guest`]: the guest half, which is the workload's descriptors, with TLS ending inside
//! - [`fs`], [`errno`]: the private file system
//! - [`wasi`]: WASI preview 1 over the guest half
//! - [`engine`]: the functions' way into wasmtime
//! - [`deadline`]: how long a workload may run
//! - [`jail`], [`report`]: what a Keep that is a process may ask of its kernel, and how the host hears of more
//! - `python`: the face towards Python
//!
//! `unsafe` is in [`shared`] (the block's memory), [`engine`] (wasmtime's C API), [`deadline`] and `jail::kernel`
//! (signal handlers), and two calls of `python`; all else is denied it.

pub mod block;
pub mod carrier;
pub mod claim;
pub mod deadline;
pub mod engine;
pub mod errno;
pub mod fs;
pub mod guest;
pub mod host;
pub mod jail;
pub mod layout;
pub mod memory;
pub mod patience;
mod python;
pub mod report;
pub mod ring;
pub mod shared;
pub mod wasi;
