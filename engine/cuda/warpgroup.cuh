/* What Hopper adds to matrix.cuh (compute capability 9.0, code for sm_90a): products by a warpgroup
 * of 128 threads (PTX: wgmma), C (64, N) += A (64, 16) B (16, N), and copies of whole tiles that
 * announce themselves at a barrier in shared memory (mbarrier).
 *
 * Warp w of the group holds rows 16 w .. of C, as matrix.cuh does: c[n] are columns 8 n .. 8 n + 7.
 * A comes from registers, as sums lie there, or like B from tiles in shared memory. Products run
 * beside the threads: begin_products, then products, end_products; wait_products<n>() waits until
 * at most n such groups run. What they read and write is theirs until then. */
#ifndef LONGHAUL_CUDA_WARPGROUP_H
#define LONGHAUL_CUDA_WARPGROUP_H

#include "engine/cuda/matrix.cuh"

enum { WARPGROUP = 128 };

/* A barrier's phase ends when all its arrivals are in, and the bytes that were announced. It then
 * begins the next phase; waits name the phase by its parity. */
struct Arrivals {
    uint64_t word;
};

#ifdef LONGHAUL_EMULATED
#include "engine/cuda/emulated_warpgroup.h"
#else

__device__ static inline void arrivals_open(Arrivals *barrier, unsigned count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
}
/* After the last arrivals_open, before the threads of the block meet. */
__device__ static inline void arrivals_opened() {
    asm volatile("fence.mbarrier_init.release.cluster;\n"
                 "fence.proxy.async;" ::
                     : "memory");
}
__device__ static inline void arrive(Arrivals *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}
/* An arrival that announces so many bytes. */
__device__ static inline void arrive_expecting(Arrivals *barrier, unsigned bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
        "r"(bytes)
        : "memory");
}
__device__ static inline void await(Arrivals *barrier, unsigned parity) {
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}
/* By one thread: a multiple of 16 bytes, aligned so, from global to shared memory. */
__device__ static inline void copy_bulk(void *to, const void *from, unsigned bytes,
                                        Arrivals *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

/* By one thread, from shared to global memory: a multiple of 16 bytes, aligned so. Floats are
 * stored, or added to what is there. end_bulk ends a group of such; after bulk_read all have read
 * what they store, wait_bulk<n>() waits until at most n groups are not done. */
__device__ static inline void store_bulk(float *to, const float *from, unsigned bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                     __cvta_generic_to_global(to)),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
}
__device__ static inline void add_bulk(float *to, const float *from, unsigned bytes) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(
                     __cvta_generic_to_global(to)),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
}
__device__ static inline void end_bulk() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
__device__ static inline void bulk_read() {
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
template <int RUNNING> __device__ static inline void wait_bulk() {
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(RUNNING) : "memory");
}
/* What this thread knows to be in global memory is there for bulk stores that it begins. */
__device__ static inline void known_for_bulk() {
    asm volatile("fence.proxy.async.global;" ::: "memory");
}
/* What this thread has written to shared memory is there for products and bulk copies of all who
 * meet it after this. */
__device__ static inline void written_for_products() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/* Four matrices of 8 rows of 16 bytes, whose columns registers hold as rows (load_matrices); lane l
 * names row l % 8 of matrix l / 8. */
__device__ static inline void store_matrices_transposed(void *row, const uint32_t (&r)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                     shared_address(row)),
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}

/* A warpgroup gives registers back, or takes more than the launch gave it. */
template <int COUNT> __device__ static inline void keep_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT> __device__ static inline void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

__device__ static inline void begin_products() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ static inline void end_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int RUNNING> __device__ static inline void wait_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(RUNNING) : "memory");
}
/* Keeps the compiler from moving uses of these registers over this place. */
template <int N> __device__ static inline void hold(float (&c)[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) asm volatile("" : "+f"(c[n][i])::"memory");
}

/* Registers of C, and their names in the text: 32 (N = 64) or 64 (N = 128). */
#define SUMS_OF(how, c, n) how(c[n][0]), how(c[n][1]), how(c[n][2]), how(c[n][3])
#define SUMS_OF_32(how, c)                                                                         \
    SUMS_OF(how, c, 0), SUMS_OF(how, c, 1), SUMS_OF(how, c, 2), SUMS_OF(how, c, 3),                \
        SUMS_OF(how, c, 4), SUMS_OF(how, c, 5), SUMS_OF(how, c, 6), SUMS_OF(how, c, 7)
