#ifndef INI_H
#define INI_H
#include <buf.h>
#include <stdio.h>

/* Called for every key; anything but 0 stops the reading and is returned. */
typedef int ini_key(void *context, const char *section, const char *key, const char *value);

/* Reads a whole file. Returns 0, what `each` returned, or -LINE where the file is malformed. */
int ini_read(FILE *file, ini_key *each, void *context);
#endif
