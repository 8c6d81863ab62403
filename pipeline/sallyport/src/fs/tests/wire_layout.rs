//! The records as the guest finds them in its memory.

use super::*;

const STAT: Filestat = Filestat {
    dev: 0x0101,
    ino: 0x0202,
    filetype: Filetype::RegularFile,
    nlink: 0x0303,
    size: 0x0404,
    atim: 0x0505,
    mtim: 0x0606,
    ctim: 0x0707,
};

fn words(record: &[u8]) -> Vec<u64> {
    record
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

#[test]
fn filestat_is_64_bytes() {
    let expected = [0x0101, 0x0202, 4, 0x0303, 0x0404, 0x0505, 0x0606, 0x0707];
    assert_eq!(words(&STAT.encode()), expected);
}

#[test]
fn filestat_of_the_unstable_snapshot_is_56_bytes() {
    let packed = 4 | 0x0303 << 32;
    let expected = [0x0101, 0x0202, packed, 0x0404, 0x0505, 0x0606, 0x0707];
    assert_eq!(words(&STAT.encode_unstable()), expected);
}

#[test]
fn fdstat_is_24_bytes() {
    let stat = Fdstat {
        filetype: Filetype::Directory,
        flags: 0x1f,
        rights_base: 0x0a0a,
        rights_inheriting: 0x0b0b,
    };
    assert_eq!(words(&stat.encode()), [3 | 0x1f << 16, 0x0a0a, 0x0b0b]);
}

#[test]
fn dirent_is_24_bytes() {
    let entry = Dirent {
        d_next: 0x0c0c,
        d_ino: 0x0d0d,
        d_namlen: 0x0e0e,
        d_type: Filetype::SymbolicLink,
    };
    assert_eq!(words(&entry.encode()), [0x0c0c, 0x0d0d, 0x0e0e | 7 << 32]);
}
