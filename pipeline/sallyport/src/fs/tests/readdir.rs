//! Listing directories, whole and in pieces, while they change.

use super::*;

/// One entry as a program decodes it.
#[derive(Debug, PartialEq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) ino: u64,
    filetype: u8,
    next: u64,
}

/// Reads one buffer: the entries that are whole in it, and whether the directory ended.
fn piece(tree: &Tree, dir: &mut OpenDir, size: usize, cookie: u64) -> (Vec<Listed>, bool) {
    let mut buffer = vec![0; size];
    let used = tree.fd_readdir(dir, &mut buffer, cookie).unwrap();
    (decode(&buffer[..used]), used < size)
}

fn decode(mut bytes: &[u8]) -> Vec<Listed> {
    let mut entries = Vec::new();
    while bytes.len() >= Dirent::SIZE {
        let (head, rest) = bytes.split_at(Dirent::SIZE);
        let length = u32::from_le_bytes(head[16..20].try_into().unwrap()) as usize;
        if rest.len() < length {
            break;
        }
        let (name, rest) = rest.split_at(length);
        entries.push(Listed {
            name: String::from_utf8(name.to_vec()).unwrap(),
            ino: u64::from_le_bytes(head[8..16].try_into().unwrap()),
            filetype: head[20],
            next: u64::from_le_bytes(head[0..8].try_into().unwrap()),
        });
        bytes = rest;
    }
    entries
}

/// Lists as wasi-libc does: buffer after buffer, from the last whole entry on.
pub(super) fn all(tree: &Tree, dir: &mut OpenDir, size: usize) -> Vec<Listed> {
    let mut entries: Vec<Listed> = Vec::new();
    loop {
        let cookie = entries.last().map_or(0, |entry| entry.next);
        let (more, end) = piece(tree, dir, size, cookie);
        assert!(end || !more.is_empty(), "a buffer this small never gets on");
        entries.extend(more);
        if end {
            return entries;
        }
    }
}

#[test]
fn an_empty_directory_has_two_entries() {
    let mut program = Program::new();
    program.mkdir("dir").unwrap();
    let mut dir = program.open_dir("dir");
    let entries = all(&program.tree, &mut dir, 256);
    let (own, up) = (program.stat("dir").unwrap().ino, program.stat(".").unwrap().ino);
    let seen: Vec<_> = entries.iter().map(|e| (&*e.name, e.ino, e.filetype)).collect();
    assert_eq!(seen, [(".", own, 3), ("..", up, 3)]);
}

#[test]
fn entries_tell_inode_and_kind() {
    let mut program = Program::new();
    program.touch("file");
    program.mkdir("dir").unwrap();
    program.symlink("file", "link").unwrap();
    let mut dir = program.open_dir(".");
    let entries = all(&program.tree, &mut dir, 256);
    let kinds: Vec<_> = entries[2..].iter().map(|e| (&*e.name, e.filetype)).collect();
    assert_eq!(kinds, [("file", 4), ("dir", 3), ("link", 7)]);
    assert_eq!(entries[2].ino, program.stat("file").unwrap().ino);
}

#[test]
fn a_listing_resumes_after_any_entry() {
    let mut program = Program::new();
    for name in ["a", "b", "c"] {
        program.touch(name);
    }
    let mut dir = program.open_dir(".");
    let (entries, end) = piece(&program.tree, &mut dir, 256, 0);
    assert!(end);
    for (at, entry) in entries.iter().enumerate() {
        let (rest, end) = piece(&program.tree, &mut dir, 256, entry.next);
        assert!(end);
        assert_eq!(rest, entries[at + 1..]);
    }
    assert_eq!(piece(&program.tree, &mut dir, 256, u64::MAX), (vec![], true));
}

#[test]
fn a_cookie_works_without_a_listing_begun() {
    let mut program = Program::new();
    program.touch("a");
    let mut dir = program.open_dir(".");
    let (rest, end) = piece(&program.tree, &mut dir, 256, 2);
    assert!(end);
    assert_eq!(rest[0].name, "a");
}

#[test]
fn the_last_entry_is_cut_where_the_buffer_ends() {
    let mut program = Program::new();
    program.touch("a-name-of-some-length");
    let mut dir = program.open_dir(".");
    let mut whole = [0; 256];
    let length = program.tree.fd_readdir(&mut dir, &mut whole, 0).unwrap();
    assert_eq!(length, 3 * Dirent::SIZE + 1 + 2 + 21);
    for size in 0..=length {
        let mut buffer = vec![0; size];
        let used = program.tree.fd_readdir(&mut dir, &mut buffer, 0).unwrap();
        assert_eq!(used, size);
        assert_eq!(buffer, whole[..size]);
    }
}

#[test]
fn a_thousand_entries_come_once_each_whatever_the_buffer() {
    let mut program = Program::new();
    for count in 0..1000 {
        program.touch(&format!("file.{count}"));
    }
    let mut dir = program.open_dir(".");
    for size in [40, 64, 256, 4096, 1 << 20] {
        let entries = all(&program.tree, &mut dir, size);
        assert_eq!(entries.len(), 1002);
        assert_eq!(entries[1001].name, "file.999");
    }
}

#[test]
fn removing_each_entry_as_it_is_listed_empties_the_directory() {
    let mut program = Program::new();
    for count in 0..100 {
        program.touch(&format!("f{count}"));
    }
    let mut dir = program.open_dir(".");
    let mut cookie = 0;
    loop {
        let (entries, end) = piece(&program.tree, &mut dir, 64, cookie);
        for entry in &entries {
            if !entry.name.starts_with('.') {
                program.unlink(&entry.name).unwrap();
            }
            cookie = entry.next;
        }
        if end {
            break;
        }
    }
    assert_eq!(program.names("."), [".", ".."]);
}

#[test]
fn a_program_that_makes_a_file_for_each_it_is_shown_comes_to_an_end() {
    let mut program = Program::new();
    program.touch("a");
    program.touch("b");
    let mut dir = program.open_dir(".");
    let mut cookie = 0;
    let mut seen = Vec::new();
    loop {
        let (entries, end) = piece(&program.tree, &mut dir, 32, cookie);
        if let Some(entry) = entries.into_iter().next() {
            cookie = entry.next;
            program.touch(&format!("copy-of{}", entry.name));
            seen.push(entry.name);
        } else if end {
            break;
        }
    }
    assert_eq!(seen, [".", "..", "a", "b"]);
    assert_eq!(all(&program.tree, &mut dir, 4096).len(), 8);
}

#[test]
fn a_file_renamed_during_the_listing_comes_once() {
    let mut program = Program::new();
    for name in ["a", "b", "c"] {
        program.touch(name);
    }
    let mut dir = program.open_dir(".");
    let (first, _) = piece(&program.tree, &mut dir, 76, 0);
    assert_eq!(first.last().unwrap().name, "a");
    program.rename("a", "z").unwrap();
    program.rename("c", "y").unwrap();
    let (rest, _) = piece(&program.tree, &mut dir, 256, first.last().unwrap().next);
    let names: Vec<_> = rest.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["b", "y"]);
}
