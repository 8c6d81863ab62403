/* Meets the limit that the first argument names, and says how it looks from inside. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void filesystem(void) {
    static char block[65536];
    int fd = open("/data/big", O_WRONLY | O_CREAT, 0600);
    while (write(fd, block, sizeof block) > 0) {
    }
    printf("%s\n", strerror(errno));
}

static void descriptors(void) {
    while (open("/data/small", O_RDONLY | O_CREAT, 0600) >= 0) {
    }
    printf("%s\n", strerror(errno));
}

static void memory(void) {
    static void *volatile block; /* volatile, or the compiler leaves malloc out */
    while ((block = malloc(1 << 20))) {
    }
    printf("%s\n", strerror(errno));
    exit(7);
}

static void computes(void) {
    volatile unsigned long count = 0;
    for (;;) {
        count++;
    }
}

static void waits(void) {
    struct pollfd nothing = {.fd = 0, .events = POLLIN};
    for (;;) {
        poll(&nothing, 1, -1);
    }
}

static void loud(void) {
    for (int line = 0; line < 100000; line++) {
        printf("%07d\n", line);
    }
    fflush(stdout);
    fprintf(stderr, "last words\n");
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "filesystem")) filesystem();
    if (!strcmp(what, "descriptors")) descriptors();
    if (!strcmp(what, "memory")) memory();
    if (!strcmp(what, "computes")) computes();
    if (!strcmp(what, "waits")) waits();
    if (!strcmp(what, "loud-exit")) loud(), exit(3);
    if (!strcmp(what, "loud-trap")) loud(), __builtin_trap();
    if (!strcmp(what, "loud-wait")) loud(), waits();
    return 0;
}
