#include "ini.h"
#include <string.h>

static char *trim(char *text)
{
	char *end;

	text += strspn(text, " \t\r\n");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r\n", end[-1]))
		*--end = '\0';
	return text;
}

int ini_read(FILE *file, ini_key *each, void *context)
{
	struct buf section = {0};
	char line[1024];
	int number = 0, result = 0;

	buf_add(&section, "", 0);
	while (!result && fgets(line, sizeof line, file)) {
		char *text = trim(line), *equals;

		number++;
		if (!*text || *text == '#' || *text == ';')
			continue;
		if (*text == '[' && text[strlen(text) - 1] == ']') {
			section.length = 0;
			buf_add(&section, text + 1, strlen(text) - 2);
			continue;
		}
		equals = strchr(text, '=');
		if (!equals) {
			result = -number;
			break;
		}
		*equals = '\0';
		result = each(context, section.data, trim(text), trim(equals + 1));
	}
	buf_free(&section);
	return result;
}
