//! `path_open`: flags, kinds, and what stays alive.

use super::*;
use crate::fs::flags::fdflags;

#[test]
fn creating_and_opening_again() {
    let mut program = Program::new();
    assert_eq!(program.try_open("file", 0), Err(Errno::NOENT));
    assert_eq!(program.try_open("file", oflags::CREAT), Ok(()));
    assert_eq!(program.try_open("file", oflags::CREAT), Ok(()));
    let exclusive = oflags::CREAT | oflags::EXCL;
    assert_eq!(program.try_open("file", exclusive), Err(Errno::EXIST));
    assert_eq!(program.try_open(".", exclusive), Err(Errno::EXIST));
    assert_eq!(program.try_open("other", exclusive), Ok(()));
}

#[test]
fn exclusive_creation_does_not_follow_a_dangling_link() {
    let mut program = Program::new();
    program.symlink("target", "link").unwrap();
    let exclusive = oflags::CREAT | oflags::EXCL;
    assert_eq!(program.try_follow("link", exclusive), Err(Errno::EXIST));
    assert_eq!(program.try_follow("link", oflags::CREAT), Ok(()));
    assert_eq!(program.stat("target").unwrap().filetype, Filetype::RegularFile);
}

#[test]
fn opening_to_truncate_empties_the_file() {
    let mut program = Program::new();
    program.write("file", b"this content will be truncated!");
    let mut file = program.open_file("file", oflags::CREAT | oflags::TRUNC);
    assert_eq!(program.tree.fd_read(&mut file, &mut [0; 100]), Ok(0));
    assert_eq!(program.stat("file").unwrap().size, 0);
}

#[test]
fn a_directory_opens_only_to_be_looked_at() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    program.touch("file");
    assert_eq!(program.try_open("dir", 0), Ok(()));
    assert_eq!(program.try_open(".", oflags::DIRECTORY), Ok(()));
    assert_eq!(program.try_open("file", oflags::DIRECTORY), Err(Errno::NOTDIR));
    assert_eq!(program.try_open("dir", oflags::TRUNC), Err(Errno::ISDIR));
    assert_eq!(program.try_open("dir", oflags::CREAT), Err(Errno::ISDIR));
    for oflags in [0, oflags::DIRECTORY] {
        let both = rights::FD_READ | rights::FD_WRITE;
        let opened = program.open("dir", oflags, both);
        assert_eq!(opened.map(|_| ()), Err(Errno::ISDIR));
        assert!(program.open("dir", oflags, rights::FD_READ).is_ok());
    }
}

#[test]
fn a_link_that_is_not_followed_cannot_be_opened() {
    let mut program = Program::new();
    program.symlink("target", "symlink").unwrap();
    assert_eq!(program.try_open("symlink", 0), Err(Errno::LOOP));
    assert_eq!(program.try_open("symlink", oflags::CREAT), Err(Errno::LOOP));
    let as_directory = program.try_open("symlink", oflags::DIRECTORY);
    assert_eq!(as_directory, Err(Errno::NOTDIR));
    assert_eq!(program.try_follow("symlink", 0), Err(Errno::NOENT));

    program.mkdir("target").unwrap();
    assert_eq!(program.try_open("symlink", 0), Err(Errno::LOOP));
    assert_eq!(program.try_follow("symlink", oflags::DIRECTORY), Ok(()));

    program.rmdir("target").unwrap();
    program.touch("target");
    assert_eq!(program.try_open("symlink", 0), Err(Errno::LOOP));
    let as_directory = program.try_follow("symlink", oflags::DIRECTORY);
    assert_eq!(as_directory, Err(Errno::NOTDIR));
}

#[test]
fn flags_that_are_unknown_or_contradict_are_invalid() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    let plain = request("dir", 0, 0);
    for wrong in [
        OpenRequest {
            lookupflags: 2,
            ..plain
        },
        OpenRequest { oflags: 16, ..plain },
        OpenRequest { fdflags: 32, ..plain },
        OpenRequest {
            oflags: oflags::DIRECTORY | oflags::CREAT,
            ..plain
        },
    ] {
        assert_eq!(program.open_with(&wrong).map(|_| ()), Err(Errno::INVAL));
    }
}

#[test]
fn flags_given_at_opening_are_told_and_can_be_set() {
    let mut program = Program::new();
    let fdflags = fdflags::APPEND | fdflags::SYNC;
    let asked = OpenRequest {
        fdflags,
        ..request("file", oflags::CREAT, FILE)
    };
    let mut opened = program.open_with(&asked).unwrap();
    assert_eq!(opened.descriptor().fd_fdstat_get().flags, fdflags);
    let descriptor = opened.descriptor_mut();
    assert_eq!(descriptor.fd_fdstat_set_flags(fdflags::NONBLOCK), Ok(()));
    assert_eq!(descriptor.fd_fdstat_get().flags, fdflags::NONBLOCK);
    assert_eq!(descriptor.fd_fdstat_set_flags(32), Err(Errno::INVAL));
}

#[test]
fn an_unlinked_file_lives_until_it_is_closed() {
    let mut program = Program::new();
    let before = program.tree.usage();
    program.write("file", b"still here");
    let file = program.open_file("file", 0);
    let other = program.open_file("file", 0);
    program.unlink("file").unwrap();
    assert_eq!(program.stat("file"), Err(Errno::NOENT));
    program.touch("file");

    let mut data = [0; 10];
    assert_eq!(program.tree.fd_pread(&file, &mut data, 0), Ok(10));
    assert_eq!(&data, b"still here");
    assert_eq!(program.tree.fd_filestat_get(file.descriptor()).unwrap().nlink, 0);

    program.tree.close(file);
    assert_eq!(program.tree.fd_pread(&other, &mut data, 0), Ok(10));
    program.tree.close(other);
    program.unlink("file").unwrap();
    assert_eq!(program.tree.usage(), before);
}

#[test]
fn what_one_descriptor_writes_another_reads() {
    let mut program = Program::new();
    let mut reader = program.open_file("file", oflags::CREAT);
    let mut writer = program.open_file("file", 0);
    assert_eq!(program.tree.fd_write(&mut writer, &[1], NOW), Ok(1));
    let mut byte = [0];
    assert_eq!(program.tree.fd_read(&mut reader, &mut byte), Ok(1));
    assert_eq!(byte, [1]);
}

#[test]
fn a_path_cannot_start_at_a_file() {
    let mut program = Program::new();
    let file = program.open("file", oflags::CREAT, FILE).unwrap();
    assert_eq!(file.dir().map(|_| ()), Err(Errno::NOTDIR));
    let dir = Opened::from(program.open_dir("."));
    assert_eq!(dir.file().map(|_| ()), Err(Errno::ISDIR));
}
