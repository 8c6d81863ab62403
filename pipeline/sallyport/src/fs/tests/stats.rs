//! What is told about inodes, and setting times.

use super::*;
use crate::fs::flags::fstflags;

fn set_times(program: &mut Program, flags: u32, path: &str, fstflags: u16) -> Result<(), Errno> {
    let now = program.tick();
    let times = TimesRequest {
        atim: 100,
        mtim: 200,
        fstflags,
    };
    program
        .tree
        .path_filestat_set_times(&program.root, flags, path.as_bytes(), &times, now)
}

#[test]
fn two_files_differ_in_inode_only() {
    let mut program = Program::new();
    program.touch("a");
    program.touch("b");
    let (a, b) = (program.stat("a").unwrap(), program.stat("b").unwrap());
    assert_eq!(a.dev, b.dev);
    assert_ne!(a.ino, b.ino);
    assert_eq!((a.filetype, a.size, a.nlink), (Filetype::RegularFile, 0, 1));
}

#[test]
fn an_inode_number_is_not_used_again() {
    let mut program = Program::new();
    program.touch("a");
    let first = program.stat("a").unwrap().ino;
    program.unlink("a").unwrap();
    program.touch("a");
    assert_ne!(program.stat("a").unwrap().ino, first);
}

#[test]
fn times_are_set_as_asked() {
    let mut program = Program::new();
    program.touch("file");
    let before = program.stat("file").unwrap();
    set_times(&mut program, 0, "file", fstflags::MTIM).unwrap();
    let after = program.stat("file").unwrap();
    assert_eq!((after.atim, after.mtim), (before.atim, 200));
    assert!(after.ctim > before.ctim);

    set_times(&mut program, 0, "file", fstflags::ATIM | fstflags::MTIM_NOW).unwrap();
    let after = program.stat("file").unwrap();
    assert_eq!((after.atim, after.mtim), (100, program.now));

    set_times(&mut program, 0, "file", fstflags::ATIM_NOW).unwrap();
    assert_eq!(program.stat("file").unwrap().atim, program.now);
}

#[test]
fn a_time_both_given_and_now_is_invalid_and_changes_nothing() {
    let mut program = Program::new();
    program.touch("file");
    let before = program.stat("file").unwrap();
    for wrong in [
        fstflags::ATIM | fstflags::ATIM_NOW,
        fstflags::MTIM | fstflags::MTIM_NOW,
        fstflags::ATIM | fstflags::MTIM | fstflags::MTIM_NOW,
        16,
    ] {
        assert_eq!(set_times(&mut program, 0, "file", wrong), Err(Errno::INVAL));
    }
    assert_eq!(program.stat("file").unwrap(), before);
}

#[test]
fn a_link_has_times_of_its_own() {
    let mut program = Program::new();
    program.touch("file");
    program.symlink("file", "symlink").unwrap();
    let file = program.stat("file").unwrap();
    set_times(&mut program, 0, "symlink", fstflags::MTIM).unwrap();
    assert_eq!(program.lstat("symlink").unwrap().mtim, 200);
    assert_eq!(program.stat("symlink").unwrap(), file);
    set_times(&mut program, lookupflags::SYMLINK_FOLLOW, "symlink", fstflags::MTIM).unwrap();
    assert_eq!(program.stat("file").unwrap().mtim, 200);
}

#[test]
fn writing_moves_the_files_times_and_creating_the_directorys() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    program.write("dir/file", b"a");
    let dir = program.stat("dir").unwrap();
    let file = program.stat("dir/file").unwrap();
    program.write("dir/file", b"b");
    let later = program.stat("dir/file").unwrap();
    assert!(later.mtim > file.mtim && later.ctim > file.ctim);
    assert_eq!(later.atim, file.atim);
    assert_eq!(program.stat("dir").unwrap().mtim, dir.mtim);
    program.unlink("dir/file").unwrap();
    assert!(program.stat("dir").unwrap().mtim > dir.mtim);
}

#[test]
fn times_can_be_set_through_a_descriptor() {
    let mut program = Program::new();
    let file = program.open_file("file", oflags::CREAT);
    let times = TimesRequest {
        atim: 1,
        mtim: 2,
        fstflags: fstflags::ATIM | fstflags::MTIM,
    };
    let set = program.tree.fd_filestat_set_times(file.descriptor(), &times, NOW);
    assert_eq!(set, Ok(()));
    let stat = program.tree.fd_filestat_get(file.descriptor()).unwrap();
    assert_eq!((stat.atim, stat.mtim), (1, 2));
    let set = program
        .tree
        .fd_filestat_set_times(program.root.descriptor(), &times, NOW);
    assert_eq!(set, Ok(()));
    assert_eq!(program.stat(".").unwrap().mtim, 2);
}
