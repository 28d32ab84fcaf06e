/* factors NUMBER...: prints the prime factors of each number. */
#include <buf.h>
#include <prime.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		unsigned long rest = strtoul(argv[i], NULL, 10);
		struct buf line = {0};
		unsigned prime;

		buf_addf(&line, "%lu:", rest);
		for (unsigned n = 0; rest > 1 && (prime = prime_nth(n)); n++)
			for (; rest % prime == 0; rest /= prime)
				buf_addf(&line, " %u", prime);
		if (rest > 1)
			buf_addf(&line, " %lu", rest);
		puts(line.data);
		buf_free(&line);
	}
	return 0;
}
