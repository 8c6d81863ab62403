//! Long runs of arbitrary operations: nothing panics, nothing leaks, and the books stay true.

use super::*;
use crate::fs::flags::{Whence, fdflags, fstflags};

/// A small generator (xorshift64*), so that a failing run is the same run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }

    /// A path of a few components out of few names, so that operations meet.
    fn path(&mut self) -> String {
        let names = ["a", "b", "c", "d", ".", "..", "e"];
        let parts: Vec<_> = (0..=self.roll(3)).map(|_| self.pick(&names)).collect();
        let slash = self.pick(&["", "", "", "/"]);
        parts.join("/") + slash
    }
}

const SMALL: Limits = Limits {
    max_bytes: 20_000,
    max_inodes: 24,
    max_file_bytes: 6000,
};

#[test]
fn arbitrary_operations_keep_the_books_true() {
    for seed in 1..=20 {
        let mut dice = Dice(seed * 0x9E37_79B9);
        let mut program = Program::within(SMALL);
        let empty = program.tree.usage();
        let mut open = Vec::new();
        for _ in 0..3000 {
            step(&mut program, &mut open, &mut dice);
            program.tree.assert_consistent();
        }
        for opened in open {
            program.tree.close(opened);
        }
        clear(&mut program);
        assert_eq!(program.tree.usage(), empty, "seed {seed}");
    }
}

fn step(program: &mut Program, open: &mut Vec<Opened>, dice: &mut Dice) {
    let (old, new) = (dice.path(), dice.path());
    let _ = match dice.roll(12) {
        0 => program.mkdir(&new),
        1 => program.rmdir(&new),
        2 => program.unlink(&new),
        3 | 4 => program.rename(&old, &new),
        5 => program.link_flagged(dice.roll(2) as u32, &old, &new),
        6 => program.symlink(&old, &new),
        7 if !open.is_empty() => {
            let chosen = dice.roll(open.len() as u64) as usize;
            program.tree.close(open.swap_remove(chosen));
            Ok(())
        }
        8 | 9 if !open.is_empty() => {
            let chosen = dice.roll(open.len() as u64) as usize;
            use_descriptor(program, &mut open[chosen], &new, dice)
        }
        _ => open_something(program, &new, dice).map(|opened| open.push(opened)),
    };
}

fn open_something(program: &mut Program, path: &str, dice: &mut Dice) -> Result<Opened, Errno> {
    let oflags = dice.pick(&[
        0,
        oflags::CREAT,
        oflags::DIRECTORY,
        oflags::TRUNC,
        oflags::CREAT | oflags::EXCL,
    ]);
    let rights_base = dice.pick(&[FILE, DIR, 0]);
    program.open_with(&OpenRequest {
        lookupflags: dice.roll(2) as u32,
        path: path.as_bytes(),
        oflags,
        rights_base,
        rights_inheriting: rights::ALL,
        fdflags: dice.pick(&[0, fdflags::APPEND]),
    })
}

fn use_descriptor(program: &mut Program, opened: &mut Opened, path: &str, dice: &mut Dice) -> Result<(), Errno> {
    match opened {
        Opened::File(file) => use_file(program, file, dice),
        Opened::Dir(dir) => use_dir(program, dir, path, dice),
    }
}

fn use_file(program: &mut Program, file: &mut OpenFile, dice: &mut Dice) -> Result<(), Errno> {
    let size = dice.roll(8000);
    let data = vec![1; dice.roll(3000) as usize];
    let tree = &mut program.tree;
    match dice.roll(7) {
        0 => tree.fd_write(file, &data, NOW).map(|_| ()),
        1 => tree.fd_pwrite(file, &data, size, NOW).map(|_| ()),
        2 => tree.fd_read(file, &mut [0; 500]).map(|_| ()),
        3 => tree.fd_seek(file, size as i64 - 4000, Whence::Cur).map(|_| ()),
        4 => tree.fd_allocate(file, size, size, NOW),
        5 => tree.fd_filestat_set_size(file, size, NOW),
        _ => {
            let fstflags = dice.roll(16) as u16 & fstflags::ALL;
            let times = TimesRequest {
                atim: 1,
                mtim: 2,
                fstflags,
            };
            tree.fd_filestat_set_times(file.descriptor(), &times, NOW)
        }
    }
}

fn use_dir(program: &mut Program, dir: &mut OpenDir, path: &str, dice: &mut Dice) -> Result<(), Errno> {
    let (tree, root, path) = (&mut program.tree, &program.root, path.as_bytes());
    match dice.roll(6) {
        0 => tree.path_rename(root, path, dir, path, NOW),
        1 => tree.path_rename(dir, path, root, path, NOW),
        2 => tree.path_create_directory(dir, path, NOW),
        3 => tree.path_link(root, 0, path, dir, path, NOW),
        4 => tree.path_remove_directory(dir, path, NOW),
        _ => {
            let cookie = dice.roll(40);
            tree.fd_readdir(dir, &mut [0; 300], cookie).map(|_| ())
        }
    }
}

/// Removes everything, as `rm -r` would: a directory that is not empty yet comes again after what is in it.
fn clear(program: &mut Program) {
    let mut waiting = vec![String::from(".")];
    while let Some(path) = waiting.last().cloned() {
        let depth = waiting.len();
        for name in program.names(&path).split_off(2) {
            let below = format!("{path}/{name}");
            if program.unlink(&below).is_err() && program.rmdir(&below).is_err() {
                waiting.push(below);
            }
        }
        if waiting.len() == depth {
            waiting.pop();
        }
    }
}
