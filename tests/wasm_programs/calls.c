/* Makes calls of WASI itself below the directory at descriptor 3, and prints what each answers: a name, the errno and
   what else came of it. What a host's file system decides (inodes, blocks, order of a listing) is not printed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

/* What prepares or clears up is seen to have gone wrong by the calls after it. */
#pragma clang diagnostic ignored "-Wunused-result"

#define ROOT 3
#define ALL_RIGHTS (__WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | \
    __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE | __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | \
    __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS | __WASI_RIGHTS_FD_ADVISE | __WASI_RIGHTS_FD_ALLOCATE | \
    __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_DATASYNC | __WASI_RIGHTS_POLL_FD_READWRITE)
#define DIRECTORY_RIGHTS (__WASI_RIGHTS_PATH_CREATE_DIRECTORY | __WASI_RIGHTS_PATH_CREATE_FILE | \
    __WASI_RIGHTS_PATH_LINK_SOURCE | __WASI_RIGHTS_PATH_LINK_TARGET | __WASI_RIGHTS_PATH_OPEN | \
    __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_PATH_READLINK | __WASI_RIGHTS_PATH_RENAME_SOURCE | \
    __WASI_RIGHTS_PATH_RENAME_TARGET | __WASI_RIGHTS_PATH_FILESTAT_GET | __WASI_RIGHTS_PATH_FILESTAT_SET_TIMES | \
    __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | __WASI_RIGHTS_PATH_SYMLINK | \
    __WASI_RIGHTS_PATH_REMOVE_DIRECTORY | __WASI_RIGHTS_PATH_UNLINK_FILE)

static void told(const char *name, __wasi_errno_t error) { printf("%s: %d\n", name, error); }
static void told_with(const char *name, __wasi_errno_t error, long long value) {
    printf("%s: %d", name, error);
    if (!error) printf(" %lld", value);
    printf("\n");
}

static __wasi_errno_t open_at(int at, const char *path, int oflags, int fdflags, __wasi_fd_t *fd) {
    return __wasi_path_open(at, 0, path, oflags, ALL_RIGHTS, 0, fdflags, fd);
}
static int opened(const char *path, int oflags, int fdflags) {
    __wasi_fd_t fd = 999;
    __wasi_errno_t error = open_at(ROOT, path, oflags, fdflags, &fd);
    if (error) { printf("cannot open %s: %d\n", path, error); exit(1); }
    return fd;
}
static int opened_directory(const char *path) {
    __wasi_fd_t fd = 999;
    __wasi_errno_t error = __wasi_path_open(ROOT, 0, path, __WASI_OFLAGS_DIRECTORY, DIRECTORY_RIGHTS,
        DIRECTORY_RIGHTS | ALL_RIGHTS, 0, &fd);
    if (error) { printf("cannot open directory %s: %d\n", path, error); exit(1); }
    return fd;
}
static void make(const char *path, const char *text) {
    int fd = opened(path, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, 0);
    __wasi_ciovec_t piece = {(const uint8_t *)text, strlen(text)};
    __wasi_size_t size;
    __wasi_fd_write(fd, &piece, 1, &size);
    __wasi_fd_close(fd);
}
static void show(const char *name, const char *path) {
    char bytes[64] = {0};
    __wasi_fd_t fd;
    __wasi_size_t size = 0;
    __wasi_errno_t error = open_at(ROOT, path, 0, 0, &fd);
    if (!error) {
        __wasi_iovec_t piece = {(uint8_t *)bytes, sizeof bytes - 1};
        error = __wasi_fd_read(fd, &piece, 1, &size);
        __wasi_fd_close(fd);
    }
    printf("%s: %d %u [", name, error, (unsigned)size);
    for (__wasi_size_t at = 0; at < size; at++) putchar(bytes[at] ? bytes[at] : '.');
    printf("]\n");
}

