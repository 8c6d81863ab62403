/* Sends what each client says back, one client after the other. Once one says something with an h, nothing more; once
   one says something with a w, neither, but it goes on to ask for the time. */
#include "lines.h"
#include <sys/socket.h>
#include <time.h>

static void ask_for_the_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
}

int main(void) {
    const int listener = 3;
    char bytes[4096];
    for (;;) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int client = accept(listener, (struct sockaddr *)&from, &size);
        if (client < 0) {
            wait_for(listener, POLLIN);
            continue;
        }
        ssize_t got;
        while ((got = read(client, bytes, sizeof bytes)) > 0) {
            for (volatile int hangs = memchr(bytes, 'h', got) != NULL; hangs;)
                ;
            for (volatile int works = memchr(bytes, 'w', got) != NULL; works;)
                ask_for_the_time();
            write(client, bytes, got);
        }
        close(client);
    }
}
