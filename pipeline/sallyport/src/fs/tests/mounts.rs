//! What the host put there before the program started.

use std::sync::Arc;

use super::*;

fn package(access: Access) -> Program {
    let mut tree = Tree::new(ROOMY, NOW).unwrap();
    tree.insert_directory(b"/app", access, NOW).unwrap();
    let bytes: Arc<[u8]> = Arc::from(*b"package bytes");
    tree.insert_file(b"/app/data/file", bytes, access, NOW).unwrap();
    tree.insert_symlink(b"/app/link", b"data/file", access, NOW).unwrap();
    Program::on(tree)
}

#[test]
fn assets_are_read_where_the_manifest_puts_them() {
    let mut program = package(Access::ReadOnly);
    assert_eq!(program.read("app/data/file"), b"package bytes");
    assert_eq!(program.stat("app/link").unwrap().size, 13);
    assert_eq!(program.names("app"), [".", "..", "data", "link"]);
}

#[test]
fn a_read_only_asset_never_changes() {
    let mut program = package(Access::ReadOnly);
    let before = program.stat("app/data/file");
    let writing = program.open("app/data/file", 0, rights::FD_WRITE);
    assert_eq!(writing.map(|_| ()), Err(Errno::ROFS));
    let truncating = program.try_open("app/data/file", oflags::TRUNC);
    assert_eq!(truncating, Err(Errno::ROFS));
    assert_eq!(program.unlink("app/data/file"), Err(Errno::ROFS));
    assert_eq!(program.rename("app/data/file", "mine"), Err(Errno::ROFS));
    assert_eq!(program.link("app/data/file", "mine"), Err(Errno::ROFS));
    program.touch("mine");
    assert_eq!(program.rename("mine", "app/data/file"), Err(Errno::ROFS));
    let times = TimesRequest {
        atim: 1,
        mtim: 1,
        fstflags: 5,
    };
    let set = program
        .tree
        .path_filestat_set_times(&program.root, 0, b"app/data/file", &times, NOW);
    assert_eq!(set, Err(Errno::ROFS));
    assert_eq!(program.stat("app/data/file"), before);
}

#[test]
fn a_read_only_directory_keeps_its_entries() {
    let mut program = package(Access::ReadOnly);
    assert_eq!(program.try_open("app/new", oflags::CREAT), Err(Errno::ROFS));
    assert_eq!(program.mkdir("app/new"), Err(Errno::ROFS));
    assert_eq!(program.symlink("x", "app/new"), Err(Errno::ROFS));
    assert_eq!(program.unlink("app/link"), Err(Errno::ROFS));
    assert_eq!(program.rename("app/link", "app/new"), Err(Errno::ROFS));
    assert_eq!(program.rename("app", "new"), Err(Errno::ROFS));
    program.touch("mine");
    assert_eq!(program.rename("mine", "app/mine"), Err(Errno::ROFS));
    assert_eq!(program.link("mine", "app/mine"), Err(Errno::ROFS));
}

#[test]
fn rights_to_change_a_read_only_asset_are_not_given() {
    let mut program = package(Access::ReadOnly);
    let asked = FILE & !rights::FD_WRITE;
    let opened = program.open("app/data/file", 0, asked).unwrap();
    let held = opened.descriptor().fd_fdstat_get().rights_base;
    assert_eq!(held, rights::READ_ONLY_FILE);
    let file = opened.file().unwrap();
    let resized = program.tree.fd_filestat_set_size(file, 0, NOW);
    assert_eq!(resized, Err(Errno::NOTCAPABLE));
}

#[test]
fn a_copy_on_write_asset_counts_once_it_is_changed() {
    let mut program = package(Access::CopyOnWrite);
    let before = program.tree.usage().bytes;
    let file = program.open_file("app/data/file", 0);
    assert_eq!(program.read("app/data/file"), b"package bytes");
    assert_eq!(program.tree.usage().bytes, before);
    program.tree.fd_pwrite(&file, b"P", 0, NOW).unwrap();
    assert_eq!(program.read("app/data/file"), b"Package bytes");
    assert_eq!(program.tree.usage().bytes, before + 13);
    program.tree.fd_filestat_set_size(&file, 7, NOW).unwrap();
    assert_eq!(program.tree.usage().bytes, before + 7);
}

