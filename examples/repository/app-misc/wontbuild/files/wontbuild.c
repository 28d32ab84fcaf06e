/* Written against a version of libbuf that never was. */
#include <buf.h>
#include <stdio.h>

int main(void)
{
	struct buf buf = {0};

	buf_add_line(&buf, "this function does not exist", buf.lines);
	puts(buf.data);
	return 0;
}
