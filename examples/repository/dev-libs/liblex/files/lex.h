#ifndef LEX_H
#define LEX_H
#include <buf.h>

/* The kind is 'n' for a number, 'e' for the end, '?' for what is not arithmetic, or the operator. */
struct lex {
	const char *at;
	char kind;
	struct buf text;
};

void lex_start(struct lex *lex, const char *source);
void lex_next(struct lex *lex);
void lex_end(struct lex *lex);
#endif
