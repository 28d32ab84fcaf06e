/* sumfile FILE...: prints the CRC-32 of each file. */
#include <crc.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		unsigned char bytes[4096];
		uint32_t crc = 0;
		size_t length;

		if (!file) {
			perror(argv[i]);
			failed = 1;
			continue;
		}
		while ((length = fread(bytes, 1, sizeof bytes, file)))
			crc = crc32_add(crc, bytes, length);
		fclose(file);
		printf("%08x  %s\n", (unsigned)crc, argv[i]);
	}
	return failed;
}
