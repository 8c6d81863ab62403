/* An echo server: sends every byte back to whoever sent it, for many clients at once.
 *
 * In a Keep the listener is open before main() runs: Enarx.toml lists it, and the environment says where it is.
 * TLS, if Enarx.toml asks for it, is already taken off: this program only ever sees the plain bytes.
 *
 * The same file is a native program too, for comparison: cc -O2 main.c -o echo && ./echo 10010
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef __wasi__
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#endif

/* One client. What lies in bytes[start..end) was read and is not yet written back. */
struct stream {
    int fd;
    int ended; /* the client will send no more */
    size_t start, end;
    char bytes[64 * 1024];
};

/* polled[0] is the listener; polled[i + 1] belongs to streams[i]. */
static struct pollfd *polled;
static struct stream **streams;
static size_t count, room;
static int can_accept = 1;

static void fail(const char *what) {
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The call has nothing for us now; poll() will say when it does. */
static int only_later(int error) {
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static void do_not_block(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        fail("cannot make a socket non-blocking");
}

#ifdef __wasi__

/* FD_NAMES holds FD_COUNT names, joined by ':'; the place of a name is its file descriptor. */
static int find_listener(const char *wanted) {
    const char *count_text = getenv("FD_COUNT");
    const char *name = getenv("FD_NAMES");
    int open_files = count_text ? atoi(count_text) : 0;
    for (int fd = 0; name && fd < open_files; fd++) {
        size_t length = strcspn(name, ":");
        if (length == strlen(wanted) && memcmp(name, wanted, length) == 0)
            return fd;
        name = name[length] ? name + length + 1 : NULL;
    }
    fprintf(stderr, "echo: no file named '%s' is listed in [[files]] of Enarx.toml\n", wanted);
    exit(1);
}

static int listener(int argc, char **argv) {
    (void)argc, (void)argv;
    int fd = find_listener("echo");
    printf("echo: listening (file descriptor %d)\n", fd);
    return fd;
}

static void prepare(int fd) {
    do_not_block(fd);
}

#else

static int listener(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    address.sin_port = htons(argc > 1 ? atoi(argv[1]) : 10010);
    signal(SIGPIPE, SIG_IGN);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        fail("cannot listen");
    printf("echo: listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    return fd;
}

static void prepare(int fd) {
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    do_not_block(fd);
}

#endif

static void make_room(void) {
    if (count < room)
        return;
    room = room ? room * 2 : 64;
    streams = realloc(streams, room * sizeof *streams);
    polled = realloc(polled, (room + 1) * sizeof *polled);
    if (!streams || !polled)
        fail("out of memory");
}

static void add_stream(int fd) {
    struct stream *stream = malloc(sizeof *stream);
    if (!stream) {
        close(fd);
        return;
    }
    prepare(fd);
    stream->fd = fd;
    stream->ended = 0;
    stream->start = stream->end = 0;
    streams[count++] = stream;
    make_room();
}

static void drop_stream(size_t index) {
    close(streams[index]->fd);
    free(streams[index]);
    streams[index] = streams[--count];
    can_accept = 1;
}

static void accept_all(int listening) {
    for (;;) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int fd = accept(listening, (struct sockaddr *)&from, &size);
        if (fd >= 0)
            add_stream(fd);
        else if (only_later(errno))
            return;
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            can_accept = count == 0; /* as many as there may be: wait until one has ended */
            return;
        } else if (errno != ECONNABORTED)
            fail("cannot accept");
    }
}

/* Read once, then write what there is. Returns 0 when the stream is over. */
static int echo(struct stream *stream) {
    if (!stream->ended && stream->end < sizeof stream->bytes) {
        ssize_t got = read(stream->fd, stream->bytes + stream->end, sizeof stream->bytes - stream->end);
        if (got > 0)
            stream->end += got;
        else if (got == 0)
            stream->ended = 1;
        else if (!only_later(errno))
            return 0;
    }
    while (stream->start < stream->end) {
        ssize_t sent = write(stream->fd, stream->bytes + stream->start, stream->end - stream->start);
        if (sent < 0)
            return only_later(errno);
        stream->start += sent;
    }
    stream->start = stream->end = 0;
    return !stream->ended;
}

/* What to wait for: room in the buffer wants reading, bytes in it want writing. One of the two always holds. */
static short wanted(const struct stream *stream) {
    short events = 0;
    if (!stream->ended && stream->end < sizeof stream->bytes)
        events |= POLLIN;
    if (stream->start < stream->end)
        events |= POLLOUT;
    return events;
}

int main(int argc, char **argv) {
    int listening = listener(argc, argv);
    fflush(stdout);
    do_not_block(listening);
    make_room();
    for (;;) {
        polled[0] = (struct pollfd){.fd = can_accept ? listening : -1, .events = POLLIN};
        for (size_t i = 0; i < count; i++)
            polled[i + 1] = (struct pollfd){.fd = streams[i]->fd, .events = wanted(streams[i])};
        if (poll(polled, count + 1, -1) < 0) {
            if (errno == EINTR)
                continue;
            fail("cannot wait");
        }
        for (size_t i = count; i-- > 0;)
            if (polled[i + 1].revents && !echo(streams[i]))
                drop_stream(i);
        if (polled[0].revents)
            accept_all(listening);
    }
}