static void opens(void) {
    const char *paths[] = {"", ".", "./", "..", "../", "/", "/file", "file/", "file/.", "file/..", "dir", "dir/", "dir/.",
        "dir/./", "dir/..", "dir/../file", "dir//inner", "./file", ".//file", "no", "no/", "no/file", "no/../file",
        "file/file", "dir/../../file", "link", "link/", "to-dir", "to-dir/", "to-dir/inner", "to-dir/../file",
        "dangling", "loop", "loop/x", "outside", "absolute", "chain", "to-slash"};
    const int how[] = {0, __WASI_OFLAGS_DIRECTORY, __WASI_OFLAGS_CREAT, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL,
        __WASI_OFLAGS_CREAT | __WASI_OFLAGS_DIRECTORY, __WASI_OFLAGS_TRUNC};
    for (unsigned path = 0; path < sizeof paths / sizeof *paths; path++)
        for (unsigned one = 0; one < sizeof how / sizeof *how; one++)
            for (int follow = 0; follow < 2; follow++) {
                __wasi_fd_t fd;
                int is_directory = how[one] == __WASI_OFLAGS_DIRECTORY;
                __wasi_errno_t error = __wasi_path_open(ROOT, follow, paths[path], how[one],
                    is_directory ? DIRECTORY_RIGHTS : __WASI_RIGHTS_FD_READ |
                    (how[one] & __WASI_OFLAGS_TRUNC ? __WASI_RIGHTS_FD_WRITE : 0), 0, 0, &fd);
                printf("open %s %d %d: %d\n", paths[path], how[one], follow, error);
                if (!error) __wasi_fd_close(fd);
                if (how[one] & __WASI_OFLAGS_CREAT) __wasi_path_unlink_file(ROOT, "no");
            }
}

static void stats(void) {
    const char *paths[] = {"", ".", "..", "/", "file", "file/", "dir", "dir/", "dir/.", "dir/..", "link", "link/", "to-dir",
        "to-dir/", "dangling", "loop", "outside", "absolute"};
    for (unsigned path = 0; path < sizeof paths / sizeof *paths; path++)
        for (int follow = 0; follow < 2; follow++) {
            __wasi_filestat_t stat;
            __wasi_errno_t error = __wasi_path_filestat_get(ROOT, follow, paths[path], &stat);
            printf("stat %s %d: %d", paths[path], follow, error);
            if (!error) printf(" type %d", stat.filetype);
            if (!error && stat.filetype != __WASI_FILETYPE_DIRECTORY) printf(" size %d", (int)stat.size);
            printf("\n");
        }
}

static void makes_directories(void) {
    const char *paths[] = {"", ".", "..", "/", "dir", "dir/", "file", "file/", "link", "to-dir", "dangling", "no/new", "new1",
        "new2/", "new3/.", "new4/..", "dir/new5", "dir/../new6", "../new7", "dangling/"};
    for (unsigned path = 0; path < sizeof paths / sizeof *paths; path++)
        printf("mkdir %s: %d\n", paths[path], __wasi_path_create_directory(ROOT, paths[path]));
}

static void removes(void) {
    const char *paths[] = {"", ".", "..", "/", "dir", "dir/.", "dir/..", "file", "file/", "no", "link", "to-dir", "to-dir/",
        "dangling", "new1", "new1"};
    for (unsigned path = 0; path < sizeof paths / sizeof *paths; path++)
        printf("rmdir %s: %d\n", paths[path], __wasi_path_remove_directory(ROOT, paths[path]));
    const char *files[] = {"", ".", "..", "/", "dir", "dir/", "file/", "no", "no/", "to-dir/", "link/", "to-dir", "dangling",
        "file/.", "dir/inner/"};
    for (unsigned path = 0; path < sizeof files / sizeof *files; path++)
        printf("unlink %s: %d\n", files[path], __wasi_path_unlink_file(ROOT, files[path]));
}

