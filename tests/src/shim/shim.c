/* Comes before libc in ct-noded: the clock on the wall is off, calls on the ledger fail or take long, a
 * user whose directory is called over-quota has used up theirs.
 *
 * What is asked for stands in the file CT_FAULTS, which is mapped, so that a test changes it at any
 * time. Fails the nth call on a file of the ledger's, counted from when n was written there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef CT_FAULTS
#error "name the file of faults"
#endif

struct faults {
    int64_t clock_s;  /* added to the clock on the wall */
    int64_t delay_ms; /* each call on the ledger takes so much longer */
    int64_t nth;      /* the nth call from now on fails; 0: none does */
    int64_t error;    /* with this error; 0: a write is done by half */
    int64_t failed;   /* the calls that have failed so, a bit each: open, write, sync */
};

static volatile struct faults *faults;

__attribute__((constructor)) static void begin(void) {
    unsetenv("LD_PRELOAD");
    int fd = open(CT_FAULTS, O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    faults = map == MAP_FAILED ? NULL : map;
    if (fd >= 0)
        close(fd);
}

static int is_ledger(const char *path) { return path && strstr(path, "/ct/ledger/20") != NULL; }

static int is_over_quota(const char *path) { return strstr(path, "/over-quota/") != NULL; }

static int is_of(int fd, int (*is)(const char *)) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return is(path);
}

static int is_ledgers(int fd) { return is_of(fd, is_ledger); }

/* Whether this call, of one of the three kinds, is the one that fails. */
static int fails(int kind) {
    if (!faults)
        return 0;
    if (faults->delay_ms > 0)
        usleep(faults->delay_ms * 1000);
    if (faults->nth <= 0)
        return 0;
    int64_t n = faults->nth;
    faults->nth = n - 1;
    if (n == 1)
        faults->failed |= 1 << kind;
    return n == 1;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int rc = syscall(SYS_clock_gettime, id, at);
    if (rc == 0 && id == CLOCK_REALTIME && faults)
        at->tv_sec += faults->clock_s;
    return rc;
}

int open64(const char *path, int flags, ...) {
    __builtin_va_list list;
    __builtin_va_start(list, flags);
    mode_t mode = __builtin_va_arg(list, mode_t);
    __builtin_va_end(list);
    if (is_ledger(path) && fails(0)) {
        errno = faults->error ? faults->error : EIO;
        return -1;
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t write(int fd, const void *data, size_t n) {
    if (is_of(fd, is_over_quota)) {
        errno = EDQUOT;
        return -1;
    }
    if (faults && (faults->nth > 0 || faults->delay_ms > 0) && is_ledgers(fd) && fails(1)) {
        if (faults->error) {
            errno = faults->error;
            return -1;
        }
        n = n / 2;
    }
    return syscall(SYS_write, fd, data, n);
}

int fdatasync(int fd) {
    if (faults && (faults->nth > 0 || faults->delay_ms > 0) && is_ledgers(fd) && fails(2)) {
        errno = faults->error ? faults->error : EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, fd);
}
