/* The usage file of this process: mapped, with a lock on one byte for each slot. */
#ifndef UNIGPU_SHARED_USAGE_FILE_H
#define UNIGPU_SHARED_USAGE_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "libvgpu/base/layout.h"

struct usage_file {
    struct vgpu_usage *view; /* NULL: it can't be used */
    const char *path;        /* NULL: the nameless file of family_file.h */
    int descriptor;
    dev_t device;
    ino_t inode;
};

/* Opens and checks the file, which must exist if `made_by_agent`. Where it can't be used, `view` is NULL and the reason
 * is logged once. */
void usage_file_open(struct usage_file *file, const char *path, bool made_by_agent);

/* Whether the descriptor is still that of the file: a program may have closed it. */
bool usage_file_is_open(const struct usage_file *file);

/* Whether another process holds the slot's lock; true where that can't be determined. */
bool usage_file_is_locked(struct usage_file *file, unsigned slot);

/* Takes the slot's lock, which ends with this process; false where another process holds it. */
bool usage_file_lock(struct usage_file *file, unsigned slot);
void usage_file_unlock(struct usage_file *file, unsigned slot);

#endif
