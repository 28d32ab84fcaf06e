#include "lex.h"
#include <ctype.h>
#include <string.h>

void lex_start(struct lex *lex, const char *source)
{
	memset(lex, 0, sizeof *lex);
	lex->at = source;
	lex_next(lex);
}

void lex_next(struct lex *lex)
{
	const char *start;

	while (isspace((unsigned char)*lex->at))
		lex->at++;
	start = lex->at;
	lex->text.length = 0;
	if (!*start) {
		lex->kind = 'e';
		return;
	}
	if (isdigit((unsigned char)*start)) {
		while (isdigit((unsigned char)*lex->at) || *lex->at == '.')
			lex->at++;
		lex->kind = 'n';
	} else {
		lex->at++;
		lex->kind = strchr("+-*/()", *start) ? *start : '?';
	}
	buf_add(&lex->text, start, (size_t)(lex->at - start));
}

void lex_end(struct lex *lex)
{
	buf_free(&lex->text);
}
