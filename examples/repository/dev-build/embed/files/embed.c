/* embed NAME <FILE: prints the input as `const unsigned char NAME[]` and its length. */
#include <stdio.h>

int main(int argc, char **argv)
{
	int byte, length = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: embed NAME <FILE\n");
		return 2;
	}
	printf("static const unsigned char %s[] = {", argv[1]);
	while ((byte = getchar()) != EOF) {
		printf("%s%d,", length % 16 ? " " : "\n\t", byte);
		length++;
	}
	printf("\n\t0\n};\nstatic const unsigned %s_length = %d;\n", argv[1], length);
	return 0;
}
