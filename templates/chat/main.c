/* A chat: whoever has the page open sees what anyone says. It is kept nowhere but in the Keep's memory.
 *
 *     GET /         the page
 *     GET /events   what is said, as a stream of events; it begins with the last messages
 *     POST /say     say a line of text
 */
#include "http.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REMEMBERED 50      /* messages that a newcomer sees */
#define LONGEST 1000       /* bytes of a message */
#define LARGEST_PAGE 65536 /* bytes of each file below */

static struct {
    const char *path, *file, *type;
    char *bytes;
    size_t length;
} files[] = {
    {"/", "/page/index.html", "text/html; charset=utf-8", NULL, 0},
    {"/chat.js", "/page/chat.js", "text/javascript", NULL, 0},
    {"/style.css", "/page/style.css", "text/css; charset=utf-8", NULL, 0},
};
#define FILES (sizeof files / sizeof *files)

static char said[REMEMBERED][LONGEST + 1];
static size_t first, messages; /* the oldest is said[first % REMEMBERED] */

static void load(void) {
    for (size_t i = 0; i < FILES; i++) {
        int fd = open(files[i].file, O_RDONLY);
        files[i].bytes = malloc(LARGEST_PAGE);
        ssize_t got = fd < 0 || !files[i].bytes ? -1 : read(fd, files[i].bytes, LARGEST_PAGE);
        if (got < 0) {
            fprintf(stderr, "chat: cannot read %s; [[package.assets]] of Enarx.toml must bring it\n", files[i].file);
            exit(1);
        }
        files[i].length = got;
        close(fd);
    }
}

static void listen_to_it(struct http_client *client) {
    http_answer_with_events(client);
    for (size_t i = 0; i < messages; i++)
        http_send_event(client, said[(first + i) % REMEMBERED]);
}

/* One line: what could end it, or make it another event, becomes a space. */
static void say(const struct http_request *request, struct http_client *client) {
    if (request->body_length == 0 || request->body_length > LONGEST) {
        http_answer_text(client, 400, "a message has 1 to 1000 bytes");
        return;
    }
    char *line = said[(first + messages) % REMEMBERED];
    for (size_t i = 0; i < request->body_length; i++)
        line[i] = (unsigned char)request->body[i] < ' ' ? ' ' : request->body[i];
    line[request->body_length] = 0;
    if (messages < REMEMBERED)
        messages++;
    else
        first++;
    http_broadcast(line);
    http_answer(client, 204, "text/plain", "", 0);
}

static void handle(const struct http_request *request, struct http_client *client) {
    int gets = strcmp(request->method, "GET") == 0;
    for (size_t i = 0; gets && i < FILES; i++)
        if (strcmp(request->path, files[i].path) == 0) {
            http_answer(client, 200, files[i].type, files[i].bytes, files[i].length);
            return;
        }
    if (gets && strcmp(request->path, "/events") == 0)
        listen_to_it(client);
    else if (strcmp(request->method, "POST") == 0 && strcmp(request->path, "/say") == 0)
        say(request, client);
    else
        http_answer_text(client, 404, "there are GET /, GET /events and POST /say");
}

int main(void) {
    load();
    http_serve("web", handle);
}
