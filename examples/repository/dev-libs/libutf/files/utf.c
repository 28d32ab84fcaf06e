#include "utf.h"

uint32_t utf_next(const char **text)
{
	const unsigned char *at = (const unsigned char *)*text;
	int more;
	uint32_t c;

	if (!at[0])
		return 0;
	if (at[0] < 0x80) {
		*text += 1;
		return at[0];
	}
	if ((at[0] & 0xe0) == 0xc0) {
		more = 1;
		c = at[0] & 0x1f;
	} else if ((at[0] & 0xf0) == 0xe0) {
		more = 2;
		c = at[0] & 0x0f;
	} else if ((at[0] & 0xf8) == 0xf0) {
		more = 3;
		c = at[0] & 0x07;
	} else {
		*text += 1;
		return 0xfffd;
	}
	for (int i = 1; i <= more; i++) {
		if ((at[i] & 0xc0) != 0x80) {
			*text += 1;
			return 0xfffd;
		}
		c = c << 6 | (at[i] & 0x3f);
	}
	*text += more + 1;
	return c;
}

size_t utf_length(const char *text)
{
	size_t length = 0;

	while (utf_next(&text))
		length++;
	return length;
}