static void renames(void) {
    __wasi_path_create_directory(ROOT, "r");
    int fd = opened_directory("r");
    const char *names[] = {"file", "file/", "dir", "dir/", "full", "link", "to-dir", "dangling", "no", "", ".", "..", "dir/below",
        "full/../file", "no/x"};
    for (unsigned from = 0; from < sizeof names / sizeof *names; from++)
        for (unsigned to = 0; to < sizeof names / sizeof *names; to++) {
            make("r/file", "text");
            __wasi_path_create_directory(fd, "dir");
            __wasi_path_create_directory(fd, "full");
            make("r/full/inner", "inner");
            __wasi_path_symlink("file", fd, "link");
            __wasi_path_symlink("full", fd, "to-dir");
            __wasi_path_symlink("nowhere", fd, "dangling");
            printf("rename %s %s: %d\n", names[from], names[to], __wasi_path_rename(fd, names[from], fd, names[to]));
            const char *links[] = {"file", "dir/below", "full/inner", "dir/inner", "link", "to-dir", "dangling", "no/inner", "no/below", "no",
                "file/inner", "link/inner", "dangling/inner", "to-dir/inner"};
            for (unsigned link = 0; link < sizeof links / sizeof *links; link++) __wasi_path_unlink_file(fd, links[link]);
            const char *directories[] = {"dir/below", "no/below", "dir", "full", "no", "file", "link", "to-dir", "dangling"};
            for (unsigned one = 0; one < sizeof directories / sizeof *directories; one++)
                __wasi_path_remove_directory(fd, directories[one]);
        }
    __wasi_fd_close(fd);
}

static void links(void) {
    const char *from[] = {"file", "dir", "link", "dangling", "no", "", ".", "file/", "../file", "/file"};
    const char *to[] = {"hard", "file", "dir", "hard/", "", "no/hard", "dangling", "../hard"};
    for (unsigned one = 0; one < sizeof from / sizeof *from; one++)
        for (unsigned other = 0; other < sizeof to / sizeof *to; other++) {
            printf("link %s %s: %d\n", from[one], to[other], __wasi_path_link(ROOT, 0, from[one], ROOT, to[other]));
            __wasi_path_unlink_file(ROOT, "hard");
        }
    told("link by following", __wasi_path_link(ROOT, 1, "link", ROOT, "hard"));
    __wasi_path_unlink_file(ROOT, "hard");
    const char *names[] = {"", ".", "..", "file", "file/", "dir", "dir/", "s1/", "no/s2", "link", "dangling", "../s3", "/s4"};
    for (unsigned one = 0; one < sizeof names / sizeof *names; one++)
        printf("symlink %s: %d\n", names[one], __wasi_path_symlink("file", ROOT, names[one]));
    told("symlink of nothing", __wasi_path_symlink("", ROOT, "s5"));
    const char *read[] = {"", ".", "..", "file", "dir", "link", "link/", "to-dir", "to-dir/", "dangling", "loop", "no", "no/x"};
    for (unsigned one = 0; one < sizeof read / sizeof *read; one++)
        for (int room = 0; room < 20; room += 3) {
            uint8_t bytes[32];
            __wasi_size_t size = 0;
            __wasi_errno_t error = __wasi_path_readlink(ROOT, read[one], bytes, room, &size);
            printf("readlink %s %d: %d", read[one], room, error);
            if (!error) printf(" [%.*s]", (int)size, (char *)bytes);
            printf("\n");
        }
}

