/* Small kernels, each with a race and without, that the detector (engine/cuda/races.h) must tell
 * apart in every order of blocks and threads. Linked with the emulation alone. */
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/cuda/backend.h"
#include "engine/cuda/handover.cuh"
#include "engine/cuda/warpgroup.cuh"

enum { THREADS = 128, WORDS = 1 << 16 };

/* ---- barriers of a block ---- */

KERNEL void reads_neighbour(bool sound, float *out) {
    float *const space = shared_memory<float>();
    space[threadIdx.x] = 1;
    if (sound) __syncthreads();
    out[threadIdx.x] = space[(threadIdx.x + 40) % blockDim.x];
}
KERNEL void overwrites_what_is_read(bool sound, float *out) {
    __shared__ float space[THREADS];
    space[threadIdx.x] = 1;
    __syncthreads();
    const float sum = space[0] + space[threadIdx.x];
    if (sound) __syncthreads();
    space[threadIdx.x] = sum;
    __syncthreads();
    out[threadIdx.x] = space[5];
}
KERNEL void threads_write_one_word(bool sound, float *out) {
    out[sound ? threadIdx.x : threadIdx.x / 2] = 1;
}
/* Halves of a word are not a place. */
KERNEL void threads_write_half_words(bool sound, uint16_t *out) {
    uint16_t *const space = shared_memory<uint16_t>();
    shared_memory<float>()[threadIdx.x] = 0;
    __syncthreads();
    space[threadIdx.x / (sound ? 1 : 2)] = 1;
    __syncthreads();
    out[threadIdx.x] = space[threadIdx.x];
}

/* ---- warps ---- */

KERNEL void warp_exchanges(bool sound, float *out) {
    float *const space = shared_memory<float>();
    float sum = 0;
    for (int turn = 0; turn < 3; turn++) {
        __syncwarp();
        space[threadIdx.x] = (float)turn;
        if (sound)
            __syncwarp();
        else
            __shfl_sync(0xFFFFFFFFu, sum, 0); /* orders nothing */
        sum += space[threadIdx.x ^ 1];
    }
    out[threadIdx.x] = sum;
}
KERNEL void warps_exchange(bool sound, float *out) {
    float *const space = shared_memory<float>();
    space[threadIdx.x] = 1;
    __syncwarp();
    out[threadIdx.x] = space[threadIdx.x ^ (sound ? 1u : (unsigned)WARP)];
}

/* ---- asynchronous copies ---- */

KERNEL void reads_before_wait(bool sound, const float *in, float *out) {
    float *const space = shared_memory<float>();
    copy_async(space + 4 * threadIdx.x, in + 4 * threadIdx.x);
    copy_commit();
    if (sound) copy_wait<0>();
    const float x = space[4 * threadIdx.x];
    copy_wait<0>();
    out[threadIdx.x] = x;
}
KERNEL void waits_for_the_other_group(bool sound, const float *in, float *out) {
    float *const space = shared_memory<float>() + 8 * threadIdx.x;
    for (int group = 0; group < 2; group++) {
        copy_async(space + 4 * group, in);
        copy_commit();
    }
    copy_wait<1>();
    const float x = space[sound ? 0 : 4];
    copy_wait<0>();
    out[threadIdx.x] = x;
}
KERNEL void reads_zeros_before_wait(bool sound, float *out) {
    float *const space = shared_memory<float>() + threadIdx.x;
    copy_async_if(false, space, nullptr);
    if (sound) wait_copies();
    const float x = *space;
    wait_copies();
    out[threadIdx.x] = x;
}
KERNEL void copy_is_waited_for_alone(bool sound, const float *in, float *out) {
    float *const space = shared_memory<float>();
    copy_async(space + 4 * threadIdx.x, in);
    wait_copies();
    if (sound) __syncthreads();
    out[threadIdx.x] = space[4 * (threadIdx.x ^ 1)];
}
KERNEL void copies_over_what_is_read(bool sound, const float *in, float *out) {
    float *const space = shared_memory<float>();
    space[4 * threadIdx.x] = 1;
    __syncthreads();
    out[threadIdx.x] = space[4 * (threadIdx.x ^ 1)];
    if (sound) __syncthreads();
    copy_async(space + 4 * threadIdx.x, in);
    wait_copies();
}

