/* A decision tree that says yes or no from numbers: CART, with Gini impurity. */
#ifndef TREE_H
#define TREE_H

#include <stddef.h>

#define FEATURES 8

struct row {
    double features[FEATURES];
    int label; /* 0 or 1 */
};

/* A question, `features[feature] < threshold`, with what follows on yes and on no; or, without them, a leaf. */
struct node {
    int feature;
    double threshold;
    struct node *yes, *no;
    double share; /* of the rows that came here, those with label 1 */
};

/* Learn from rows, which are put into another order. Returns NULL where there is no memory. */
struct node *tree_train(struct row *rows, size_t count, int depth);

/* How likely label 1 is. */
double tree_predict(const struct node *tree, const double features[FEATURES]);

#endif
