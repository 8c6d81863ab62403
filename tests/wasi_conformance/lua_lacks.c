#include <stdio.h>

#include "lua_lacks.h"

/* The tag that `longjmp` throws, which LLVM leaves to the C library. */
__asm__(".globl __c_longjmp\n.tagtype __c_longjmp i32\n__c_longjmp:\n");

char *tmpnam(char *name) {
    static unsigned made;
    return snprintf(name, L_tmpnam, "/lua_%u", made++) < L_tmpnam ? name : NULL;
}

FILE *tmpfile(void) {
    char name[L_tmpnam];
    FILE *file = fopen(tmpnam(name), "w+");
    if (file)
        remove(name);
    return file;
}

int system(const char *command) {
    return command ? -1 : 0;
}
