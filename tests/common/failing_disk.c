/* A disk that fails at the n-th thing that is written to it, for a program that is not changed: LD_PRELOAD puts these functions before
 * those of the C library. What counts is below the folder $DISK_FOLDER: files that are opened to be written, writes, lengths that are set,
 * fsync, new folders, renames, links. Deleting does not count: it works on a full disk.
 *
 *   $DISK_FAIL_AT  the number, from 1, of what fails; 0 for none
 *   $DISK_ERROR    the number of the error: 28 no space left, 5 the disk can't be read or written
 *   $DISK_STAYS    1: everything after it fails too, and a write that is the first to fail writes half of its bytes, as a full disk does
 *   $DISK_TRACE    a file, to which a line is added for all that counts: the function and the path
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum verdict { PASSES, FAILS_FIRST, FAILS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long counted;

static long setting(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? 0 : atol(text);
}

static void trace(const char *function, const char *path) {
    const char *file = getenv("DISK_TRACE");
    if (file == NULL) return;
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", function, path);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, (size_t)length);
    syscall(SYS_close, fd);
}

/* Counts what is done to `path`, where that is on the disk that fails. */
static enum verdict count(const char *function, const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    if (folder == NULL || path == NULL || strncmp(path, folder, strlen(folder)) != 0) return PASSES;
    int before = errno;
    pthread_mutex_lock(&lock);
    long number = ++counted;
    trace(function, path);
    pthread_mutex_unlock(&lock);
    errno = before;
    long at = setting("DISK_FAIL_AT");
    if (at == 0 || number < at || (number > at && setting("DISK_STAYS") == 0)) return PASSES;
    errno = (int)setting("DISK_ERROR");
    return number == at ? FAILS_FIRST : FAILS;
}

static enum verdict count_open_file(const char *function, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int before = errno;
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0) return PASSES;
    path[length] = '\0';
    return count(function, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* glibc has each of these under two names; for a 64-bit program they are one. */
#define OPENS(name)                                                                  \
    int name(const char *path, int flags, ...) {                                     \
        va_list arguments;                                                           \
        va_start(arguments, flags);                                                  \
        mode_t mode = va_arg(arguments, mode_t);                                     \
        va_end(arguments);                                                           \
        int writes = (flags & (O_ACCMODE | O_CREAT)) != O_RDONLY;                    \
        if (writes && count("open", path) != PASSES) return -1;                      \
        return REAL(name)(path, flags, mode);                                        \
    }
OPENS(open)
OPENS(open64)

ssize_t write(int fd, const void *bytes, size_t length) {
    enum verdict verdict = count_open_file("write", fd);
    if (verdict == FAILS_FIRST && setting("DISK_STAYS") != 0 && length > 1) length /= 2;
    else if (verdict != PASSES) return -1;
    return REAL(write)(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    return count_open_file("writev", fd) == PASSES ? REAL(writev)(fd, parts, number) : -1;
}

int fsync(int fd) { return count_open_file("fsync", fd) == PASSES ? REAL(fsync)(fd) : -1; }
int fdatasync(int fd) { return count_open_file("fdatasync", fd) == PASSES ? REAL(fdatasync)(fd) : -1; }
int ftruncate64(int fd, off64_t length) { return count_open_file("ftruncate", fd) == PASSES ? REAL(ftruncate64)(fd, length) : -1; }
int mkdir(const char *path, mode_t mode) { return count("mkdir", path) == PASSES ? REAL(mkdir)(path, mode) : -1; }
int rename(const char *from, const char *to) { return count("rename", to) == PASSES ? REAL(rename)(from, to) : -1; }
int link(const char *from, const char *to) { return count("link", to) == PASSES ? REAL(link)(from, to) : -1; }
int symlink(const char *from, const char *to) { return count("symlink", to) == PASSES ? REAL(symlink)(from, to) : -1; }
