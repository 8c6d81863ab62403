#include "tree.h"

#include <stdlib.h>

#define SMALLEST_LEAF 10 /* rows: fewer would be learnt by heart, not understood */

static int sorted_by; /* the feature that qsort() compares; it takes no argument for this */

static int compare(const void *left, const void *right) {
    double a = ((const struct row *)left)->features[sorted_by];
    double b = ((const struct row *)right)->features[sorted_by];
    return (a > b) - (a < b);
}

static void sort(struct row *rows, size_t count, int feature) {
    sorted_by = feature;
    qsort(rows, count, sizeof *rows, compare);
}

static size_t ones(const struct row *rows, size_t count) {
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += rows[i].label;
    return sum;
}

/* How mixed a set is, times its size: 0 where all its labels are the same. */
static double impurity(size_t count, size_t ones) {
    double share = (double)ones / count;
    return count * 2 * share * (1 - share);
}

/* Find the question after which both sides together are least mixed. Returns 0 where none is worth asking. */
static int best_question(struct row *rows, size_t count, struct node *node) {
    size_t all = ones(rows, count);
    double least = impurity(count, all) - 1e-9;
    int found = 0;
    for (int feature = 0; feature < FEATURES; feature++) {
        sort(rows, count, feature);
        size_t below = 0;
        for (size_t i = 1; i < count; i++) {
            below += rows[i - 1].label;
            double last = rows[i - 1].features[feature], next = rows[i].features[feature];
            if (last == next || i < SMALLEST_LEAF || count - i < SMALLEST_LEAF)
                continue;
            double mixed = impurity(i, below) + impurity(count - i, all - below);
            if (mixed < least) {
                least = mixed;
                node->feature = feature;
                node->threshold = (last + next) / 2;
                found = 1;
            }
        }
    }
    return found;
}

struct node *tree_train(struct row *rows, size_t count, int depth) {
    struct node *node = calloc(1, sizeof *node);
    if (!node)
        return NULL;
    node->share = (double)ones(rows, count) / count;
    if (depth == 0 || !best_question(rows, count, node))
        return node;
    sort(rows, count, node->feature);
    size_t below = 0;
    while (rows[below].features[node->feature] < node->threshold)
        below++;
    node->yes = tree_train(rows, below, depth - 1);
    node->no = tree_train(rows + below, count - below, depth - 1);
    return node->yes && node->no ? node : NULL;
}

double tree_predict(const struct node *tree, const double features[FEATURES]) {
    while (tree->yes)
        tree = features[tree->feature] < tree->threshold ? tree->yes : tree->no;
    return tree->share;
}
