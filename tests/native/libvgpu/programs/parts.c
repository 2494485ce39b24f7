/* Reads `COUNT GPU ... [FROM TO] ...`: nodes with a kernel each on that GPU (-1: with none), and edges. Answers the parts of the
 * first two GPUs, in thousandths of the graph's time, and whether several have any.
 */
#include <inttypes.h>
#include <stdio.h>

#include "libvgpu/compute/graph_parts.h"

enum { MOST = 64 };

int main(void) {
    uint32_t count, from[MOST], to[MOST];
    uint64_t kernels[MOST], longest[MOST], edges = 0;
    struct graph_shape shape = {0};
    struct graph_parts parts;
    if (scanf("%" SCNu32, &count) != 1 || count > MOST) {
        return 1;
    }
    for (uint32_t node = 0; node < count; node++) {
        int gpu;
        if (scanf("%d", &gpu) != 1) {
            return 1;
        }
        kernels[node] = gpu >= 0;
        if (gpu >= 0) {
            shape.kernels[gpu]++;
        }
    }
    while (edges < MOST && scanf("%" SCNu32 " %" SCNu32, &from[edges], &to[edges]) == 2) {
        edges++;
    }
    shape.longest = graph_parts_longest(kernels, longest, count, from, to, edges);
    bool several = graph_parts_of(&shape, &parts);
    printf("%u %u %d\n", parts.of[0], parts.of[1], several);
    return 0;
}
