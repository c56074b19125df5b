/* Blocking: for a block of k (GEMM_DEPTH) and a block of columns (GEMM_COLUMNS) the part of B lies
 * in the second-level cache, in panels of TILE_COLUMNS; each panel comes to the first-level cache
 * for a group of tiles of A, which stay in the second. (Goto and van de Geijn 2008, "Anatomy of
 * high-performance matrix multiplication", with the roles of A and B exchanged for row-major C.)
 *
 * Packing copies m k + k n numbers for m k n multiply-adds, so it is left out where the matrix
 * already lies well and too few tiles would share the copy. */
#include "engine/gemm_pack.h"
#if LANES == 16
#include "engine/gemm_amx.h"
#endif

/* packed[step of k][TILE_PITCH] from rows [row, row + rows) of A. */
static void pack_rows(const Product *product, int64_t row, int64_t rows, int64_t k0, int64_t depth,
                      float *packed) {
    if (product->layout == GEMM_TN) {
        copy_strip(rows, depth, product->a + k0 * product->lda + row, product->lda, packed,
                   TILE_PITCH, product->pairs);
        return;
    }
    for (int64_t i = 0; i < rows; i += LANES)
        transpose_strip(smaller(LANES, rows - i), depth, product->a + (row + i) * product->lda + k0,
                        product->lda, packed + i, TILE_PITCH, product->pairs);
}

/* Height of the next tile: full ones, then two even ones instead of a full and a sliver. */
static inline int64_t next_rows(int64_t left) {
    if (left >= 2 * TILE_ROWS) return TILE_ROWS;
    return left > TILE_ROWS ? (left + 1) / 2 : left;
}

/* A tile reads whole vectors of B: does one that begins so many columns before the last need a
 * padded copy? */
static inline bool ragged(int64_t left) {
    return left < TILE_COLUMNS && left != LANES;
}

/* Always, when B lies turned; otherwise when several tiles share the copy: in rows that lie a
 * multiple of 256 bytes apart the steps of k share few sets of the nearest cache. */
static inline bool packs_b(const Product *product, int64_t rows) {
    return product->pairs || product->layout == GEMM_NT ||
           (product->ldb > TILE_COLUMNS && rows >= 4 * TILE_ROWS);
}

/* A turned tile is copied cheaply, and would be strewn over as many cache lines as k has steps. A
 * tile that has to be transposed costs two cycles a step of k, against six for each panel: worth it
 * for many panels (not with 512-bit registers, where tiles of 14 rows read rows in place 1 to 4 %
 * faster than packed ones), or when its rows all share one set of the nearest cache. */
static inline bool packs_a(const Product *product, int64_t columns) {
    if (product->pairs) return true;
    if (product->layout == GEMM_TN) return columns > TILE_COLUMNS;
    const bool many = LANES < 16 && columns >= 8 * TILE_COLUMNS && product->lda >= 128;
    return many || (columns > TILE_COLUMNS && product->lda % 1024 == 0);
}

/* Rows of A that meet a panel of B while it is in the nearest cache. */
enum { GROUP_TILES = 8 };

typedef struct Group {
    int64_t row, count; /* first row; tiles */
    int64_t height[GROUP_TILES];
    float packed[GROUP_TILES][GEMM_DEPTH * TILE_PITCH];
} Group;

/* Cuts rows [row, end) into tiles as far as the group goes; returns the first row behind it. */
static int64_t open_group(const Product *product, int64_t row, int64_t end, int64_t k0,
                          int64_t depth, bool pack, Group *group) {
    group->row = row;
    for (group->count = 0; group->count < GROUP_TILES && row < end; group->count++) {
        const int64_t height = next_rows(end - row);
        if (pack) pack_rows(product, row, height, k0, depth, group->packed[group->count]);
        group->height[group->count] = height;
        row += height;
    }
    return row;
}

/* Memory that later tiles read: places `step` floats apart, of so many times 32 floats; `at` moves
 * as it is handed out. */
typedef struct Area {
    const float *at;
    int64_t step, places, pairs, place;
} Area;

