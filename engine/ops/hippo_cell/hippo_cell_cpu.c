/* Sequences of a batch are independent: groups of at most a tile's rows, and each thread walks time
 * alone with its groups. A step multiplies the rows of m by w_m, packed once a call into panels
 * that stay in the second-level cache (4 H N operations a token; 1.1 us at H = N = 128 on a core of
 * 60 GFLOP/s), and by A where there is one. The running sum of HiPPO-LegS has a chain of four
 * operations for each coefficient, in double precision and with rows as lanes: some 20 cycles for
 * DOUBLES rows, a sixth of the product at N = 128. Backward takes the gradient of w_m by one
 * product for each chunk of steps. */
#include <math.h>

#include "engine/gemm_tile.h"
#include "engine/ops/hippo_cell/hippo_cell_plan.h"
#include "engine/vmath.h"
#include "engine/vmath_double.h"

typedef struct Cell {
    HippoPlan p;
    const OpCall *call;
    int64_t start, clamp, groups;
    float *packed_m, *packed_A, *gates, *m, *carry_h, *carry_m, *du;
} Cell;

static Cell cell_of(const OpCall *call, const Run *run, Phase phase) {
    const HippoPlan p = hippo_plan(call, phase);
    const HippoCell *attributes = call->attributes;
    const bool placed = call->inputs > HIPPO_POSITION && call->in[HIPPO_POSITION];
    float *scratch = call->scratch;
    Cell c = {.p = p,
              .call = call,
              .start = placed ? call->in[HIPPO_POSITION]->integers[0] : 0,
              .clamp = attributes->clamp ? attributes->clamp : INT64_MAX,
              .packed_m = scratch,
              .packed_A = scratch + p.packed_A,
              .gates = scratch + p.gates,
              .m = scratch + p.m,
              .carry_h = scratch + p.carry_h,
              .carry_m = scratch + p.carry_m,
              .du = scratch + p.du};
    c.groups = (p.B + TILE_ROWS - 1) / TILE_ROWS;
    const int64_t even = (c.groups + run->threads - 1) / run->threads * run->threads;
    if (even <= p.B) c.groups = even;
    return c;
}

static int64_t group_row(const Cell *c, int64_t group) {
    return c->p.B * group / c->groups;
}

/* packed[panel][row][TILE_COLUMNS] of (rows, columns), or of its transpose, filled up with zeros.
 */
static void pack(const float *matrix, int64_t rows, int64_t columns, bool transposed,
                 float *packed) {
    for (int64_t j = 0; j < columns; j += TILE_COLUMNS)
        for (int64_t k = 0; k < rows; k++)
            for (int64_t i = 0; i < TILE_COLUMNS; i++)
                *packed++ = j + i >= columns ? 0
                            : transposed     ? matrix[(j + i) * rows + k]
                                             : matrix[k * columns + j + i];
}

/* Rows first .. last - 1 of a (.., depth) times a packed matrix, plus start. */
static void multiply(const float *a, int64_t depth, const float *packed, const float *start,
                     int64_t start_row, float *to, int64_t columns, int64_t rows) {
    for (int64_t j = 0; j < columns; j += TILE_COLUMNS, packed += depth * TILE_COLUMNS) {
        const GemmTile tile = {.rows = rows,
                               .columns = columns - j < TILE_COLUMNS ? columns - j : TILE_COLUMNS,
                               .k = depth,
                               .a = a,
                               .a_row = depth,
                               .a_step = 1,
                               .b = packed,
                               .b_step = TILE_COLUMNS,
                               .start = start ? start + j : NULL,
                               .start_row = start_row,
                               .c = to + j,
                               .c_row = columns};
        ISA(gemm_tile)(&tile);
    }
}

/* ---- the memory ---- */

/* Coefficient n of DOUBLES rows, N floats apart; those from `count` on repeat the last. */
ALWAYS_INLINE vdouble load_rows(const float *rows, int64_t N, int64_t count, int64_t n) {
    vdouble x;
    for (int lane = 0; lane < DOUBLES; lane++)
        x[lane] = (double)rows[(lane < count ? lane : count - 1) * N + n];
    return x;
}
ALWAYS_INLINE void store_rows(float *rows, int64_t N, int64_t count, int64_t n, vdouble x) {
    for (int lane = 0; lane < DOUBLES && lane < count; lane++) rows[lane * N + n] = (float)x[lane];
}

/* Token k of HiPPO-LegS for some rows. With r = sqrt(2 n + 1), e = 1 / 2 k and V the sum of r_j
 * (m_j + m'_j) over j < n: m'_n (1 + e (n + 1)) = m_n (1 - e (n + 1)) + e r_n (2 u - V). */
