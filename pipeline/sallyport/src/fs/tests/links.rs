//! Hard and symbolic links.

use super::*;

#[test]
fn two_names_are_one_file() {
    let mut program = Program::new();
    program.write("file", b"one");
    program.mkdir("sub").unwrap();
    program.link("file", "sub/link").unwrap();
    assert_eq!(program.stat("file"), program.stat("sub/link"));
    assert_eq!(program.stat("file").unwrap().nlink, 2);
    program.write("sub/link", b"two");
    program.unlink("file").unwrap();
    assert_eq!(program.read("sub/link"), b"two");
    assert_eq!(program.stat("sub/link").unwrap().nlink, 1);
}

#[test]
fn a_link_needs_a_free_name_and_a_file() {
    let mut program = Program::new();
    program.touch("file");
    program.touch("other");
    program.mkdir("dir").unwrap();
    program.symlink("nowhere", "dangling").unwrap();
    for taken in ["file", "other", "dir", "dir/", "dangling", "."] {
        assert_eq!(program.link("file", taken), Err(Errno::EXIST), "{taken}");
    }
    assert_eq!(program.link("file", "other/"), Err(Errno::NOTDIR));
    assert_eq!(program.link("file", "link/"), Err(Errno::NOENT));
    assert_eq!(program.link("dir", "link"), Err(Errno::PERM));
    assert_eq!(program.link("missing", "link"), Err(Errno::NOENT));
    assert_eq!(program.link("file/", "link"), Err(Errno::NOTDIR));
}

#[test]
fn a_symbolic_link_is_linked_itself_unless_followed() {
    let mut program = Program::new();
    program.symlink("target", "symlink").unwrap();
    program.symlink("loop", "loop").unwrap();
    program.link("symlink", "same").unwrap();
    program.link("loop", "loop2").unwrap();
    assert_eq!(program.readlink("same", 64).unwrap(), b"target");
    assert_eq!(program.lstat("same").unwrap().nlink, 2);

    let follow = lookupflags::SYMLINK_FOLLOW;
    let dangling = program.link_flagged(follow, "symlink", "link");
    assert_eq!(dangling, Err(Errno::NOENT));
    program.touch("target");
    program.link_flagged(follow, "symlink", "link").unwrap();
    assert_eq!(program.lstat("link"), program.stat("target"));
    assert_eq!(program.link_flagged(2, "symlink", "x"), Err(Errno::INVAL));
}

#[test]
fn a_symbolic_link_needs_a_free_name() {
    let mut program = Program::new();
    assert_eq!(program.symlink("source", "target/"), Err(Errno::NOENT));
    program.mkdir("target").unwrap();
    assert_eq!(program.symlink("source", "target/"), Err(Errno::EXIST));
    assert_eq!(program.symlink("source", "target"), Err(Errno::EXIST));
    program.rmdir("target").unwrap();
    program.touch("target");
    assert_eq!(program.symlink("source", "target/"), Err(Errno::NOTDIR));
    assert_eq!(program.symlink("source", "target"), Err(Errno::EXIST));
}

#[test]
fn a_target_from_the_root_or_malformed_is_refused() {
    let mut program = Program::new();
    assert_eq!(program.symlink("/", "link"), Err(Errno::NOTCAPABLE));
    assert_eq!(program.symlink("", "link"), Err(Errno::NOENT));
    assert_eq!(program.symlink("a\0b", "link"), Err(Errno::INVAL));
    let long = "x".repeat(4097);
    assert_eq!(program.symlink(&long, "link"), Err(Errno::NAMETOOLONG));
}

#[test]
fn reading_a_link_cuts_at_the_buffer() {
    let mut program = Program::new();
    program.touch("target");
    program.symlink("target", "symlink").unwrap();
    assert_eq!(program.readlink("symlink", 10).unwrap(), b"target");
    assert_eq!(program.readlink("symlink", 4).unwrap(), b"targ");
    assert_eq!(program.readlink("symlink", 0).unwrap(), b"");
    assert_eq!(program.readlink("target", 10), Err(Errno::INVAL));
    assert_eq!(program.readlink(".", 10), Err(Errno::INVAL));
    assert_eq!(program.readlink("missing", 10), Err(Errno::NOENT));
    assert_eq!(program.lstat("symlink").unwrap().size, 6);
}

#[test]
fn a_link_to_itself_is_a_loop() {
    let mut program = Program::new();
    program.symlink("symlink", "symlink").unwrap();
    assert_eq!(program.try_open("symlink", 0), Err(Errno::LOOP));
    assert_eq!(program.try_follow("symlink", 0), Err(Errno::LOOP));
    assert_eq!(program.stat("symlink"), Err(Errno::LOOP));
    assert_eq!(program.try_open("symlink/x", 0), Err(Errno::LOOP));
    assert_eq!(program.unlink("symlink"), Ok(()));
}

#[test]
fn a_link_out_can_be_made_and_leads_nowhere() {
    let mut program = Program::new();
    program.symlink("../../etc/passwd", "out").unwrap();
    assert_eq!(program.stat("out"), Err(Errno::NOTCAPABLE));
    assert_eq!(program.try_follow("out", oflags::CREAT), Err(Errno::NOTCAPABLE));
}

#[test]
fn links_tell_what_they_lead_to() {
    let mut program = Program::new();
    program.mkdir("subdir").unwrap();
    program.touch("subdir/file");
    program.symlink("subdir/file", "link1").unwrap();
    program.symlink("subdir", "link2").unwrap();
    assert_eq!(program.lstat("link1").unwrap().filetype, Filetype::SymbolicLink);
    assert_eq!(program.stat("link1").unwrap().filetype, Filetype::RegularFile);
    assert_eq!(program.lstat("link2").unwrap().filetype, Filetype::SymbolicLink);
    assert_eq!(program.stat("link2").unwrap().filetype, Filetype::Directory);
}
