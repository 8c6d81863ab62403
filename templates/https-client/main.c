/* Asks an HTTPS server for a page and prints its body: https-client HOST:PORT PATH
 *
 * Opening /net/con/HOST:PORT connects. TLS is the Keep's: the server has proven its name before open() returns, and
 * this program writes and reads plain text. [network] of Enarx.toml must grant the destination; no other is reached.
 */
#define _GNU_SOURCE /* strcasestr */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST_ANSWER (1 << 20) /* bytes, head and body */

static const char *advice(int error) {
    switch (error) {
    case EACCES: return "not granted: name it in [network] connect of Enarx.toml";
    case EHOSTUNREACH: return "no such host, or no way to it";
    case EPROTO: return "the server could not prove by TLS that it has this name";
    default: return strerror(error);
    }
}

static void fail(const char *destination, const char *what) {
    fprintf(stderr, "https-client: %s: %s\n", destination, what);
    exit(1);
}

static int connect_to(const char *destination) {
    char path[300];
    if (snprintf(path, sizeof path, "/net/con/%s", destination) >= (int)sizeof path)
        fail(destination, "the name is too long");
    int fd = open(path, O_RDWR);
    if (fd < 0)
        fail(destination, advice(errno));
    return fd;
}

/* HTTP/1.0: the server closes the connection after its answer, and does not send it in chunks. */
static void ask(int fd, const char *destination, const char *path) {
    char request[2048];
    int host = strcspn(destination, ":");
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.0\r\nHost: %.*s\r\nAccept: */*\r\nUser-Agent: https-client\r\n\r\n", path, host,
                          destination);
    if (length >= (int)sizeof request || strpbrk(path, " \r\n"))
        fail(destination, "the path is too long, or has spaces or line breaks");
    for (int sent = 0; sent < length;) {
        ssize_t wrote = write(fd, request + sent, length - sent);
        if (wrote < 0)
            fail(destination, advice(errno));
        sent += wrote;
    }
}

/* Whether the answer is all there, by the length that its head announces. Without one, the server's end is the end. */
static int is_whole(const char *answer, size_t length) {
    const char *body = strstr(answer, "\r\n\r\n");
    const char *announced = strcasestr(answer, "\r\nContent-Length:");
    return body && announced && announced < body && length >= body + 4 - answer + strtoul(announced + 17, NULL, 10);
}

/* All of the answer, with a NUL behind it. */
static char *receive(int fd, const char *destination, size_t *length) {
    char *answer = malloc(LARGEST_ANSWER + 1);
    if (!answer)
        fail(destination, "out of memory");
    *answer = *length = 0;
    while (!is_whole(answer, *length)) {
        ssize_t got = read(fd, answer + *length, LARGEST_ANSWER - *length);
        if (got < 0)
            fail(destination, advice(errno)); /* ECONNRESET: it ended without TLS's own end, and may be cut short */
        if (got == 0)
            break;
        *length += got;
        answer[*length] = 0;
        if (*length == LARGEST_ANSWER)
            fail(destination, "the answer is larger than 1 MiB");
    }
    return answer;
}

int main(int argc, char **argv) {
    if (argc != 3 || argv[2][0] != '/') {
        fprintf(stderr, "usage: https-client HOST:PORT /PATH\n");
        return 2;
    }
    size_t length;
    int fd = connect_to(argv[1]);
    ask(fd, argv[1], argv[2]);
    char *answer = receive(fd, argv[1], &length);
    char *body = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, "HTTP/1.", 7) != 0 || !body)
        fail(argv[1], "what answers does not speak HTTP");
    fprintf(stderr, "https-client: %s: %.*s\n", argv[1], (int)strcspn(answer, "\r"), answer);
    body += 4;
    fwrite(body, 1, answer + length - body, stdout);
    return answer[9] == '2' ? 0 : 1;
}