static void legs_rows(const Cell *c, int64_t k, const float *m, const vdouble u, int64_t count,
                      float *next) {
    const int64_t N = c->p.N;
    if (k == 0) {
        for (int64_t n = 0; n < N; n++) store_rows(next, N, count, n, n == 0 ? u : d_set(0));
        return;
    }
    const double e = 0.5 / (double)k;
    vdouble left = 2.0 * u; /* 2 u - V */
    for (int64_t n = 0; n < N; n++) {
        const double r = sqrt(2 * (double)n + 1), below = 1 / (1 + e * (double)(n + 1));
        const double keep = (1 - e * (double)(n + 1)) * below, gain = e * r * below;
        const vdouble old = load_rows(m, N, count, n), new = old *keep + left *gain;
        store_rows(next, N, count, n, new);
        left -= r * (old + new);
    }
}

/* Its adjoint: from the gradient of m' to that of m (in place) and, returned, that of u. */
static vdouble legs_rows_back(const Cell *c, int64_t k, float *gradient, int64_t count) {
    const int64_t N = c->p.N;
    if (k == 0) {
        const vdouble du = load_rows(gradient, N, count, 0);
        for (int64_t n = 0; n < N; n++) store_rows(gradient, N, count, n, d_set(0));
        return du;
    }
    const double e = 0.5 / (double)k;
    vdouble dV = d_set(0), du = d_set(0); /* dV: gradient of V behind coefficient n */
    for (int64_t n = N - 1; n >= 0; n--) {
        const double r = sqrt(2 * (double)n + 1), below = 1 / (1 + e * (double)(n + 1));
        const vdouble new = load_rows(gradient, N, count, n) + dV *r;
        const vdouble passed = new *(e * r * below);
        store_rows(gradient, N, count, n, dV * r + new *((1 - e * (double)(n + 1)) * below));
        du += 2.0 * passed;
        dV -= passed;
    }
    return du;
}

static int64_t divisor(const Cell *c, int64_t t) {
    return c->start + t < c->clamp ? c->start + t : c->clamp;
}

/* m_t of all rows; t = -1: the start. */
static float *memory_at(const Cell *c, int64_t t) {
    const int64_t size = c->p.B * c->p.N;
    if (t >= 0 && c->call->saves) return c->call->saved[HIPPO_SAVED_M]->data + t * size;
    return c->m + (t < 0 ? 2 : t % 2) * size;
}

/* Row b of h before token t. */
static const float *h_before(const Cell *c, int64_t t, int64_t b) {
    const float *start = data_of(c->call, HIPPO_H0);
    if (t > 0) return c->call->out[0]->data + (b * c->p.L + t - 1) * c->p.H;
    return start ? start + b * c->p.H : NULL;
}

static void write_memory(const Cell *c, int64_t t, int64_t first, int64_t last) {
    const int64_t H = c->p.H, N = c->p.N;
    const float *w = c->call->in[HIPPO_W_U]->data, *drive = c->call->in[HIPPO_DRIVE]->data;
    const float *before = memory_at(c, t - 1);
    float *after = memory_at(c, t);
    if (c->p.dense)
        multiply(before + first * N, N, c->packed_A, NULL, 0, after + first * N, N, last - first);
    for (int64_t row = first; row < last; row += DOUBLES) {
        const int64_t count = last - row < DOUBLES ? last - row : DOUBLES;
        vdouble u = d_set(0);
        for (int64_t i = 0; i < count; i++) {
            const float *h = h_before(c, t, row + i);
            vfloat sum = v_zero();
            for (int64_t j = 0; h && j < H; j += LANES)
                sum += v_load_part(h + j, H - j) * v_load_part(w + j, H - j);
            u[i] = (double)(drive[(row + i) * c->p.L + t] + v_sum(sum));
        }
        if (!c->p.dense) legs_rows(c, divisor(c, t), before + row * N, u, count, after + row * N);
        for (int64_t i = 0; c->p.dense && i < count; i++)
            for (int64_t n = 0; n < N; n += LANES) {
                float *at = after + (row + i) * N + n;
                const vfloat b = v_load_part(c->call->in[HIPPO_B]->data + n, N - n);
                v_store_part(at, v_load_part(at, N - n) + b * (float)u[i], N - n);
            }
    }
}

/* ---- forward ---- */

