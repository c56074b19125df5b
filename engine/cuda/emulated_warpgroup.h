/* Warpgroup products on the CPU: descriptors are decoded as the PTX ISA defines them and elements
 * read from shared memory through them, so that a tile written elsewhere than where its descriptor
 * points gives other numbers. Operands in registers and sums are the thread's own until the wait.
 */
#ifndef LONGHAUL_CUDA_EMULATED_WARPGROUP_H
#define LONGHAUL_CUDA_EMULATED_WARPGROUP_H

static inline uint32_t shared_address(const void *at) {
    return (uint32_t)(static_cast<const unsigned char *>(at) - emulation::current.shared);
}

static inline void arrivals_open(Arrivals *barrier, unsigned count) {
    emulation::arrivals_open(&barrier->word, count);
}
static inline void arrivals_opened() {
}
static inline void arrive(Arrivals *barrier) {
    emulation::arrive(&barrier->word, 0);
}
static inline void arrive_expecting(Arrivals *barrier, unsigned bytes) {
    emulation::arrive(&barrier->word, bytes);
}
static inline void await(Arrivals *barrier, unsigned parity) {
    emulation::await(&barrier->word, parity);
}
static inline void copy_bulk(void *to, const void *from, unsigned bytes, Arrivals *barrier) {
    if (((uintptr_t)to | (uintptr_t)from | bytes) % 16)
        emulation::complain("a bulk copy is not aligned");
    emulation::copy_bulk(to, from, bytes, &barrier->word);
}

static inline void store_bulk(float *to, const float *from, unsigned bytes) {
    emulation::write_bulk(to, from, bytes, false);
}
static inline void add_bulk(float *to, const float *from, unsigned bytes) {
    emulation::write_bulk(to, from, bytes, true);
}
static inline void end_bulk() {
    emulation::bulk_commit();
}
static inline void bulk_read() {
    emulation::bulk_read();
}
template <int RUNNING> static inline void wait_bulk() {
    emulation::bulk_wait(RUNNING);
}
static inline void known_for_bulk() {
}
static inline void written_for_products() {
}
static inline void store_matrices_transposed(void *row, const uint32_t (&r)[4]) {
    if ((uintptr_t)row % 16) emulation::complain("a row of a matrix is not aligned");
    const auto all = emulation::exchange(EmulatedOperands{{r[0], r[1], r[2], r[3]}, {}});
    const unsigned matrix = emulated_lane() / 8, column = emulated_lane() % 8;
    for (unsigned i = 0; i < 8; i++) {
        const uint32_t pair = all[i * 4 + column / 2].a[matrix];
        static_cast<uint16_t *>(row)[i] = (uint16_t)(column % 2 ? pair >> 16 : pair & 0xFFFF);
    }
}

template <int COUNT> static inline void keep_registers() {
}
template <int COUNT> static inline void take_registers() {
}
static inline void begin_products() {
}
static inline void end_products() {
    emulation::products_commit();
}
template <int RUNNING> static inline void wait_products() {
    emulation::products_wait(RUNNING);
}
template <int N> static inline void hold(float (&)[N][4]) {
}

/* Element (x, k) of an operand; x: a row of A or a column of B. Along K: columns of the tile, in
 * groups of eight rows `stride` apart. Else rows of the tile are K, panels `leading` apart. */
static inline const unsigned char *emulated_place(uint64_t descriptor, unsigned x, unsigned k,
                                                  bool along_k) {
    const auto field = [&](int bit) { return (unsigned)(descriptor >> bit & 0x3FFF) * 16; };
    if (descriptor >> 49 != (uint64_t)1 << 13)
        emulation::complain("a tile is not described as swizzled by 128 bytes without offset");
    const unsigned leading = field(16), stride = field(32);
    unsigned at =
        field(0) + (along_k ? x / 8 * stride + x % 8 * 128 + k * 2
                            : x / 64 * leading + x % 64 * 2 + k / 8 * stride + k % 8 * 128);
    at ^= at / 128 % 8 * 16;
    return emulation::current.shared + at;
}
/* Elements belong to the whole warp's product, not to the lane that happens to multiply them. */
__attribute__((no_sanitize("thread"))) static inline float
emulated_element(uint64_t descriptor, unsigned x, unsigned k, bool along_k) {
    bfloat element;
    std::memcpy(&element, emulated_place(descriptor, x, k, along_k), sizeof element);
    return float_of(element);
}
/* A warp's product reads `count` rows of A or columns of B from x on, until it is waited for: 16
 * bytes lie together. The first lane, which also arrives for its warp, says so. */
static inline void emulated_reads(uint64_t descriptor, unsigned x, unsigned count, bool along_k) {
    enum { CHUNK = 8, DEPTH = 16 };
    if (emulated_lane() != 0) return;
    for (unsigned i = 0; i < count; i += along_k ? 1 : CHUNK)
        for (unsigned k = 0; k < DEPTH; k += along_k ? CHUNK : 1)
            emulation::product_reads(emulated_place(descriptor, x + i, k, along_k),
                                     CHUNK * sizeof(bfloat));
}

template <int N, class A>
static inline void emulated_products(float (&c)[N / 8][4], A a, uint64_t b, bool b_along_k,
                                     bool add) {
    for (unsigned n = 0; n < N / 8; n++)
        for (unsigned i = 0; i < 4; i++) {
            const unsigned column = n * 8 + emulated_lane() % 4 * 2 + i % 2;
            if (!add) c[n][i] = 0;
            for (unsigned k = 0; k < 16; k++)
                c[n][i] += a(i / 2, k) * emulated_element(b, column, k, b_along_k);
        }
}
template <int N, bool ADD, bool ALONG_K = true>
static inline void multiply_shared(float (&c)[N / 8][4], uint64_t a, uint64_t b) {
    emulated_reads(a, threadIdx.x % WARPGROUP / WARP * 16, 16, true);
    emulated_reads(b, 0, N, ALONG_K);
    emulation::product_later([&c, a, b] {
        const unsigned row = threadIdx.x % WARPGROUP / WARP * 16 + emulated_lane() / 4;
        const auto element = [&](unsigned half, unsigned k) {
            return emulated_element(a, row + half * 8, k, true);
        };
        emulated_products<N>(c, element, b, ALONG_K, ADD);
    });
}
template <int N, bool ADD, bool ALONG_K>
static inline void multiply_registers(float (&c)[N / 8][4], const uint32_t (&a)[4], uint64_t b) {
    emulated_reads(b, 0, N, ALONG_K);
    emulation::product_later([&c, &a, b] {
        const auto all = emulation::exchange(EmulatedOperands{{a[0], a[1], a[2], a[3]}, {}});
        const auto element = [&](unsigned half, unsigned k) {
            const uint32_t pair = all[emulated_lane() / 4 * 4 + k % 8 / 2].a[k / 8 * 2 + half];
            return float_of_bits(k % 2 ? pair & 0xFFFF0000u : pair << 16);
        };
        emulated_products<N>(c, element, b, ALONG_K, ADD);
    });
}

#endif
