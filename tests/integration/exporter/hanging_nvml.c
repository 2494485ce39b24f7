/* An NVML whose first call never comes back, as a real one's does on a broken GPU. */
#include <unistd.h>

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    for (;;) {
        pause();
    }
}