static void positions(void) {
    __wasi_filesize_t at;
    __wasi_size_t size;
    uint8_t bytes[16];
    __wasi_ciovec_t ab = {(const uint8_t *)"ab", 2};
    __wasi_iovec_t in = {bytes, sizeof bytes};
    int fd = opened("hole", __WASI_OFLAGS_CREAT, 0);
    told_with("seek past the end", __wasi_fd_seek(fd, 10, __WASI_WHENCE_SET, &at), at);
    told_with("read there", __wasi_fd_read(fd, &in, 1, &size), size);
    told_with("write there", __wasi_fd_write(fd, &ab, 1, &size), size);
    show("a hole", "hole");
    told("seek before the start", __wasi_fd_seek(fd, -1, __WASI_WHENCE_SET, &at));
    told("seek before the start from here", __wasi_fd_seek(fd, -100, __WASI_WHENCE_CUR, &at));
    told_with("tell", __wasi_fd_tell(fd, &at), at);
    told_with("seek from the end", __wasi_fd_seek(fd, -2, __WASI_WHENCE_END, &at), at);
    told("seek too far", __wasi_fd_seek(fd, INT64_MAX, __WASI_WHENCE_END, &at));
    told_with("tell again", __wasi_fd_tell(fd, &at), at);
    told_with("pread past the end", __wasi_fd_pread(fd, &in, 1, 100, &size), size);
    told_with("pread the last bytes", __wasi_fd_pread(fd, &in, 1, 11, &size), size);
    told_with("tell after pread", __wasi_fd_tell(fd, &at), at);
    told_with("pwrite past the end", __wasi_fd_pwrite(fd, &ab, 1, 20, &size), size);
    told_with("write of nothing", __wasi_fd_write(fd, &ab, 0, &size), size);
    told_with("read of nothing", __wasi_fd_read(fd, &in, 0, &size), size);
    show("after pwrite", "hole");
    __wasi_ciovec_t three[] = {{(const uint8_t *)"1", 1}, {(const uint8_t *)"", 0}, {(const uint8_t *)"23", 2}};
    __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at);
    told_with("gathered", __wasi_fd_write(fd, three, 3, &size), size);
    told("shrink", __wasi_fd_filestat_set_size(fd, 2));
    told_with("position is kept", __wasi_fd_tell(fd, &at), at);
    told_with("read past what was cut", __wasi_fd_read(fd, &in, 1, &size), size);
    told("grow", __wasi_fd_filestat_set_size(fd, 6));
    show("grown with zeroes", "hole");
    told("a size that is too large", __wasi_fd_filestat_set_size(fd, UINT64_MAX));
    told("advise", __wasi_fd_advise(fd, 0, 0, __WASI_ADVICE_WILLNEED));
    told("datasync", __wasi_fd_datasync(fd));
    told("sync", __wasi_fd_sync(fd));
    __wasi_fd_close(fd);

    make("log", "one");
    fd = opened("log", 0, __WASI_FDFLAGS_APPEND);
    told_with("tell of what is appended to", __wasi_fd_tell(fd, &at), at);
    told_with("append", __wasi_fd_write(fd, &ab, 1, &size), size);
    told_with("tell after it", __wasi_fd_tell(fd, &at), at);
    __wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &at);
    told_with("read from the start", __wasi_fd_read(fd, &in, 1, &size), size);
    __wasi_fd_seek(fd, 1, __WASI_WHENCE_SET, &at);
    told_with("append again", __wasi_fd_write(fd, &ab, 1, &size), size);
    show("appended", "log");
    told("append no more", __wasi_fd_fdstat_set_flags(fd, 0));
    __wasi_fd_seek(fd, 1, __WASI_WHENCE_SET, &at);
    told_with("write in the middle", __wasi_fd_write(fd, &ab, 1, &size), size);
    show("overwritten", "log");
    __wasi_fd_close(fd);

    int directory = opened_directory("dir");
    told("read a directory", __wasi_fd_read(directory, &in, 1, &size));
    told("write to a directory", __wasi_fd_write(directory, &ab, 1, &size));
    told("seek a directory", __wasi_fd_seek(directory, 0, __WASI_WHENCE_CUR, &at));
    told("size of a directory", __wasi_fd_filestat_set_size(directory, 0));
    told("allocate a directory", __wasi_fd_allocate(directory, 0, 1));
    told("sync a directory", __wasi_fd_sync(directory));
    __wasi_fd_close(directory);
}

static void one_time(const char *name, int flags, __wasi_timestamp_t at, __wasi_timestamp_t mt) {
    __wasi_filestat_t stat;
    __wasi_errno_t error = __wasi_path_filestat_set_times(ROOT, 0, "timed", at, mt, flags);
    __wasi_path_filestat_get(ROOT, 0, "timed", &stat);
    printf("%s: %d", name, error);
    if (!error && !(flags & (__WASI_FSTFLAGS_ATIM_NOW | __WASI_FSTFLAGS_MTIM_NOW)))
        printf(" %llu %llu", (unsigned long long)stat.atim, (unsigned long long)stat.mtim);
    printf("\n");
}

static void times(void) {
    make("timed", "");
    one_time("both times", __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM, 1000000001, 2000000002);
    one_time("access only", __WASI_FSTFLAGS_ATIM, 5, 7);
    one_time("change only", __WASI_FSTFLAGS_MTIM, 9, 11);
    one_time("neither", 0, 1, 1);
    one_time("now and then", __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW, 1, 1);
    one_time("change now and then", __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW, 1, 1);
    one_time("now", __WASI_FSTFLAGS_ATIM_NOW | __WASI_FSTFLAGS_MTIM_NOW, 1, 1);
    told("times of nothing", __wasi_path_filestat_set_times(ROOT, 0, "no", 1, 1, __WASI_FSTFLAGS_ATIM));
    told("times of a link that leads nowhere", __wasi_path_filestat_set_times(ROOT, 1, "dangling", 1, 1, __WASI_FSTFLAGS_ATIM));
    told("times of the link itself", __wasi_path_filestat_set_times(ROOT, 0, "dangling", 1, 1, __WASI_FSTFLAGS_ATIM));
}

