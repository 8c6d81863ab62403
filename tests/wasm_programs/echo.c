/* Copies standard input to standard output. */
#include <unistd.h>

int main(void) {
    static char buffer[64 * 1024];
    ssize_t size;
    while ((size = read(STDIN_FILENO, buffer, sizeof buffer)) > 0)
        for (ssize_t done = 0, sent; done < size; done += sent)
            if ((sent = write(STDOUT_FILENO, buffer + done, size - done)) < 0)
                return 1;
    return size < 0;
}