/* The next of it (pairs > 0), as much as a tile fetches in so many turns. */
static inline GemmAhead take(Area *area, int64_t turns) {
    if (turns <= 0) return (GemmAhead){0};
    const GemmAhead part = {area->at + area->place * area->step, area->step,
                            smaller(turns, area->places - area->place)};
    area->place += part.count;
    if (area->place == area->places) {
        area->at += 32;
        area->pairs--;
        area->place = 0;
    }
    return part;
}

/* `count` rows or columns of A or B from `first` on, steps [k0, k0 + depth) of k; `turned`: it is
 * the steps that lie a row of memory apart. */
static Area area_of(const float *matrix, int64_t ld, bool turned, int64_t first, int64_t count,
                    int64_t k0, int64_t depth) {
    if (count <= 0 || depth <= 0) return (Area){0};
    const int64_t along = turned ? count : depth;
    return (Area){matrix + (turned ? k0 * ld + first : first * ld + k0), ld, turned ? depth : count,
                  (along + 31) / 32, 0};
}

/* What is read of A after a group that ends at `behind`: the next one, or the first of the next
 * block of k. */
static Area rows_ahead(const Product *product, int64_t row, int64_t end, int64_t behind, int64_t k0,
                       int64_t depth) {
    const bool last = behind == end;
    const int64_t first = last ? row : behind, later = last ? k0 + depth : k0;
    return area_of(product->a, product->lda, product->layout == GEMM_TN, first,
                   smaller(GROUP_TILES * TILE_ROWS, end - first), later,
                   smaller(GEMM_DEPTH, product->k - later));
}

static void block(const Product *product, int64_t row, int64_t end, int64_t column, int64_t columns,
                  int64_t k0, int64_t depth, float *workspace) {
    const bool turned = product->layout == GEMM_TN;
    const bool pack_b = packs_b(product, end - row);
    const bool thin = end - row <= THIN_ROWS && !pack_b;
    const bool pack_a = !thin && packs_a(product, columns);
    const int64_t stop = column + columns, steps = steps_of(product, depth);
    const bool fetches = !product->pairs && (pack_a || turned || ROW_STEPS > 1);
    Group group __attribute__((aligned(64)));
    GemmTile tile = {.a_row = pack_a || turned ? 1 : product->lda,
                     .a_step = pack_a   ? TILE_PITCH
                               : turned ? product->lda
                                        : 1,
                     .k = steps,
                     .pairs = product->pairs,
                     .c_row = product->ldc};
    for (int64_t i = row, behind; i < end; i = behind) {
        behind = open_group(product, i, end, k0, depth, pack_a, &group);
        Area rows = {0};
        if (fetches) rows = rows_ahead(product, row, end, behind, k0, depth);
        for (int64_t j = column; j < stop; j += tile.columns) {
            const bool packed = pack_b || ragged(product->n - j);
            float *panel = workspace + (j - column) * steps;
            if (packed && i == row) pack_panel(product, k0, depth, j, panel);
            tile.columns = smaller(stop - j, TILE_COLUMNS);
            if (thin && stop - j >= THIN_COLUMNS) tile.columns = THIN_COLUMNS;
            tile.b = packed ? panel : product->b + k0 * product->ldb + j;
            tile.b_step = packed ? TILE_COLUMNS : product->ldb;
            const int64_t next = j + tile.columns;
            Area panel_ahead = {0};
            if (fetches && pack_b && i == row && next < stop)
                panel_ahead = area_of(product->b, product->ldb, product->layout != GEMM_NT, next,
                                      smaller(TILE_COLUMNS, stop - next), k0, depth);
            for (int64_t t = 0, r = i; t < group.count; r += group.height[t++]) {
                tile.rows = group.height[t];
                tile.a = pack_a   ? group.packed[t]
                         : turned ? product->a + k0 * product->lda + r
                                  : product->a + r * product->lda + k0;
                tile.c = product->c + r * product->ldc + j;
                tile.start = k0               ? tile.c
                             : product->start ? product->start + r * product->lds + j
                                              : NULL;
                tile.start_row = k0 ? product->ldc : product->lds;
                tile.ahead = (GemmAhead){0};
                if (panel_ahead.pairs)
                    tile.ahead = take(&panel_ahead, tile_turns(tile.rows, steps));
                else if (rows.pairs)
                    tile.ahead = take(&rows, tile_turns(tile.rows, steps));
                ISA(gemm_tile)(&tile);
            }
        }
        if (product->finish && k0 + depth == product->k)
            product->finish->apply(product->finish->context, i, behind - i, column, columns);
    }
}

