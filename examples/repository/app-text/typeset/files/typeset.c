/* typeset [COLUMNS]: fills each line of its input into lines, flush right. */
#include <glyphkit.h>
#include <linefit.h>
#include <stdio.h>
#include <stdlib.h>

static void flush_right(const char *text, void *columns)
{
	int space = *(int *)columns - glyph_text_width(text);

	printf("%*s%s\n", space > 0 ? space : 0, "", text);
}

int main(int argc, char **argv)
{
	int columns = argc > 1 ? atoi(argv[1]) : 60;
	char line[4096];

	while (fgets(line, sizeof line, stdin))
		linefit_break(line, columns, flush_right, &columns);
	return 0;
}
