/* Fibres for the threads of a block. A thread that waits at a barrier gives way to the next one;
 * whoever has met the others goes on. Threads that end while others wait, or wait at different
 * barriers, are reported: on a GPU they would hang. */
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#include "engine/cuda/emulated_matrix.h"
#include "engine/cuda/emulated_memory.h"

namespace emulation {

Thread current;

namespace {

enum State { READY, AT_WARP, AT_BLOCK, DONE };
enum { STACK_BYTES = 64 * 1024, MOST_THREADS = 1024, SHARED_BYTES = 227 * 1024 };

struct Fibre {
    jmp_buf place;
    ucontext_t start;
    bool started;
    State state;
    Thread thread;
};

/* Asynchronous copies of a thread that have not been waited for, and how many groups it ended. */
struct Copies {
    struct Copy {
        void *to;
        const void *from;
        size_t bytes;
        int group;
    };
    std::vector<Copy> under_way;
    int groups = 0;
};

/* One grid at a time: kernels of a stream run one after the other. */
struct Machine {
    std::vector<Fibre> fibres;
    unsigned char *stacks = nullptr;
    unsigned char *shared = nullptr;
    alignas(16) unsigned char shuffles[(int)MOST_THREADS / WARP][2][WARP][LANE_BYTES];
    std::vector<Copies> copies; /* of each thread */
    bool copies_wait = false;
    jmp_buf scheduler;
    Fibre *running = nullptr;
    void (*body)(void *) = nullptr;
    void *arguments = nullptr;
    const char *kernel = "";
    int any = 0; /* of meet_block_or */
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
    machine.running->state = state;
    machine.running->thread = current;
    if (_setjmp(machine.running->place) == 0) _longjmp(machine.scheduler, 1);
}

/* A fibre lives as long as the machine and runs one thread after the other. */
void fibre_main() {
    for (;;) {
        machine.body(machine.arguments);
        give_way(DONE);
    }
}

void resume(Fibre *fibre) {
    machine.running = fibre;
    current = fibre->thread;
    if (_setjmp(machine.scheduler) != 0) return;
    if (fibre->started) _longjmp(fibre->place, 1);
    fibre->started = true;
    setcontext(&fibre->start);
}

void prepare_machine() {
    if (machine.stacks) return;
    machine.fibres.resize(MOST_THREADS);
    machine.copies.resize(MOST_THREADS);
    void *memory = mmap(nullptr, (size_t)STACK_BYTES * MOST_THREADS, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) complain("no memory for stacks");
    machine.stacks = static_cast<unsigned char *>(memory);
    machine.shared = static_cast<unsigned char *>(std::aligned_alloc(64, SHARED_BYTES + 1024));
    for (unsigned i = 0; i < MOST_THREADS; i++) {
        Fibre *fibre = &machine.fibres[i];
        fibre->started = false;
        getcontext(&fibre->start);
        fibre->start.uc_stack.ss_sp = machine.stacks + (size_t)i * STACK_BYTES;
        fibre->start.uc_stack.ss_size = STACK_BYTES;
        fibre->start.uc_link = nullptr;
        makecontext(&fibre->start, fibre_main, 0);
    }
}

/* Place i of n in one of three orders. */
unsigned place(int order, unsigned i, unsigned n) {
    if (order == 2) return n - 1 - i;
    if (order < 3) return i;
    const unsigned half = (n + 1) / 2; /* even places upwards, then odd ones downwards */
    return i < half ? 2 * i : 2 * (n - 1 - i) + 1;
}

/* Runs a warp until all its threads wait for the block or have ended. */
void run_warp(unsigned first, unsigned last, int order) {
    for (;;) {
        unsigned waiting = 0;
        for (unsigned i = 0; i < last - first; i++) {
            Fibre *fibre = &machine.fibres[first + place(order, i, last - first)];
            if (fibre->state == READY) resume(fibre);
            waiting += fibre->state == AT_WARP;
        }
        if (!waiting) return;
        if (waiting != last - first) complain("some threads of a warp do not reach a shuffle");
        for (unsigned i = first; i < last; i++) machine.fibres[i].state = READY;
    }
}

void run_block(unsigned threads, int order) {
    for (unsigned i = 0; i < threads; i++) {
        machine.fibres[i].state = READY;
        machine.copies[i].under_way.clear();
        machine.copies[i].groups = 0;
    }
    const unsigned warps = (threads + WARP - 1) / WARP;
    for (;;) {
        for (unsigned w = 0; w < warps; w++) {
            const unsigned first = place(order, w, warps) * WARP;
            run_warp(first, std::min(first + WARP, threads), order);
        }
        unsigned waiting = 0;
        for (unsigned i = 0; i < threads; i++) waiting += machine.fibres[i].state == AT_BLOCK;
        if (!waiting) return;
        if (waiting != threads) complain("some threads do not reach a barrier");
        for (unsigned i = 0; i < threads; i++) machine.fibres[i].state = READY;
    }
}

} // namespace

unsigned char *shuffle_space(unsigned lane, int parity) {
    return machine.shuffles[current.thread.x / WARP][parity][lane];
}

void meet_warp() {
    give_way(AT_WARP);
}

void meet_block() {
    give_way(AT_BLOCK);
}

int meet_block_or(int x) {
    machine.any |= x != 0;
    give_way(AT_BLOCK);
    const int any = machine.any;
    give_way(AT_BLOCK); /* everyone has read */
    machine.any = 0;
    give_way(AT_BLOCK); /* and nobody has brought the next one yet */
    return any;
}

void copy_later(void *to, const void *from, size_t bytes) {
    Copies &own = machine.copies[current.thread.x];
    if (machine.copies_wait)
        own.under_way.push_back({to, from, bytes, own.groups});
    else
        std::memcpy(to, from, bytes);
}

void copies_commit() {
    machine.copies[current.thread.x].groups++;
}

void copies_wait(int pending) {
    Copies &own = machine.copies[current.thread.x];
    const auto done = [&](const Copies::Copy &copy) {
        if (copy.group >= own.groups - pending) return false;
        std::memcpy(copy.to, copy.from, copy.bytes);
        return true;
    };
    std::erase_if(own.under_way, done);
}

void run_grid(const Run *run, const char *name, dim3 grid, dim3 block, size_t shared,
              void (*body)(void *), void *arguments) {
    prepare_machine();
    machine.kernel = name;
    machine.body = body;
    machine.arguments = arguments;
    if (block.y != 1 || block.z != 1) complain("blocks have one extent");
    if (!block.x || block.x > MOST_THREADS || block.x % WARP)
        complain("1 to 32 whole warps a block");
    if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535)
        complain("a grid has 1 to 2^31 - 1 blocks, 65535 in y and z");
    if (shared > SHARED_BYTES) complain("more shared memory than an H100 has");
    const Opened opened(state_of(run));
    const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    const int order = run->threads;
    machine.copies_wait = order > 1;
    for (uint64_t b = 0; b < blocks; b++) {
        const uint64_t number = order == 2 ? blocks - 1 - b : b;
        const dim3 at((unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y),
                      (unsigned)(number / grid.x / grid.y));
        std::memset(machine.shared, 0xFF, shared + 64); /* reads before writes give not-a-number */
        for (unsigned i = 0; i < block.x; i++)
            machine.fibres[i].thread = {dim3(i, 0, 0), at, block, grid, machine.shared, 0};
        run_block(block.x, order);
    }
}

} // namespace emulation
