#include "libvgpu/shared/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FLAG_EXITING 0x4u

struct status {
    char state;
    uint32_t parent;
    unsigned flags;
    uint64_t start;
};

/* Reads /proc/<pid>/stat after the name, which may contain anything: field 1 is the state, 2 the parent, 7 the flags, 20 the start
 * time. */
static bool read_status(uint32_t pid, struct status *status) {
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return false;
    }
    ssize_t length = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (length <= 0) {
        return false;
    }
    text[length] = '\0';
    const char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ') {
        return false;
    }
    at += 2;
    status->state = *at;
    status->parent = 0;
    status->flags = 0;
    status->start = 0;
    for (unsigned field = 1; *at != '\0' && field <= 20; at++) {
        if (*at == ' ') {
            field++;
        } else if (field == 2 && *at >= '0' && *at <= '9') {
            status->parent = status->parent * 10 + (uint32_t)(*at - '0');
        } else if (field == 7 && *at >= '0' && *at <= '9') {
            status->flags = status->flags * 10 + (unsigned)(*at - '0');
        } else if (field == 20 && *at >= '0' && *at <= '9') {
            status->start = status->start * 10 + (uint64_t)(*at - '0');
        }
    }
    return true;
}

uint64_t process_start(uint32_t pid) {
    struct status status;
    return read_status(pid, &status) ? status.start : 0;
}

uint32_t process_parent(uint32_t pid) {
    struct status status;
    return read_status(pid, &status) ? status.parent : 0;
}

bool process_lives(uint32_t pid, uint64_t start) {
    struct status status;
    return start != 0 && read_status(pid, &status) && status.start == start && status.state != 'Z' &&
           status.state != 'X' && (status.flags & FLAG_EXITING) == 0;
}
