//! Standard input and output of every kind that a shell gives.

mod common;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

use common::{Workload, guest_of, pattern, workload};
use sallyport::guest::FileKind;
use sallyport::host::Host;

fn with_stdin(fd: impl Into<OwnedFd>) -> (Host, Workload) {
    let host = Host::new(1, 0, 4096).unwrap();
    host.attach_source(0, fd.into()).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.add_file(FileKind::Stdio { terminal: false }).unwrap();
    guest.open_for_business();
    (host, workload(guest))
}

fn read_all(workload: &mut Workload) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        let bytes = workload.read(0, 3000).unwrap();
        if bytes.is_empty() {
            return got;
        }
        got.extend(bytes);
    }
}

fn temporary(content: &[u8]) -> File {
    let memory = rustix::fs::memfd_create("content", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(memory);
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn a_regular_file_is_read_to_its_end() {
    let content = pattern(50_001, 1);
    let (_host, mut workload) = with_stdin(temporary(&content));
    assert!(read_all(&mut workload) == content);
}

#[test]
fn a_regular_file_opened_non_blocking_is_read_to_its_end() {
    let content = pattern(5000, 1);
    let file = temporary(&content);
    rustix::io::ioctl_fionbio(&file, true).unwrap();
    let (_host, mut workload) = with_stdin(file);
    assert!(read_all(&mut workload) == content);
}

#[test]
fn nothing_comes_from_dev_null() {
    let (_host, mut workload) = with_stdin(File::open("/dev/null").unwrap());
    assert_eq!(read_all(&mut workload), b"");
}

#[test]
fn a_pipe_is_read_to_its_end_in_either_mode() {
    for nonblocking in [false, true] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, nonblocking).unwrap();
        let content = pattern(200_000, 2);
        let expected = content.clone();
        let sender = std::thread::spawn(move || writer.write_all(&content).unwrap());
        let (_host, mut workload) = with_stdin(reader);
        assert!(read_all(&mut workload) == expected);
        sender.join().unwrap();
    }
}

#[test]
fn what_is_written_to_standard_input_holds_up_nobody() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let (_host, mut workload) = with_stdin(reader);
    assert_eq!(workload.write(0, &pattern(20_000, 3)).unwrap(), 20_000);
}

#[test]
fn output_goes_to_a_pipe_and_its_end_is_told() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let host = Host::new(1, 0, 4096).unwrap();
    host.attach_sink(0, writer.into()).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.add_file(FileKind::Stdio { terminal: false }).unwrap();
    guest.open_for_business();
    let mut workload = workload(guest);
    let content = pattern(150_000, 4);
    let expected = content.clone();
    let taker = std::thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(workload.write(0, &content).unwrap(), content.len());
    workload.close(0);
    assert!(taker.join().unwrap() == expected);
}

/// A terminal: what reads it, and what programs have as their output.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let reader = openpt(flags).unwrap();
    grantpt(&reader).unwrap();
    unlockpt(&reader).unwrap();
    let output = ioctl_tiocgptpeer(&reader, flags).unwrap();
    (reader, output)
}

#[test]
fn a_terminal_that_nobody_reads_holds_up_no_other_stream() {
    let (reader, output) = terminal();
    let (mut pipe, pipe_writer) = std::io::pipe().unwrap();
    let host = Host::new(2, 0, 65536).unwrap();
    host.attach_sink(0, output).unwrap();
    host.attach_sink(1, pipe_writer.into()).unwrap();
    host.start().unwrap();
    let mut guest = guest_of(&host);
    guest.add_file(FileKind::Stdio { terminal: false }).unwrap();
    guest.add_file(FileKind::Stdio { terminal: false }).unwrap();
    guest.open_for_business();
    let mut workload = workload(guest);
    // More than a terminal holds, so that it has room for a little and then for nothing.
    assert_eq!(workload.write(0, &pattern(60_000, 4)).unwrap(), 60_000);
    assert_eq!(workload.write(1, b"still served").unwrap(), 12);
    let mut got = [0; 12];
    pipe.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"still served");
    drop(reader);
}
