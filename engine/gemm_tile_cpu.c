/* One copy of every shape of tile, for all who multiply: its loop is long, a call is nothing to it.
 */
#include "engine/gemm_tile.h"

/* What a tile fetches while it computes, a place in each turn: all at once, fetches would hold up
 * the loads of the product itself. First the `left` rows of C, then what the caller asks for. */
typedef struct Fetch {
    const float *at, *then;
    int64_t step, then_step, left; /* steps in bytes */
} Fetch;

ALWAYS_INLINE Fetch fetch_of(const GemmTile *tile) {
    /* Where nothing is asked for, what is there already: no address at all would be looked up. */
    const GemmAhead then = tile->ahead.count ? tile->ahead : (GemmAhead){tile->c, 0, 0};
    return (Fetch){tile->c, then.at, tile->c_row * 4, then.step * 4, tile->rows};
}

/* sum += a[third * row + at] b, with `row` in bytes and constants third (0, 1, 2) and at. */
ALWAYS_INLINE void add_row_plain(vfloat sum[2], const float *a, int64_t row, const int third,
                                 const int at, vfloat b0, vfloat b1, const int vectors) {
    const vfloat x = v_set(a[third * (row / 4) + at]);
    sum[0] += x * b0;
    if (vectors > 1) sum[1] += x * b1;
}

#if LANES >= 8 && !defined(__clang__)
/* As instructions: by itself gcc keeps some sums in memory, and makes loops of their own, between
 * which it moves sums, of what follows a choice. */
ALWAYS_INLINE void fetch_turn(Fetch *fetch) {
    __asm__ volatile("prefetcht0 (%0)\n\t"
                     "prefetcht0 64(%0)\n\t"
                     "add %1, %0\n\t"
                     "dec %2\n\t"
                     "cmove %3, %0\n\t"
                     "cmove %4, %1"
                     : "+r"(fetch->at), "+r"(fetch->step), "+r"(fetch->left)
                     : "rm"(fetch->then), "rm"(fetch->then_step)
                     : "cc");
}

ALWAYS_INLINE vfloat load_step(const float *b) {
    vfloat v;
    __asm__ volatile("vmovups %1, %0" : "=v"(v) : "m"(*(const vfloat_unaligned *)b));
    return v;
}

/* As add_row_plain, with addresses that cost no instruction. It reads somewhere behind a: ALL. */
enum { ALL = 1 << 24 };
#define ADD_ROW(PLACE)                                                                             \
    if (vectors > 1)                                                                               \
        __asm__ volatile(                                                                          \
            "vbroadcastss %c[at]" PLACE ", %[x]\n\t"                                               \
            "vfmadd231ps %[b0], %[x], %[s0]\n\t"                                                   \
            "vfmadd231ps %[b1], %[x], %[s1]"                                                       \
            : [s0] "+v"(sum[0]), [s1] "+v"(sum[1]), [x] "=&v"(x)                                   \
            : [a] "r"(a), [row] "r"(row), [at] "i"(4 * at), [b0] "v"(b0), [b1] "v"(b1),            \
              "m"(*(const float(*)[ALL])a));                                                       \
    else                                                                                           \
        __asm__ volatile("vbroadcastss %c[at]" PLACE ", %[x]\n\t"                                  \
                         "vfmadd231ps %[b0], %[x], %[s0]"                                          \
                         : [s0] "+v"(sum[0]), [x] "=&v"(x)                                         \
                         : [a] "r"(a), [row] "r"(row), [at] "i"(4 * at), [b0] "v"(b0),             \
                           "m"(*(const float(*)[ALL])a))

ALWAYS_INLINE void add_row(vfloat sum[2], const float *a, int64_t row, const int third,
                           const int at, vfloat b0, vfloat b1, const int vectors) {
    vfloat x;
    if (third == 0) {
        ADD_ROW("(%[a])");
    } else if (third == 1) {
        ADD_ROW("(%[a],%[row])");
    } else {
        ADD_ROW("(%[a],%[row],2)");
    }
}
#undef ADD_ROW
#else
ALWAYS_INLINE void fetch_turn(Fetch *fetch) {
    (void)fetch;
}

ALWAYS_INLINE vfloat load_step(const float *b) {
    return v_load(b);
}

ALWAYS_INLINE void add_row(vfloat sum[2], const float *a, int64_t row, const int third,
                           const int at, vfloat b0, vfloat b1, const int vectors) {
    add_row_plain(sum, a, row, third, at, b0, b1, vectors);
}
#endif