/* ---- blocks ---- */

KERNEL void blocks_write_one_word(bool sound, float *out) {
    if (threadIdx.x == 0) out[sound ? blockIdx.x : 0] = 1;
}
KERNEL void block_reads_another(bool sound, float *out) {
    out[blockIdx.x * THREADS + threadIdx.x] = 1;
    out[WORDS / 2 + global_thread()] = out[(sound ? blockIdx.x : 0) * THREADS + threadIdx.x];
}

/* The first block makes numbers, each later one reads its predecessor's; several are missing. */
enum Missing { NOTHING, BARRIER, COUNT, AWAIT, BARRIER_BEHIND };
template <Missing MISSING> KERNEL void hands_over(bool sound, float *out, unsigned *counters) {
    const auto there = [&](Missing what) { return sound || MISSING != what; };
    const unsigned number = take_number(counters);
    if (number > 0) {
        if (threadIdx.x == 0 && there(AWAIT)) await_count(counters + number, 1);
        if (there(BARRIER_BEHIND)) __syncthreads();
    }
    const float before = number > 0 ? out[(number - 1) * THREADS + threadIdx.x] : 0;
    out[number * THREADS + threadIdx.x] = before + 1;
    if (there(BARRIER)) __syncthreads();
    if (threadIdx.x == 0 && there(COUNT)) count_up(counters + number + 1);
    /* so that await_count has something to see */
    if (threadIdx.x == 0 && !there(COUNT)) next_number(counters + number + 1);
}
/* What one thread wrote needs no barrier before it counts. */
KERNEL void hands_over_alone(bool sound, float *out, unsigned *counters) {
    const unsigned number = take_number(counters);
    if (threadIdx.x == 0) {
        if (number > 0 && sound) await_count(counters + number, 1);
        out[number] = number > 0 ? out[number - 1] + 1 : 0;
        count_up(counters + number + 1);
    }
}

/* ---- clusters ---- */

KERNEL void cluster_reads(bool sound, float *out) {
    float *const space = shared_memory<float>();
    cluster_sync();
    space[threadIdx.x] = (float)cluster_rank();
    if (sound)
        cluster_sync();
    else
        __syncthreads();
    out[global_thread()] = *in_block(space + threadIdx.x, cluster_rank() ^ 1);
    cluster_sync();
}
KERNEL void cluster_ends_early(bool sound, float *out) {
    float *const space = shared_memory<float>();
    space[threadIdx.x] = 1;
    cluster_sync();
    out[global_thread()] = *in_block(space + threadIdx.x, cluster_rank() ^ 1);
    if (sound) cluster_sync();
}
KERNEL void cluster_begins_late(bool sound, float *out) {
    float *const space = shared_memory<float>();
    if (sound) cluster_sync();
    *in_block(space + threadIdx.x, cluster_rank() ^ 1) = 1;
    cluster_sync();
    out[global_thread()] = space[threadIdx.x];
}

/* ---- arrivals, bulk copies and products of a warpgroup ---- */

enum { TILES = 4, TILE_NUMBERS = TILE_ROWS * PANEL };
enum Early { READS, OVERWRITES, FREES, READS_ON };
/* The first warpgroup multiplies tiles that the second brings to one place after each other. */
template <Early EARLY> KERNEL void multiplies(bool sound, const bfloat *in, float *out) {
    const auto early = [&](Early what) { return !sound && EARLY == what; };
    __shared__ Arrivals come, gone;
    const WarpgroupTile<> tile = {reinterpret_cast<bfloat *>(tile_memory()), 0};
    if (threadIdx.x == 0) {
        arrivals_open(&come, 1);
        arrivals_open(&gone, WARPGROUP / (int)WARP);
        arrivals_opened();
    }
    __syncthreads();
    if (threadIdx.x >= WARPGROUP) {
        if (threadIdx.x != WARPGROUP) return;
        for (int i = 0; i < TILES; i++) {
            if (i > 0) await(&gone, (unsigned)(i - 1) % 2);
            arrive_expecting(&come, TILE_NUMBERS * sizeof(bfloat));
            copy_bulk(tile.start(), in, TILE_NUMBERS * sizeof(bfloat), &come);
        }
        return;
    }
    float sums[8][4] = {};
    for (int i = 0; i < TILES; i++) {
        if (!early(READS)) await(&come, (unsigned)i % 2);
        begin_products();
        multiply_rows<64, PANEL>(sums, tile, 0, tile, 64);
        end_products();
        if (early(OVERWRITES) && threadIdx.x == 0) *tile.start() = 0;
        if (!early(FREES)) wait_products<0>();
        if (threadIdx.x % WARP == 0) arrive(&gone);
        if (early(FREES)) wait_products<0>();
        if (early(READS_ON)) out[threadIdx.x] = *tile.start();
    }
    out[threadIdx.x] = sums[0][0];
}

