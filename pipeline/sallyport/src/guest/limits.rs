//! Limits of the manifest's `[resources]` that the workload has met. Each is told to the host once, for its log.

use super::Guest;
use crate::errno::Errno;

/// Which limits were told of.
#[derive(Default)]
pub(super) struct Told {
    filesystem: bool,
    descriptors: bool,
}

impl Guest {
    /// A function of the workload failed with this error: if it means that a limit was met, tell the host.
    #[cold]
    pub fn note_limit(&mut self, errno: Errno) {
        let (resource, told) = match errno {
            Errno::MFILE => ("descriptors", &mut self.limits.descriptors),
            _ if self.tree.has_refused() => ("filesystem", &mut self.limits.filesystem),
            _ => return, // the host's disk is full, and not ours
        };
        if !std::mem::replace(told, true) {
            let message = format!(r#"{{"type":"limit","resource":"{resource}"}}"#);
            let mut framed = (message.len() as u32).to_be_bytes().to_vec();
            framed.extend(message.as_bytes());
            let _ = self.control_write(&framed); // a host that has gone needs no telling
        }
    }
}
