//! What a descriptor may do, and that rights only shrink.

use super::*;
use crate::fs::flags::{Whence, fdflags};

#[test]
fn each_operation_needs_its_right() {
    let mut program = Program::new();
    program.write("file", b"abc");
    let opened = program.open("file", 0, 0).unwrap();
    let Opened::File(mut file) = opened else {
        panic!("it is a file")
    };
    let tree = &mut program.tree;
    let refused = Err(Errno::NOTCAPABLE);
    assert_eq!(tree.fd_read(&mut file, &mut [0]), refused.map(|()| 0));
    assert_eq!(tree.fd_pread(&file, &mut [0], 0), refused.map(|()| 0));
    assert_eq!(tree.fd_write(&mut file, b"x", NOW), refused.map(|()| 0));
    assert_eq!(tree.fd_pwrite(&file, b"x", 0, NOW), refused.map(|()| 0));
    assert_eq!(tree.fd_seek(&mut file, 0, Whence::End), refused.map(|()| 0));
    assert_eq!(tree.fd_seek(&mut file, 0, Whence::Cur), refused.map(|()| 0));
    assert_eq!(tree.fd_tell(&file), refused.map(|()| 0));
    assert_eq!(tree.fd_allocate(&file, 0, 1, NOW), refused);
    assert_eq!(tree.fd_advise(&file, 0), refused);
    assert_eq!(tree.fd_sync(file.descriptor()), refused);
    assert_eq!(tree.fd_datasync(file.descriptor()), refused);
    assert_eq!(tree.fd_filestat_set_size(&file, 0, NOW), refused);
    assert_eq!(tree.fd_filestat_get(file.descriptor()).map(|_| ()), refused);
    assert_eq!(file.descriptor_mut().fd_fdstat_set_flags(0), refused);
    assert_eq!(program.read("file"), b"abc");
}

#[test]
fn tell_is_enough_to_ask_and_not_to_move() {
    let mut program = Program::new();
    program.touch("file");
    let mut opened = program.open("file", 0, rights::FD_TELL).unwrap();
    let file = opened.file_mut().unwrap();
    assert_eq!(program.tree.fd_seek(file, 0, Whence::Cur), Ok(0));
    assert_eq!(program.tree.fd_seek(file, 1, Whence::Cur), Err(Errno::NOTCAPABLE));
    assert_eq!(program.tree.fd_seek(file, 0, Whence::Set), Err(Errno::NOTCAPABLE));
}

#[test]
fn path_operations_need_rights_on_the_directory() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    program.touch("dir/f");
    let mut bare = program.open_dir("dir");
    bare.descriptor_mut().fd_fdstat_set_rights(0, 0).unwrap();
    let full = program.open_dir("dir");
    let tree = &mut program.tree;
    let refused = Err(Errno::NOTCAPABLE);
    let times = TimesRequest {
        atim: 0,
        mtim: 0,
        fstflags: 0,
    };
    assert_eq!(tree.path_open(&bare, &request("f", 0, 0), NOW).map(|_| ()), refused);
    assert_eq!(tree.path_create_directory(&bare, b"d", NOW), refused);
    assert_eq!(tree.path_remove_directory(&bare, b"d", NOW), refused);
    assert_eq!(tree.path_unlink_file(&bare, b"f", NOW), refused);
    assert_eq!(tree.path_filestat_get(&bare, 0, b"f").map(|_| ()), refused);
    assert_eq!(tree.path_filestat_set_times(&bare, 0, b"f", &times, NOW), refused);
    assert_eq!(tree.path_symlink(b"t", &bare, b"s", NOW), refused);
    assert_eq!(tree.path_readlink(&bare, b"s", &mut []), refused.map(|()| 0));
    assert_eq!(tree.path_link(&bare, 0, b"f", &full, b"g", NOW), refused);
    assert_eq!(tree.path_link(&full, 0, b"f", &bare, b"g", NOW), refused);
    assert_eq!(tree.path_rename(&bare, b"f", &full, b"g", NOW), refused);
    assert_eq!(tree.path_rename(&full, b"f", &bare, b"g", NOW), refused);
    assert_eq!(tree.fd_readdir(&mut bare, &mut [0; 64], 0), refused.map(|()| 0));
}

