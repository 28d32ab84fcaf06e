/* wordtally [--version]: prints the words, the different words and the characters of its input. */
#include <stdio.h>
#include <string.h>
#include <tally.h>
#include <utf.h>

int main(int argc, char **argv)
{
	struct tally tally = {0};
	size_t words = 0, characters = 0;
	char line[4096];

	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("wordtally %s with libtally %s\n", VERSION, tally_version());
		return 0;
	}
	while (fgets(line, sizeof line, stdin)) {
		characters += utf_length(line);
		for (char *word = strtok(line, " \t\r\n"); word; word = strtok(NULL, " \t\r\n")) {
			if (tally_add(&tally, word, strlen(word)))
				return 1;
			words++;
		}
	}
	printf("%zu words, %zu different, %zu characters\n", words, tally.words, characters);
	tally_free(&tally);
	return 0;
}
