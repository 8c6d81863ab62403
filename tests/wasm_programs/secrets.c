/* Prints the secret in its environment and the one in its file system, each backwards: so it knows them, and what it
   writes does not hold them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_backwards(const char *text, size_t length) {
    while (length > 0) {
        putchar(text[--length]);
    }
    putchar('\n');
}

int main(void) {
    char content[256] = "";
    const char *variable = getenv("TOKEN");
    FILE *file = fopen("/secrets/key", "rb");
    if (variable == NULL || file == NULL) {
        fputs("a secret is not there\n", stderr);
        return 1;
    }
    size_t length = fread(content, 1, sizeof content, file);
    print_backwards(variable, strlen(variable));
    print_backwards(content, length);
    return fopen("/secrets/key", "r+b") == NULL ? 0 : 2;
}
