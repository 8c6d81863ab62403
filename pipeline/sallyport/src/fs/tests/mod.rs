//! What a program sees: each test does what a guest does through WASI, and checks what it gets back.

mod directories;
mod files;
mod limits;
mod links;
mod mounts;
mod opening;
mod paths;
mod readdir;
mod renames;
mod rights_held;
mod stats;
mod survives_anything;
mod wire_layout;

use super::flags::{lookupflags, oflags};
use super::*;
use crate::errno::Errno;

/// A moment well after 1970, so that earlier times can be set.
const NOW: Timestamp = 1_700_000_000_000_000_000;

const ROOMY: Limits = Limits {
    max_bytes: 16 << 20,
    max_inodes: 4096,
    max_file_bytes: 8 << 20,
};

/// The rights a program asks for when it opens a file to read and write, and a directory to do anything.
const FILE: rights::Rights = rights::REGULAR_FILE;
const DIR: rights::Rights = rights::DIRECTORY;

/// A program with the root preopened, and a clock that moves by one at each operation.
struct Program {
    tree: Tree,
    root: OpenDir,
    now: Timestamp,
}

impl Program {
    fn new() -> Self {
        Self::within(ROOMY)
    }

    fn within(limits: Limits) -> Self {
        Self::on(Tree::new(limits, NOW).unwrap())
    }

    fn on(mut tree: Tree) -> Self {
        let root = tree.preopen(b"/", rights::ALL, rights::ALL).unwrap();
        let now = NOW;
        Self { tree, root, now }
    }

    fn tick(&mut self) -> Timestamp {
        self.now += 1;
        self.now
    }

    fn open_with(&mut self, request: &OpenRequest<'_>) -> Result<Opened, Errno> {
        let now = self.tick();
        self.tree.path_open(&self.root, request, now)
    }

    fn open(&mut self, path: &str, oflags: u16, base: rights::Rights) -> Result<Opened, Errno> {
        self.open_with(&request(path, oflags, base))
    }

    fn open_follow(&mut self, path: &str, oflags: u16) -> Result<Opened, Errno> {
        let lookupflags = lookupflags::SYMLINK_FOLLOW;
        self.open_with(&OpenRequest {
            lookupflags,
            ..request(path, oflags, 0)
        })
    }

    fn open_file(&mut self, path: &str, oflags: u16) -> OpenFile {
        match self.open(path, oflags, FILE).unwrap() {
            Opened::File(file) => file,
            Opened::Dir(_) => panic!("{path} is a directory"),
        }
    }

    fn open_dir(&mut self, path: &str) -> OpenDir {
        let rights_inheriting = rights::ALL;
        let request = OpenRequest {
            rights_inheriting,
            ..request(path, oflags::DIRECTORY, DIR)
        };
        match self.open_with(&request).unwrap() {
            Opened::Dir(dir) => dir,
            Opened::File(_) => panic!("{path} is a file"),
        }
    }

    /// Opens and closes; tells what opening said.
    fn try_open(&mut self, path: &str, oflags: u16) -> Result<(), Errno> {
        let opened = self.open(path, oflags, 0)?;
        self.tree.close(opened);
        Ok(())
    }

    fn try_follow(&mut self, path: &str, oflags: u16) -> Result<(), Errno> {
        let opened = self.open_follow(path, oflags)?;
        self.tree.close(opened);
        Ok(())
    }

    fn touch(&mut self, path: &str) {
        self.try_open(path, oflags::CREAT).unwrap();
    }

    fn write(&mut self, path: &str, data: &[u8]) {
        let mut file = self.open_file(path, oflags::CREAT | oflags::TRUNC);
        let now = self.tick();
        let count = self.tree.fd_write(&mut file, data, now).unwrap();
        assert_eq!(count, data.len());
        self.tree.close(file);
    }

    fn read(&mut self, path: &str) -> Vec<u8> {
        let mut opened = self.open(path, 0, rights::FD_READ).unwrap();
        let file = opened.file_mut().unwrap();
        let mut data = vec![0; 9 << 20];
        let count = self.tree.fd_read(file, &mut data).unwrap();
        data.truncate(count);
        self.tree.close(opened);
        data
    }

    fn mkdir(&mut self, path: &str) -> Result<(), Errno> {
        let now = self.tick();
        let path = path.as_bytes();
        self.tree.path_create_directory(&self.root, path, now)
    }

    fn rmdir(&mut self, path: &str) -> Result<(), Errno> {
        let now = self.tick();
        let path = path.as_bytes();
        self.tree.path_remove_directory(&self.root, path, now)
    }

    fn unlink(&mut self, path: &str) -> Result<(), Errno> {
        let now = self.tick();
        let path = path.as_bytes();
        self.tree.path_unlink_file(&self.root, path, now)
    }

    fn rename(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        let now = self.tick();
        let (old, new) = (old.as_bytes(), new.as_bytes());
        self.tree.path_rename(&self.root, old, &self.root, new, now)
    }

    fn link(&mut self, old: &str, new: &str) -> Result<(), Errno> {
        self.link_flagged(0, old, new)
    }

    fn link_flagged(&mut self, flags: u32, old: &str, new: &str) -> Result<(), Errno> {
        let now = self.tick();
        let (old, new) = (old.as_bytes(), new.as_bytes());
        self.tree.path_link(&self.root, flags, old, &self.root, new, now)
    }

    fn symlink(&mut self, target: &str, path: &str) -> Result<(), Errno> {
        let now = self.tick();
        let (target, path) = (target.as_bytes(), path.as_bytes());
        self.tree.path_symlink(target, &self.root, path, now)
    }

    fn readlink(&self, path: &str, size: usize) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; size];
        let path = path.as_bytes();
        let count = self.tree.path_readlink(&self.root, path, &mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    fn lstat(&self, path: &str) -> Result<Filestat, Errno> {
        self.tree.path_filestat_get(&self.root, 0, path.as_bytes())
    }

    fn stat(&self, path: &str) -> Result<Filestat, Errno> {
        let flags = lookupflags::SYMLINK_FOLLOW;
        self.tree.path_filestat_get(&self.root, flags, path.as_bytes())
    }

    /// Names in the directory, `.` and `..` included, in the order they are listed.
    fn names(&mut self, path: &str) -> Vec<String> {
        let mut dir = self.open_dir(path);
        let names = readdir::all(&self.tree, &mut dir, 4096);
        self.tree.close(dir);
        names.into_iter().map(|entry| entry.name).collect()
    }
}

fn request(path: &str, oflags: u16, rights_base: rights::Rights) -> OpenRequest<'_> {
    OpenRequest {
        lookupflags: 0,
        path: path.as_bytes(),
        oflags,
        rights_base,
        rights_inheriting: 0,
        fdflags: 0,
    }
}
