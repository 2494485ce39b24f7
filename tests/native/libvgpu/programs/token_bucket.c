/* The arithmetic of GPU time, one question a line: reads `earn BALANCE EARNED NOW RATE MOST`, `take BALANCE COST WISH
 * FLOOR`, `time BALANCE WANTED RATE`, `floor COST`, `most COST WAITS`, `part OWN ELAPSED NOW` (one after another),
 * `class ELAPSED`, `rate FLAGS COMPUTE CORES CEILING NOW LOOKED CLOCK`, `estimate NOW` and `settled NOW` (and whether it is
 * clear, of any age and firmly) with the samples added by `sample AT NS EXACT VIEW CHARGED BEHIND OFF TOGETHER` since the last;
 * answers a line each. `passed LAUNCHES NS` and `add AT NS EXACT VIEW` are of one cost; the second answers what was
 * charged too little.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libvgpu/compute/token_bucket.h"
#include "libvgpu/compute/cost_cache.h"
#include "libvgpu/compute/estimate.h"
#include "libvgpu/compute/rate.h"

/* Learns the cost of so many shapes, while one shape stays in use. Prints how many are unknown afterwards, how many have
 * another one's cost, and the cost of the one in use.
 */
static void learn_shapes(unsigned count) {
    struct cost_key used = cost_key_of_kernel(&learn_shapes, 1, 1, 1, 1, 1, 1, 0);
    unsigned unknown = 0, wrong = 0;
    for (unsigned shape = 0; shape <= count; shape++) {
        struct cost_key key = shape == 0 ? used : cost_key_of_kernel(&used, shape, 1, 1, 1, 1, 1, 0);
        struct cost *cost = cost_cache_find(&key, NULL);
        struct estimate_sample sample = {.at = shape, .ns = 1000 + shape, .exact = true};
        cost_cache_add(cost, sample, cost->meaning);
        cost_cache_find(&used, NULL);
    }
    for (unsigned shape = count; shape > 0; shape--) {
        struct cost_key key = cost_key_of_kernel(&used, shape, 1, 1, 1, 1, 1, 0);
        uint64_t value = cost_known(cost_cache_find(&key, NULL));
        cost_cache_find(&used, NULL);
        unknown += value == 0;
        wrong += value != 0 && value != 1000 + shape;
    }
    printf("%u %u %" PRIu64 "\n", unknown, wrong, cost_known(cost_cache_find(&used, NULL)));
}

int main(void) {
    static struct estimate estimate;
    uint64_t measured = 0;
    const struct cost_key key = {1, 1, 1, 1};
    char line[256], what[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        int64_t n[8] = {0};
        if (sscanf(line,
                   "%15s %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
                   what, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &n[7]) < 1) {
            return 1;
        }
        if (strcmp(what, "earn") == 0) {
            struct token_bucket was = {n[0], (uint64_t)n[1]};
            struct token_bucket is = token_bucket_earn(was, (uint64_t)n[2], (uint32_t)n[3], n[4]);
            printf("%" PRId64 " %" PRIu64 "\n", is.balance, is.earned);
        } else if (strcmp(what, "take") == 0) {
            struct token_bucket bucket = {n[0], 0};
            int64_t taken = token_bucket_take(&bucket, n[1], n[2], n[3]);
            printf("%" PRId64 " %" PRId64 "\n", taken, bucket.balance);
        } else if (strcmp(what, "time") == 0) {
            printf("%" PRIu64 "\n", token_bucket_time_to(n[0], n[1], (uint32_t)n[2]));
        } else if (strcmp(what, "floor") == 0) {
            printf("%" PRId64 "\n", token_bucket_floor(n[0]));
        } else if (strcmp(what, "most") == 0) {
            printf("%" PRId64 "\n", token_bucket_most(n[0], n[1] != 0));
        } else if (strcmp(what, "part") == 0) {
            printf("%" PRIu64 "\n", token_bucket_part(&measured, (uint64_t)n[0], (uint64_t)n[1], (uint64_t)n[2]));
        } else if (strcmp(what, "class") == 0) {
            printf("%u\n", token_bucket_class((uint64_t)n[0]));
        } else if (strcmp(what, "rate") == 0) {
            struct policy_compute policy = {.flags = (uint32_t)n[0],
                                            .compute = (uint32_t)n[1],
                                            .cores = (uint32_t)n[2],
                                            .ceiling = (uint32_t)n[3],
                                            .current_rate = (uint32_t)n[4],
                                            .heartbeat_ns = (uint64_t)n[5]};
            printf("%u\n", rate_of_policy(&policy, (uint64_t)n[6]));
        } else if (strcmp(what, "sample") == 0) {
            estimate_add(&estimate, (struct estimate_sample){.at = (uint64_t)n[0],
                                                             .ns = (uint64_t)n[1],
                                                             .exact = n[2] != 0,
                                                             .view = (uint8_t)n[3],
                                                             .charged = (uint64_t)n[4],
                                                             .behind = n[5] != 0,
                                                             .off = (uint64_t)n[6],
                                                             .together = n[7] != 0});
        } else if (strcmp(what, "passed") == 0) {
            struct cost *cost = cost_cache_find(&key, NULL);
            cost_cache_note_passed(cost, n[0], n[1], cost->meaning);
        } else if (strcmp(what, "add") == 0) {
            struct cost *cost = cost_cache_find(&key, NULL);
            struct estimate_sample sample = {
                .at = (uint64_t)n[0], .ns = (uint64_t)n[1], .exact = n[2] != 0, .view = (uint8_t)n[3]};
            printf("%" PRId64 "\n", cost_cache_add(cost, sample, cost->meaning));
        } else if (strcmp(what, "shapes") == 0) {
            learn_shapes((unsigned)n[0]);
        } else if (strcmp(what, "fork") == 0) {
            cost_cache_after_fork();
        } else if (strcmp(what, "settled") == 0) {
            uint64_t now = (uint64_t)n[0];
            printf("%d %d %d\n", estimate_settled(&estimate, now), estimate_clear(&estimate, now, 0),
                   estimate_clear(&estimate, now, ESTIMATE_DOUBT_NS));
            estimate_forget(&estimate);
        } else if (strcmp(what, "estimate") == 0) {
            uint64_t value = estimate_value(&estimate, (uint64_t)n[0]);
            printf("%" PRIu64 " %" PRIu64 "\n", value, estimate_overcharged(&estimate, value));
            estimate_forget(&estimate);
        } else {
            return 1;
        }
    }
    return 0;
}
