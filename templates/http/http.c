/* The server loop: it waits for all clients at once with poll(), so that one which says nothing keeps nobody waiting. */
#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CLIENTS 256
#define MOST_STREAMS 200           /* of them: the rest stay free for requests */
#define LONGEST_HEAD (8 * 1024)    /* bytes of request line and headers */
#define LONGEST_BACKLOG (1 << 18)  /* bytes that a stream's reader may be behind */
#define PATIENCE 30                /* seconds for a whole request, and between two takings of an answer */

struct http_client {
    int fd;
    int streams;      /* its answer is a stream of events */
    int head_only;    /* it asked with HEAD */
    int answered;     /* the request at hand has its answer */
    int closes;       /* no more is answered when all is sent */
    int drains;       /* all is sent, and what it still sends is thrown away */
    time_t since;     /* when its request began, or when it last took something of the answer */
    char *out;        /* what is to be sent: out[out_start..out_end) */
    size_t out_start, out_end, out_room;
    size_t in_length; /* what it sent: in[0..in_length), and a NUL */
    char in[LONGEST_HEAD + HTTP_LONGEST_BODY + 1];
};

static struct http_client *clients[MOST_CLIENTS];
static size_t count, streams;
static time_t now;

static void fail(const char *what) {
    fprintf(stderr, "http: %s: %s\n", what, strerror(errno));
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
    fprintf(stderr, "http: no file named '%s' is listed in [[files]] of Enarx.toml\n", wanted);
    exit(1);
}

static void do_not_block(int fd) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("cannot make a socket non-blocking");
}

/* Answers. */

static const char *reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 507: return "Insufficient Storage";
    default: return "Internal Server Error";
    }
}

/* Put bytes behind those that are to be sent. Where there is no memory for them, the client is dropped. */
static void send_later(struct http_client *client, const void *bytes, size_t length) {
    size_t needed = client->out_end + length;
    if (needed > client->out_room) {
        char *larger = realloc(client->out, needed * 2);
        if (!larger) {
            client->closes = 1;
            client->out_start = client->out_end = 0;
            return;
        }
        client->out = larger;
        client->out_room = needed * 2;
    }
    if (length)
        memcpy(client->out + client->out_end, bytes, length);
    client->out_end += length;
}

static void send_head(struct http_client *client, int status, const char *type, const char *how_long) {
    char head[512];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%sConnection: %s\r\nCache-Control: no-store\r\n"
                          "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: default-src 'self'\r\n\r\n",
                          status, reason(status), type, how_long, client->closes ? "close" : "keep-alive");
    send_later(client, head, length);
    client->answered = 1;
}

void http_answer(struct http_client *client, int status, const char *type, const void *body, size_t length) {
    char how_long[64];
    snprintf(how_long, sizeof how_long, "Content-Length: %zu\r\n", length);
    send_head(client, status, type, status == 204 ? "" : how_long);
    if (!client->head_only)
        send_later(client, body, length);
}

void http_answer_text(struct http_client *client, int status, const char *line) {
    char text[512];
    int length = snprintf(text, sizeof text, "%s\n", line);
    http_answer(client, status, "text/plain; charset=utf-8", text, length);
}

void http_answer_with_events(struct http_client *client) {
    if (streams == MOST_STREAMS) {
        http_answer_text(client, 503, "too many are listening already");
        return;
    }
    client->closes |= client->head_only;
    client->streams = !client->head_only;
    streams += client->streams;
    send_head(client, 200, "text/event-stream", "");
}

void http_send_event(struct http_client *client, const char *text) {
    if (!client->streams || client->closes)
        return;
    send_later(client, "data: ", 6);
    send_later(client, text, strlen(text));
    send_later(client, "\n\n", 2);
    if (client->out_end - client->out_start > LONGEST_BACKLOG)
        client->closes = 1;
}

void http_broadcast(const char *text) {
    for (size_t i = 0; i < count; i++)
        http_send_event(clients[i], text);
}

/* Requests. */

/* The value of a header, up to its line's end; NULL where there is none, or more than one. `seen` says how many. */
static const char *header(const char *head, const char *name, int *seen) {
    const char *value = NULL;
    size_t length = strlen(name);
    *seen = 0;
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            value = line + 3 + length + strspn(line + 3 + length, " \t");
            ++*seen;
        }
    return *seen == 1 ? value : NULL;
}

/* The length that the head announces for the body, or the status of a refusal, negative. */
static long body_length(const char *head) {
    int seen;
    header(head, "Transfer-Encoding", &seen);
    if (seen)
        return -501;
    const char *value = header(head, "Content-Length", &seen);
    if (!seen)
        return 0;
    size_t digits = value ? strspn(value, "0123456789") : 0;
    if (digits == 0 || value[digits] != '\r')
        return -400;
    return digits > 9 || atol(value) > HTTP_LONGEST_BODY ? -413 : atol(value);
}

