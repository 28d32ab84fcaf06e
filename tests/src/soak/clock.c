/* The machine's clock, set for one process only: to be preloaded. What SOAK_CLOCK names is a file of eight
 * bytes, how many milliseconds the clock is ahead. The steady clock is left alone, and dates of files are
 * the kernel's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t none;
static const int64_t *ahead_ms = &none;

__attribute__((constructor)) static void find(void) {
	const char *path = getenv("SOAK_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (file < 0)
		return;
	void *shown = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
	if (shown != MAP_FAILED)
		ahead_ms = shown;
	close(file);
}

int clock_gettime(clockid_t id, struct timespec *at) {
	int failed = (int)syscall(SYS_clock_gettime, id, at);
	if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t ahead = __atomic_load_n(ahead_ms, __ATOMIC_RELAXED);
		int64_t ns = at->tv_nsec + ahead % 1000 * 1000000;
		at->tv_sec += ahead / 1000 + (ns >= 1000000000) - (ns < 0);
		at->tv_nsec = ns + (ns < 0 ? 1000000000 : ns >= 1000000000 ? -1000000000 : 0);
	}
	return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}
