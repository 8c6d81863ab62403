/* Sends three lines of each of three clients of `ingest` back; for the third, listener and stream do not block. */
#include "lines.h"
#include <sys/socket.h>

static int next_client(int listener) {
    for (;;) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int client = accept(listener, (struct sockaddr *)&from, &size);
        if (client >= 0)
            return client;
        expect(errno == EAGAIN, BAD_ACCEPT);
        wait_for(listener, POLLIN);
    }
}

int main(void) {
    const int ingest = 3;
    expect_files("5", "stdin:stdout:stderr:ingest:ping");
    for (int number = 1; number <= 3; number++) {
        if (number == 3)
            do_not_block(ingest);
        int client = next_client(ingest);
        if (number == 3)
            do_not_block(client);
        for (int line = 0; line < 3; line++)
            send_line_back(client);
        expect(close(client) == 0, BAD_CLOSE);
    }
    return 0;
}
