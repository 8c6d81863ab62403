/* Learns from patients.csv who is likely to have diabetes, then answers for people whom it has not seen.
 *
 *     GET /          what was learnt, and how often it is right
 *     POST /predict  a form such as glucose=148&bmi=33.6&…, with a value for each column
 */
#include "http.h"
#include "tree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE "/data/patients.csv" /* `guest` of [[package.assets]] */
#define MOST_ROWS 10000
#define DEPTH 5

static const char *names[FEATURES] = {"pregnancies", "glucose", "blood_pressure", "skin_thickness",
                                      "insulin",     "bmi",     "pedigree",       "age"};
static struct row rows[MOST_ROWS];
static size_t count, tested, right, right_by_guessing;
static struct node *tree;

static void fail(const char *what, size_t line) {
    fprintf(stderr, "decision-tree: %s: line %zu: %s\n", TABLE, line, what);
    exit(1);
}

/* One line: the features in their order, then the label. */
static int read_row(const char *line, struct row *row) {
    char *end = (char *)line;
    for (int i = 0; i < FEATURES; i++) {
        row->features[i] = strtod(line, &end);
        if (end == line || *end != ',' || !isfinite(row->features[i]))
            return 0;
        line = end + 1;
    }
    row->label = *line == '1';
    return (*line == '0' || *line == '1') && strcspn(line + 1, "\r\n") == 0;
}

static void read_table(void) {
    char line[256];
    FILE *file = fopen(TABLE, "r");
    if (!file || !fgets(line, sizeof line, file)) /* the first line names the columns */
        fail("cannot be read", 1);
    while (fgets(line, sizeof line, file)) {
        if (count == MOST_ROWS)
            fail("there are too many rows", count + 2);
        if (!read_row(line, &rows[count]))
            fail("is not eight numbers and a label, 0 or 1", count + 2);
        count++;
    }
    fclose(file);
}

/* Learn from four rows of five, and try what was learnt on the fifth, which the tree has not seen. */
static void learn(void) {
    static struct row training[MOST_ROWS];
    size_t trained = 0, ones = 0;
    for (size_t i = 0; i < count; i++)
        if (i % 5 != 0)
            training[trained++] = rows[i];
    tree = trained ? tree_train(training, trained, DEPTH) : NULL;
    if (!tree)
        fail("nothing could be learnt from it", count);
    for (size_t i = 0; i < count; i += 5) {
        tested++;
        ones += rows[i].label;
        right += (tree_predict(tree, rows[i].features) >= 0.5) == rows[i].label;
    }
    right_by_guessing = ones > tested - ones ? ones : tested - ones;
    printf("decision-tree: learnt from %zu rows\n", trained);
    printf("decision-tree: accuracy %.3f on %zu others (always the same answer: %.3f)\n", (double)right / tested, tested,
           (double)right_by_guessing / tested);
}

/* The value of a field of a form. Returns 0 where it is missing or no number. */
static int read_field(const char *form, const char *name, double *value) {
    size_t length = strlen(name);
    for (const char *field = form; field; field = strchr(field, '&') ? strchr(field, '&') + 1 : NULL)
        if (strncmp(field, name, length) == 0 && field[length] == '=') {
            char *end;
            *value = strtod(field + length + 1, &end);
            return end != field + length + 1 && (*end == 0 || *end == '&') && isfinite(*value);
        }
    return 0;
}

static void predict(const struct http_request *request, struct http_client *client) {
    char text[256];
    double features[FEATURES];
    for (int i = 0; i < FEATURES; i++)
        if (!read_field(request->body, names[i], &features[i])) {
            snprintf(text, sizeof text, "%s is missing, or no number", names[i]);
            http_answer_text(client, 400, text);
            return;
        }
    double likely = tree_predict(tree, features);
    const char *diabetes = likely >= 0.5 ? "true" : "false";
    int length = snprintf(text, sizeof text, "{\"diabetes\": %s, \"probability\": %.3f}\n", diabetes, likely);
    http_answer(client, 200, "application/json", text, length);
}

static void tell(struct http_client *client) {
    char text[256];
    int length = snprintf(text, sizeof text, "{\"rows\": %zu, \"tested\": %zu, \"accuracy\": %.3f, \"baseline\": %.3f}\n",
                          count, tested, (double)right / tested, (double)right_by_guessing / tested);
    http_answer(client, 200, "application/json", text, length);
}

static void handle(const struct http_request *request, struct http_client *client) {
    if (strcmp(request->path, "/") == 0 && strcmp(request->method, "GET") == 0)
        tell(client);
    else if (strcmp(request->path, "/predict") == 0 && strcmp(request->method, "POST") == 0)
        predict(request, client);
    else
        http_answer_text(client, 404, "there are GET / and POST /predict");
}

int main(void) {
    read_table();
    learn();
    http_serve("web", handle);
}
