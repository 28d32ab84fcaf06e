/* confget FILE [SECTION.KEY]: prints one value of an INI file, or all of them. */
#include <ini.h>
#include <stdio.h>
#include <string.h>

#ifdef WITH_PRETTY
#define INDENT "\n  "
#define END "\n"
#else
#define INDENT ""
#define END ""
#endif

struct question {
	const char *wanted;
	int found;
};

static int each(void *context, const char *section, const char *key, const char *value)
{
	struct question *question = context;
	char name[256];

	snprintf(name, sizeof name, "%s%s%s", section, *section ? "." : "", key);
	if (question->wanted && strcmp(question->wanted, name))
		return 0;
#ifdef WITH_JSON
	printf("%s" INDENT "\"%s\": \"%s\"", question->found ? "," : "{", name, value);
#else
	if (question->wanted)
		puts(value);
	else
		printf("%s=%s\n", name, value);
#endif
	question->found++;
	return 0;
}

int main(int argc, char **argv)
{
	struct question question = { argc > 2 ? argv[2] : NULL, 0 };
	FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
	int result;

	if (!file) {
		fprintf(stderr, "usage: confget FILE [SECTION.KEY]\n");
		return 2;
	}
	result = ini_read(file, each, &question);
	fclose(file);
#ifdef WITH_JSON
	puts(question.found ? END "}" : "{}");
#endif
	if (result)
		fprintf(stderr, "confget: %s:%d: neither a section nor a key\n", argv[1], -result);
	return result ? 2 : !question.found;
}
