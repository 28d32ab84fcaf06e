#include "buf.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int reserve(struct buf *buf, size_t extra)
{
	size_t need = buf->length + extra + 1, capacity = buf->capacity ? buf->capacity : 16;
	char *data;

	if (need <= buf->capacity)
		return 0;
	while (capacity < need)
		capacity *= 2;
	data = realloc(buf->data, capacity);
	if (!data)
		return -1;
	buf->data = data;
	buf->capacity = capacity;
	return 0;
}

int buf_add(struct buf *buf, const char *bytes, size_t length)
{
	if (reserve(buf, length))
		return -1;
	memcpy(buf->data + buf->length, bytes, length);
	buf->length += length;
	buf->data[buf->length] = '\0';
	return 0;
}

int buf_addf(struct buf *buf, const char *format, ...)
{
	va_list list, again;
	int length;

	va_start(list, format);
	va_copy(again, list);
	length = vsnprintf(NULL, 0, format, list);
	va_end(list);
	if (length < 0 || reserve(buf, (size_t)length)) {
		va_end(again);
		return -1;
	}
	vsnprintf(buf->data + buf->length, (size_t)length + 1, format, again);
	va_end(again);
	buf->length += (size_t)length;
	return 0;
}

void buf_free(struct buf *buf)
{
	free(buf->data);
	memset(buf, 0, sizeof *buf);
}

const char *buf_version(void)
{
	return VERSION;
}