static void read_memory(const Cell *c, int64_t t, int64_t first, int64_t last) {
    const int64_t B = c->p.B, L = c->p.L, H = c->p.H, N = c->p.N;
    const float *input = c->call->in[HIPPO_GATES]->data + (first * L + t) * 2 * H;
    multiply(memory_at(c, t) + first * N, N, c->packed_m, input, L * 2 * H,
             c->gates + first * 2 * H, 2 * H, last - first);
    for (int64_t b = first; b < last; b++) {
        const float *gates = c->gates + b * 2 * H, *before = h_before(c, t, b);
        float *h = c->call->out[0]->data + (b * L + t) * H;
        float *saved =
            c->call->saves ? c->call->saved[HIPPO_SAVED_GATES]->data + (t * B + b) * 2 * H : NULL;
        for (int64_t j = 0; j < H; j += LANES) {
            const vfloat a = v_tanh(v_load_part(gates + j, H - j)),
                         g = v_sigmoid(v_load_part(gates + H + j, H - j));
            const vfloat old = before ? v_load_part(before + j, H - j) : v_zero();
            v_store_part(h + j, old + g * (a - old), H - j);
            if (!saved) continue;
            v_store_part(saved + j, a, H - j);
            v_store_part(saved + H + j, g, H - j);
        }
    }
}

static void forward(const OpCall *call, const Run *run) {
    const Cell c = cell_of(call, run, PHASE_FORWARD);
    const int64_t B = c.p.B, L = c.p.L, H = c.p.H, N = c.p.N;
    const float *m0 = data_of(call, HIPPO_M0);
    pack(call->in[HIPPO_W_M]->data, N, 2 * H, false, c.packed_m);
    if (c.p.dense) pack(call->in[HIPPO_A]->data, N, N, false, c.packed_A);
    float *start = memory_at(&c, -1);
    for (int64_t i = 0; i < B * N; i++) start[i] = m0 ? m0[i] : 0;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t group = 0; group < c.groups; group++)
        for (int64_t t = 0; t < L; t++) {
            write_memory(&c, t, group_row(&c, group), group_row(&c, group + 1));
            read_memory(&c, t, group_row(&c, group), group_row(&c, group + 1));
        }
    if (call->outputs == 1) return;
    for (int64_t b = 0; b < B; b++)
        memcpy(call->out[1]->data + b * H, call->out[0]->data + (b * L + L - 1) * H,
               (size_t)H * sizeof(float));
    memcpy(call->out[2]->data, memory_at(&c, L - 1), (size_t)(B * N) * sizeof(float));
}

/* ---- backward ---- */

static float *wanted(const OpCall *call, int i) {
    return call->passed[i] ? NULL : call->in[i]->gradient;
}

/* Gradients of the units of token t: of what goes into tanh and gate to `to` (B, 2H), of h before
 * to carry_h. */
static void unit_gradients(const Cell *c, int64_t t, int64_t b, float *to) {
    const int64_t H = c->p.H, L = c->p.L, row = t * c->p.B + b;
    const float *dh = c->call->out[0]->gradient + (b * L + t) * H, *before = h_before(c, t, b);
    const float *saved = c->call->saved[HIPPO_SAVED_GATES]->data + row * 2 * H;
    float *carry = c->carry_h + b * H;
    for (int64_t j = 0; j < H; j += LANES) {
        const int64_t width = H - j;
        const vfloat a = v_load_part(saved + j, width), g = v_load_part(saved + H + j, width);
        const vfloat old = before ? v_load_part(before + j, width) : v_zero();
        const vfloat sum = v_load_part(dh + j, width) + v_load_part(carry + j, width);
        v_store_part(to + j, sum * g * (1.0f - a * a), width);
        v_store_part(to + H + j, sum * (a - old) * g * (1.0f - g), width);
        v_store_part(carry + j, sum * (1.0f - g), width);
    }
}

/* From the gradient of m_t in carry_m to that of m_{t-1} there, and of u_t. */
static void memory_gradients(const Cell *c, int64_t t, int64_t first, int64_t last) {
    const int64_t H = c->p.H, L = c->p.L, N = c->p.N;
    const float *w = c->call->in[HIPPO_W_U]->data;
    for (int64_t row = first; row < last; row += DOUBLES) {
        const int64_t count = last - row < DOUBLES ? last - row : DOUBLES;
        vdouble du = d_set(0);
        if (!c->p.dense) du = legs_rows_back(c, divisor(c, t), c->carry_m + row * N, count);
        for (int64_t i = 0; i < count; i++) {
            vfloat sum = v_zero();
            for (int64_t n = 0; c->p.dense && n < N; n += LANES)
                sum += v_load_part(c->carry_m + (row + i) * N + n, N - n) *
                       v_load_part(c->call->in[HIPPO_B]->data + n, N - n);
            const float own = c->p.dense ? v_sum(sum) : (float)du[i];
            c->du[(row + i) * L + t] = own;
            float *carry = c->carry_h + (row + i) * H;
            for (int64_t j = 0; j < H; j += LANES)
                v_store_part(carry + j,
                             v_load_part(carry + j, H - j) + v_load_part(w + j, H - j) * own,
                             H - j);
        }
    }
    if (!c->p.dense) return;
    float *moved = c->m + first * N;
    multiply(c->carry_m + first * N, N, c->packed_A, NULL, 0, moved, N, last - first);
    memcpy(c->carry_m + first * N, moved, (size_t)((last - first) * N) * sizeof(float));
}

