/* tablegen crc32 | primes COUNT: prints a lookup table as C source. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void crc32_table(void)
{
	puts("static const uint32_t crc32_table[256] = {");
	for (uint32_t n = 0; n < 256; n++) {
		uint32_t c = n;
		for (int bit = 0; bit < 8; bit++)
			c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
		printf("\t0x%08xu,\n", (unsigned)c);
	}
	puts("};");
}

static void primes_table(int count)
{
	printf("static const unsigned primes_table[%d] = {\n", count);
	for (unsigned n = 2; count > 0; n++) {
		int prime = 1;
		for (unsigned d = 2; d * d <= n; d++)
			if (n % d == 0)
				prime = 0;
		if (prime) {
			printf("\t%u,\n", n);
			count--;
		}
	}
	puts("};");
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "crc32")) {
		crc32_table();
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "primes") && atoi(argv[2]) > 0) {
		primes_table(atoi(argv[2]));
		return 0;
	}
	fprintf(stderr, "usage: tablegen crc32 | primes COUNT\n");
	return 2;
}
