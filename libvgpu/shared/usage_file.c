#include "libvgpu/shared/usage_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libvgpu/base/log.h"
#include "libvgpu/shared/family_file.h"

/* libc has this function only under a version that is newer than we may need. */
static int status_of(int descriptor, struct stat *status) {
    return (int)syscall(SYS_fstat, descriptor, status);
}

bool usage_file_is_open(const struct usage_file *file) {
    struct stat status;
    return status_of(file->descriptor, &status) == 0 && status.st_dev == file->device && status.st_ino == file->inode;
}

/* Opens the file for all users, whatever the umask of the one that makes it. */
static int open_for_all(const char *path, bool create) {
    int descriptor = create ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666) : -1;
    if (descriptor >= 0) {
        fchmod(descriptor, 0666);
        return descriptor;
    }
    return open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
}

static int open_high(const char *path, bool create) {
    if (path == NULL) {
        return family_file_open(create);
    }
    int low = open_for_all(path, create);
    if (low < 0) {
        return -1;
    }
    int high = fcntl(low, F_DUPFD_CLOEXEC, FAMILY_FILE_LOWEST);
    if (high < 0) {
        return low;
    }
    close(low);
    return high;
}

/* Calls fallocate or ftruncate. The mask is the calling thread's alone. Beyond the limit of `ulimit -f` the kernel sends a signal that ends the program: it is kept
 * off, and taken back. */
static int resize(int descriptor, int (*call)(int descriptor)) {
    sigset_t beyond, before, pending;
    sigemptyset(&beyond);
    sigaddset(&beyond, SIGXFSZ);
    bool waiting = sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1;
    if (sigprocmask(SIG_BLOCK, &beyond, &before) != 0) {
        return -1;
    }
    int result = call(descriptor), error = errno;
    if (result != 0 && error == EFBIG && !waiting) {
        sigtimedwait(&beyond, NULL, &(struct timespec){0});
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return result;
}

static int allocate(int descriptor) {
    return fallocate(descriptor, 0, 0, sizeof(struct vgpu_usage));
}

static int lengthen(int descriptor) {
    return ftruncate(descriptor, sizeof(struct vgpu_usage));
}

/* Allocates every byte on the disk before the file is mapped: a hole on a full disk would kill the program later. */
static bool make_whole(int descriptor) {
    struct stat status;
    if (status_of(descriptor, &status) != 0) {
        return false;
    }
    if (!S_ISREG(status.st_mode)) {
        errno = EINVAL;
        return false;
    }
    if ((size_t)status.st_size >= sizeof(struct vgpu_usage) && status.st_blocks * 512 >= status.st_size) {
        return true;
    }
    if (resize(descriptor, allocate) == 0) {
        return true;
    }
    if (errno != EOPNOTSUPP) {
        return false;
    }
    return (size_t)status.st_size >= sizeof(struct vgpu_usage) || resize(descriptor, lengthen) == 0;
}

static bool is_current(struct vgpu_usage *view) {
    uint32_t magic = __atomic_load_n(&view->magic, __ATOMIC_ACQUIRE);
    if (magic == 0) {
        /* All processes that come first write the same. */
        __atomic_store_n(&view->version, VGPU_USAGE_VERSION, __ATOMIC_RELAXED);
        __atomic_store_n(&view->magic, VGPU_USAGE_MAGIC, __ATOMIC_RELEASE);
        return true;
    }
    return magic == VGPU_USAGE_MAGIC && __atomic_load_n(&view->version, __ATOMIC_RELAXED) == VGPU_USAGE_VERSION;
}

void usage_file_open(struct usage_file *file, const char *path, bool made_by_agent) {
    const char *name = path != NULL ? path : "(nameless)";
    struct stat status;
    file->view = NULL;
    file->path = path;
    file->descriptor = open_high(path, !made_by_agent);
    if (file->descriptor < 0 || !make_whole(file->descriptor) || status_of(file->descriptor, &status) != 0) {
        const char *hint = errno == EFBIG ? " (see `ulimit -f`)" : "";
        LOG_ONCE(LOG_ERROR, "the usage file %s can't be used: %s%s: GPU memory is refused", name, strerror(errno),
                 hint);
        return;
    }
    file->device = status.st_dev;
    file->inode = status.st_ino;
    void *view = mmap(NULL, sizeof *file->view, PROT_READ | PROT_WRITE, MAP_SHARED, file->descriptor, 0);
    if (view == MAP_FAILED) {
        LOG_ONCE(LOG_ERROR, "the usage file %s can't be mapped: %s: GPU memory is refused", name, strerror(errno));
        return;
    }
    if (!is_current(view)) {
        LOG_ONCE(LOG_ERROR, "the usage file %s is not of version %u: GPU memory is refused", name, VGPU_USAGE_VERSION);
        munmap(view, sizeof *file->view);
        return;
    }
    file->view = view;
}

/* Calls fcntl for a slot's lock. */
static int lock_call(const struct usage_file *file, int call, unsigned slot, short *kind) {
    struct flock lock = {.l_type = *kind, .l_whence = SEEK_SET, .l_start = VGPU_LOCKS_OFFSET + (off_t)slot, .l_len = 1};
    int result = fcntl(file->descriptor, call, &lock);
    *kind = lock.l_type;
    return result;
}

/* Opens the file again where the program has closed the descriptor. It may have opened a file of its own in its place.
 */
static bool have_open(struct usage_file *file) {
    if (usage_file_is_open(file)) {
        return true;
    }
    int lost = file->descriptor;
    file->descriptor = open_high(file->path, false);
    if (file->descriptor >= 0 && usage_file_is_open(file)) {
        return true;
    }
    if (file->descriptor >= 0 && file->path != NULL) {
        close(file->descriptor); /* another file has its name now */
    }
    file->descriptor = lost;
    return false;
}

bool usage_file_is_locked(struct usage_file *file, unsigned slot) {
    short kind = F_WRLCK;
    return !have_open(file) || lock_call(file, F_GETLK, slot, &kind) != 0 || kind != F_UNLCK;
}

bool usage_file_lock(struct usage_file *file, unsigned slot) {
    short kind = F_WRLCK;
    return have_open(file) && lock_call(file, F_SETLK, slot, &kind) == 0;
}

void usage_file_unlock(struct usage_file *file, unsigned slot) {
    short kind = F_UNLCK;
    lock_call(file, F_SETLK, slot, &kind);
}