/* Rows [row, end) x columns [column, stop) on the calling thread. */
static void rectangle(const Product *product, int64_t row, int64_t end, int64_t column,
                      int64_t stop, float *workspace) {
    for (int64_t j = column; j < stop; j += GEMM_COLUMNS)
        for (int64_t k0 = 0; k0 == 0 || k0 < product->k; k0 += GEMM_DEPTH)
            product->block(product, row, end, j, smaller(GEMM_COLUMNS, stop - j), k0,
                           smaller(GEMM_DEPTH, product->k - k0), workspace);
}

/* How many of the threads split the rows of C; the others split its columns. Chosen so that the
 * largest rectangle is smallest, counting the packing of its part of B as two rows more. */
static int64_t split_rows(int64_t m, int64_t n, int64_t threads) {
    int64_t best = 1;
    double least = 0.0;
    for (int64_t by_rows = 1; by_rows <= threads; by_rows++) {
        if (threads % by_rows) continue;
        const int64_t by_columns = threads / by_rows;
        const int64_t panels = (n + TILE_COLUMNS - 1) / TILE_COLUMNS;
        const double work = (double)((m + by_rows - 1) / by_rows + 2) *
                            (double)((panels + by_columns - 1) / by_columns);
        if (by_rows == 1 || work < least) {
            least = work;
            best = by_rows;
        }
    }
    return best;
}

void ISA(gemm_fused)(GemmLayout layout, Products products, int64_t m, int64_t n, int64_t k,
                     const float *a, int64_t lda, const float *b, int64_t ldb, const float *start,
                     int64_t lds, float *c, int64_t ldc, const GemmFinish *finish, float *workspace,
                     int threads) {
    Product product = {.layout = layout,
                       .pairs = products == PRODUCTS_BF16,
                       .m = m,
                       .n = n,
                       .k = k,
                       .a = a,
                       .b = b,
                       .start = start,
                       .lda = lda,
                       .ldb = ldb,
                       .lds = lds,
                       .c = c,
                       .ldc = ldc,
                       .finish = finish,
                       .block = block};
#if LANES == 16
    if (product.pairs && matrix_tiles_granted()) product.block = amx_block;
#endif
    /* Below about 10 us of work a thread, waking it costs more than it saves. */
    const int64_t useful = 1 + m * n / 512 * k / 1024;
    const int64_t workers = smaller(threads, useful);
    if (workers <= 1) {
        rectangle(&product, 0, m, 0, n, workspace);
        return;
    }
    const int64_t by_rows = split_rows(m, n, workers), by_columns = workers / by_rows;
    const int64_t tall = (m + by_rows - 1) / by_rows;
    const int64_t panels = (n + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const int64_t wide = (panels + by_columns - 1) / by_columns * TILE_COLUMNS;
    const size_t share = gemm_workspace(layout, m, n, k, 1) / sizeof(float);
#pragma omp parallel for num_threads((int)workers) schedule(static)
    for (int64_t part = 0; part < workers; part++) {
        const int64_t row = part / by_columns * tall, column = part % by_columns * wide;
        rectangle(&product, row, smaller(m, row + tall), column, smaller(n, column + wide),
                  workspace + (size_t)part * share);
    }
}

void ISA(gemm)(GemmLayout layout, Products products, int64_t m, int64_t n, int64_t k,
               const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc,
               bool accumulate, float *workspace, int threads) {
    ISA(gemm_fused)
    (layout, products, m, n, k, a, lda, b, ldb, accumulate ? c : NULL, ldc, c, ldc, NULL, workspace,
     threads);
}