/* All rows of C at once: with 6 of them cheaper than a few instructions in every turn. */
ALWAYS_INLINE void fetch_rows(const GemmTile *tile, const int rows, const int vectors) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors * LANES; j += 16)
            __builtin_prefetch(tile->c + i * tile->c_row + j, 1);
}

/* One step of k with A in rows, which are addressed in threes from one pointer: what the address
 * modes and registers allow. A loop of one step alone gcc orders well. */
ALWAYS_INLINE void row_step(vfloat sum[TILE_ROWS][2], const float *const a[(TILE_ROWS + 2) / 3],
                            int64_t row, const int step, const float *b, const int rows,
                            const int vectors) {
    const bool plain = ROW_STEPS == 1;
    const vfloat b0 = plain ? v_load(b) : load_step(b);
    const vfloat b1 = vectors == 1 ? b0 : plain ? v_load(b + LANES) : load_step(b + LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
        if (plain)
            add_row_plain(sum[i], a[i / 3], row, i % 3, step, b0, b1, vectors);
        else
            add_row(sum[i], a[i / 3], row, i % 3, step, b0, b1, vectors);
}

ALWAYS_INLINE void sum_rows(const GemmTile *tile, vfloat sum[TILE_ROWS][2], const int rows,
                            const int vectors) {
    const int64_t a_row = tile->a_row, b_step = tile->b_step;
    const float *b = tile->b, *a[(TILE_ROWS + 2) / 3];
    Fetch fetch = fetch_of(tile);
    if (ROW_STEPS == 1) fetch_rows(tile, rows, vectors);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i += 3) a[i / 3] = tile->a + i * a_row;
    int64_t k = tile->k;
    for (; k >= ROW_STEPS; k -= ROW_STEPS) {
        if (ROW_STEPS > 1) fetch_turn(&fetch);
#pragma GCC unroll 16
        for (int step = 0; step < ROW_STEPS; step++, b += b_step)
            row_step(sum, a, 4 * a_row, step, b, rows, vectors);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i += 3) a[i / 3] += ROW_STEPS;
    }
    for (; k > 0; k--, b += b_step) {
        row_step(sum, a, 4 * a_row, 0, b, rows, vectors);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i += 3) a[i / 3]++;
    }
}

ALWAYS_INLINE void column_step(vfloat sum[TILE_ROWS][2], const float *a, const int at,
                               const float *b, const int rows, const int vectors) {
    const vfloat b0 = load_step(b), b1 = vectors > 1 ? load_step(b + LANES) : b0;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) add_row(sum[i], a, 0, 0, at + i, b0, b1, vectors);
}

/* The same with the rows of A beside one another, packed (a constant of the caller) or not. */
ALWAYS_INLINE void sum_columns(const GemmTile *tile, vfloat sum[TILE_ROWS][2], const bool packed,
                               const int rows, const int vectors) {
    const int64_t a_step = packed ? TILE_PITCH : tile->a_step, b_step = tile->b_step;
    const float *a = tile->a, *b = tile->b;
    Fetch fetch = fetch_of(tile);
    int64_t k = tile->k;
    for (; k >= TILE_STEPS; k -= TILE_STEPS) {
        fetch_turn(&fetch);
#pragma GCC unroll 16
        for (int step = 0; step < TILE_STEPS; step++, b += b_step) {
            column_step(sum, a, packed ? step * TILE_PITCH : 0, b, rows, vectors);
            if (!packed) a += a_step;
        }
        if (packed) a += TILE_STEPS * TILE_PITCH;
    }
    for (; k > 0; k--, a += a_step, b += b_step) column_step(sum, a, 0, b, rows, vectors);
}

static inline __attribute__((always_inline)) void sum_pairs(const GemmTile *tile,
                                                            vfloat sum[TILE_ROWS][2],
                                                            const int rows, const int vectors,
                                                            const bool instruction) {
    const float *a = tile->a, *b = tile->b;
    for (int64_t k = tile->k; k > 0; k--, a += TILE_PITCH, b += tile->b_step) {
        const vfloat b0 = v_load(b), b1 = vectors > 1 ? v_load(b + LANES) : v_zero();
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const vfloat x = v_set_bits(a + i);
            sum[i][0] = v_add_pairs(sum[i][0], x, b0, instruction);
            if (vectors > 1) sum[i][1] = v_add_pairs(sum[i][1], x, b1, instruction);
        }
    }
}

