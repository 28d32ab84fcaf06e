#include "crc.h"
#include "table.h"

uint32_t crc32_add(uint32_t crc, const void *bytes, size_t length)
{
	const unsigned char *at = bytes;

	crc = ~crc;
	while (length--)
		crc = crc32_table[(crc ^ *at++) & 0xff] ^ crc >> 8;
	return ~crc;
}
