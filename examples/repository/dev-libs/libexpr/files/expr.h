#ifndef EXPR_H
#define EXPR_H

typedef @NUMBER@ expr_number;

/* Evaluates `source` into `result`. Returns 0, or says what is wrong. */
const char *expr_evaluate(const char *source, expr_number *result);
#endif
