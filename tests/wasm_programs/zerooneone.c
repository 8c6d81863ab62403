/* Copies standard input to standard output, each letter moved 13 places on in the alphabet. */
#include <stdio.h>

static int moved(int letter, int first) {
    return first + (letter - first + 13) % 26;
}

int main(void) {
    for (int c; (c = getchar()) != EOF;) {
        if (c >= 'a' && c <= 'z')
            c = moved(c, 'a');
        else if (c >= 'A' && c <= 'Z')
            c = moved(c, 'A');
        if (putchar(c) == EOF)
            return 1;
    }
    return fflush(stdout) == EOF;
}
