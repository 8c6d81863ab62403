/* Says by its exit status which standard streams are terminals: 1 for input, 2 for output, 4 for errors. A word goes to
   standard output, in colour where that is a terminal. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    fputs(isatty(STDOUT_FILENO) ? "\x1b[32mgreen\x1b[0m\n" : "green\n", stdout);
    return isatty(STDIN_FILENO) | isatty(STDOUT_FILENO) << 1 | isatty(STDERR_FILENO) << 2;
}
