//! Making and removing directories, and unlinking.

use super::*;

#[test]
fn a_directory_is_made_once() {
    let mut program = Program::new();
    assert_eq!(program.mkdir("dir/"), Ok(()));
    for path in ["dir", "dir/", ".", "dir/.", "dir/.."] {
        assert_eq!(program.mkdir(path), Err(Errno::EXIST), "{path}");
    }
    assert_eq!(program.mkdir("missing/dir"), Err(Errno::NOENT));
    assert_eq!(program.mkdir(".."), Err(Errno::NOTCAPABLE));
    program.symlink("nowhere", "dangling").unwrap();
    assert_eq!(program.mkdir("dangling"), Err(Errno::EXIST));
    assert_eq!(program.mkdir("dangling/"), Err(Errno::EXIST));
}

#[test]
fn only_an_empty_directory_is_removed() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    program.mkdir("dir/nested").unwrap();
    assert_eq!(program.rmdir("dir"), Err(Errno::NOTEMPTY));
    assert_eq!(program.rmdir("dir/nested/"), Ok(()));
    assert_eq!(program.rmdir("dir/."), Err(Errno::INVAL));
    assert_eq!(program.rmdir("."), Err(Errno::INVAL));
    assert_eq!(program.rmdir("dir"), Ok(()));
    assert_eq!(program.rmdir("dir"), Err(Errno::NOENT));
}

#[test]
fn removing_a_directory_refuses_files_and_links() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    program.touch("file");
    program.symlink("dir", "link").unwrap();
    for path in ["file", "file/", "link", "link/"] {
        assert_eq!(program.rmdir(path), Err(Errno::NOTDIR), "{path}");
    }
}

#[test]
fn unlinking_refuses_directories() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    program.touch("file");
    program.symlink("dir", "link").unwrap();
    assert_eq!(program.unlink("dir"), Err(Errno::ISDIR));
    assert_eq!(program.unlink("dir/"), Err(Errno::ISDIR));
    assert_eq!(program.unlink("."), Err(Errno::ISDIR));
    assert_eq!(program.unlink("file/"), Err(Errno::NOTDIR));
    assert_eq!(program.unlink("link/"), Err(Errno::NOTDIR));
    assert_eq!(program.unlink("link"), Ok(()));
    assert_eq!(program.unlink("file"), Ok(()));
    assert_eq!(program.unlink("file"), Err(Errno::NOENT));
    assert_eq!(program.stat("dir").unwrap().filetype, Filetype::Directory);
}

#[test]
fn a_removed_directory_that_is_open_is_empty_and_takes_nothing() {
    let mut program = Program::new();
    let before = program.tree.usage();
    program.mkdir("up").unwrap();
    program.mkdir("up/dir").unwrap();
    let mut dir = program.open_dir("up/dir");
    program.rmdir("up/dir").unwrap();
    program.rmdir("up").unwrap();

    let names = readdir::all(&program.tree, &mut dir, 4096);
    assert_eq!(names.len(), 2);
    let made = program.tree.path_create_directory(&dir, b"new", NOW);
    assert_eq!(made, Err(Errno::NOENT));
    let create = request("new", oflags::CREAT, 0);
    let opened = program.tree.path_open(&dir, &create, NOW);
    assert_eq!(opened.map(|_| ()), Err(Errno::NOENT));
    program.touch("file");
    let moved = program.tree.path_rename(&program.root, b"file", &dir, b"file", NOW);
    assert_eq!(moved, Err(Errno::NOENT));
    assert_eq!(program.tree.fd_filestat_get(dir.descriptor()).unwrap().nlink, 0);

    program.unlink("file").unwrap();
    program.tree.close(dir);
    assert_eq!(program.tree.usage(), before);
}

#[test]
fn a_name_is_free_again_after_removal() {
    let mut program = Program::new();
    program.mkdir("name").unwrap();
    program.rmdir("name").unwrap();
    program.touch("name");
    program.unlink("name").unwrap();
    program.symlink("x", "name").unwrap();
    assert_eq!(program.lstat("name").unwrap().filetype, Filetype::SymbolicLink);
}
