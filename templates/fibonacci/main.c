/* Prints a Fibonacci number: fibonacci(0) is 0, fibonacci(1) is 1, and each further one is the sum of the two before it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGEST 93 /* the last one that 64 bits hold */

static uint64_t fibonacci(unsigned n) {
    uint64_t a = 0, b = 1;
    while (n--) {
        uint64_t sum = a + b;
        a = b;
        b = sum;
    }
    return a;
}

int main(int argc, char **argv) {
    char *end = "";
    unsigned long n = argc == 2 ? strtoul(argv[1], &end, 10) : LARGEST + 1;
    if (n > LARGEST || *end || end == argv[1]) {
        fprintf(stderr, "usage: fibonacci N, with N from 0 to %d\n", LARGEST);
        return 2;
    }
    printf("fibonacci(%lu) = %" PRIu64 "\n", n, fibonacci(n));
}
