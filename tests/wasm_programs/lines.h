/* Sends lines back to whoever sent them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What went wrong is the exit status. */
enum {
    BAD_FD_COUNT = 10,
    BAD_FD_NAMES,
    BAD_FLAGS,
    BAD_POLL,
    BAD_READ,
    BAD_WRITE,
    BAD_ACCEPT,
    BAD_CLOSE,
    ENDED_EARLY,
};

static void expect(int holds, int status) {
    if (!holds)
        exit(status);
}

static void expect_files(const char *count, const char *names) {
    const char *found = getenv("FD_COUNT");
    expect(found && strcmp(found, count) == 0, BAD_FD_COUNT);
    found = getenv("FD_NAMES");
    expect(found && strcmp(found, names) == 0, BAD_FD_NAMES);
}

static void do_not_block(int fd) {
    int flags = fcntl(fd, F_GETFL);
    expect(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0, BAD_FLAGS);
    flags = fcntl(fd, F_GETFL);
    expect(flags >= 0 && (flags & O_NONBLOCK) != 0, BAD_FLAGS);
}

static void wait_for(int fd, short events) {
    struct pollfd polled = {.fd = fd, .events = events};
    expect(poll(&polled, 1, -1) == 1 && (polled.revents & events) != 0, BAD_POLL);
}

static void send_line_back(int fd) {
    for (char c = 0; c != '\n';) {
        ssize_t got = read(fd, &c, 1);
        if (got < 0 && errno == EAGAIN) {
            wait_for(fd, POLLIN);
            continue;
        }
        expect(got != 0, ENDED_EARLY);
        expect(got == 1, BAD_READ);
        while (write(fd, &c, 1) != 1) {
            expect(errno == EAGAIN, BAD_WRITE);
            wait_for(fd, POLLOUT);
        }
    }
}
