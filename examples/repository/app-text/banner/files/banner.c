/* banner [FONT] DIGITS: writes a number in large letters. Each letter is four columns wide. */
#include <stdio.h>
#include <string.h>
#ifdef WITH_SLIM
#include "slim.h"
#endif
#ifdef WITH_BLOCK
#include "block.h"
#endif

static void draw(const unsigned char *font, const char *digits)
{
	const char *line = (const char *)font;

	while (*line) {
		size_t length = strcspn(line, "\n");

		for (const char *digit = digits; *digit; digit++)
			for (size_t column = 0; column < 4; column++) {
				size_t at = (size_t)(*digit - '0') * 4 + column;

				putchar(at < length ? line[at] : ' ');
			}
		putchar('\n');
		line += length + (line[length] == '\n');
	}
}

int main(int argc, char **argv)
{
	const char *digits = argc > 1 ? argv[argc - 1] : "";

	if (!*digits || strspn(digits, "0123456789") != strlen(digits)) {
		fprintf(stderr, "usage: banner [FONT] DIGITS\n");
		return 2;
	}
#ifdef WITH_BLOCK
	if (argc < 3 || !strcmp(argv[1], "block")) {
		draw(block, digits);
		return 0;
	}
#endif
#ifdef WITH_SLIM
	if (argc < 3 || !strcmp(argv[1], "slim")) {
		draw(slim, digits);
		return 0;
	}
#endif
	fprintf(stderr, "banner: the font %s was not built in\n", argv[1]);
	return 1;
}