/* Blocks add to the same sums in bulk, each in its turn. */
enum Hasty { REUSES, COUNTS, ADDS };
template <Hasty HASTY> KERNEL void adds_in_bulk(bool sound, float *out, unsigned *counters) {
    const auto hasty = [&](Hasty what) { return !sound && HASTY == what; };
    float *const space = shared_memory<float>();
    const unsigned number = take_number(counters);
    space[threadIdx.x] = 1;
    written_for_products();
    __syncthreads();
    if (threadIdx.x != 0) return;
    if (number > 0 && !hasty(ADDS)) await_count(counters + number, 1);
    known_for_bulk();
    add_bulk(out, space, THREADS * sizeof(float));
    end_bulk();
    if (!hasty(REUSES)) bulk_read();
    space[0] = 2;
    bulk_read();
    if (!hasty(COUNTS)) wait_bulk<0>();
    count_up(counters + number + 1);
    wait_bulk<0>();
}

/* ---- the table ---- */

struct Memory {
    float *words;
    unsigned *counters;
};
static bfloat *tiles(const Memory &memory) {
    return reinterpret_cast<bfloat *>(memory.words + WORDS / 2);
}

struct Case {
    const char *name, *says; /* part of the report of the racy one */
    void (*start)(const Run *run, bool sound, const Memory &memory);
};

enum { BLOCKS = 6, SPACE = THREADS * 8 * sizeof(float) };
constexpr size_t TILE_SPACE = TILE_ALIGNMENT + TILE_NUMBERS * sizeof(bfloat);

/* Twice: a launch comes behind all of the one before. */
#define CASE(says, launch, kernel, ...)                                                            \
    {                                                                                              \
#kernel, says, [](const Run *run, bool sound, const Memory &memory) {                         \
         for (int turn = 0; turn < 2; turn++) launch(run, kernel, __VA_ARGS__);                    \
     }    \
    }
#define OF_BLOCK(says, kernel, ...)                                                                \
    CASE(says, LAUNCH, kernel, 1, THREADS, SPACE, sound, __VA_ARGS__)
#define OF_BLOCKS(kernel) CASE(DEVICE, LAUNCH, kernel, BLOCKS, THREADS, 0, sound, memory.words)
#define OF_CLUSTER(says, kernel)                                                                   \
    CASE(says, LAUNCH_CLUSTER, kernel, 2, BLOCKS, THREADS, SPACE, sound, memory.words)
#define OF_WARPGROUP(says, kernel)                                                                 \
    CASE(says, LAUNCH, (kernel), 1, 2 * WARPGROUP, TILE_SPACE, sound, tiles(memory), memory.words)
/* Once: counters begin at zero. */
#define HANDOVER(says, kernel)                                                                     \
    {                                                                                              \
#kernel, says, [](const Run *run, bool sound, const Memory &memory) {                         \
         LAUNCH(run, (kernel), BLOCKS, THREADS, SPACE, sound, memory.words, memory.counters);      \
     }    \
    }
#define SHARED_SPACE " of the shared memory of block "
#define ARRAYS " of the __shared__ arrays"
#define DEVICE " of an allocation of device memory"
#define UNDER_WAY ", which a copy or product under way of "

