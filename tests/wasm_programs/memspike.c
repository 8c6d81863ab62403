/* Takes 16,000,000 bytes at once, writes to each page, and finds there what it wrote. */
#include <stdlib.h>

enum { SIZE = 16000000, PAGE = 4096 };

int main(void) {
    volatile unsigned char *block = malloc(SIZE);
    if (!block)
        return 1;
    for (size_t at = 0; at < SIZE; at += PAGE)
        block[at] = (unsigned char)(at / PAGE + 1);
    for (size_t at = 0; at < SIZE; at += PAGE)
        if (block[at] != (unsigned char)(at / PAGE + 1))
            return 2;
    return 0;
}
