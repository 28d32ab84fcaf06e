#ifndef CRC_H
#define CRC_H
#include <stddef.h>
#include <stdint.h>

/* CRC-32 as in gzip. Begin with 0; feed the result back in for the next piece. */
uint32_t crc32_add(uint32_t crc, const void *bytes, size_t length);
#endif
