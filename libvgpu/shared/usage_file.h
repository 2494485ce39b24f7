/* The usage file as this process has it open: mapped, and with a lock on a byte for each slot. */
#ifndef UNIGPU_SHARED_USAGE_FILE_H
#define UNIGPU_SHARED_USAGE_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "libvgpu/base/layout.h"

struct usage_file {
    struct vgpu_usage *view; /* NULL: can't be used */
    const char *path;        /* NULL: a nameless file, shared with forks alone */
    int descriptor;
    dev_t device;
    ino_t inode;
};

/* Opens and checks the file, which has to be there already if `made_by_agent`; one that can't be used leaves `view` NULL,
 * and that is said on stderr once. */
void usage_file_open(struct usage_file *file, const char *path, bool made_by_agent);

/* Whether the descriptor is still that of the file: a program may have closed it, or all that it found. */
bool usage_file_is_open(const struct usage_file *file);

/* Whether another process holds the slot's lock; true where that can't be known. */
bool usage_file_is_locked(struct usage_file *file, unsigned slot);

/* Takes the slot's lock, which ends with this process; false where another process has it. */
bool usage_file_lock(struct usage_file *file, unsigned slot);
void usage_file_unlock(struct usage_file *file, unsigned slot);

#endif
