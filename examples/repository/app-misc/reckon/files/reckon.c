/* reckon EXPRESSION...: prints the value of each expression. */
#include <expr.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	int failed = argc < 2;

	if (failed)
		fprintf(stderr, "usage: reckon EXPRESSION...\n");
	for (int i = 1; i < argc; i++) {
		expr_number value;
		const char *wrong = expr_evaluate(argv[i], &value);

		if (wrong) {
			fprintf(stderr, "reckon: %s: %s\n", argv[i], wrong);
			failed = 1;
		} else {
			printf("%s = %g\n", argv[i], (double)value);
		}
	}
	return failed;
}
