# Writes the primes below 10,000, by the sieve of Eratosthenes.
BEGIN {
	for (n = 2; n < 10000; n++) {
		if (n in composite) continue
		print n
		for (m = n * n; m < 10000; m += n) composite[m]
	}
}
