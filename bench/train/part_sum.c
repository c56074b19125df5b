#include "bench/train/part_sum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Parts that are added one after the other: the odd factor of their number. */
static int64_t row_of(int64_t parts) {
    while (parts % 2 == 0) parts /= 2;
    return parts;
}

/* Sums that can wait at once: one at each halving, and that of a row of odd length. */
static int levels_of(int64_t parts) {
    int levels = row_of(parts) > 1;
    for (int64_t n = parts; n % 2 == 0; n /= 2) levels++;
    return levels;
}

/* What each process adds for the others: nearly equal shares of the elements. */
static int64_t share_of(int processes, int64_t size) {
    const int64_t units = size / TEAM_UNIT;
    return (units + processes - 1) / processes * TEAM_UNIT;
}

bool part_sum_fits(int64_t parts, int processes) {
    const bool power = (processes & (processes - 1)) == 0;
    return processes == parts || (power && parts % processes == 0);
}

int64_t part_sum_bytes(int64_t parts, int processes, int64_t size) {
    const int64_t received = processes > 1 ? processes * share_of(processes, size) : 0;
    return (levels_of(parts / processes) * size + received) * (int64_t)sizeof(float);
}

static float *floats(int64_t count) {
    return aligned_alloc(64, (size_t)(count > 0 ? count : TEAM_UNIT) * sizeof(float));
}

Status part_sum_open(PartSum *sum, int64_t parts, const Team *team, int64_t size, Error *error) {
    assert(size % TEAM_UNIT == 0 && part_sum_fits(parts, team->count));
    *sum = (PartSum){.team = team, .own = parts / team->count, .size = size};
    sum->levels = levels_of(sum->own);
    bool good = true;
    for (int i = 0; i < sum->levels; i++) good &= (sum->waiting[i] = floats(size)) != NULL;
    if (team->count > 1) {
        const int64_t share = share_of(team->count, size);
        sum->received = floats(team->count * share);
        sum->cuts = calloc((size_t)team->count + 1, sizeof *sum->cuts);
        good &= sum->received && sum->cuts;
        for (int r = 0; good && r <= team->count; r++)
            sum->cuts[r] = r * share < size ? r * share : size;
    }
    if (good) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "out of memory: the sums of %lld parts of the gradient",
                     (long long)parts);
}

void part_sum_close(PartSum *sum) {
    for (int i = 0; i < sum->levels; i++) free(sum->waiting[i]);
    free(sum->received);
    free(sum->cuts);
    *sum = (PartSum){0};
}

static void add(float *restrict to, const float *restrict from, int64_t count, int threads) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

void part_sum_add(PartSum *sum, float *gradient, int threads) {
    const int64_t row = row_of(sum->own), done = sum->done++;
    const size_t bytes = (size_t)sum->size * sizeof *gradient;
    /* What waits is a row that is not whole, above sums of 2^k rows, smaller ones above. */
    int top = 0;
    for (int64_t n = done / row; n > 0; n &= n - 1) top++;
    if (done % row != 0) add(gradient, sum->waiting[top], sum->size, threads);
    if ((done + 1) % row == 0)
        for (int64_t n = (done + 1) / row; n % 2 == 0; n /= 2)
            add(gradient, sum->waiting[--top], sum->size, threads);
    if (sum->done == sum->own) {
        sum->done = 0;
        return;
    }
    memcpy(sum->waiting[top], gradient, bytes);
    memset(gradient, 0, bytes);
}

/* Leaves the sum of `count` arrays, `apart` elements from each other, in the first. */
static void add_all(float *first, int64_t count, int64_t apart, int threads) {
    if (count % 2 == 0) {
        float *second = first + count / 2 * apart;
        add_all(first, count / 2, apart, threads);
        add_all(second, count / 2, apart, threads);
        add(first, second, apart, threads);
        return;
    }
    for (int64_t i = 1; i < count; i++) add(first, first + i * apart, apart, threads);
}

void part_sum_finish(PartSum *sum, float *gradient, int threads) {
    const Team *team = sum->team;
    if (team->count == 1) return;
    const int64_t from = sum->cuts[team->rank], share = sum->cuts[team->rank + 1] - from;
    team->kind->exchange(team->state, gradient, sum->cuts, sum->received);
    if (share > 0) {
        add_all(sum->received, team->count, share, threads);
        memcpy(gradient + from, sum->received, (size_t)share * sizeof *gradient);
    }
    team->kind->collect(team->state, gradient, sum->cuts);
}
