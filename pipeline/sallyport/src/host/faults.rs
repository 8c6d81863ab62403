//! What the host's kernel calls a fault, in the workload's words.

use rustix::io::Errno as Host;

use crate::errno::Errno;

const TABLE: &[(Host, Errno)] = &[
    (Host::ACCESS, Errno::ACCES),
    (Host::BADF, Errno::BADF),
    (Host::CONNABORTED, Errno::CONNABORTED),
    (Host::CONNREFUSED, Errno::CONNREFUSED),
    (Host::CONNRESET, Errno::CONNRESET),
    (Host::HOSTUNREACH, Errno::HOSTUNREACH),
    (Host::NETDOWN, Errno::NETDOWN),
    (Host::NETUNREACH, Errno::NETUNREACH),
    (Host::NOSPC, Errno::NOSPC),
    (Host::NOTCONN, Errno::NOTCONN),
    (Host::PIPE, Errno::PIPE),
    (Host::TIMEDOUT, Errno::TIMEDOUT),
];

/// The WASI error for a fault of a descriptor; `EIO` for one that has no name there.
pub fn to_wasi(fault: Host) -> Errno {
    TABLE
        .iter()
        .find(|(host, _)| *host == fault)
        .map_or(Errno::IO, |(_, wasi)| *wasi)
}
