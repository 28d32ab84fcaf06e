#include "tally.h"
#include <stdlib.h>
#include <string.h>

int tally_add(struct tally *tally, const char *word, size_t length)
{
	for (size_t n = 0; n < tally->words; n++) {
		const char *known = tally->names.data + tally->starts[n];

		if (strlen(known) == length && !memcmp(known, word, length)) {
			tally->counts[n]++;
			return 0;
		}
	}
	if (tally->words == tally->room) {
		size_t room = tally->room ? tally->room * 2 : 64;
		size_t *starts = realloc(tally->starts, room * sizeof *starts);
		size_t *counts;

		if (!starts)
			return -1;
		tally->starts = starts;
		counts = realloc(tally->counts, room * sizeof *counts);
		if (!counts)
			return -1;
		tally->counts = counts;
		tally->room = room;
	}
	tally->starts[tally->words] = tally->names.length;
	tally->counts[tally->words] = 1;
	if (buf_add(&tally->names, word, length) || buf_add(&tally->names, "", 1))
		return -1;
	tally->words++;
	return 0;
}

struct tally_word tally_nth(const struct tally *tally, size_t n)
{
	struct tally_word word = { "", 0 };

	if (n < tally->words) {
		word.word = tally->names.data + tally->starts[n];
		word.count = tally->counts[n];
	}
	return word;
}

void tally_free(struct tally *tally)
{
	buf_free(&tally->names);
	free(tally->starts);
	free(tally->counts);
	memset(tally, 0, sizeof *tally);
}

const char *tally_version(void)
{
	return VERSION;
}
