/* Moves the real-time clock of a process by the seconds in the file that CLOCK_STEP names. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    const char *name = getenv("CLOCK_STEP");
    if (result == 0 && clock == CLOCK_REALTIME && name != NULL) {
        FILE *file = fopen(name, "re");
        long step = 0;
        if (file != NULL) {
            if (fscanf(file, "%ld", &step) == 1) {
                now->tv_sec += step;
            }
            fclose(file);
        }
    }
    return result;
}