static void backward_step(const Cell *c, int64_t t, int64_t first, int64_t last, float *chunk) {
    const int64_t H = c->p.H, N = c->p.N;
    for (int64_t b = first; b < last; b++) unit_gradients(c, t, b, chunk + b * 2 * H);
    multiply(chunk + first * 2 * H, 2 * H, c->packed_m, c->carry_m + first * N, N,
             c->carry_m + first * N, N, last - first);
    memory_gradients(c, t, first, last);
}

/* The chunk's gate gradients, tokens begin .. end - 1, to those of the input. */
static void give_gates(const Cell *c, int64_t begin, int64_t end, int64_t first, int64_t last) {
    float *to = wanted(c->call, HIPPO_GATES);
    const bool add = c->call->accumulate[HIPPO_GATES];
    const int64_t columns = 2 * c->p.H;
    for (int64_t b = first; to && b < last; b++)
        for (int64_t t = begin; t < end; t++) {
            const float *from = c->gates + ((t - begin) * c->p.B + b) * columns;
            float *row = to + (b * c->p.L + t) * columns;
            for (int64_t j = 0; j < columns; j++) row[j] = (add ? row[j] : 0) + from[j];
        }
}

/* w_u meets h before the token: nothing at the first. */
static void give_drive(const Cell *c, const Run *run) {
    const int64_t B = c->p.B, L = c->p.L, H = c->p.H;
    float *drive = wanted(c->call, HIPPO_DRIVE), *w = wanted(c->call, HIPPO_W_U);
    const bool add = c->call->accumulate[HIPPO_DRIVE];
    for (int64_t i = 0; drive && i < B * L; i++) drive[i] = (add ? drive[i] : 0) + c->du[i];
    if (w && !c->call->accumulate[HIPPO_W_U]) memset(w, 0, (size_t)H * sizeof *w);
    for (int64_t b = 0; w && b < B && L > 1; b++) ISA(gemm)
    (GEMM_TN, PRODUCTS_FLOAT, 1, H, L - 1, c->du + b * L + 1, 1, c->call->out[0]->data + b * L * H,
     H, w, H, true, (float *)c->call->scratch + c->p.workspace, run->threads);
}

static void backward(const OpCall *call, const Run *run) {
    const Cell c = cell_of(call, run, PHASE_BACKWARD);
    const int64_t B = c.p.B, H = c.p.H, N = c.p.N;
    float *dw = wanted(call, HIPPO_W_M);
    bool add = call->accumulate[HIPPO_W_M];
    pack(call->in[HIPPO_W_M]->data, 2 * H, N, true, c.packed_m);
    if (c.p.dense) pack(call->in[HIPPO_A]->data, N, N, true, c.packed_A);
    memset(c.carry_h, 0, (size_t)(B * H) * sizeof(float));
    memset(c.carry_m, 0, (size_t)(B * N) * sizeof(float));
    for (int64_t end = c.p.L; end > 0; end -= c.p.steps) {
        const int64_t begin = end > c.p.steps ? end - c.p.steps : 0;
#pragma omp parallel for num_threads(run->threads) schedule(static)
        for (int64_t group = 0; group < c.groups; group++) {
            const int64_t first = group_row(&c, group), last = group_row(&c, group + 1);
            for (int64_t t = end - 1; t >= begin; t--)
                backward_step(&c, t, first, last, c.gates + (t - begin) * B * 2 * H);
            give_gates(&c, begin, end, first, last);
        }
        if (dw) ISA(gemm)
        (GEMM_TN, PRODUCTS_FLOAT, N, 2 * H, (end - begin) * B,
         call->saved[HIPPO_SAVED_M]->data + begin * B * N, N, c.gates, 2 * H, dw, 2 * H, add,
         (float *)call->scratch + c.p.workspace, run->threads);
        add = true;
    }
    give_drive(&c, run);
}

const OpKernels ISA(hippo_cell_cpu) = {forward, backward};
