#ifndef BUF_H
#define BUF_H
#include <stddef.h>

/* Bytes that grow. Start with {0}; `data` is always terminated once something was added. */
struct buf {
	char *data;
	size_t length, capacity;
};

int buf_add(struct buf *buf, const char *bytes, size_t length); /* 0, or -1 without memory */
int buf_addf(struct buf *buf, const char *format, ...);
void buf_free(struct buf *buf);
const char *buf_version(void);
#endif
