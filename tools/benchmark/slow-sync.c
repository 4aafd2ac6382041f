// Makes every fsync and fdatasync take 3.3 ms at least, for all sides alike: what a shared commit
// saves shows only on a disk that is slower than the machine's page cache pretends.
// Preloaded into the server and into the floor; tools/bench compiles it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static const long least_nanoseconds = 3300000;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int slowly(const char *name, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    long long began = now();
    int result = real(file);
    long long rest = least_nanoseconds - (now() - began);
    if (rest > 0) {
        struct timespec pause = {0, rest};
        nanosleep(&pause, 0);
    }
    return result;
}

int fsync(int file) { return slowly("fsync", file); }
int fdatasync(int file) { return slowly("fdatasync", file); }
