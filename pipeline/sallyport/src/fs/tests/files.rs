//! Reading, writing, seeking and sizing one file.

use super::*;
use crate::fs::flags::{Whence, fdflags};

fn with_file(content: &[u8]) -> (Program, OpenFile) {
    let mut program = Program::new();
    program.write("file", content);
    let file = program.open_file("file", 0);
    (program, file)
}

#[test]
fn the_offset_moves_with_reads_and_writes() {
    let (mut program, mut file) = with_file(b"");
    assert_eq!(program.tree.fd_tell(&file), Ok(0));
    assert_eq!(program.tree.fd_write(&mut file, &[7; 100], NOW), Ok(100));
    assert_eq!(program.tree.fd_tell(&file), Ok(100));
    assert_eq!(program.tree.fd_seek(&mut file, -50, Whence::Cur), Ok(50));
    assert_eq!(program.tree.fd_read(&mut file, &mut [0; 80]), Ok(50));
    assert_eq!(program.tree.fd_read(&mut file, &mut [0; 80]), Ok(0));
    assert_eq!(program.tree.fd_seek(&mut file, -30, Whence::End), Ok(70));
    assert_eq!(program.tree.fd_seek(&mut file, 0, Whence::Cur), Ok(70));
}

#[test]
fn seeking_past_the_end_is_fine_and_before_the_start_is_not() {
    let (program, mut file) = with_file(&[0; 100]);
    assert_eq!(program.tree.fd_seek(&mut file, 1000, Whence::Cur), Ok(1000));
    let before_start = program.tree.fd_seek(&mut file, -2000, Whence::Cur);
    assert_eq!(before_start, Err(Errno::INVAL));
    assert_eq!(program.tree.fd_tell(&file), Ok(1000));
    let negative = program.tree.fd_seek(&mut file, -1, Whence::Set);
    assert_eq!(negative, Err(Errno::INVAL));
    let overflow = program.tree.fd_seek(&mut file, i64::MAX, Whence::End);
    assert_eq!(overflow, Err(Errno::INVAL));
    let furthest = program.tree.fd_seek(&mut file, i64::MAX, Whence::Set);
    assert_eq!(furthest, Ok(i64::MAX as u64));
    assert_eq!(program.tree.fd_read(&mut file, &mut [0]), Ok(0));
}

#[test]
fn writing_past_the_end_leaves_zeros_in_the_gap() {
    let (mut program, mut file) = with_file(b"ab");
    program.tree.fd_seek(&mut file, 5, Whence::Set).unwrap();
    program.tree.fd_write(&mut file, b"z", NOW).unwrap();
    assert_eq!(program.read("file"), b"ab\0\0\0z");
}

#[test]
fn pread_and_pwrite_leave_the_offset() {
    let (mut program, mut file) = with_file(b"");
    assert_eq!(program.tree.fd_pwrite(&file, &[0, 1, 2, 3], 0, NOW), Ok(4));
    assert_eq!(program.tree.fd_pwrite(&file, &[1, 0], 2, NOW), Ok(2));
    let mut data = [9; 4];
    assert_eq!(program.tree.fd_pread(&file, &mut data, 2), Ok(2));
    assert_eq!(data, [1, 0, 9, 9]);
    assert_eq!(program.tree.fd_pread(&file, &mut data, 4), Ok(0));
    assert_eq!(program.tree.fd_pread(&file, &mut data, u64::MAX), Ok(0));
    assert_eq!(program.tree.fd_read(&mut file, &mut data), Ok(4));
    assert_eq!(data, [0, 1, 1, 0]);
}