#[test]
fn a_change_leaves_the_package_as_it_was() {
    let bytes: Arc<[u8]> = Arc::from(*b"shared");
    let mut tree = Tree::new(ROOMY, NOW).unwrap();
    for path in [b"a", b"b"] {
        let access = Access::CopyOnWrite;
        tree.insert_file(path, bytes.clone(), access, NOW).unwrap();
    }
    let mut program = Program::on(tree);
    program.write("a", b"mine");
    assert_eq!(program.read("b"), b"shared");
    assert_eq!(&*bytes, b"shared");
}

#[test]
fn an_asset_too_large_to_copy_is_truncated_or_left() {
    let limits = Limits {
        max_bytes: 1000,
        ..ROOMY
    };
    let mut tree = Tree::new(limits, NOW).unwrap();
    let large: Arc<[u8]> = vec![7; 5000].into();
    tree.insert_file(b"large", large, Access::CopyOnWrite, NOW).unwrap();
    let mut program = Program::on(tree);
    let file = program.open_file("large", 0);
    let written = program.tree.fd_pwrite(&file, b"x", 0, NOW);
    assert_eq!(written, Err(Errno::NOSPC));
    assert_eq!(program.read("large").len(), 5000);
    program.tree.fd_filestat_set_size(&file, 100, NOW).unwrap();
    assert_eq!(program.read("large"), [7; 100]);
}

#[test]
fn the_host_is_told_what_it_cannot_mount() {
    let mut tree = Tree::new(ROOMY, NOW).unwrap();
    let mut insert = |path: &[u8]| tree.insert_file(path, Arc::from([]), Access::ReadOnly, NOW);
    assert_eq!(insert(b"/a/b"), Ok(()));
    assert_eq!(insert(b"/a/b"), Err(Errno::EXIST));
    assert_eq!(insert(b"/a"), Err(Errno::EXIST));
    assert_eq!(insert(b"/"), Err(Errno::EXIST));
    assert_eq!(insert(b"/a/b/c"), Err(Errno::NOTDIR));
    assert_eq!(insert(b"/a/../c"), Err(Errno::INVAL));
    assert_eq!(insert(b"/a/\xff"), Err(Errno::ILSEQ));
    assert_eq!(insert("n".repeat(256).as_bytes()), Err(Errno::NAMETOOLONG));
    let huge: Arc<[u8]> = vec![0; (8 << 20) + 1].into();
    let too_large = tree.insert_file(b"huge", huge, Access::ReadOnly, NOW);
    assert_eq!(too_large, Err(Errno::FBIG));
    let over_file = tree.insert_directory(b"a/b", Access::ReadOnly, NOW);
    assert_eq!(over_file, Err(Errno::NOTDIR));
}

#[test]
fn a_preopen_below_the_root_is_a_sandbox() {
    let mut program = package(Access::ReadOnly);
    assert!(program.tree.preopen(b"/missing", 0, 0).is_err());
    assert!(program.tree.preopen(b"/app/data/file", 0, 0).is_err());
    let app = program.tree.preopen(b"/app", rights::ALL, rights::ALL).unwrap();
    let inside = program.tree.path_filestat_get(&app, 1, b"link");
    assert_eq!(inside.unwrap().size, 13);
    let outside = program.tree.path_filestat_get(&app, 1, b"../app/link");
    assert_eq!(outside, Err(Errno::NOTCAPABLE));
}

#[test]
fn a_mounted_link_from_the_root_is_kept_and_not_followed() {
    let mut tree = Tree::new(ROOMY, NOW).unwrap();
    tree.insert_symlink(b"abs", b"/etc/passwd", Access::ReadOnly, NOW)
        .unwrap();
    let program = Program::on(tree);
    assert_eq!(program.readlink("abs", 64).unwrap(), b"/etc/passwd");
    assert_eq!(program.stat("abs"), Err(Errno::NOTCAPABLE));
}

#[test]
fn a_tree_can_be_handed_to_another_thread() {
    fn assert_send<T: Send>() {}
    assert_send::<Tree>();
    assert_send::<Opened>();
}