static void listings(void) {
    uint8_t bytes[4096], small[30];
    __wasi_size_t used;
    __wasi_path_create_directory(ROOT, "list");
    for (int one = 0; one < 5; one++) {
        char name[16];
        snprintf(name, sizeof name, "list/entry-%d", one);
        make(name, "");
    }
    int fd = opened_directory("list");
    told_with("list all", __wasi_fd_readdir(fd, bytes, sizeof bytes, 0, &used), used);
    told_with("list into nothing", __wasi_fd_readdir(fd, bytes, 0, 0, &used), used);
    told_with("list into part of an entry", __wasi_fd_readdir(fd, small, 10, 0, &used), used);
    told_with("list into little", __wasi_fd_readdir(fd, small, sizeof small, 0, &used), used);
    int entries = 0;
    for (__wasi_dircookie_t cookie = 0; entries < 100; entries++) {
        __wasi_dirent_t entry;
        __wasi_errno_t error = __wasi_fd_readdir(fd, bytes, 64, cookie, &used);
        if (error || used < sizeof entry) break;
        memcpy(&entry, bytes, sizeof entry);
        cookie = entry.d_next;
    }
    told_with("entries one by one", 0, entries);
    told("list a descriptor that is not", __wasi_fd_readdir(77, bytes, sizeof bytes, 0, &used));
    __wasi_fd_close(fd);
    fd = opened("file", 0, 0);
    told("list a file", __wasi_fd_readdir(fd, bytes, sizeof bytes, 0, &used));
    told("open below a file", open_at(fd, "x", 0, 0, &(__wasi_fd_t){0}));
    told("make a directory below a file", __wasi_path_create_directory(fd, "x"));
    __wasi_fd_close(fd);
}

static void polls(void) {
    __wasi_event_t events[4];
    __wasi_size_t count = 99;
    __wasi_subscription_t asked[4];
    memset(asked, 0, sizeof asked);
    told("poll nothing", __wasi_poll_oneoff(asked, events, 0, &count));
    asked[0].userdata = 7;
    asked[0].u.tag = __WASI_EVENTTYPE_CLOCK;
    asked[0].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    told_with("poll no time", __wasi_poll_oneoff(asked, events, 1, &count), count);
    printf("  %d %d %d\n", (int)events[0].userdata, events[0].error, events[0].type);
    asked[0].u.u.clock.flags = __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
    asked[0].u.u.clock.timeout = 1;
    told_with("poll a time that is past", __wasi_poll_oneoff(asked, events, 1, &count), count);
    asked[0].u.u.clock.id = __WASI_CLOCKID_REALTIME;
    told_with("poll a date that is past", __wasi_poll_oneoff(asked, events, 1, &count), count);
    int fd = opened("file", 0, 0);
    for (int one = 0; one < 3; one++) {
        asked[one].userdata = one;
        asked[one].u.tag = one == 2 ? __WASI_EVENTTYPE_FD_WRITE : __WASI_EVENTTYPE_FD_READ;
        asked[one].u.u.fd_read.file_descriptor = fd;
    }
    told_with("poll a file three times", __wasi_poll_oneoff(asked, events, 3, &count), count);
    for (int one = 0; one < 3; one++) printf("  %d %d %d\n", (int)events[one].userdata, events[one].error, events[one].type);
    asked[1].u.tag = __WASI_EVENTTYPE_CLOCK;
    asked[1].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    asked[1].u.u.clock.timeout = 3600000000000;
    asked[1].u.u.clock.flags = 0;
    told_with("poll a file and an hour", __wasi_poll_oneoff(asked, events, 2, &count), count);
    __wasi_fd_close(fd);
}

