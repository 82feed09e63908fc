/* Stands before the C library: a disk that does not flush.
 *
 * Under the directory FAILING_DISK, flushes fail as long as the file FAILING_DISK/.fail exists, and wait as long as
 * FAILING_DISK/.hold does. Each flush of a log's segment adds a byte to FAILING_DISK/.flushes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int there(const char *disk, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", disk, name);
    return access(path, F_OK) == 0;
}

static int flush(int fd, long number) {
    const char *disk = getenv("FAILING_DISK");
    char link[64], file[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, file, sizeof file - 1);
    if (disk && length > 0 && strncmp(file, disk, strlen(disk)) == 0) {
        file[length] = 0;
        if (length > 4 && strcmp(file + length - 4, ".log") == 0) {
            char path[4096];
            snprintf(path, sizeof path, "%s/.flushes", disk);
            int count = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
            if (count >= 0) {
                ssize_t written = write(count, ".", 1);
                (void)written;
                close(count);
            }
        }
        while (there(disk, ".hold")) usleep(1000);
        if (there(disk, ".fail")) {
            errno = EIO;
            return -1;
        }
    }
    return (int)syscall(number, fd);
}

int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }
int fsync(int fd) { return flush(fd, SYS_fsync); }
