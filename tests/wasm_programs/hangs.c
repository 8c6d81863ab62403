/* Sends what each client says back, one client after the other; once one says something with an h, nothing more. */
#include "lines.h"
#include <sys/socket.h>

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
            write(client, bytes, got);
        }
        close(client);
    }
}