static const Case cases[] = {
    OF_BLOCK(SHARED_SPACE, reads_neighbour, memory.words),
    OF_BLOCK(ARRAYS, overwrites_what_is_read, memory.words),
    OF_BLOCK(DEVICE, threads_write_one_word, memory.words),
    OF_BLOCK(SHARED_SPACE, threads_write_half_words, tiles(memory)),
    OF_BLOCK(SHARED_SPACE, warp_exchanges, memory.words),
    OF_BLOCK(SHARED_SPACE, warps_exchange, memory.words),
    OF_BLOCK(UNDER_WAY, reads_before_wait, memory.words + WORDS / 2, memory.words),
    OF_BLOCK(UNDER_WAY, waits_for_the_other_group, memory.words + WORDS / 2, memory.words),
    OF_BLOCK(UNDER_WAY, reads_zeros_before_wait, memory.words),
    OF_BLOCK(SHARED_SPACE, copy_is_waited_for_alone, memory.words + WORDS / 2, memory.words),
    OF_BLOCK(SHARED_SPACE, copies_over_what_is_read, memory.words + WORDS / 2, memory.words),
    OF_BLOCKS(blocks_write_one_word),
    OF_BLOCKS(block_reads_another),
    HANDOVER(DEVICE, hands_over<BARRIER>),
    HANDOVER(DEVICE, hands_over<COUNT>),
    HANDOVER(DEVICE, hands_over<AWAIT>),
    HANDOVER(DEVICE, hands_over<BARRIER_BEHIND>),
    HANDOVER(DEVICE, hands_over_alone),
    HANDOVER(UNDER_WAY, adds_in_bulk<REUSES>),
    HANDOVER(DEVICE, adds_in_bulk<COUNTS>),
    HANDOVER(DEVICE, adds_in_bulk<ADDS>),
    OF_CLUSTER(SHARED_SPACE, cluster_reads),
    OF_CLUSTER("a block may end while", cluster_ends_early),
    OF_CLUSTER("a block that may not have begun", cluster_begins_late),
    OF_WARPGROUP(SHARED_SPACE, multiplies<READS>),
    OF_WARPGROUP(UNDER_WAY, multiplies<OVERWRITES>),
    OF_WARPGROUP(SHARED_SPACE, multiplies<FREES>),
    OF_WARPGROUP(SHARED_SPACE, multiplies<READS_ON>),
};

/* In a process of its own: a report ends it. */
static void run_case(const Case &test, bool sound, int order) {
    void *opened = nullptr, *words = nullptr, *counters = nullptr;
    char message[256];
    backend.open(&opened, message, sizeof message);
    CudaState *state = static_cast<CudaState *>(opened);
    backend.allocate(state, WORDS * sizeof(float), &words, message, sizeof message);
    backend.allocate(state, (BLOCKS + 1) * sizeof(unsigned), &counters, message, sizeof message);
    Run run = {};
    run.threads = order;
    run.device = &state;
    test.start(&run, sound, {static_cast<float *>(words), static_cast<unsigned *>(counters)});
    if (!backend.synchronise(state, message, sizeof message)) std::fprintf(stderr, "%s\n", message);
}

static bool good(const Case &test, bool sound, int order) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        run_case(test, sound, order);
        _exit(0);
    }
    close(ends[1]);
    std::string said;
    char part[512];
    for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) said.append(part, (size_t)n);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    const bool reported =
        said.find(": race: ") != std::string::npos && said.find(test.says) != std::string::npos;
    if (sound ? status == 0 && said.empty() : WIFSIGNALED(status) && reported) return true;
    std::printf("%s, %s, order %d: status %d, %s\n", test.name, sound ? "sound" : "racy", order,
                status, said.empty() ? "nothing reported" : said.c_str());
    return false;
}

int main(void) {
    int failures = 0;
    for (const Case &test : cases)
        for (int order = 1; order <= 3; order++)
            failures += !good(test, true, order) + !good(test, false, order);
    std::printf("%zu kernels, %d failures\n", sizeof cases / sizeof *cases, failures);
    return failures != 0;
}