#define SUMS_OF_64(how, c)                                                                         \
    SUMS_OF_32(how, c), SUMS_OF(how, c, 8), SUMS_OF(how, c, 9), SUMS_OF(how, c, 10),               \
        SUMS_OF(how, c, 11), SUMS_OF(how, c, 12), SUMS_OF(how, c, 13), SUMS_OF(how, c, 14),        \
        SUMS_OF(how, c, 15)
#define NAMES_32                                                                                   \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_64                                                                                   \
    NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "  \
             "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

/* C = A B where the sums start, C += A B where ADD. A's rows lie along K, B's along K or along N.
 */
template <int N, bool ADD, bool ALONG_K = true>
__device__ static inline void multiply_shared(float (&c)[N / 8][4], uint64_t a, uint64_t b) {
    static_assert(N == 64 || (N == 128 && ALONG_K), "others are not written down");
#define PRODUCT(n, names, a_name, b_name, add, along_n, ...)                                       \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " add ", 0;\n"                              \
                 "wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" names "}, " a_name    \
                 ", " b_name ", add, 1, 1, 0, " along_n ";\n}"                                     \
                 : __VA_ARGS__                                                                     \
                 : "l"(a), "l"(b))
#define PRODUCT_64(...) PRODUCT("64", NAMES_32, "%32", "%33", __VA_ARGS__)
#define PRODUCT_128(...) PRODUCT("128", NAMES_64, "%64", "%65", __VA_ARGS__)
    if constexpr (N == 64 && !ALONG_K && ADD)
        PRODUCT_64("1", "1", SUMS_OF_32("+f", c));
    else if constexpr (N == 64 && !ALONG_K)
        PRODUCT_64("0", "1", SUMS_OF_32("=f", c));
    else if constexpr (N == 64 && ADD)
        PRODUCT_64("1", "0", SUMS_OF_32("+f", c));
    else if constexpr (N == 64)
        PRODUCT_64("0", "0", SUMS_OF_32("=f", c));
    else if constexpr (ADD)
        PRODUCT_128("1", "0", SUMS_OF_64("+f", c));
    else
        PRODUCT_128("0", "0", SUMS_OF_64("=f", c));
#undef PRODUCT_64
#undef PRODUCT_128
#undef PRODUCT
}
/* The same with A in registers, and B's rows along K, as there, or along N. */
template <int N, bool ADD, bool ALONG_K>
__device__ static inline void multiply_registers(float (&c)[N / 8][4], const uint32_t (&a)[4],
                                                 uint64_t b) {
    static_assert((N == 64 || N == 128) && (ADD || ALONG_K), "others are not written down");
#define PRODUCT(n, names, a_names, b_name, add, along_n, ...)                                      \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " add ", 0;\n"                              \
                 "wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" names "}, {" a_names  \
                 "}, " b_name ", add, 1, 1, " along_n ";\n}"                                       \
                 : __VA_ARGS__                                                                     \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
#define PRODUCT_64(...) PRODUCT("64", NAMES_32, "%32, %33, %34, %35", "%36", __VA_ARGS__)
#define PRODUCT_128(...) PRODUCT("128", NAMES_64, "%64, %65, %66, %67", "%68", __VA_ARGS__)
    if constexpr (N == 64 && !ALONG_K)
        PRODUCT_64("1", "1", SUMS_OF_32("+f", c));
    else if constexpr (N == 64 && ADD)
        PRODUCT_64("1", "0", SUMS_OF_32("+f", c));
    else if constexpr (N == 64)
        PRODUCT_64("0", "0", SUMS_OF_32("=f", c));
    else if constexpr (!ALONG_K)
        PRODUCT_128("1", "1", SUMS_OF_64("+f", c));
    else if constexpr (ADD)
        PRODUCT_128("1", "0", SUMS_OF_64("+f", c));
    else
        PRODUCT_128("0", "0", SUMS_OF_64("=f", c));
#undef PRODUCT_64
#undef PRODUCT_128
#undef PRODUCT
}
#endif

/* A tile of bfloat16 as warpgroup products read it (PTX ISA, "shared memory matrix layout", swizzle
 * of 128 bytes): panels of 64 columns side by side, rows of 128 bytes in each, whose eight 16-byte
 * chunks are permuted by the row. In global memory tiles lie the same way, TILE_ROWS rows after
 * each other, so that a copy is a copy. Tiles begin at multiples of 1024 bytes. */
