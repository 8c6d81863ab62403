//! What a program meets when it asks for too much.

use super::*;

const TIGHT: Limits = Limits {
    max_bytes: 4096,
    max_inodes: 8,
    max_file_bytes: 3000,
};

#[test]
fn a_full_file_system_takes_what_fits_and_then_nothing() {
    let mut program = Program::within(TIGHT);
    program.write("a", &[1; 2500]);
    let mut file = program.open_file("b", oflags::CREAT);
    let count = program.tree.fd_write(&mut file, &[2; 2500], NOW).unwrap();
    assert!(count > 1000 && count < 2500, "{count}");
    assert_eq!(program.tree.usage().bytes, TIGHT.max_bytes);
    let more = program.tree.fd_write(&mut file, &[2], NOW);
    assert_eq!(more, Err(Errno::NOSPC));
    // What is there can still be changed.
    assert_eq!(program.tree.fd_pwrite(&file, &[3; 10], 0, NOW), Ok(10));
    assert_eq!(program.try_open("c", oflags::CREAT), Err(Errno::NOSPC));
    program.unlink("a").unwrap();
    assert_eq!(program.tree.fd_write(&mut file, &[2], NOW), Ok(1));
}

#[test]
fn one_file_has_a_largest_size() {
    let mut program = Program::within(TIGHT);
    let mut file = program.open_file("a", oflags::CREAT);
    assert_eq!(program.tree.fd_write(&mut file, &[1; 3500], NOW), Ok(3000));
    assert_eq!(program.tree.fd_write(&mut file, &[1], NOW), Err(Errno::FBIG));
    assert_eq!(program.tree.fd_write(&mut file, &[], NOW), Ok(0));
    for size in [3001, u64::MAX] {
        let resized = program.tree.fd_filestat_set_size(&file, size, NOW);
        assert_eq!(resized, Err(Errno::FBIG));
        assert_eq!(program.tree.fd_allocate(&file, 0, size, NOW), Err(Errno::FBIG));
        let far = program.tree.fd_pwrite(&file, &[1], size, NOW);
        assert_eq!(far, Err(Errno::FBIG));
    }
    assert_eq!(program.stat("a").unwrap().size, 3000);
}

#[test]
fn a_hole_counts_like_written_bytes() {
    let mut program = Program::within(Limits {
        max_file_bytes: u64::MAX,
        ..TIGHT
    });
    let file = program.open_file("a", oflags::CREAT);
    let hole = program.tree.fd_filestat_set_size(&file, 1 << 40, NOW);
    assert_eq!(hole, Err(Errno::NOSPC));
    let far = program.tree.fd_pwrite(&file, &[1], 1 << 40, NOW);
    assert_eq!(far, Err(Errno::NOSPC));
    let furthest = program.tree.fd_pwrite(&file, &[1], u64::MAX, NOW);
    assert_eq!(furthest.unwrap_err(), Errno::FBIG);
    assert_eq!(program.stat("a").unwrap().size, 0);
}

#[test]
fn inodes_run_out_and_come_back() {
    let mut program = Program::within(TIGHT);
    let before = program.tree.usage();
    for name in 0..7 {
        program.touch(&name.to_string());
    }
    assert_eq!(program.tree.usage().inodes, 8);
    assert_eq!(program.try_open("x", oflags::CREAT), Err(Errno::NOSPC));
    assert_eq!(program.mkdir("x"), Err(Errno::NOSPC));
    assert_eq!(program.symlink("t", "x"), Err(Errno::NOSPC));
    for name in 0..7 {
        program.unlink(&name.to_string()).unwrap();
    }
    assert_eq!(program.tree.usage(), before);
}

#[test]
fn names_count_so_links_to_one_file_are_not_free() {
    let mut program = Program::within(TIGHT);
    program.touch("a");
    let made = (0..1000)
        .take_while(|n| program.link("a", &format!("{n:0>200}")).is_ok())
        .count();
    assert!(made > 2 && made < 20, "{made}");
    assert_eq!(program.link("a", &"x".repeat(200)), Err(Errno::NOSPC));
}

#[test]
fn a_name_that_does_not_fit_leaves_everything_as_it_was() {
    let mut program = Program::within(TIGHT);
    program.write("a", &[0; 3000]);
    program.write("b", &[0; 700]);
    let before = program.tree.usage();
    assert_eq!(program.rename("b", &"x".repeat(250)), Err(Errno::NOSPC));
    assert_eq!(program.symlink(&"t".repeat(300), "s"), Err(Errno::NOSPC));
    assert_eq!(program.tree.usage(), before);
    assert_eq!(program.names("."), [".", "..", "a", "b"]);
}

#[test]
fn a_tree_needs_room_for_its_root() {
    let nothing = Limits { max_inodes: 0, ..TIGHT };
    assert_eq!(Tree::new(nothing, NOW).map(|_| ()), Err(Errno::NOSPC));
}

#[test]
fn a_deep_tree_is_walked_without_recursion() {
    let limits = Limits {
        max_inodes: 20_000,
        ..ROOMY
    };
    let mut program = Program::within(limits);
    let mut dir = program.open_dir(".");
    for _ in 0..15_000 {
        program.tree.path_create_directory(&dir, b"d", NOW).unwrap();
        let asked = OpenRequest {
            rights_inheriting: rights::ALL,
            ..request("d", oflags::DIRECTORY, DIR)
        };
        let Ok(Opened::Dir(next)) = program.tree.path_open(&dir, &asked, NOW) else {
            panic!("the directory just made opens");
        };
        program.tree.close(std::mem::replace(&mut dir, next));
    }
    let into_itself = program.tree.path_rename(&program.root, b"d", &dir, b"d", NOW);
    assert_eq!(into_itself, Err(Errno::INVAL));
}
