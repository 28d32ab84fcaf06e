/* glyphview TEXT: prints a text in lines of forty columns, each with its width. */
#include <glyphkit.h>
#include <linefit.h>
#include <stdio.h>

static void line(const char *text, void *context)
{
	(void)context;
	printf("%2d |%s\n", glyph_text_width(text), text);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: glyphview TEXT\n");
		return 2;
	}
	linefit_break(argv[1], 40, line, NULL);
	return 0;
}
