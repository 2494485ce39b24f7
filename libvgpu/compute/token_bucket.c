#include "libvgpu/compute/token_bucket.h"

/* A clock so far behind is that of another boot. */
#define CLOCK_JUMP_NS 1000000000u

/* Work is seen finished late and in any order, so unassigned time is kept for it this long. */
#define MEASURED_NS 50000000u

/* The longest time that one call earns for. */
#define LONGEST_NS 3600000000000u

struct token_bucket token_bucket_earn(struct token_bucket bucket, uint64_t now, uint32_t rate, int64_t most) {
    if (rate == 0) {
        return (struct token_bucket){TOKEN_BUCKET_BURST_NS, now};
    }
    if (bucket.earned > now + CLOCK_JUMP_NS) {
        return (struct token_bucket){0, now};
    }
    if (bucket.earned >= now) {
        return bucket;
    }
    uint64_t time = now - bucket.earned;
    if (time > LONGEST_NS) {
        time = LONGEST_NS;
    }
    /* A part of a nanosecond stays unearned until it is whole. */
    uint64_t gained = time * rate / TOKEN_BUCKET_WHOLE;
    bucket.earned = now - (time - (gained * TOKEN_BUCKET_WHOLE + rate - 1) / rate);
    if (bucket.balance < most) {
        int64_t room = bucket.balance < most - (int64_t)gained ? (int64_t)gained : most - bucket.balance;
        bucket.balance += room;
    }
    return bucket;
}

int64_t token_bucket_floor(int64_t cost) {
    if (cost <= TOKEN_BUCKET_BURST_NS) {
        return 0;
    }
    /* Not more than any process keeps: others may estimate a lower cost for the same work, and save less for it. */
    return cost < 2 * TOKEN_BUCKET_BURST_NS ? cost - TOKEN_BUCKET_BURST_NS : TOKEN_BUCKET_BURST_NS;
}

int64_t token_bucket_most(int64_t cost, bool waits) {
    int64_t kept = waits ? TOKEN_BUCKET_BURST_NS + TOKEN_BUCKET_LATE_NS : TOKEN_BUCKET_BURST_NS;
    int64_t needed = token_bucket_floor(cost) + TOKEN_BUCKET_BURST_NS / 10;
    return needed > kept ? needed : kept;
}

int64_t token_bucket_take(struct token_bucket *bucket, int64_t cost, int64_t wish, int64_t floor) {
    if (bucket->balance <= floor) {
        return 0;
    }
    int64_t taken = wish < bucket->balance ? wish : bucket->balance;
    if (taken < cost) {
        taken = cost;
    }
    bucket->balance -= taken;
    return taken;
}

uint64_t token_bucket_part(uint64_t *measured, uint64_t own, uint64_t elapsed, uint64_t now) {
    uint64_t back = elapsed > MEASURED_NS ? elapsed : MEASURED_NS, from = *measured;
    if (from > now && from <= now + CLOCK_JUMP_NS) {
        return 0; /* another process read its clock a moment later */
    }
    if (from > now || now - from > back) {
        from = now > back ? now - back : 0;
    }
    uint64_t part = now - from < own ? now - from : own;
    *measured = from + part;
    return part;
}

unsigned token_bucket_class(uint64_t elapsed) {
    unsigned class = 0;
    for (uint64_t longer = MEASURED_NS; elapsed >= longer && class < TOKEN_BUCKET_CLASSES - 1; longer *= 2) {
        class++;
    }
    return class;
}

uint64_t token_bucket_time_to(int64_t balance, int64_t wanted, uint32_t rate) {
    if (rate == 0 || balance >= wanted) {
        return 0;
    }
    uint64_t missing = (uint64_t)(wanted - balance);
    if (missing > LONGEST_NS) {
        missing = LONGEST_NS;
    }
    return (missing * TOKEN_BUCKET_WHOLE + rate - 1) / rate;
}
