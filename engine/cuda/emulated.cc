/* The backend of the emulation: memory, copies, nothing asynchronous, no recording. */
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "engine/cuda/backend.h"
#include "engine/cuda/emulated_memory.h"
#include "engine/cuda/races.h"

static void protect(EmulatedState *state, int protection) {
    for (const Mapping &mapping : state->mappings)
        if (mprotect(mapping.start, mapping.bytes, protection) != 0) std::abort();
}

Opened::Opened(CudaState *base) : state(static_cast<EmulatedState *>(base)) {
    protect(state, PROT_READ | PROT_WRITE);
}
Opened::~Opened() {
    protect(state, PROT_NONE);
}

static size_t pages(size_t bytes) {
    return (bytes / 4096 + 1) * 4096;
}

static bool emulated_open(void **state, char *, size_t) {
    EmulatedState *own = new EmulatedState();
    own->processors = 1;
    own->cache_bytes = 1 << 16;
    *state = static_cast<CudaState *>(own);
    return true;
}

static void emulated_close(void *state) {
    EmulatedState *own = static_cast<EmulatedState *>(static_cast<CudaState *>(state));
    for (const Mapping &mapping : own->mappings) {
        races::forget_device(mapping.start);
        munmap(mapping.start, mapping.bytes);
    }
    delete own;
}

static bool emulated_allocate(void *state, size_t bytes, void **memory, char *message,
                              size_t length) {
    EmulatedState *own = static_cast<EmulatedState *>(static_cast<CudaState *>(state));
    void *start =
        mmap(nullptr, pages(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) {
        std::snprintf(message, length, "no %zu bytes for the emulated device", bytes);
        return false;
    }
    own->mappings.push_back({start, pages(bytes)});
    races::watch_device(start, pages(bytes));
    *memory = start;
    return true;
}

static void emulated_release(void *state, void *memory, size_t) {
    EmulatedState *own = static_cast<EmulatedState *>(static_cast<CudaState *>(state));
    for (size_t i = 0; i < own->mappings.size(); i++) {
        if (own->mappings[i].start != memory) continue;
        races::forget_device(memory);
        munmap(memory, own->mappings[i].bytes);
        own->mappings.erase(own->mappings.begin() + (std::ptrdiff_t)i);
        return;
    }
}

static int64_t emulated_available(void *) {
    return (int64_t)1 << 32; /* as much as tests are given */
}

static void emulated_describe(void *, char *text, size_t bytes) {
    std::snprintf(text, bytes, "CUDA kernels emulated on the CPU");
}

static bool emulated_pin(void *, size_t bytes, void **memory, char *message, size_t length) {
    *memory = std::calloc(1, bytes + 1);
    if (!*memory) std::snprintf(message, length, "no %zu bytes of host memory", bytes);
    return *memory != nullptr;
}

static void emulated_unpin(void *, void *memory) {
    std::free(memory);
}

static void emulated_copy(void *state, void *to, const void *from, size_t bytes) {
    const Opened opened(static_cast<CudaState *>(state));
    std::memcpy(to, from, bytes);
}

static void emulated_zero(void *state, void *memory, size_t bytes) {
    const Opened opened(static_cast<CudaState *>(state));
    std::memset(memory, 0, bytes);
}

static bool emulated_synchronise(void *, char *, size_t) {
    return true;
}

/* Everything has run when it returns, so a mark is the time at which it was made. */
static void *emulated_mark(void *, void *old) {
    double *seconds = old ? static_cast<double *>(old) : new double;
    *seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return seconds;
}

static bool emulated_wait(void *, void *, char *, size_t) {
    return true;
}

static double emulated_between(void *, void *first, void *second) {
    return *static_cast<double *>(second) - *static_cast<double *>(first);
}

static void emulated_drop(void *, void *mark) {
    delete static_cast<double *>(mark);
}

static void emulated_address(void *, char *text, size_t) {
    text[0] = '\0';
}

extern const CudaLibrary backend;
constinit const CudaLibrary backend = {.interface = CUDA_INTERFACE,
                                       .call_bytes = sizeof(OpCall),
                                       .architectures = "emulated",
                                       .open = emulated_open,
                                       .close = emulated_close,
                                       .allocate = emulated_allocate,
                                       .release = emulated_release,
                                       .available = emulated_available,
                                       .describe = emulated_describe,
                                       .pin = emulated_pin,
                                       .unpin = emulated_unpin,
                                       .upload = emulated_copy,
                                       .download = emulated_copy,
                                       .copy = emulated_copy,
                                       .zero = emulated_zero,
                                       .synchronise = emulated_synchronise,
                                       .mark = emulated_mark,
                                       .wait = emulated_wait,
                                       .between = emulated_between,
                                       .drop = emulated_drop,
                                       .address = emulated_address};
