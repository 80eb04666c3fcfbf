/*
 * The clocks of one program, set while it runs: preloaded, it puts what a test wrote into a file on top of what the kernel
 * says. The wall clock and the time since boot can be set, the clock that stands still in a sleep cannot: a step moves the
 * first, a sleep the first two.
 *
 * What the kernel stamped on packets is moved by what held at the time of the stamp, as the kernel's own clock would have been.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define ERAS 255
#define SECOND 1000000000LL

/* From `from` on, by the true wall clock, the clocks are off by so much; nanoseconds. */
struct era { int64_t from, wall, boot, unused; };
struct book { int64_t count, unused[3]; struct era eras[ERAS]; };

static struct book nothing;
static const struct book *book = &nothing;

__attribute__((constructor)) static void open_book(void) {
	const char *path = getenv("FIRSTMILE_TEST_CLOCKS");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (file < 0)
		abort();
	const void *found = mmap(NULL, sizeof(struct book), PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (found == MAP_FAILED)
		abort();
	book = found;
}

static struct era at(int64_t true_wall) {
	int64_t count = __atomic_load_n(&book->count, __ATOMIC_ACQUIRE);
	for (int64_t i = count; i > 0; i--)
		if (book->eras[i - 1].from <= true_wall)
			return book->eras[i - 1];
	struct era none = {0};
	return none;
}

static void move(struct timespec *time, int64_t by) {
	int64_t all = time->tv_sec * SECOND + time->tv_nsec + by;
	time->tv_sec = all / SECOND;
	time->tv_nsec = all % SECOND;
}

static int true_clock(clockid_t clock, struct timespec *time) {
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	return real(clock, time);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
	int outcome = true_clock(clock, time);
	int is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
	if (outcome != 0 || !(is_wall || clock == CLOCK_BOOTTIME))
		return outcome;
	struct timespec now;
	true_clock(CLOCK_REALTIME, &now);
	struct era era = at(now.tv_sec * SECOND + now.tv_nsec);
	move(time, is_wall ? era.wall : era.boot);
	return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	time->tv_sec = now.tv_sec;
	time->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *time) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (time)
		*time = now.tv_sec;
	return now.tv_sec;
}

/* Control messages with three stamps (SO_TIMESTAMPING): those that are there are moved. */
static void move_stamps(struct msghdr *message) {
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
		if (part->cmsg_level != SOL_SOCKET || (part->cmsg_type != SO_TIMESTAMPING && part->cmsg_type != 65))
			continue;
		struct timespec stamps[3];
		if (part->cmsg_len < CMSG_LEN(sizeof stamps))
			continue;
		memcpy(stamps, CMSG_DATA(part), sizeof stamps);
		for (int i = 0; i < 3; i++)
			if (stamps[i].tv_sec != 0)
				move(&stamps[i], at(stamps[i].tv_sec * SECOND + stamps[i].tv_nsec).wall);
		memcpy(CMSG_DATA(part), stamps, sizeof stamps);
	}
}

ssize_t recvmsg(int socket, struct msghdr *message, int flags) {
	static ssize_t (*real)(int, struct msghdr *, int);
	if (!real)
		real = (ssize_t (*)(int, struct msghdr *, int))dlsym(RTLD_NEXT, "recvmsg");
	ssize_t outcome = real(socket, message, flags);
	if (outcome >= 0)
		move_stamps(message);
	return outcome;
}

int recvmmsg(int socket, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout) {
	static int (*real)(int, struct mmsghdr *, unsigned int, int, struct timespec *);
	if (!real)
		real = (int (*)(int, struct mmsghdr *, unsigned int, int, struct timespec *))dlsym(RTLD_NEXT, "recvmmsg");
	int outcome = real(socket, messages, count, flags, timeout);
	for (int i = 0; i < outcome; i++)
		move_stamps(&messages[i].msg_hdr);
	return outcome;
}
