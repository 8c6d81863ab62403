//! Which paths lead somewhere, and that none leads out.

use super::*;

fn nested() -> Program {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    program.mkdir("dir/nested").unwrap();
    program.touch("dir/nested/file");
    program
}

#[test]
fn dots_and_repeated_slashes_are_harmless() {
    let mut program = nested();
    for path in [
        "dir/nested/../../dir/nested/../nested///./file",
        "dir/.//nested/../../dir/nested/../nested///./file",
        "./dir/nested/file",
    ] {
        assert_eq!(program.try_open(path, 0), Ok(()), "{path}");
    }
}

#[test]
fn no_path_leaves_the_directory_it_is_given_with() {
    let mut program = nested();
    for path in [
        "/dir/nested/file",
        "/",
        "..",
        "../dir",
        "dir/nested/../../../dir/nested/file",
        "dir/../../dir",
    ] {
        assert_eq!(program.try_open(path, 0), Err(Errno::NOTCAPABLE), "{path}");
    }
}

#[test]
fn a_subdirectory_is_its_own_sandbox() {
    let mut program = nested();
    program.touch("secret");
    program.symlink("../secret", "dir/out").unwrap();
    let dir = program.open_dir("dir");
    let open = |program: &mut Program, path| {
        let asked = OpenRequest {
            lookupflags: lookupflags::SYMLINK_FOLLOW,
            ..request(path, 0, 0)
        };
        program.tree.path_open(&dir, &asked, NOW).map(|_| ())
    };
    assert_eq!(open(&mut program, "nested/file"), Ok(()));
    assert_eq!(open(&mut program, "../secret"), Err(Errno::NOTCAPABLE));
    assert_eq!(open(&mut program, "out"), Err(Errno::NOTCAPABLE));
    // The same link stays inside when the walk starts above it.
    assert_eq!(program.try_follow("dir/out", 0), Ok(()));
}

#[test]
fn a_trailing_slash_means_a_directory() {
    let mut program = nested();
    assert_eq!(program.try_open("dir/nested/", 0), Ok(()));
    assert_eq!(program.try_open("dir/nested///", 0), Ok(()));
    assert_eq!(program.try_open("dir/nested/file/", 0), Err(Errno::NOTDIR));
    assert_eq!(program.try_open("dir/nested/file///", 0), Err(Errno::NOTDIR));
    assert_eq!(program.try_open("dir/nested/file/.", 0), Err(Errno::NOTDIR));
    assert_eq!(program.try_open("new/", oflags::CREAT), Err(Errno::ISDIR));
    assert_eq!(program.lstat("dir/nested/file/"), Err(Errno::NOTDIR));
}

#[test]
fn malformed_paths_say_why() {
    let mut program = nested();
    let long = "x".repeat(256);
    let longest = "x".repeat(255);
    let endless = "x/".repeat(2049);
    let table: [(&[u8], Errno); 8] = [
        (b"", Errno::NOENT),
        (b"dir/nested/file\0", Errno::INVAL),
        (b"dir/\xff", Errno::ILSEQ),
        (long.as_bytes(), Errno::NAMETOOLONG),
        (endless.as_bytes(), Errno::NAMETOOLONG),
        (b"dir/missing/file", Errno::NOENT),
        (b"dir/nested/file/below", Errno::NOTDIR),
        (b"missing", Errno::NOENT),
    ];
    for (path, errno) in table {
        let stat = program.tree.path_filestat_get(&program.root, 0, path);
        assert_eq!(stat, Err(errno), "{:?}", String::from_utf8_lossy(path));
    }
    program.touch(&longest);
    assert_eq!(program.stat(&longest).unwrap().size, 0);
}

#[test]
fn a_path_through_a_link_goes_on_where_the_link_leads() {
    let mut program = nested();
    program.symlink("dir/nested", "short").unwrap();
    assert_eq!(program.try_open("short/file", 0), Ok(()));
    // The parent of what the link leads to, not of the link.
    assert_eq!(program.try_open("short/../nested/file", 0), Ok(()));
    assert_eq!(program.try_open("short/../../dir", 0), Ok(()));
    assert_eq!(program.try_open("short/../../../dir", 0), Err(Errno::NOTCAPABLE));
}

#[test]
fn a_slash_after_a_link_follows_it() {
    let mut program = nested();
    program.symlink("dir/nested", "short").unwrap();
    program.symlink("dir/nested/file", "leaf").unwrap();
    assert_eq!(program.try_open("short", 0), Err(Errno::LOOP));
    assert_eq!(program.try_open("short/", 0), Ok(()));
    assert_eq!(program.lstat("short").unwrap().filetype, Filetype::SymbolicLink);
    assert_eq!(program.lstat("short/").unwrap().filetype, Filetype::Directory);
    assert_eq!(program.lstat("leaf/"), Err(Errno::NOTDIR));
}

#[test]
fn a_link_that_ends_in_a_slash_leads_to_directories_only() {
    let mut program = nested();
    program.symlink("dir/nested/file/", "leaf").unwrap();
    program.symlink("dir/nested/", "branch").unwrap();
    assert_eq!(program.stat("leaf"), Err(Errno::NOTDIR));
    assert_eq!(program.stat("branch").unwrap().filetype, Filetype::Directory);
}

#[test]
fn links_that_multiply_end_in_loop() {
    let mut program = Program::new();
    program.mkdir("d").unwrap();
    program.symlink(".", "d/l0").unwrap();
    for level in 1..12 {
        let below = format!("l{}/l{}", level - 1, level - 1);
        program.symlink(&below, &format!("d/l{level}")).unwrap();
    }
    assert_eq!(program.try_open("d/l4/", 0), Ok(()));
    assert_eq!(program.try_open("d/l11/", 0), Err(Errno::LOOP));
}

#[test]
fn forty_links_in_a_row_are_followed_and_no_more() {
    let mut program = Program::new();
    program.touch("l0");
    for level in 1..=41 {
        let target = format!("l{}", level - 1);
        program.symlink(&target, &format!("l{level}")).unwrap();
    }
    assert_eq!(program.try_follow("l40", 0), Ok(()));
    assert_eq!(program.try_follow("l41", 0), Err(Errno::LOOP));
}
