/* Serves the files of the folder `site`, which are in the package and so in the digest that clients verify. */
#include "http.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SITE "/site"              /* `guest` of [[package.assets]] */
#define LARGEST_FILE (4 << 20)    /* bytes */

static const struct {
    const char *ending, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript"},            {".json", "application/json"},
    {".txt", "text/plain; charset=utf-8"}, {".svg", "image/svg+xml"},
    {".png", "image/png"},                 {".jpg", "image/jpeg"},
    {".wasm", "application/wasm"},         {".pdf", "application/pdf"},
};

static const char *type_of(const char *path) {
    const char *ending = strrchr(path, '.');
    for (size_t i = 0; ending && i < sizeof types / sizeof *types; i++)
        if (strcmp(ending, types[i].ending) == 0)
            return types[i].type;
    return "application/octet-stream";
}

/* Read a whole file. Returns NULL where there is none. */
static char *read_file(const char *path, size_t *length) {
    struct stat facts;
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return NULL;
    char *bytes = NULL;
    if (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size <= LARGEST_FILE)
        bytes = malloc(facts.st_size + 1);
    *length = 0;
    for (ssize_t got = 1; bytes && got > 0 && *length < (size_t)facts.st_size; *length += got > 0 ? got : 0)
        got = read(fd, bytes + *length, facts.st_size - *length);
    close(fd);
    return bytes;
}

static void handle(const struct http_request *request, struct http_client *client) {
    char path[1024];
    size_t length;
    if (strcmp(request->method, "GET") != 0) {
        http_answer_text(client, 405, "only GET and HEAD are served");
        return;
    }
    const char *index = request->path[strlen(request->path) - 1] == '/' ? "index.html" : "";
    int fits = snprintf(path, sizeof path, SITE "%s%s", request->path, index) < (int)sizeof path;
    char *bytes = fits && !strstr(path, "/..") ? read_file(path, &length) : NULL;
    if (bytes)
        http_answer(client, 200, type_of(path), bytes, length);
    else
        http_answer_text(client, 404, "there is no such file");
    free(bytes);
}

int main(void) {
    http_serve("web", handle);
}
