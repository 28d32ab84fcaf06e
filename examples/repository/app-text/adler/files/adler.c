/* adler FILE...: prints the Adler-32 of each file. */
#include <stdio.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		unsigned a = 1, b = 0;
		int byte;

		if (!file) {
			perror(argv[i]);
			return 1;
		}
		while ((byte = getc(file)) != EOF) {
			a = (a + (unsigned)byte) % 65521;
			b = (b + a) % 65521;
		}
		fclose(file);
		printf("%08x  %s\n", b << 16 | a, argv[i]);
	}
	return 0;
}
