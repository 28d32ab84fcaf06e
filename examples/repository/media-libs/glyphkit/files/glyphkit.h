#ifndef GLYPHKIT_H
#define GLYPHKIT_H
#include <stdint.h>

/* Columns that a character takes: 0, 1 or 2. */
int glyph_width(uint32_t character);
/* Columns that a text takes. */
int glyph_text_width(const char *text);
#endif