#[test]
fn appending_goes_to_the_end_until_the_flag_is_cleared() {
    let mut program = Program::new();
    let asked = OpenRequest {
        fdflags: fdflags::APPEND,
        ..request("file", oflags::CREAT, FILE)
    };
    let mut opened = program.open_with(&asked).unwrap();
    let file = opened.file_mut().unwrap();
    program.tree.fd_write(file, b"one", NOW).unwrap();
    program.tree.fd_seek(file, 0, Whence::Set).unwrap();
    program.tree.fd_write(file, b"two", NOW).unwrap();
    assert_eq!(program.tree.fd_tell(file), Ok(6));

    // POSIX pwrite and the WASI test-suite: at the given offset, whatever the flag.
    program.tree.fd_pwrite(file, b"O", 0, NOW).unwrap();

    file.descriptor_mut().fd_fdstat_set_flags(0).unwrap();
    program.tree.fd_seek(file, 3, Whence::Set).unwrap();
    program.tree.fd_write(file, b"T", NOW).unwrap();
    assert_eq!(program.read("file"), b"OneTwo");
}

#[test]
fn allocating_extends_and_never_cuts() {
    let (mut program, file) = with_file(b"");
    let size = |program: &Program| program.stat("file").unwrap().size;
    for (offset, length, expected) in [(0, 100, 100), (10, 10, 100), (90, 20, 110)] {
        program.tree.fd_allocate(&file, offset, length, NOW).unwrap();
        assert_eq!(size(&program), expected);
    }
    let nothing = program.tree.fd_allocate(&file, 0, 0, NOW);
    assert_eq!(nothing, Err(Errno::INVAL));
    let endless = program.tree.fd_allocate(&file, u64::MAX, 2, NOW);
    assert_eq!(endless, Err(Errno::FBIG));
}

#[test]
fn setting_the_size_cuts_and_extends_with_zeros() {
    let (mut program, file) = with_file(b"abcdef");
    program.tree.fd_filestat_set_size(&file, 3, NOW).unwrap();
    assert_eq!(program.read("file"), b"abc");
    program.tree.fd_filestat_set_size(&file, 5, NOW).unwrap();
    assert_eq!(program.read("file"), b"abc\0\0");
    program.tree.fd_filestat_set_size(&file, 0, NOW).unwrap();
    assert_eq!(program.read("file"), b"");
}

#[test]
fn a_read_after_truncation_ends_where_the_file_ends() {
    let (mut program, mut file) = with_file(b"abcdef");
    program.tree.fd_seek(&mut file, 5, Whence::Set).unwrap();
    program.tree.fd_filestat_set_size(&file, 2, NOW).unwrap();
    assert_eq!(program.tree.fd_read(&mut file, &mut [0; 8]), Ok(0));
    program.tree.fd_write(&mut file, b"z", NOW).unwrap();
    assert_eq!(program.read("file"), b"ab\0\0\0z");
}

#[test]
fn advice_and_syncing_change_nothing() {
    let (program, file) = with_file(b"abc");
    assert_eq!(program.tree.fd_advise(&file, 0), Ok(()));
    assert_eq!(program.tree.fd_advise(&file, 5), Ok(()));
    assert_eq!(program.tree.fd_advise(&file, 6), Err(Errno::INVAL));
    assert_eq!(program.tree.fd_sync(file.descriptor()), Ok(()));
    assert_eq!(program.tree.fd_datasync(file.descriptor()), Ok(()));
    assert_eq!(program.tree.fd_sync(program.root.descriptor()), Ok(()));
    assert_eq!(program.stat("file").unwrap().size, 3);
}

#[test]
fn a_file_grown_byte_by_byte_is_whole() {
    let (mut program, mut file) = with_file(b"");
    let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for chunk in data.chunks(7) {
        program.tree.fd_write(&mut file, chunk, NOW).unwrap();
    }
    assert!(program.read("file") == data);
}

#[test]
fn both_snapshots_number_whence_their_own_way() {
    assert_eq!(Whence::from_preview1(0), Ok(Whence::Set));
    assert_eq!(Whence::from_preview1(2), Ok(Whence::End));
    assert_eq!(Whence::from_unstable(0), Ok(Whence::Cur));
    assert_eq!(Whence::from_unstable(2), Ok(Whence::Set));
    assert_eq!(Whence::from_preview1(3), Err(Errno::INVAL));
}
