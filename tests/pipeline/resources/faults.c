/* Preloaded below a test: fails the n-th write, fsync or rename on files under one folder, once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[4096];
static long left = 0; /* calls until the failure; 0: not armed, or it has happened */
static int kind = 0, full = 0;

/* Fail the n-th call from now on (n > 0) with this errno; n = 0 disarms. After ENOSPC whatever needs space fails until
   then. Returns the calls that were left to the failure. */
long faults_arm(const char *folder, long n, int error) {
    long before = left;
    snprintf(root, sizeof root, "%s", folder);
    kind = error;
    left = n;
    full = 0;
    return before;
}

static int fails(const char *path, int grows) {
    if ((!left && !full) || strncmp(path, root, strlen(root))) return 0;
    errno = kind;
    if (full) return grows;
    if (--left) return 0;
    full = kind == ENOSPC;
    return 1;
}

static int fails_fd(int fd, int grows) {
    char link[64], path[4096];
    if (!left && !full) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return fails(path, grows);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) { return fails_fd(fd, 1) ? -1 : NEXT(write)(fd, data, size); }
ssize_t writev(int fd, const struct iovec *data, int n) { return fails_fd(fd, 1) ? -1 : NEXT(writev)(fd, data, n); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails_fd(fd, 1) ? -1 : NEXT(pwrite64)(fd, data, size, at);
}
int fsync(int fd) { return fails_fd(fd, 0) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return fails_fd(fd, 0) ? -1 : NEXT(fdatasync)(fd); }
int rename(const char *old, const char *new) { return fails(old, 0) ? -1 : NEXT(rename)(old, new); }
int renameat(int a, const char *old, int b, const char *new) {
    return fails(old, 0) ? -1 : NEXT(renameat)(a, old, b, new);
}
int symlink(const char *to, const char *path) { return fails(path, 1) ? -1 : NEXT(symlink)(to, path); }
int mkdir(const char *path, mode_t mode) { return fails(path, 1) ? -1 : NEXT(mkdir)(path, mode); }
