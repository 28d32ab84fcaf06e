#include "tally2.h"
#include <stdlib.h>
#include <string.h>

int tally_add(struct tally *tally, const char *word, size_t length)
{
	struct buf copy = {0};
	size_t low = 0, high = tally->words;

	if (buf_add(&copy, word, length))
		return -1;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = strcmp(copy.data, tally->sorted[middle].word);

		if (!order) {
			tally->sorted[middle].count++;
			buf_free(&copy);
			return 0;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	if (tally->words == tally->room) {
		size_t room = tally->room ? tally->room * 2 : 64;
		struct tally_word *sorted = realloc(tally->sorted, room * sizeof *sorted);

		if (!sorted) {
			buf_free(&copy);
			return -1;
		}
		tally->sorted = sorted;
		tally->room = room;
	}
	memmove(tally->sorted + low + 1, tally->sorted + low,
		(tally->words - low) * sizeof *tally->sorted);
	tally->sorted[low].word = copy.data;
	tally->sorted[low].count = 1;
	tally->words++;
	return 0;
}

struct tally_word tally_nth(const struct tally *tally, size_t n)
{
	struct tally_word none = { "", 0 };

	return n < tally->words ? tally->sorted[n] : none;
}

void tally_free(struct tally *tally)
{
	for (size_t n = 0; n < tally->words; n++)
		free((char *)tally->sorted[n].word);
	free(tally->sorted);
	memset(tally, 0, sizeof *tally);
}

const char *tally_version(void)
{
	return VERSION;
}
