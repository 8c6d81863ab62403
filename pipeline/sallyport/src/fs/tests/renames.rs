//! `path_rename`: every case of POSIX `rename`.

use super::*;

#[test]
fn a_directory_moves_to_a_free_name() {
    let mut program = Program::new();
    program.mkdir("source").unwrap();
    program.touch("source/file");
    program.rename("source", "target").unwrap();
    assert_eq!(program.stat("source"), Err(Errno::NOENT));
    assert_eq!(program.stat("target/file").unwrap().size, 0);
}

#[test]
fn a_directory_replaces_only_an_empty_directory() {
    let mut program = Program::new();
    program.mkdir("source").unwrap();
    program.touch("source/mark");
    program.mkdir("target").unwrap();
    program.touch("target/file");
    assert_eq!(program.rename("source", "target"), Err(Errno::NOTEMPTY));
    assert_eq!(program.rename("source", "target/file"), Err(Errno::NOTDIR));
    program.unlink("target/file").unwrap();
    program.rename("source", "target").unwrap();
    assert_eq!(program.names("target"), [".", "..", "mark"]);
}

#[test]
fn a_file_replaces_a_file_and_no_directory() {
    let mut program = Program::new();
    program.write("source", b"new");
    program.write("target", b"old");
    let old = program.open_file("target", 0);
    program.rename("source", "target").unwrap();
    assert_eq!(program.stat("source"), Err(Errno::NOENT));
    assert_eq!(program.read("target"), b"new");
    let mut data = [0; 3];
    program.tree.fd_pread(&old, &mut data, 0).unwrap();
    assert_eq!(&data, b"old");

    program.mkdir("dir").unwrap();
    assert_eq!(program.rename("target", "dir"), Err(Errno::ISDIR));
}

#[test]
fn a_slash_means_a_directory_in_either_name() {
    let mut program = Program::new();
    program.mkdir("source").unwrap();
    program.rename("source/", "target").unwrap();
    program.rename("target", "source/").unwrap();
    program.rename("source/", "target/").unwrap();
    program.touch("file");
    for (old, new) in [
        ("file", "new/"),
        ("file/", "new"),
        ("file/", "new/"),
        ("file", "target/"),
    ] {
        assert_eq!(program.rename(old, new), Err(Errno::NOTDIR), "{old} {new}");
    }
}

#[test]
fn a_directory_does_not_move_into_itself() {
    let mut program = Program::new();
    program.mkdir("a").unwrap();
    program.mkdir("a/b").unwrap();
    assert_eq!(program.rename("a", "a/c"), Err(Errno::INVAL));
    assert_eq!(program.rename("a", "a/b/c"), Err(Errno::INVAL));
    assert_eq!(program.rename("a", "a/b"), Err(Errno::INVAL));
    assert_eq!(program.rename("a/b", "a"), Err(Errno::NOTEMPTY));
    // Nor through a descriptor below it, where the path does not show.
    let below = program.open_dir("a/b");
    let moved = program.tree.path_rename(&program.root, b"a", &below, b"c", NOW);
    assert_eq!(moved, Err(Errno::INVAL));
}

#[test]
fn a_moved_directory_is_found_at_its_new_place() {
    let mut program = Program::new();
    for path in ["a", "a/b", "a/b/c", "d"] {
        program.mkdir(path).unwrap();
    }
    program.rename("a/b", "d/b").unwrap();
    // Its parent is the new one: into the old place it moves, into itself it does not.
    assert_eq!(program.rename("d", "d/b/c/d"), Err(Errno::INVAL));
    assert_eq!(program.rename("a", "d/b/c/a"), Ok(()));
    let up = program.stat("d").unwrap().ino;
    let mut moved = program.open_dir("d/b");
    let listed = readdir::all(&program.tree, &mut moved, 4096);
    assert_eq!(listed[1].ino, up);
}

#[test]
fn two_names_of_one_file_stay_as_they_are() {
    let mut program = Program::new();
    program.touch("one");
    program.link("one", "two").unwrap();
    assert_eq!(program.rename("one", "two"), Ok(()));
    assert_eq!(program.rename("one", "one"), Ok(()));
    assert_eq!(program.stat("one").unwrap().nlink, 2);
    program.mkdir("dir").unwrap();
    assert_eq!(program.rename("dir", "dir/"), Ok(()));
}

#[test]
fn a_link_moves_itself_and_is_replaced_itself() {
    let mut program = Program::new();
    program.write("file", b"x");
    program.symlink("file", "link").unwrap();
    program.rename("link", "moved").unwrap();
    assert_eq!(program.readlink("moved", 64).unwrap(), b"file");
    program.rename("file", "moved").unwrap();
    assert_eq!(program.lstat("moved").unwrap().filetype, Filetype::RegularFile);
}

#[test]
fn dots_are_busy_and_the_missing_is_missing() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    assert_eq!(program.rename(".", "x"), Err(Errno::BUSY));
    assert_eq!(program.rename("dir", "."), Err(Errno::BUSY));
    assert_eq!(program.rename("dir/..", "x"), Err(Errno::BUSY));
    assert_eq!(program.rename("missing", "x"), Err(Errno::NOENT));
    assert_eq!(program.rename("dir", "missing/x"), Err(Errno::NOENT));
    assert_eq!(program.rename("dir", "../x"), Err(Errno::NOTCAPABLE));
}

#[test]
fn moving_costs_nothing_that_lasts() {
    let mut program = Program::new();
    program.mkdir("a").unwrap();
    program.mkdir("b").unwrap();
    program.write("a/name", b"12345");
    let before = program.tree.usage();
    program.rename("a/name", "b/name").unwrap();
    assert_eq!(program.tree.usage(), before);
    program.rename("b/name", "b/a-longer-name").unwrap();
    assert_eq!(program.tree.usage().bytes, before.bytes + 9);
}
