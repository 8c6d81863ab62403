//! Paths as bytes from the guest: what makes one well-formed, and its components.

use crate::errno::Errno;

/// Bytes of a path or of a symbolic link's target (`PATH_MAX`).
pub(super) const MAX_PATH: usize = 4096;

/// Bytes of one component (`NAME_MAX`).
pub(super) const MAX_NAME: usize = 255;

/// The path as text. `NOENT` if empty, `NAMETOOLONG`, `ILSEQ` if not UTF-8, `INVAL` if it holds a NUL.
pub(super) fn parse(path: &[u8]) -> Result<&str, Errno> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    if path.len() > MAX_PATH {
        return Err(Errno::NAMETOOLONG);
    }
    if path.contains(&0) {
        return Err(Errno::INVAL);
    }
    std::str::from_utf8(path).map_err(|_| Errno::ILSEQ)
}

/// The components, `.` and `..` among them; repeated slashes separate once.
pub(super) fn components(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}

/// `NAMETOOLONG` for a component that no entry can have.
pub(super) fn check_name(name: &str) -> Result<(), Errno> {
    if name.len() > MAX_NAME {
        Err(Errno::NAMETOOLONG)
    } else {
        Ok(())
    }
}

/// Refuses a path from the root with `NOTCAPABLE`: there is no root but the directory it is resolved from.
pub(super) fn require_relative(path: &str) -> Result<(), Errno> {
    if path.starts_with('/') {
        Err(Errno::NOTCAPABLE)
    } else {
        Ok(())
    }
}
