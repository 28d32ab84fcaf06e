#ifndef PRIME_H
#define PRIME_H
/* The n-th prime number, counted from 0; 0 past the end of the table. */
unsigned prime_nth(unsigned n);
#endif
