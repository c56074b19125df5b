/* Fibres for the threads of a block. A thread that waits at a barrier gives way to the next one;
 * whoever has met the others goes on. Threads that end while others wait, or wait at different
 * barriers, are reported: on a GPU they would hang. */
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sys/mman.h>
#include <vector>

#include "engine/cuda/emulated_matrix.h"
#include "engine/cuda/fibre.h"
#include "engine/cuda/races.h"

namespace emulation {

Thread current;

namespace {

enum State : unsigned char {
    READY,
    AT_SHUFFLE,
    AT_WARP,
    AT_ARRIVALS,
    AT_COUNT,
    AT_BLOCK,
    AT_CLUSTER,
    DONE
};
/* Not a power of two from stack to stack: their tops, which are what is used, would share the few
 * lines of a set of the cache. */
enum { STACK_BYTES = 64 * 1024 + 320, MOST_THREADS = 1024 };
enum { MOST_CLUSTER = 4 };
static_assert(MOST_CLUSTER * (int)MOST_THREADS <= (int)MOST_FIBRES);
enum { SHARED_APART = (int)MOST_SHARED + 1024 }; /* from block to block, in whole pages */

struct Fibre {
    Place place;
    Thread thread;
};

/* Asynchronous copies of a thread that have not been waited for, and how many groups it ended. */
struct Copies {
    struct Copy {
        void *to;
        const void *from; /* NULL: zeros */
        size_t bytes;
        int group;
    };
    std::vector<Copy> under_way;
    int groups = 0;
};

/* Products of a thread that have not been waited for. */
struct Products {
    struct Product {
        std::function<void()> make;
        int group;
    };
    std::vector<Product> running;
    int groups = 0;
};

/* Bulk stores of a thread that have not been waited for. */
struct BulkWrites {
    struct BulkWrite {
        float *to;
        const float *from;
        size_t bytes;
        bool add;
    };
    std::vector<BulkWrite> unread;
    int begun = 0, groups = 0, done = 0; /* groups: with those that have not ended */
};

struct BulkCopy {
    void *to;
    const void *from;
    size_t bytes;
    uint64_t *barrier;
};

/* What a barrier with arrivals holds. */
struct ArrivalState {
    uint16_t count : 15, phase : 1, left;
    int32_t bytes; /* announced and not here yet */
};
static_assert(sizeof(ArrivalState) == sizeof(uint64_t));

/* One grid at a time: kernels of a stream run one after the other. */
struct Machine {
    std::vector<Fibre> fibres;
    std::vector<State> states; /* of the fibres; the library's own data are watched for races */
    unsigned char *stacks = nullptr;
    unsigned char *shared = nullptr;
    /* of each warp; not in the library's data, whose races are looked for */
    std::unique_ptr<Shuffles[]> shuffles;
    std::vector<Copies> copies;     /* of each thread */
    std::vector<Products> products; /* the same */
    std::vector<BulkWrites> writes; /* the same */
    std::vector<BulkCopy> bulk;
    bool copies_wait = false;
    bool progress = false; /* some thread does more than wait for arrivals */
    bool resident = false; /* the whole grid runs at the same time */
    bool moved = false;    /* some thread does more than wait for a count */
    Place scheduler;
    unsigned running = 0; /* number of a fibre */
    const std::function<void()> *body = nullptr;
    const char *kernel = "";
    int any[MOST_RESIDENT] = {}; /* of meet_block_or */
};
Machine machine;

} // namespace

[[noreturn]] void complain(const char *what) {
    std::fprintf(stderr, "emulated kernel %s, block (%u, %u, %u): %s\n", machine.kernel,
                 current.block.x, current.block.y, current.block.z, what);
    std::abort();
}

namespace {

void give_way(State state) {
    Fibre &fibre = machine.fibres[machine.running];
    machine.states[machine.running] = state;
    machine.progress |= state != AT_ARRIVALS;
    machine.moved |= state != AT_COUNT;
    fibre.thread.parity = current.parity;
    go(&fibre.place, &machine.scheduler);
}

/* A fibre lives as long as the machine and runs one thread after the other. */
void fibre_main() {
    for (;;) {
        (*machine.body)();
        if (!machine.products[machine.running].running.empty())
            complain("a thread ends before its products");
        if (!machine.copies[machine.running].under_way.empty())
            complain("a thread ends before its copies");
        if (machine.writes[machine.running].done < machine.writes[machine.running].begun)
            complain("a thread ends before its bulk stores");
        give_way(DONE);
    }
}

void resume(unsigned number) {
    Fibre &fibre = machine.fibres[number];
    machine.running = number;
    current = fibre.thread;
    races::thread_runs(number);
    go(&machine.scheduler, &fibre.place);
}

void prepare_machine() {
    if (machine.stacks) return;
    machine.fibres.resize(MOST_FIBRES);
    machine.states.resize(MOST_FIBRES, READY);
    machine.copies.resize(MOST_FIBRES);
    machine.products.resize(MOST_FIBRES);
    machine.writes.resize(MOST_FIBRES);
    void *memory = mmap(nullptr, (size_t)STACK_BYTES * MOST_FIBRES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) complain("no memory for stacks");
    machine.stacks = static_cast<unsigned char *>(memory);
    machine.shared = static_cast<unsigned char *>(
        std::aligned_alloc(4096, (size_t)MOST_RESIDENT * SHARED_APART));
    machine.shuffles = std::make_unique<Shuffles[]>((int)MOST_FIBRES / WARP);
    races::watch_shared(machine.shared, SHARED_APART, MOST_RESIDENT);
    for (unsigned i = 0; i < MOST_FIBRES; i++) {
        begin(&machine.fibres[i].place, machine.stacks + (size_t)i * STACK_BYTES, STACK_BYTES,
              fibre_main);
    }
}

/* Place i of n in one of three orders. */
unsigned place(int order, unsigned i, unsigned n) {
    if (order == 2) return n - 1 - i;
    if (order < 3) return i;
    const unsigned half = (n + 1) / 2; /* even places upwards, then odd ones downwards */
    return i < half ? 2 * i : 2 * (n - 1 - i) + 1;
}

/* Runs a warp until all its threads wait for others of the block or have ended. */
void run_warp(unsigned first, unsigned last, int order) {
    for (;;) {
        unsigned waiting = 0, meeting = 0, stalled = 0;
        for (unsigned i = 0; i < last - first; i++) {
            const unsigned fibre = first + place(order, i, last - first);
            if (machine.states[fibre] == READY) resume(fibre);
            const State state = machine.states[fibre];
            meeting += state == AT_WARP;
            waiting += state == AT_SHUFFLE || state == AT_WARP;
            stalled += state == AT_ARRIVALS || state == AT_COUNT;
        }
        if (!waiting || (stalled && waiting + stalled == last - first)) return;
        if (waiting != last - first) complain("some threads of a warp do not reach a shuffle");
        if (meeting && meeting != waiting) complain("one warp shuffles and meets at a barrier");
        if (meeting) races::warp_met(first, last);
        for (unsigned i = first; i < last; i++) machine.states[i] = READY;
    }
}

unsigned count_in(unsigned first, unsigned threads, State state) {
    unsigned count = 0;
    for (unsigned i = first; i < first + threads; i++) count += machine.states[i] == state;
    return count;
}
void wake(unsigned first, unsigned threads) {
    for (unsigned i = first; i < first + threads; i++) machine.states[i] = READY;
}

/* Runs a block until all its threads wait for the cluster or have ended, or one waits for another
 * block's count: how many wait for the cluster. */
unsigned run_block(unsigned first, unsigned threads, int order) {
    const unsigned warps = (threads + WARP - 1) / WARP;
    for (;;) {
        machine.progress = false;
        for (unsigned w = 0; w < warps; w++) {
            const unsigned start = first + place(order, w, warps) * WARP;
            run_warp(start, std::min(start + WARP, first + threads), order);
        }
        if (count_in(first, threads, AT_ARRIVALS)) {
            if (!machine.progress) complain("threads wait for arrivals that never come");
            for (unsigned i = first; i < first + threads; i++)
                if (machine.states[i] == AT_ARRIVALS) machine.states[i] = READY;
            continue;
        }
        const unsigned waiting = count_in(first, threads, AT_BLOCK);
        if (!waiting || count_in(first, threads, AT_COUNT)) break;
        if (waiting != threads) complain("some threads do not reach a barrier");
        races::block_met(first / threads);
        wake(first, threads);
    }
    return count_in(first, threads, AT_CLUSTER);
}

void run_cluster(unsigned blocks, unsigned threads, int order) {
    wake(0, blocks * threads);
    for (;;) {
        unsigned waiting = 0, counting = 0;
        machine.moved = false;
        for (unsigned b = 0; b < blocks; b++)
            waiting += run_block(place(order, b, blocks) * threads, threads, order);
        for (unsigned i = 0; i < blocks * threads; i++) {
            if (machine.states[i] != AT_COUNT) continue;
            machine.states[i] = READY;
            counting++;
        }
        if (counting && !machine.moved) complain("blocks wait for counts that never come");
        if (counting) continue;
        if (!waiting) return;
        if (waiting != blocks * threads) complain("some threads do not reach a cluster's barrier");
        races::cluster_met();
        wake(0, blocks * threads);
    }
}

} // namespace

void meet_shuffle() {
    give_way(AT_SHUFFLE);
}

void meet_warp() {
    give_way(AT_WARP);
}

void meet_block() {
    give_way(AT_BLOCK);
}

void meet_cluster() {
    give_way(AT_CLUSTER);
}

void await_met(const unsigned *counter, unsigned count) {
    if (!machine.resident) complain("blocks of this grid need not run at the same time");
    while (*counter < count) give_way(AT_COUNT);
    machine.moved = true;
    races::count_awaited(counter, count);
}

unsigned char *in_block(void *own, unsigned rank) {
    return static_cast<unsigned char *>(own) +
           ((std::ptrdiff_t)rank - (std::ptrdiff_t)current.rank) * SHARED_APART;
}

int meet_block_or(int x) {
    machine.any[current.rank] |= x != 0;
    give_way(AT_BLOCK);
    const int any = machine.any[current.rank];
    give_way(AT_BLOCK); /* everyone has read */
    machine.any[current.rank] = 0;
    give_way(AT_BLOCK); /* and nobody has brought the next one yet */
    return any;
}

static void make_copy(void *to, const void *from, size_t bytes) {
    if (from)
        races::move(to, from, bytes);
    else
        races::clear(to, bytes);
}

void copy_later(void *to, const void *from, size_t bytes) {
    Copies &own = machine.copies[machine.running];
    races::flies(races::COPY, own.groups, from, to, bytes);
    if (machine.copies_wait)
        own.under_way.push_back({to, from, bytes, own.groups});
    else
        make_copy(to, from, bytes);
}

void copies_commit() {
    machine.copies[machine.running].groups++;
}

void copies_wait(int pending) {
    Copies &own = machine.copies[machine.running];
    const auto done = [&](const Copies::Copy &copy) {
        if (copy.group >= own.groups - pending) return false;
        make_copy(copy.to, copy.from, copy.bytes);
        return true;
    };
    std::erase_if(own.under_way, done);
    races::landed(races::COPY, own.groups - pending);
}

static void make_write(const BulkWrites::BulkWrite &write) {
    if (!write.add) return races::move(write.to, write.from, write.bytes);
    for (size_t i = 0; i < write.bytes / sizeof(float); i++) write.to[i] += write.from[i];
}

void write_bulk(float *to, const float *from, size_t bytes, bool add) {
    if (((uintptr_t)to | (uintptr_t)from | bytes) % 16) complain("a bulk store is not aligned");
    BulkWrites &own = machine.writes[machine.running];
    races::flies(races::BULK_READ, own.groups, from, nullptr, bytes);
    races::flies(races::BULK_WRITE, own.groups, nullptr, to, bytes);
    own.begun = own.groups + 1;
    if (machine.copies_wait)
        own.unread.push_back({to, from, bytes, add});
    else
        make_write({to, from, bytes, add});
}

void bulk_commit() {
    machine.writes[machine.running].groups++;
}

void bulk_read() {
    BulkWrites &own = machine.writes[machine.running];
    for (const BulkWrites::BulkWrite &write : own.unread) make_write(write);
    own.unread.clear();
    races::landed(races::BULK_READ, own.groups);
}

void bulk_wait(int running) {
    BulkWrites &own = machine.writes[machine.running];
    if (!own.unread.empty()) complain("bulk stores are waited for before their reads are");
    own.done = std::max(own.done, own.groups - running);
    races::landed(races::BULK_WRITE, own.done);
}

void product_later(std::function<void()> product) {
    Products &own = machine.products[machine.running];
    if (machine.copies_wait)
        own.running.push_back({std::move(product), own.groups});
    else
        product();
}

void product_reads(const void *at, size_t bytes) {
    races::flies(races::PRODUCT, machine.products[machine.running].groups, at, nullptr, bytes);
}

void products_commit() {
    machine.products[machine.running].groups++;
}

void products_wait(int running) {
    Products &own = machine.products[machine.running];
    size_t done = 0;
    while (done < own.running.size() && own.running[done].group < own.groups - running)
        own.running[done++].make();
    own.running.erase(own.running.begin(), own.running.begin() + (std::ptrdiff_t)done);
    races::landed(races::PRODUCT, own.groups - running);
}

/* Some of what a barrier waits for has come: its phase may end. */
static void count_arrival(uint64_t *barrier, unsigned arrivals, int64_t bytes) {
    ArrivalState state;
    std::memcpy(&state, barrier, sizeof state);
    if (state.left < arrivals) complain("more arrivals than a barrier was opened for");
    state.left = (uint16_t)(state.left - arrivals);
    state.bytes = (int32_t)(state.bytes + bytes);
    if (!state.left && !state.bytes) {
        state.left = state.count;
        state.phase ^= 1;
        races::phase_ends(barrier);
    }
    std::memcpy(barrier, &state, sizeof state);
}

void arrivals_open(uint64_t *barrier, unsigned count) {
    const ArrivalState state = {(uint16_t)(count & 0x7FFF), 0, (uint16_t)count, 0};
    std::memcpy(barrier, &state, sizeof state);
    races::arrivals_open(barrier);
}

void arrive(uint64_t *barrier, unsigned expected_bytes) {
    races::arrives(barrier);
    count_arrival(barrier, 1, expected_bytes);
}

void await(uint64_t *barrier, unsigned parity) {
    for (;;) {
        const auto done = [&](const BulkCopy &copy) {
            if (copy.barrier != barrier) return false;
            races::move(copy.to, copy.from, copy.bytes);
            count_arrival(barrier, 0, -(int64_t)copy.bytes);
            return true;
        };
        std::erase_if(machine.bulk, done);
        ArrivalState state;
        std::memcpy(&state, barrier, sizeof state);
        if (state.phase != parity) break;
        give_way(AT_ARRIVALS);
    }
    machine.progress = true;
    races::awaited(barrier);
}

void copy_bulk(void *to, const void *from, size_t bytes, uint64_t *barrier) {
    races::flies_bulk(barrier, from, to, bytes);
    if (machine.copies_wait) {
        machine.bulk.push_back({to, from, bytes, barrier});
        return;
    }
    races::move(to, from, bytes);
    count_arrival(barrier, 0, -(int64_t)bytes);
}

unsigned next_number(unsigned *counter) {
    return (*counter)++;
}

void count_up(unsigned *counter) {
    races::counts_up(counter);
    ++*counter;
}

void await_count(const unsigned *counter, unsigned count) {
    if (*counter < count) complain("a block waits for one that has not begun");
    races::count_awaited(counter, count);
}

void run_grid(const Launch &launch, const std::function<void()> &body) {
    const dim3 grid = launch.grid, block = launch.block;
    const unsigned size = launch.size;
    const size_t shared = launch.shared;
    prepare_machine();
    machine.resident = launch.together == RESIDENT;
    machine.kernel = launch.name;
    machine.body = &body;
    if (block.y != 1 || block.z != 1) complain("blocks have one extent");
    if (!block.x || block.x > MOST_THREADS || block.x % WARP)
        complain("1 to 32 whole warps a block");
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535)
        complain("a grid has 1 to 2^31 - 1 blocks, 65535 in y and z");
    if (launch.together == CLUSTER && (!size || size > MOST_CLUSTER || grid.x % size))
        complain("clusters of up to 4 blocks along x divide a grid");
    if (machine.resident && (size > MOST_RESIDENT || size * block.x > MOST_FIBRES))
        complain("more blocks than run at the same time");
    if (shared > MOST_SHARED) complain("more shared memory than an H100 has");
    const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    const int order = launch.order;
    machine.copies_wait = order > 1;
    races::launch_begins(grid.x, grid.y);
    for (uint64_t b = 0; b < blocks; b += size) {
        const uint64_t number = order == 2 ? blocks - size - b : b;
        for (unsigned rank = 0; rank < size; rank++) {
            const dim3 at((unsigned)((number + rank) % grid.x),
                          (unsigned)(number / grid.x % grid.y),
                          (unsigned)(number / grid.x / grid.y));
            unsigned char *const own = machine.shared + (size_t)rank * SHARED_APART;
            std::memset(own, 0xFF, shared + 64); /* reads before writes give not-a-number */
            for (unsigned i = 0; i < block.x; i++) {
                const unsigned fibre = rank * block.x + i;
                machine.fibres[fibre].thread = {
                    dim3(i, 0, 0), at, block, grid, own, &machine.shuffles[fibre / WARP], rank, 0};
            }
        }
        races::cluster_begins(number, size, block.x);
        run_cluster(size, block.x, order);
        races::cluster_ends();
    }
}

} // namespace emulation
