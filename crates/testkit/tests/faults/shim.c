/* Preloaded into the daemon: makes accept4 fail and shifts the calendar, as a test orders through a
   file that both have mapped. It is mapped before main(), which may forbid opening files. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* As `Order` in shim.rs names them. */
struct orders {
    _Atomic int accept_errno;
    _Atomic int accept_failures; /* how many are left */
    _Atomic int clock_shift;     /* seconds */
};

static struct orders *orders;
static int (*real_accept4)(int, struct sockaddr *, socklen_t *, int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("BIP324_TEST_ORDERS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = MAP_FAILED;

    real_accept4 = (int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");
    real_clock_gettime =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (fd >= 0) {
        map = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    if (map == MAP_FAILED)
        abort();
    orders = map;
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    if (atomic_load(&orders->accept_failures) > 0) {
        atomic_fetch_sub(&orders->accept_failures, 1);
        errno = atomic_load(&orders->accept_errno);
        return -1;
    }
    return real_accept4(fd, address, length, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = real_clock_gettime(clock, now);

    if (result == 0 && clock == CLOCK_REALTIME && orders)
        now->tv_sec += atomic_load(&orders->clock_shift);
    return result;
}