static int nibble(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Take the %XX out of a path, in place. Returns 0 for one that no file or key can have. */
static int decode(char *path) {
    char *to = path;
    for (const char *from = path; *from; from++) {
        int c = (unsigned char)*from;
        if (c == '%') {
            int high = nibble(from[1]), low = high < 0 ? -1 : nibble(from[2]);
            if (low < 0)
                return 0;
            c = high << 4 | low;
            from += 2;
        }
        if (c < ' ' || c == 127)
            return 0;
        *to++ = c;
    }
    *to = 0;
    return *path == '/';
}

/* Take the request line apart, in place. Returns 0 for one that is none. */
static int read_request_line(char *line, struct http_request *request, struct http_client *client) {
    char *path = strchr(line, ' ');
    char *version = path ? strchr(path + 1, ' ') : NULL;
    char *end = strstr(line, "\r\n");
    if (!version || version > end || strncmp(version + 1, "HTTP/1.", 7) != 0 || end != version + 9)
        return 0;
    int seen;
    const char *connection = header(end, "Connection", &seen);
    client->closes = version[8] == '0' || (connection && strncasecmp(connection, "close", 5) == 0);
    *path++ = *version = 0;
    client->head_only = strcmp(line, "HEAD") == 0;
    path[strcspn(path, "?")] = 0;
    request->method = client->head_only ? "GET" : line;
    request->path = path;
    return decode(path);
}

/* Take one request from the front of what came. Returns its length, 0 if it is not all there, or a negative status. */
static long read_request(struct http_client *client, struct http_request *request) {
    char *in = client->in, *end = strstr(in, "\r\n\r\n");
    if (!end || end - in > LONGEST_HEAD)
        return strlen(in) < client->in_length ? -400 : client->in_length > LONGEST_HEAD ? -431 : 0;
    long head = end + 4 - in, body = body_length(in);
    if (body < 0)
        return body;
    if (client->in_length < (size_t)(head + body))
        return 0;
    request->body = in + head;
    request->body_length = body;
    return read_request_line(in, request, client) ? head + body : -400;
}

static void refuse(struct http_client *client, int status) {
    client->closes = 1;
    http_answer_text(client, status, reason(status));
}

/* Answer the request at the front, if all of it has come. Returns 0 when there is none. */
static int answer_next(struct http_client *client, void (*handle)(const struct http_request *, struct http_client *)) {
    struct http_request request;
    client->answered = client->head_only = 0;
    long length = read_request(client, &request);
    if (length < 0)
        refuse(client, -length);
    if (length <= 0)
        return 0;
    char after = client->in[length]; /* the next request may begin here, where the body's NUL must be */
    client->in[length] = 0;
    handle(&request, client);
    if (!client->answered)
        refuse(client, 500);
    client->in[length] = after;
    client->in_length -= length;
    memmove(client->in, client->in + length, client->in_length + 1);
    return 1;
}

/* Clients. */

static void accept_one(int listener) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return; /* whoever it was has gone again */
    struct http_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    do_not_block(fd);
    client->fd = fd;
    client->since = now;
    clients[count++] = client;
}

static void drop(size_t index) {
    struct http_client *client = clients[index];
    streams -= client->streams;
    close(client->fd);
    free(client->out);
    free(client);
    clients[index] = clients[--count];
}

/* Whether there is something to send. While there is, nothing more is read, so that nobody fills the memory. */
static int has_answer(const struct http_client *client) {
    return client->out_start < client->out_end;
}

/* Returns 0 when the client is gone. */
static int receive(struct http_client *client) {
    int counts = !client->streams && !client->drains; /* otherwise it has nothing more to say */
    if (!counts)
        client->in_length = 0;
    size_t room = sizeof client->in - 1 - client->in_length;
    ssize_t got = read(client->fd, client->in + client->in_length, room);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    if (client->in_length == 0 && !client->drains)
        client->since = now;
    if (counts)
        client->in_length += got;
    client->in[client->in_length] = 0;
    return 1;
}

/* Returns 0 when the client is gone. */
static int transmit(struct http_client *client) {
    ssize_t sent = write(client->fd, client->out + client->out_start, client->out_end - client->out_start);
    if (sent < 0)
        return errno == EAGAIN;
    client->since = now;
    client->out_start += sent;
    if (!has_answer(client))
        client->out_start = client->out_end = 0;
    return 1;
}

/* End our half. A client that is still sending would lose the answer if the connection were closed at once. */
static void end_answers(struct http_client *client) {
    if (client->drains)
        return;
    shutdown(client->fd, SHUT_WR);
    client->drains = 1;
    client->since = now;
}

/* Do what can be done for a client now. Returns 0 when it is to be dropped. */
static int attend(struct http_client *client, void (*handle)(const struct http_request *, struct http_client *)) {
    if (!(has_answer(client) ? transmit(client) : receive(client)))
        return 0;
    while (!has_answer(client) && !client->closes && !client->streams && answer_next(client, handle))
        if (!transmit(client))
            return 0;
    if (client->closes && !has_answer(client))
        end_answers(client);
    return 1;
}

static int is_late(const struct http_client *client) {
    int idles = client->streams && !client->drains && !has_answer(client); /* as a stream may */
    return !idles && now - client->since > PATIENCE;
}

void http_serve(const char *name, void (*handle)(const struct http_request *, struct http_client *)) {
    static struct pollfd polled[MOST_CLIENTS + 1]; /* the clients, then the listener */
    int listener = find_listener(name);
    do_not_block(listener);
    printf("http: listening\n");
    fflush(stdout);
    for (;;) {
        size_t waiting = count;
        for (size_t i = 0; i < waiting; i++)
            polled[i] = (struct pollfd){.fd = clients[i]->fd, .events = has_answer(clients[i]) ? POLLOUT : POLLIN};
        polled[waiting] = (struct pollfd){.fd = listener, .events = POLLIN};
        int can_accept = waiting < MOST_CLIENTS; /* when full, wait until one has ended */
        if (poll(polled, waiting + can_accept, waiting ? 1000 : -1) < 0)
            fail("cannot wait");
        now = time(NULL);
        for (size_t i = waiting; i-- > 0;)
            if ((polled[i].revents && !attend(clients[i], handle)) || is_late(clients[i]))
                drop(i);
        if (polled[waiting].revents)
            accept_one(listener);
    }
}
