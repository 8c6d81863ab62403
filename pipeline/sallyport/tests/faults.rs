//! The errno that a program sees for each fault, called as a program calls it.

mod common;

use common::{OUT, guest_of, with_file, workload};
use sallyport::errno::Errno;
use sallyport::fs::Access;
use sallyport::guest::FileKind;
use sallyport::host::Host;

/// Descriptors of `with_file`: the entry `null`, the preopened directory, and what `path_open` gives next.
const NULL: u64 = 0;
const DIRECTORY: u64 = 1;
const FILE: u64 = 2;
const NONE: u64 = 77;

const AT: u64 = OUT as u64;
const CUR: u64 = 1;

#[test]
fn each_fault_has_its_errno() {
    let (_host, mut workload) = with_file();
    assert_eq!(workload.open_file(), FILE);
    let table: &[(&str, &[u64], Errno)] = &[
        ("fd_read", &[NONE, 0, 0, AT], Errno::BADF),
        ("fd_write", &[NONE, 0, 0, AT], Errno::BADF),
        ("fd_close", &[NONE], Errno::BADF),
        ("fd_seek", &[NULL, 0, CUR, AT], Errno::SPIPE),
        ("fd_seek", &[DIRECTORY, 0, CUR, AT], Errno::ISDIR),
        ("fd_seek", &[FILE, 0, 9, AT], Errno::INVAL),
        ("fd_seek", &[FILE, (-1i64) as u64, 0, AT], Errno::INVAL),
        ("fd_tell", &[DIRECTORY, AT], Errno::ISDIR),
        ("fd_pread", &[NULL, 0, 0, 0, AT], Errno::SPIPE),
        ("fd_filestat_set_size", &[NULL, 0], Errno::INVAL),
        ("fd_advise", &[FILE, 0, 0, 6], Errno::NOTCAPABLE),
        ("fd_allocate", &[DIRECTORY, 0, 1], Errno::ISDIR),
        ("fd_readdir", &[FILE, AT, 64, 0, AT], Errno::NOTDIR),
        ("fd_prestat_get", &[FILE, AT], Errno::BADF),
        ("fd_prestat_dir_name", &[DIRECTORY, AT, 1], Errno::NAMETOOLONG),
        ("fd_renumber", &[FILE, NONE], Errno::BADF),
        ("fd_renumber", &[NONE, FILE], Errno::BADF),
        ("fd_fdstat_set_flags", &[FILE, 1 << 5], Errno::NOTCAPABLE),
        ("path_create_directory", &[FILE, AT, 1], Errno::NOTDIR),
        ("path_filestat_get", &[DIRECTORY, 2, AT, 1, AT], Errno::INVAL),
        ("sock_accept", &[FILE, 0, AT], Errno::NOTSOCK),
        ("sock_recv", &[NULL, 0, 0, 0, AT, AT], Errno::NOTSOCK),
        ("sock_send", &[FILE, 0, 0, 0, AT], Errno::NOTSOCK),
        ("sock_shutdown", &[NULL, 1], Errno::NOTSOCK),
        ("sock_shutdown", &[NONE, 1], Errno::BADF),
        ("clock_time_get", &[4, 0, AT], Errno::INVAL),
        ("clock_time_get", &[0, 0, 1 << 31], Errno::FAULT),
        ("random_get", &[1 << 31, 16], Errno::FAULT),
        ("poll_oneoff", &[AT, AT, 0, AT], Errno::INVAL),
        ("proc_raise", &[6], Errno::NOSYS),
    ];
    for (name, args, expected) in table {
        assert_eq!(workload.call(name, args), Err(*expected), "{name} {args:?}");
    }
}

#[test]
fn a_preopen_is_numbered_after_the_files_and_told_by_its_name() {
    let (_host, mut workload) = with_file();
    assert_eq!(workload.call("fd_prestat_get", &[NULL, AT]), Err(Errno::BADF));
    workload.call("fd_prestat_get", &[DIRECTORY, AT]).unwrap();
    assert_eq!((workload.word(OUT), workload.word(OUT + 4)), (0, 2));
    workload.call("fd_prestat_dir_name", &[DIRECTORY, AT, 2]).unwrap();
    assert_eq!(&workload.memory[OUT as usize..][..2], b"/d");
    assert_eq!(workload.call("fd_prestat_get", &[DIRECTORY + 1, AT]), Err(Errno::BADF));
}

#[test]
fn a_file_from_3_on_does_not_hide_the_directories_after_it() {
    let host = Host::new(5, 0, 4096).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.limit_filesystem(1 << 20).unwrap();
    (0..5).for_each(|_| assert!(guest.add_file(FileKind::Null).is_ok()));
    guest
        .tree
        .insert_file(b"/d/f", (*b"0").into(), Access::CopyOnWrite, 5)
        .unwrap();
    assert_eq!(guest.add_preopen(b"/d"), Ok(5));
    guest.open_for_business();
    let mut workload = workload(guest);
    assert_eq!(workload.call("fd_prestat_get", &[2, AT]), Err(Errno::BADF));
    let mut names = Vec::new();
    for fd in 3..6 {
        workload.call("fd_prestat_get", &[fd, AT]).unwrap();
        let (kind, len) = (workload.word(OUT), workload.word(OUT + 4));
        workload.call("fd_prestat_dir_name", &[fd, AT, len.into()]).unwrap();
        let name = workload.memory[OUT as usize..][..len as usize].to_vec();
        names.push((kind == 0, String::from_utf8(name).unwrap()));
    }
    assert_eq!(names, [(false, "3".into()), (false, "4".into()), (true, "/d".into())]);
    assert_eq!(workload.call("fd_prestat_get", &[6, AT]), Err(Errno::BADF));
}

#[test]
fn a_stream_is_renumbered_onto_a_file_which_is_closed() {
    let (_host, mut workload) = with_file();
    assert_eq!(workload.open_file(), FILE);
    workload.call("fd_renumber", &[NULL, FILE]).unwrap();
    assert_eq!(workload.call("fd_tell", &[FILE, AT]), Err(Errno::SPIPE));
    assert_eq!(workload.call("fd_close", &[NULL]), Err(Errno::BADF));
    assert_eq!(workload.open_file(), NULL, "the lowest number that is free");
}

#[test]
fn a_poll_answers_each_subscription_with_its_own_userdata_and_error() {
    let (_host, mut workload) = with_file();
    let file = workload.open_file() as u32;
    let events = workload.poll(&[], &[(file, 1), (77, 1), (NULL as u32, 2)]);
    let told: Vec<_> = events
        .iter()
        .map(|(userdata, error, kind, ..)| (*userdata, *error, *kind))
        .collect();
    assert_eq!(told, [(0, 0, 1), (1, Errno::BADF.0, 1), (2, 0, 2)]);
}
