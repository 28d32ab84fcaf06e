#include "expr.h"
#include <lex.h>
#include <stdlib.h>

struct parser {
	struct lex lex;
	const char *wrong;
};

static expr_number sum(struct parser *parser);

static expr_number atom(struct parser *parser)
{
	expr_number value = 0;

	switch (parser->lex.kind) {
	case 'n':
		value = (expr_number)strtod(parser->lex.text.data, NULL);
		lex_next(&parser->lex);
		return value;
	case '-':
		lex_next(&parser->lex);
		return -atom(parser);
	case '(':
		lex_next(&parser->lex);
		value = sum(parser);
		if (parser->lex.kind != ')')
			parser->wrong = "a ) is missing";
		else
			lex_next(&parser->lex);
		return value;
	default:
		parser->wrong = "a number is missing";
		return 0;
	}
}

static expr_number product(struct parser *parser)
{
	expr_number value = atom(parser);

	while (!parser->wrong && (parser->lex.kind == '*' || parser->lex.kind == '/')) {
		char operator = parser->lex.kind;
		expr_number other;

		lex_next(&parser->lex);
		other = atom(parser);
		if (operator == '*')
			value *= other;
		else if (other == 0)
			parser->wrong = "division by zero";
		else
			value /= other;
	}
	return value;
}

static expr_number sum(struct parser *parser)
{
	expr_number value = product(parser);

	while (!parser->wrong && (parser->lex.kind == '+' || parser->lex.kind == '-')) {
		char operator = parser->lex.kind;
		expr_number other;

		lex_next(&parser->lex);
		other = product(parser);
		value = operator == '+' ? value + other : value - other;
	}
	return value;
}

const char *expr_evaluate(const char *source, expr_number *result)
{
	struct parser parser = {0};

	lex_start(&parser.lex, source);
	*result = sum(&parser);
	if (!parser.wrong && parser.lex.kind != 'e')
		parser.wrong = "something follows the end";
	lex_end(&parser.lex);
	return parser.wrong;
}