enum {
    PANEL = 64,
    TILE_ROWS = 128,
    TILE_ALIGNMENT = 1024,
    CHUNK_WIDTH = 8, /* columns in 16 bytes */
    PANEL_CHUNKS = PANEL / CHUNK_WIDTH,
    ROW_GROUP = 8 * PANEL_CHUNKS /* chunks from eight rows to the next eight */
};

/* Element (row, column) of a matrix of such tiles, D wide. */
template <int D, int ROWS = TILE_ROWS>
__device__ static inline int64_t tiled_place(int row, int column) {
    const int within = row % ROWS, chunk = column % PANEL / 8 ^ within % 8;
    return (int64_t)(row - within) * D +
           ((column / PANEL * ROWS + within) * PANEL + chunk * 8 + column % 8);
}

/* Start of shared memory for tiles; the launch asks for TILE_ALIGNMENT bytes more. */
__device__ static inline unsigned char *tile_memory() {
    unsigned char *const start = shared_memory<unsigned char>();
    return start + (TILE_ALIGNMENT - shared_address(start) % TILE_ALIGNMENT) % TILE_ALIGNMENT;
}

/* A tile `chunks` of 16 bytes after the start of such memory, of so many rows: in shared memory
 * also a part of one, panels of fewer rows. */
template <int ROWS = TILE_ROWS> struct WarpgroupTile {
    static_assert(ROWS % 8 == 0, "whole groups of rows");
    bfloat *memory;
    unsigned chunks;

    __device__ bfloat *start() const {
        return memory + chunks * CHUNK_WIDTH;
    }
    /* How products find what lies so many chunks further on: place, a distance whose meaning
     * depends on the operand, and that of row groups, all in chunks. Bit 62: swizzle of 128 bytes.
     * Places are added up in the low word, where they do not carry: one instruction a product. */
    __device__ uint64_t descriptor(unsigned further, unsigned leading) const {
        const uint32_t low = shared_address(memory) / 16 + chunks + (further + (leading << 16));
        return (uint64_t)(ROW_GROUP | 1u << 30) << 32 | low;
    }
    /* X of X Y^T or Y: rows from `row`, a multiple of 8, on, columns 16 step .. 16 step + 15. */
    __device__ uint64_t rows(unsigned row, unsigned step) const {
        return descriptor((step / 4 * ROWS + row) * PANEL_CHUNKS + step % 4 * 2, 1); /* not used */
    }
    /* Y of X Y: rows 16 step .. 16 step + 15, columns from those of a panel on. */
    __device__ uint64_t columns(unsigned step, unsigned panel = 0) const {
        return descriptor((panel * ROWS + step * 16) * PANEL_CHUNKS, ROWS * PANEL_CHUNKS);
    }
    /* A warp's 16 rows of X, from `row` on, as registers hold them. */
    template <int D> __device__ void load_rows(ProductsOfBf16::A (&x)[D / 16], unsigned row) const {
        const unsigned lane = threadIdx.x % WARP;
#pragma unroll
        for (unsigned step = 0; step < D / 16; step++)
            load_matrices(x[step].r,
                          start() + tiled_place<D, ROWS>((int)(row + lane % 16),
                                                         (int)(step * 16 + lane / 16 * 8)));
    }
};

/* C = X Y^T: 64 rows of X by N rows of Y, D columns. */
template <int N, int D, int X_ROWS, int Y_ROWS>
__device__ static inline void multiply_rows(float (&c)[N / 8][4], const WarpgroupTile<X_ROWS> &x,
                                            unsigned x_row, const WarpgroupTile<Y_ROWS> &y,
                                            unsigned y_row) {
    multiply_shared<N, false>(c, x.rows(x_row, 0), y.rows(y_row, 0));
#pragma unroll
    for (unsigned step = 1; step < D / 16; step++)
        multiply_shared<N, true>(c, x.rows(x_row, step), y.rows(y_row, step));
}
/* The same with X in registers. */
template <int N, int D, int ROWS>
__device__ static inline void multiply_rows(float (&c)[N / 8][4],
                                            const ProductsOfBf16::A (&x)[D / 16],
                                            const WarpgroupTile<ROWS> &y, unsigned y_row) {
    multiply_registers<N, false, true>(c, x[0].r, y.rows(y_row, 0));
#pragma unroll
    for (unsigned step = 1; step < D / 16; step++)
        multiply_registers<N, true, true>(c, x[step].r, y.rows(y_row, step));
}

#endif
