#ifndef TALLY_H
#define TALLY_H
#include <buf.h>
#include <stddef.h>

/* A word and how often it was seen. */
struct tally_word {
	const char *word;
	size_t count;
};

/* Words and their counts. Start with {0}. */
struct tally {
	struct buf names;
	size_t *starts, *counts;
	size_t words, room;
};

int tally_add(struct tally *tally, const char *word, size_t length); /* 0, or -1 without memory */
/* The n-th word; `count` is 0 past the last. Valid until the next tally_add. */
struct tally_word tally_nth(const struct tally *tally, size_t n);
void tally_free(struct tally *tally);
const char *tally_version(void);
#endif
