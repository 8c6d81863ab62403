//! What a program that imports `wasi_unstable` sees, where the two snapshots differ.

mod common;

use common::{Workload, guest_of, workload};
use sallyport::errno::Errno;
use sallyport::fs::{Access, Limits, Tree};
use sallyport::guest::FileKind;
use sallyport::host::Host;

const NAME: u32 = 1 << 20;
const OUT: u32 = 2 << 20;
/// What lies behind a record that is written at `OUT`.
const UNTOUCHED: u8 = 0xa5;

/// A workload with one file `f` of ten bytes below the directory 1; entry 0 is `null`.
fn with_file() -> (Host, Workload) {
    let host = Host::new(1, 0, 4096).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.add_file(FileKind::Null).unwrap();
    let limits = Limits {
        max_bytes: 1 << 20,
        max_inodes: 16,
        max_file_bytes: 1 << 20,
    };
    guest.tree = Tree::new(limits, 0).unwrap();
    let bytes = (*b"0123456789").into();
    guest.tree.insert_file(b"/d/f", bytes, Access::CopyOnWrite, 5).unwrap();
    guest.add_preopen(b"/d").unwrap();
    guest.open_for_business();
    let mut workload = workload(guest);
    workload.memory[NAME as usize] = b'f';
    workload.memory[OUT as usize..][..128].fill(UNTOUCHED);
    (host, workload)
}

fn long(workload: &Workload, at: u32) -> u64 {
    u64::from(workload.word(at)) | u64::from(workload.word(at + 4)) << 32
}

/// Descriptor of `f`, opened to read and seek.
fn open(workload: &mut Workload) -> u64 {
    let rights = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 21;
    let args = [1, 0, NAME.into(), 1, 0, rights, 0, 0, OUT.into()];
    workload.call_unstable("path_open", &args).unwrap();
    workload.word(OUT).into()
}

#[test]
fn filestat_has_56_bytes_with_the_size_at_24() {
    let (_host, mut workload) = with_file();
    let fd = open(&mut workload);
    let by_path = [1, 0, NAME.into(), 1, OUT.into()];
    for (name, args) in [
        ("path_filestat_get", &by_path[..]),
        ("fd_filestat_get", &[fd, OUT.into()]),
    ] {
        workload.memory[OUT as usize..][..128].fill(UNTOUCHED);
        workload.call_unstable(name, args).unwrap();
        assert_eq!(workload.memory[OUT as usize + 16], 4, "{name}: a regular file");
        assert_eq!(workload.word(OUT + 20), 1, "{name}: links");
        assert_eq!(long(&workload, OUT + 24), 10, "{name}: size");
        assert_eq!(long(&workload, OUT + 40), 5, "{name}: modified");
        assert_eq!(workload.memory[OUT as usize + 56], UNTOUCHED, "{name}: the end");
        workload.call(name, args).unwrap();
        assert_eq!(long(&workload, OUT + 32), 10, "{name}: size, in preview 1");
        assert_eq!(
            workload.memory[OUT as usize + 64],
            UNTOUCHED,
            "{name}: the end, in preview 1"
        );
    }
}

#[test]
fn whence_counts_cur_end_set() {
    let (_host, mut workload) = with_file();
    let fd = open(&mut workload);
    let mut seek = |delta: u64, whence: u64| {
        workload.call_unstable("fd_seek", &[fd, delta, whence, OUT.into()])?;
        Ok::<_, Errno>(long(&workload, OUT))
    };
    assert_eq!(seek(4, 2), Ok(4));
    assert_eq!(seek(1, 0), Ok(5));
    assert_eq!(seek(0, 1), Ok(10));
    assert_eq!(seek(0, 3), Err(Errno::INVAL));
}

#[test]
fn a_subscription_has_56_bytes_and_its_clock_an_identifier() {
    let (_host, mut workload) = with_file();
    let at = NAME as usize;
    workload.memory[at..at + 112].fill(0);
    workload.memory[at..at + 8].copy_from_slice(&11u64.to_le_bytes());
    workload.memory[at + 16..at + 24].fill(0xff);
    workload.memory[at + 24] = 1;
    workload.memory[at + 32..at + 40].copy_from_slice(&3_600_000_000_000u64.to_le_bytes());
    workload.memory[at + 56..at + 64].copy_from_slice(&12u64.to_le_bytes());
    workload.memory[at + 64] = 2;
    let args = |count| [NAME.into(), OUT.into(), count, u64::from(OUT) + 256];
    workload.call_unstable("poll_oneoff", &args(2)).unwrap();
    assert_eq!(
        workload.word(OUT + 256),
        1,
        "one event: the entry `null` can be written"
    );
    assert_eq!((long(&workload, OUT), workload.memory[OUT as usize + 10]), (12, 2));
    workload.memory[at + 32..at + 40].copy_from_slice(&1u64.to_le_bytes());
    workload.call_unstable("poll_oneoff", &args(1)).unwrap();
    assert_eq!((long(&workload, OUT), workload.memory[OUT as usize + 10]), (11, 0));
}
