#ifndef UTF_H
#define UTF_H
#include <stddef.h>
#include <stdint.h>

/* Takes one character off `*text`. Damaged bytes come out as U+FFFD, one each. 0 at the end. */
uint32_t utf_next(const char **text);
/* Characters of a text. */
size_t utf_length(const char *text);
#endif