static void descriptors(void) {
    __wasi_fdstat_t stat;
    __wasi_filestat_t file_stat;
    __wasi_size_t size;
    uint8_t byte = 'x';
    __wasi_ciovec_t out = {&byte, 1};
    __wasi_iovec_t in = {&byte, 1};
    told("close what is not open", __wasi_fd_close(77));
    told("renumber what is not open", __wasi_fd_renumber(77, ROOT));
    int one = opened("file", 0, 0), other = opened("dir/inner", 0, 0);
    told("renumber onto itself", __wasi_fd_renumber(one, one));
    told("renumber onto another", __wasi_fd_renumber(one, other));
    told("what it was is closed", __wasi_fd_fdstat_get(one, &stat));
    told_with("what it is", __wasi_fd_filestat_get(other, &file_stat), file_stat.size);
    told("close it", __wasi_fd_close(other));
    told("twice", __wasi_fd_close(other));
    __wasi_fd_t fd;
    told("open to read", __wasi_path_open(ROOT, 0, "file", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd));
    told("write where reading was asked for", __wasi_fd_write(fd, &out, 1, &size));
    __wasi_fd_close(fd);
    told("open to write", __wasi_path_open(ROOT, 0, "file", 0, __WASI_RIGHTS_FD_WRITE, 0, 0, &fd));
    told("read where writing was asked for", __wasi_fd_read(fd, &in, 1, &size));
    __wasi_fd_close(fd);
    fd = opened("file", 0, 0);
    told("prestat of a file", __wasi_fd_prestat_get(fd, &(__wasi_prestat_t){0}));
    told("accept on a file", __wasi_sock_accept(fd, 0, &(__wasi_fd_t){0}));
    told("shut a file", __wasi_sock_shutdown(fd, __WASI_SDFLAGS_RD));
    told("receive of a file", __wasi_sock_recv(fd, &in, 1, 0, &size, &(__wasi_roflags_t){0}));
    told("send to a file", __wasi_sock_send(fd, &out, 1, 0, &size));
    __wasi_fd_close(fd);
    told("unlinked", __wasi_path_unlink_file(ROOT, "s5"));
    make("gone", "still here");
    fd = opened("gone", 0, 0);
    told("unlink what is open", __wasi_path_unlink_file(ROOT, "gone"));
    told_with("it can be read", __wasi_fd_read(fd, &in, 1, &size), size);
    __wasi_fd_filestat_get(fd, &file_stat);
    told_with("it has no links", 0, file_stat.nlink);
    __wasi_fd_close(fd);
    __wasi_path_create_directory(ROOT, "left");
    int left = opened_directory("left");
    told("remove a directory that is open", __wasi_path_remove_directory(ROOT, "left"));
    told("make a file in what is gone", open_at(left, "x", __WASI_OFLAGS_CREAT, 0, &fd));
    told("look for a file in what is gone", open_at(left, "x", 0, 0, &fd));
    __wasi_fd_close(left);
}

static void long_paths(void) {
    static char name[8192];
    memset(name, 'n', sizeof name - 1);
    const int lengths[] = {255, 256, 4095, 4096, 8000};
    for (unsigned one = 0; one < sizeof lengths / sizeof *lengths; one++) {
        name[lengths[one]] = 0;
        printf("a name of %d: %d\n", lengths[one], __wasi_path_create_directory(ROOT, name));
        name[lengths[one]] = 'n';
    }
    static char deep[8192];
    for (int at = 0; at + 2 < 4000; at += 2) memcpy(deep + at, "./", 3);
    strcat(deep, "file");
    __wasi_filestat_t stat;
    told("a long way to a file", __wasi_path_filestat_get(ROOT, 0, deep, &stat));
}

int main(void) {
    make("file", "text");
    __wasi_path_create_directory(ROOT, "dir");
    make("dir/inner", "inner");
    __wasi_path_symlink("file", ROOT, "link");
    __wasi_path_symlink("dir", ROOT, "to-dir");
    __wasi_path_symlink("nowhere", ROOT, "dangling");
    __wasi_path_symlink("loop", ROOT, "loop");
    __wasi_path_symlink("../x", ROOT, "outside");
    __wasi_path_symlink("link", ROOT, "chain");
    __wasi_path_symlink("dir/", ROOT, "to-slash");
    told("a link to a place of its own", __wasi_path_symlink("/file", ROOT, "absolute"));
    opens();
    make("file", "text");
    stats();
    makes_directories();
    removes();
    renames();
    links();
    positions();
    times();
    listings();
    polls();
    descriptors();
    long_paths();
}
