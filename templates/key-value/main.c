/* A key-value store over HTTP. It is kept in the Keep's memory, and gone when the Keep ends.
 *
 *     PUT /keys/NAME     store the body       201, or 204 where there was one
 *     GET /keys/NAME     what is stored       200, or 404
 *     DELETE /keys/NAME  forget it            204, or 404
 *     GET /keys          all names            200, one on each line
 */
#include "http.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST_NAME 256         /* bytes */
#define MOST_BYTES (64ul << 20)  /* of names and values together */
#define BUCKETS 4096

struct entry {
    struct entry *next;
    char *name;
    char *value;
    size_t length;
};

static struct entry *buckets[BUCKETS];
static size_t used; /* bytes of names and values */

/* Where the entry of a name is, or would be put. FNV-1a spreads the names. */
static struct entry **find(const char *name) {
    unsigned hash = 2166136261u;
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    struct entry **place = &buckets[hash % BUCKETS];
    while (*place && strcmp((*place)->name, name) != 0)
        place = &(*place)->next;
    return place;
}

static void forget(struct entry **place) {
    struct entry *entry = *place;
    *place = entry->next;
    used -= strlen(entry->name) + entry->length;
    free(entry->name);
    free(entry->value);
    free(entry);
}

/* Returns 0 where there is no room. */
static int store(const char *name, const char *value, size_t length) {
    struct entry **place = find(name);
    size_t freed = *place ? strlen(name) + (*place)->length : 0;
    if (used - freed + strlen(name) + length > MOST_BYTES)
        return 0;
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry) {
        entry->name = strdup(name);
        entry->value = malloc(length + 1);
    }
    if (!entry || !entry->name || !entry->value) {
        if (entry)
            free(entry->name), free(entry->value), free(entry);
        return 0;
    }
    memcpy(entry->value, value, length);
    entry->length = length;
    if (*place)
        forget(place);
    entry->next = *place;
    *place = entry;
    used += strlen(name) + length;
    return 1;
}

static void list(struct http_client *client) {
    size_t length = 0, room = 1;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = buckets[i]; entry; entry = entry->next)
            room += strlen(entry->name) + 1;
    char *text = malloc(room);
    if (!text) {
        http_answer_text(client, 503, "out of memory");
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = buckets[i]; entry; entry = entry->next) {
            size_t name = strlen(entry->name);
            memcpy(text + length, entry->name, name);
            text[length + name] = '\n';
            length += name + 1;
        }
    http_answer(client, 200, "text/plain; charset=utf-8", text, length);
    free(text);
}

static void put(const char *name, const struct http_request *request, struct http_client *client) {
    int is_new = *find(name) == NULL;
    if (strlen(name) > LONGEST_NAME)
        http_answer_text(client, 400, "the name is too long");
    else if (!store(name, request->body, request->body_length))
        http_answer_text(client, 507, "the store is full");
    else
        http_answer(client, is_new ? 201 : 204, "text/plain", "", 0);
}

static void handle(const struct http_request *request, struct http_client *client) {
    int gets = strcmp(request->method, "GET") == 0;
    if (strcmp(request->path, "/keys") == 0 && gets) {
        list(client);
        return;
    }
    if (strncmp(request->path, "/keys/", 6) != 0 || !request->path[6]) {
        http_answer_text(client, 404, "there are /keys, and /keys/NAME with GET, PUT and DELETE");
        return;
    }
    const char *name = request->path + 6;
    struct entry **place = find(name);
    if (strcmp(request->method, "PUT") == 0)
        put(name, request, client);
    else if (!gets && strcmp(request->method, "DELETE") != 0)
        http_answer_text(client, 405, "a key knows GET, PUT and DELETE");
    else if (!*place)
        http_answer_text(client, 404, "there is no such key");
    else if (gets)
        http_answer(client, 200, "application/octet-stream", (*place)->value, (*place)->length);
    else {
        forget(place);
        http_answer(client, 204, "text/plain", "", 0);
    }
}

int main(void) {
    http_serve("web", handle);
}
