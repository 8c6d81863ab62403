/* What Lua expects of a C library and wasi-libc has not. */
#pragma once
#define L_tmpnam 32
char *tmpnam(char *name);