/* rows and vectors are constants of the caller, so that the sums live in registers. The unrolling
 * is asked for because gcc keeps sums in memory when it unrolls later by itself. */
static inline __attribute__((always_inline)) void tile_of(const GemmTile *tile, const int rows,
                                                          const int vectors) {
    vfloat sum[TILE_ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) sum[i][0] = sum[i][1] = v_zero();
    if (tile->pairs) fetch_rows(tile, rows, vectors);
    if (tile->pairs && has_pair_product())
        sum_pairs(tile, sum, rows, vectors, true);
    else if (tile->pairs)
        sum_pairs(tile, sum, rows, vectors, false);
    else if (tile->a_row == 1 && tile->a_step == TILE_PITCH)
        sum_columns(tile, sum, true, rows, vectors);
    else if (tile->a_row == 1)
        sum_columns(tile, sum, false, rows, vectors);
    else
        sum_rows(tile, sum, rows, vectors);
    const int64_t columns = tile->columns, last = vectors - 1;
    const float *start = tile->start;
    float *c = tile->c;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        if (start) {
            if (vectors > 1) sum[i][0] += v_load(start);
            sum[i][last] += v_load_part(start + last * LANES, columns - last * LANES);
            start += tile->start_row;
        }
        if (vectors > 1) v_store(c, sum[i][0]);
        v_store_part(c + last * LANES, sum[i][last], columns - last * LANES);
        c += tile->c_row;
    }
}

/* The same for THIN_COLUMNS columns. */
static inline __attribute__((always_inline)) void thin_of(const GemmTile *tile, const int rows) {
    enum { VECTORS = THIN_COLUMNS / LANES };
    const float *a = tile->a, *b = tile->b;
    vfloat sum[THIN_ROWS][VECTORS] = {0};
    for (int64_t k = tile->k; k > 0; k--) {
        vfloat x[THIN_ROWS];
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) x[i] = v_set(a[i * tile->a_row]);
#pragma GCC unroll 16
        for (int j = 0; j < VECTORS; j++) {
            const vfloat y = v_load(b + j * LANES);
#pragma GCC unroll 16
            for (int i = 0; i < rows; i++) sum[i][j] += x[i] * y;
        }
        a += tile->a_step;
        b += tile->b_step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 16
        for (int j = 0; j < VECTORS; j++) {
            if (tile->start) sum[i][j] += v_load(tile->start + i * tile->start_row + j * LANES);
            v_store(tile->c + i * tile->c_row + j * LANES, sum[i][j]);
        }
}

static inline __attribute__((always_inline)) void tile_rows(const GemmTile *tile,
                                                            const int vectors) {
    switch (tile->rows) {
    case 1:
        tile_of(tile, 1, vectors);
        break;
    case 2:
        tile_of(tile, 2, vectors);
        break;
    case 3:
        tile_of(tile, 3, vectors);
        break;
    case 4:
        tile_of(tile, 4, vectors);
        break;
    case 5:
        tile_of(tile, 5, vectors);
        break;
    case 6:
        tile_of(tile, 6, vectors);
        break;
#if LANES == 16
    case 7:
        tile_of(tile, 7, vectors);
        break;
    case 8:
        tile_of(tile, 8, vectors);
        break;
    case 9:
        tile_of(tile, 9, vectors);
        break;
    case 10:
        tile_of(tile, 10, vectors);
        break;
    case 11:
        tile_of(tile, 11, vectors);
        break;
    case 12:
        tile_of(tile, 12, vectors);
        break;
    case 13:
        tile_of(tile, 13, vectors);
        break;
    case 14:
        tile_of(tile, 14, vectors);
        break;
#endif
    default:
        break;
    }
}

static void thin_rows(const GemmTile *tile) {
    switch (tile->rows) {
    case 1:
        thin_of(tile, 1);
        break;
#if LANES == 16
    case 2:
        thin_of(tile, 2);
        break;
    case 3:
        thin_of(tile, 3);
        break;
#endif
    default:
        break;
    }
}

void ISA(gemm_tile)(const GemmTile *tile) {
    if (tile->columns == THIN_COLUMNS)
        thin_rows(tile);
    else if (tile->columns > LANES)
        tile_rows(tile, 2);
    else
        tile_rows(tile, 1);
}
