/* topwords: prints the most frequent word of its input. */
#include <stdio.h>
#include <tally.h>

int main(void)
{
	struct tally tally = {0};
	struct tally_word best = {"", 0}, word;
	char text[256];

	while (scanf("%255s", text) == 1) {
		size_t length = 0;

		while (text[length])
			length++;
		if (tally_add(&tally, text, length))
			return 1;
	}
	for (size_t n = 0; (word = tally_nth(&tally, n)).count; n++)
		if (word.count > best.count)
			best = word;
	printf("%s: %zu\n", best.word, best.count);
	tally_free(&tally);
	return 0;
}
