#include "glyphkit.h"
#include <utf.h>

int glyph_width(uint32_t character)
{
	if (character < 0x20 || (character >= 0x300 && character < 0x370))
		return 0;
	if ((character >= 0x1100 && character < 0x1160) || (character >= 0x2e80 && character < 0xd7a4)
	    || (character >= 0x1f300 && character < 0x1fb00))
		return 2;
	return 1;
}

int glyph_text_width(const char *text)
{
	uint32_t character;
	int width = 0;

	while ((character = utf_next(&text)))
		width += glyph_width(character);
	return width;
}
