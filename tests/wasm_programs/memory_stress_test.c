/* Takes and gives back blocks that double up to 32 MiB, then 32 MiB a hundred times, then blocks that halve. */
#include <stdlib.h>

static const size_t most = 32 * 1024 * 1024, page = 4096;

static void take(size_t size) {
    volatile unsigned char *block = malloc(size);
    if (!block)
        exit(1);
    for (size_t at = 0; at < size; at += page)
        block[at] = 1;
    block[size - 1] = 2;
    if (block[size - 1] != 2)
        exit(2);
    free((void *)block);
}

int main(void) {
    for (size_t size = 1; size <= most; size *= 2)
        take(size);
    for (int turn = 0; turn < 100; turn++)
        take(most);
    for (size_t size = most; size > 0; size /= 2)
        take(size);
    return 0;
}
