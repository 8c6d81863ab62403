//! What a program that imports `wasi_unstable` sees, where the two snapshots differ.

mod common;

use common::{NAME, OUT, UNTOUCHED, with_file};
use sallyport::errno::Errno;

#[test]
fn filestat_has_56_bytes_with_the_size_at_24() {
    let (_host, mut workload) = with_file();
    let fd = workload.open_file();
    let by_path = [1, 0, NAME.into(), 1, OUT.into()];
    for (name, args) in [
        ("path_filestat_get", &by_path[..]),
        ("fd_filestat_get", &[fd, OUT.into()]),
    ] {
        workload.memory[OUT as usize..][..128].fill(UNTOUCHED);
        workload.call_unstable(name, args).unwrap();
        assert_eq!(workload.memory[OUT as usize + 16], 4, "{name}: a regular file");
        assert_eq!(workload.word(OUT + 20), 1, "{name}: links");
        assert_eq!(workload.long(OUT + 24), 10, "{name}: size");
        assert_eq!(workload.long(OUT + 40), 5, "{name}: modified");
        assert_eq!(workload.memory[OUT as usize + 56], UNTOUCHED, "{name}: the end");
        workload.call(name, args).unwrap();
        assert_eq!(workload.long(OUT + 32), 10, "{name}: size, in preview 1");
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
    let fd = workload.open_file();
    let mut seek = |delta: u64, whence: u64| {
        workload.call_unstable("fd_seek", &[fd, delta, whence, OUT.into()])?;
        Ok::<_, Errno>(workload.long(OUT))
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
    assert_eq!((workload.long(OUT), workload.memory[OUT as usize + 10]), (12, 2));
    workload.memory[at + 32..at + 40].copy_from_slice(&1u64.to_le_bytes());
    workload.call_unstable("poll_oneoff", &args(1)).unwrap();
    assert_eq!((workload.long(OUT), workload.memory[OUT as usize + 10]), (11, 0));
}
