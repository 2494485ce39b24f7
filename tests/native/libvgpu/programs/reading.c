/* What samples say of a launch, one a line: reads `read WHOLE HOST GAP ASKED SPENT LAUNCHES VIEW BACKLOGGED BEHIND SEVERAL
 * TOGETHER`, times in ns, and answers `USABLE WAITED ELAPSED NS EXACT VIEW OFF`. `shape GRID_X GRID_Y GRID_Z BLOCK_X BLOCK_Y
 * BLOCK_Z SHARED GRAPH` answers `BLOCKS THREADS SHARED KIND` of a launch's key.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/reading.h"

static struct reading_gaps gaps;

static void read_sample(const uint64_t n[11]) {
    struct reading_facts facts = {.whole = n[0],
                                  .host = n[1],
                                  .gap = n[2],
                                  .asked_for = n[3],
                                  .spent = n[4],
                                  .launches = (unsigned)n[5],
                                  .view = (enum estimate_view)n[6],
                                  .backlogged = n[7] != 0,
                                  .behind = n[8] != 0,
                                  .several = n[9] != 0,
                                  .together = n[10] != 0};
    struct reading reading = reading_of(&facts, &gaps);
    printf("%d %d %" PRIu64 " %" PRIu64 " %d %d %" PRIu64 "\n", reading.usable, reading.waited, reading.elapsed,
           reading.sample.ns, reading.sample.exact, reading.sample.view, reading.sample.off);
}

static void tell_shape(const uint64_t n[8]) {
    struct cost_key key = n[7] ? cost_key_of_graph(&gaps)
                               : cost_key_of_kernel(&gaps, (unsigned)n[0], (unsigned)n[1], (unsigned)n[2],
                                                    (unsigned)n[3], (unsigned)n[4], (unsigned)n[5], (unsigned)n[6]);
    struct cost_shape shape = cost_key_shape(&key);
    printf("%" PRIu64 " %u %u %d\n", shape.blocks, shape.threads, shape.shared, (int)cost_key_kind(&key));
}

int main(void) {
    char line[256], what[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        uint64_t n[11] = {0};
        if (sscanf(line,
                   "%15s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                   " %" SCNu64 " %" SCNu64 " %" SCNu64,
                   what, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7], &n[8], &n[9], &n[10]) < 2) {
            return 1;
        }
        if (strcmp(what, "read") == 0) {
            read_sample(n);
        } else if (strcmp(what, "shape") == 0) {
            tell_shape(n);
        } else {
            return 1;
        }
    }
    return 0;
}
