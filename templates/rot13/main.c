/* A ROT13 server: sends every letter back 13 places on, and all else as it came.
 *
 * In a Keep the listener is open before main() runs: Enarx.toml lists it, and the environment says where it is.
 * TLS is already taken off: this program only ever sees the plain bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_CLIENTS 256

/* One client. What lies in bytes[start..end) is turned and not yet sent. */
struct client {
    int fd;
    size_t start, end;
    char bytes[16 * 1024];
};

static struct client clients[MOST_CLIENTS];
static size_t count;

static void fail(const char *what) {
    fprintf(stderr, "rot13: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* FD_NAMES holds the names of [[files]], joined by ':'; the place of a name is its file descriptor. */
static int find_listener(const char *wanted) {
    const char *name = getenv("FD_NAMES");
    for (int fd = 0; name; fd++) {
        size_t length = strcspn(name, ":");
        if (length == strlen(wanted) && memcmp(name, wanted, length) == 0)
            return fd;
        name = name[length] ? name + length + 1 : NULL;
    }
    fprintf(stderr, "rot13: no file named '%s' is listed in [[files]] of Enarx.toml\n", wanted);
    exit(1);
}

/* One client that says nothing must not keep the others waiting. */
static void do_not_block(int fd) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("cannot make a socket non-blocking");
}

static char rot13(char c) {
    if (c >= 'a' && c <= 'z')
        return 'a' + (c - 'a' + 13) % 26;
    if (c >= 'A' && c <= 'Z')
        return 'A' + (c - 'A' + 13) % 26;
    return c;
}

static void accept_one(int listener) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return; /* whoever it was has gone again */
    do_not_block(fd);
    clients[count].fd = fd;
    clients[count].start = clients[count].end = 0;
    count++;
}

/* Read if all was sent, then send. Returns 0 when the client is gone. */
static int serve(struct client *client) {
    if (client->start == client->end) {
        ssize_t got = read(client->fd, client->bytes, sizeof client->bytes);
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        for (ssize_t i = 0; i < got; i++)
            client->bytes[i] = rot13(client->bytes[i]);
        client->start = 0;
        client->end = got;
    }
    ssize_t sent = write(client->fd, client->bytes + client->start, client->end - client->start);
    if (sent < 0)
        return errno == EAGAIN;
    client->start += sent;
    return 1;
}

static void drop(size_t index) {
    close(clients[index].fd);
    clients[index] = clients[--count];
}

int main(void) {
    static struct pollfd polled[MOST_CLIENTS + 1]; /* the clients, then the listener */
    int listener = find_listener("rot13");
    do_not_block(listener);
    puts("rot13: listening");
    fflush(stdout);
    for (;;) {
        size_t waiting = count;
        for (size_t i = 0; i < waiting; i++) {
            int all_sent = clients[i].start == clients[i].end;
            polled[i] = (struct pollfd){.fd = clients[i].fd, .events = all_sent ? POLLIN : POLLOUT};
        }
        polled[waiting] = (struct pollfd){.fd = listener, .events = POLLIN};
        int can_accept = waiting < MOST_CLIENTS; /* when full, wait until one has ended */
        if (poll(polled, waiting + can_accept, -1) < 0)
            fail("cannot wait");
        for (size_t i = waiting; i-- > 0;)
            if (polled[i].revents && !serve(&clients[i]))
                drop(i);
        if (polled[waiting].revents)
            accept_one(listener);
    }
}