#[test]
fn rights_asked_for_must_be_passed_on_by_the_directory() {
    let mut program = Program::new();
    program.touch("file");
    let root = program.root.descriptor_mut();
    let inheriting = rights::FD_READ | rights::FD_SEEK;
    root.fd_fdstat_set_rights(rights::DIRECTORY, inheriting).unwrap();
    let writing = program.open("file", 0, rights::FD_WRITE);
    assert_eq!(writing.map(|_| ()), Err(Errno::NOTCAPABLE));
    assert!(program.open("file", 0, rights::FD_READ).is_ok());
    let passing_on = OpenRequest {
        rights_inheriting: rights::FD_WRITE,
        ..request(".", 0, 0)
    };
    let opened = program.open_with(&passing_on);
    assert_eq!(opened.map(|_| ()), Err(Errno::NOTCAPABLE));
    let synchronised = OpenRequest {
        fdflags: fdflags::SYNC,
        ..request("file", 0, 0)
    };
    let opened = program.open_with(&synchronised);
    assert_eq!(opened.map(|_| ()), Err(Errno::NOTCAPABLE));
}

#[test]
fn truncating_and_creating_need_rights_of_their_own() {
    let mut program = Program::new();
    program.touch("file");
    let root = program.root.descriptor_mut();
    // Not the right to set sizes by descriptor: truncation at opening is another.
    let inheriting = rights::ALL & !rights::FD_FILESTAT_SET_SIZE;
    root.fd_fdstat_set_rights(rights::DIRECTORY, inheriting).unwrap();
    assert_eq!(program.try_open("file", oflags::TRUNC), Ok(()));
    let root = program.root.descriptor_mut();
    let base = rights::DIRECTORY & !rights::PATH_FILESTAT_SET_SIZE & !rights::PATH_CREATE_FILE;
    root.fd_fdstat_set_rights(base, inheriting).unwrap();
    assert_eq!(program.try_open("file", oflags::TRUNC), Err(Errno::NOTCAPABLE));
    assert_eq!(program.try_open("new", oflags::CREAT), Err(Errno::NOTCAPABLE));
}

#[test]
fn a_directory_whose_files_may_change_in_size_may_truncate_them() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    for (inheriting, implied) in [(rights::FD_FILESTAT_SET_SIZE, rights::PATH_FILESTAT_SET_SIZE), (0, 0)] {
        let asked = OpenRequest {
            rights_inheriting: inheriting,
            ..request("dir", oflags::DIRECTORY, rights::PATH_OPEN)
        };
        let dir = program.open_with(&asked).unwrap();
        let held = dir.descriptor().fd_fdstat_get().rights_base;
        assert_eq!(held, rights::PATH_OPEN | implied);
    }
}

#[test]
fn rights_shrink_and_never_grow() {
    let mut program = Program::new();
    let mut file = program.open_file("file", oflags::CREAT);
    let descriptor = file.descriptor_mut();
    let less = FILE & !(rights::FD_READ | rights::FD_WRITE);
    assert_eq!(descriptor.fd_fdstat_set_rights(less, 0), Ok(()));
    assert_eq!(descriptor.fd_fdstat_get().rights_base, less);
    assert_eq!(descriptor.fd_fdstat_set_rights(FILE, 0), Err(Errno::NOTCAPABLE));
    let inheriting = descriptor.fd_fdstat_set_rights(less, rights::FD_READ);
    assert_eq!(inheriting, Err(Errno::NOTCAPABLE));
    assert_eq!(descriptor.fd_fdstat_get().rights_base, less);
    let read = program.tree.fd_read(&mut file, &mut [0]);
    assert_eq!(read, Err(Errno::NOTCAPABLE));
}

#[test]
fn rights_that_do_not_apply_are_dropped() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    let dir = program.open("dir", oflags::DIRECTORY, rights::FD_SEEK).unwrap();
    let stat = dir.descriptor().fd_fdstat_get();
    assert_eq!((stat.filetype, stat.rights_base), (Filetype::Directory, 0));
    let file = program.open("file", oflags::CREAT, rights::ALL).unwrap();
    let stat = file.descriptor().fd_fdstat_get();
    assert_eq!((stat.filetype, stat.rights_base), (Filetype::RegularFile, FILE));
}

#[test]
fn a_preopen_can_be_opened_again_with_all_it_has() {
    let mut program = Program::new();
    let stat = program.root.descriptor().fd_fdstat_get();
    let again = OpenRequest {
        rights_inheriting: stat.rights_inheriting,
        ..request(".", 0, stat.rights_base)
    };
    let opened = program.open_with(&again).unwrap();
    assert_eq!(opened.descriptor().fd_fdstat_get(), stat);
}
