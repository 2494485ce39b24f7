#include "libvgpu/shared/family_file.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libvgpu/base/config.h"
#include "libvgpu/base/names.h"
#include "libvgpu/shared/process.h"

/* How far up to look for an ancestor that has the file. */
#define GENERATIONS 64

/* Where the file is: a descriptor's number, and which file that must be. */
struct place {
    int descriptor;
    uint64_t device, inode;
};

/* Kept apart from the environment, which the program may change. */
static struct place known = {.descriptor = -1};

static bool is_there(const struct place *place, int descriptor) {
    struct stat status;
    return descriptor >= 0 && syscall(SYS_fstat, descriptor, &status) == 0 && status.st_dev == place->device &&
           status.st_ino == place->inode;
}

static bool told(struct place *place) {
    const char *text = secure_getenv(UNIGPU_ENV_FAMILY_ACCOUNT);
    unsigned long long device, inode;
    if (text == NULL || sscanf(text, "%d:%llu:%llu", &place->descriptor, &device, &inode) != 3) {
        return false;
    }
    place->device = device;
    place->inode = inode;
    return true;
}

static int from_ancestors(const struct place *place) {
    uint32_t pid = (uint32_t)getpid();
    for (int turn = 0; turn < GENERATIONS && pid > 1; turn++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%u/fd/%d", pid, place->descriptor);
        int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (is_there(place, descriptor)) {
            return descriptor;
        }
        if (descriptor >= 0) {
            close(descriptor);
        }
        pid = process_parent(pid);
    }
    return -1;
}

/* Moves the descriptor to a high number, where programs that are started find it. */
static int settled(int low, const struct place *place) {
    int least = place->descriptor >= 0 ? place->descriptor : FAMILY_FILE_LOWEST;
    int high = fcntl(low, F_DUPFD, least);
    if (high < 0) {
        high = fcntl(low, F_DUPFD, 0);
    }
    close(low);
    return high;
}

static int noted(int descriptor) {
    struct stat status;
    if (descriptor >= 0 && syscall(SYS_fstat, descriptor, &status) == 0) {
        known = (struct place){descriptor, status.st_dev, status.st_ino};
    }
    return descriptor;
}

/* Says where the file is to what this process starts. */
static void tell(void) {
    char text[96];
    snprintf(text, sizeof text, "%d:%llu:%llu", known.descriptor, (unsigned long long)known.device,
             (unsigned long long)known.inode);
    setenv(UNIGPU_ENV_FAMILY_ACCOUNT, text, true);
}

static int make(void) {
    struct place none = {.descriptor = -1};
    int low = memfd_create("unigpu-usage", 0);
    return low < 0 ? -1 : noted(settled(low, &none));
}

int family_file_open(_Bool create) {
    struct place place = known;
    int found = -1;
    if (place.descriptor >= 0 || told(&place)) {
        if (is_there(&place, place.descriptor)) {
            return noted(place.descriptor);
        }
        found = from_ancestors(&place);
    }
    if (found >= 0) {
        return noted(settled(found, &place));
    }
    return create ? make() : -1;
}

/* Before the program begins: it may fork before it makes a call that libvgpu sees, and there is one thread, which may change
 * the environment. */
__attribute__((constructor)) static void begin(void) {
    if (config_is_alone() && family_file_open(true) >= 0) {
        tell();
    }
}
