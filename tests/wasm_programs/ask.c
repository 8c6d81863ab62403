/* Sends a line over the connection that is descriptor 3, and prints the line that comes back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void) {
    const char line[] = "hello\n";
    char c = 0;
    if (write(3, line, sizeof line - 1) != sizeof line - 1) {
        fprintf(stderr, "write: %s\n", strerror(errno));
        return 1;
    }
    while (c != '\n') {
        ssize_t got = read(3, &c, 1);
        if (got != 1) {
            fprintf(stderr, "read: %s\n", got == 0 ? "the end" : strerror(errno));
            return 2;
        }
        putchar(c);
    }
    return 0;
}
