#include "linefit.h"
#include <stdlib.h>
#include <string.h>
#ifdef WITH_GLYPHKIT
#include <glyphkit.h>
#define WIDTH(text) glyph_text_width(text)
#else
#define WIDTH(text) ((int)strlen(text))
#endif

void linefit_break(const char *text, int columns, linefit_line *line, void *context)
{
	char *copy = strdup(text), *current = calloc(1, strlen(text) + 2);

	for (char *word = copy ? strtok(copy, " \n") : NULL; word && current; word = strtok(NULL, " \n")) {
		if (*current && WIDTH(current) + 1 + WIDTH(word) > columns) {
			line(current, context);
			*current = '\0';
		}
		if (*current)
			strcat(current, " ");
		strcat(current, word);
	}
	if (current && *current)
		line(current, context);
	free(current);
	free(copy);
}
