#include "prime.h"
#include "table.h"

unsigned prime_nth(unsigned n)
{
	return n < sizeof primes_table / sizeof *primes_table ? primes_table[n] : 0;
}
