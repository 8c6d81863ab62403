/* A small HTTP/1.1 server for many clients at once. TLS is taken off before: it ends inside the Keep, not here. */
#ifndef HTTP_H
#define HTTP_H

#include <stddef.h>

#define HTTP_LONGEST_BODY (64 * 1024) /* bytes of a request; a longer one is refused with 413 */

/* What a client asks. All of it is a stranger's words. */
struct http_request {
    const char *method; /* such as "GET" */
    const char *path;   /* decoded, begins with '/' */
    const char *body;   /* with a NUL after it, which does not count */
    size_t body_length;
};

struct http_client;

/* Answer with a status, a media type and a body. To be called once for each request. */
void http_answer(struct http_client *client, int status, const char *type, const void *body, size_t length);

/* The same with a line of plain text. */
void http_answer_text(struct http_client *client, int status, const char *line);

/* Answer with a stream of events (text/event-stream), which stays open and gets what is broadcast from now on. */
void http_answer_with_events(struct http_client *client);

/* Send an event to a client whose stream is open, or to all such. The text is one line. */
void http_send_event(struct http_client *client, const char *text);
void http_broadcast(const char *text);

/* Serve for ever on the listener of that name in [[files]] of Enarx.toml. */
void http_serve(const char *listener, void (*handle)(const struct http_request *request, struct http_client *client));

#endif
