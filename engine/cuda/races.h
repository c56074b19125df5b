/* Data races of emulated kernels. The library of `make races` has kernels compiled with
 * -fsanitize=thread, so every access to memory calls engine/cuda/races.cc, which remembers for each
 * byte of shared and device memory who wrote and who has read it, and which threads know of it:
 * CUDA's memory model instead of the C++ one. Two accesses of which one writes, neither ordered
 * before the other by what the kernel does, end the program with both named.
 *
 * What orders: barriers of a warp, block or cluster, arrivals at barriers in shared memory,
 * counters of handover.cuh, and the start of a launch. Shuffles do not. The emulation reports these
 * events, and what is read and written at another time than it is asked for. In the plain emulation
 * every function here is empty. */
#ifndef LONGHAUL_CUDA_RACES_H
#define LONGHAUL_CUDA_RACES_H

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace races {

/* What a thread waits for by groups. */
enum Kind { COPY, PRODUCT, BULK_READ, BULK_WRITE, KINDS };

#ifdef LONGHAUL_RACES

/* Memory that is watched. Shared memory of a cluster's blocks: `apart` bytes from one to the next.
 */
void watch_shared(void *start, size_t apart, size_t blocks);
void watch_device(void *start, size_t bytes);
void forget_device(void *start);

/* A launch; one cluster of it after the other, `first` the number of its first block; the thread
 * that runs from now on, numbered through the cluster. */
void launch_begins(unsigned grid_x, unsigned grid_y);
void cluster_begins(uint64_t first, unsigned blocks, unsigned threads);
void cluster_ends();
void thread_runs(unsigned thread);

/* All threads of a warp, block or cluster have met. */
void warp_met(unsigned first, unsigned last);
void block_met(unsigned rank);
void cluster_met();

/* Copies and products that the running thread has asked for: until `landed` its group may read
 * `from` and write `to` (either may be NULL) at any time. */
void flies(Kind kind, int group, const void *from, void *to, size_t bytes);
void landed(Kind kind, int groups);

/* Barriers with arrivals. What is copied in bulk is there for who awaits the end of the phase. */
void arrivals_open(const uint64_t *barrier);
void arrives(const uint64_t *barrier);
void flies_bulk(const uint64_t *barrier, const void *from, void *to, size_t bytes);
void phase_ends(const uint64_t *barrier);
void awaited(const uint64_t *barrier);

/* Counters of handover.cuh. */
void counts_up(const unsigned *counter);
void count_awaited(const unsigned *counter, unsigned count);

/* memcpy and memset(0), by the emulation itself: not an access of the running thread. */
void move(void *to, const void *from, size_t bytes);
void clear(void *to, size_t bytes);

#else

inline void watch_shared(void *, size_t, size_t) {
}
inline void watch_device(void *, size_t) {
}
inline void forget_device(void *) {
}
inline void launch_begins(unsigned, unsigned) {
}
inline void cluster_begins(uint64_t, unsigned, unsigned) {
}
inline void cluster_ends() {
}
inline void thread_runs(unsigned) {
}
inline void warp_met(unsigned, unsigned) {
}
inline void block_met(unsigned) {
}
inline void cluster_met() {
}
inline void flies(Kind, int, const void *, void *, size_t) {
}
inline void landed(Kind, int) {
}
inline void arrivals_open(const uint64_t *) {
}
inline void arrives(const uint64_t *) {
}
inline void flies_bulk(const uint64_t *, const void *, void *, size_t) {
}
inline void phase_ends(const uint64_t *) {
}
inline void awaited(const uint64_t *) {
}
inline void counts_up(const unsigned *) {
}
inline void count_awaited(const unsigned *, unsigned) {
}
inline void move(void *to, const void *from, size_t bytes) {
    std::memcpy(to, from, bytes);
}
inline void clear(void *to, size_t bytes) {
    std::memset(to, 0, bytes);
}

#endif

} // namespace races

#endif
