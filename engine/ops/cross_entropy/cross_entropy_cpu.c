/* Bound by the products: 2 R V D operations forward, twice that backward. Beside them a logit costs
 * a comparison, an exponential and a sum while the product's rows are in the nearest cache, and one
 * multiplication in backward. */
#include <math.h>
#include <omp.h>

#include "engine/gradient_simd.h"
#include "engine/ops/cross_entropy/cross_entropy_plan.h"
#include "engine/vmath.h"

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline vint load_integers(const int32_t *p, int64_t n) {
    return (vint)v_load_part((const float *)p, n);
}
static inline void store_integers(int32_t *p, vint v, int64_t n) {
    v_store_part((float *)p, (vfloat)v, n);
}
static inline vint select_integers(vint mask, vint yes, vint no) {
    return (mask & yes) | (~mask & no);
}

/* Logits beyond the row's end count as minus infinity. */
static inline vfloat load_logits(const float *p, int64_t n) {
    if (n >= LANES) return v_load(p);
    vint lane = {0};
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return v_select(lane < (int32_t)n, v_load_part(p, n), v_set(-INFINITY));
}

static float row_maximum(const float *logits, int64_t count) {
    vfloat top[4];
    for (int i = 0; i < 4; i++) top[i] = v_set(-INFINITY);
    int64_t j = 0;
    for (; j + 4 * LANES <= count; j += 4 * LANES)
        for (int i = 0; i < 4; i++) top[i] = v_max(top[i], v_load(logits + j + i * LANES));
    for (; j < count; j += LANES) top[0] = v_max(top[0], load_logits(logits + j, count - j));
    return v_largest(v_max(v_max(top[0], top[1]), v_max(top[2], top[3])));
}

static inline bool any_equal(vfloat v, float value) {
#if LANES == 16
    return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(value), _CMP_EQ_OQ) != 0;
#elif LANES == 8
    return _mm256_movemask_ps((__m256)(v == value)) != 0;
#else
    const vint equal = v == value;
    return (equal[0] | equal[1] | equal[2] | equal[3]) != 0;
#endif
}

/* The first logit that equals value; 0 when none does, as beside not-a-number. */
static int32_t first_place(const float *logits, int64_t count, float value) {
    int64_t j = 0;
    while (j + LANES <= count && !any_equal(v_load(logits + j), value)) j += LANES;
    while (j < count && logits[j] != value) j++;
    return j < count ? (int32_t)j : 0;
}

/* exp(x) for x <= 0, without the check of the other side. */
static inline vfloat exp_negative(vfloat x) {
    vfloat r;
    const vfloat n = v_reduce_exp(v_max(v_set(-104.0f), x), &r);
    return v_scale2(v_exp_core(r), n);
}

/* Past the nearest caches, for what is not read again soon. to is a multiple of LANES floats. */
static inline void stream(float *to, vfloat v) {
#if LANES == 16
    _mm512_stream_ps(to, (__m512)v);
#elif LANES == 8
    _mm256_stream_ps(to, (__m256)v);
#else
    v_store(to, v);
#endif
}

/* Makes what was streamed visible to the threads that the caller will meet at a barrier. */
static inline void stream_end(void) {
#if LANES >= 8
    _mm_sfence();
#endif
}

/* Writes terms[j] = exp(logits[j] - maximum), zero up to the next multiple of LANES; terms may be
 * the logits themselves. */
ALWAYS_INLINE float row_exponentials(const float *logits, int64_t count, float maximum,
                                     float *terms, bool streamed) {
    vfloat sum = v_zero();
    for (int64_t j = 0; j < count; j += LANES) {
        const vfloat term = exp_negative(load_logits(logits + j, count - j) - maximum);
        sum += term;
        if (streamed)
            stream(terms + j, term);
        else
            v_store(terms + j, term);
    }
    return v_sum(sum);
}

/* One task of forward: a slice of rows against a block of the table. */
typedef struct Slice {
    const int32_t *classes; /* of the slice's rows */
    int64_t first_class;
    float *logits, *terms; /* (rows, pitch); the same place unless the terms are streamed */
    int64_t pitch;
    float *maxima, *sums, *chosen;
    int32_t *places;
} Slice;

static void slice_rows(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    (void)column; /* a block is one run of columns */
    const Slice *slice = context;
    for (int64_t r = row; r < row + rows; r++) {
        float *logits = slice->logits + r * slice->pitch;
        const int64_t class = slice->classes[r] - slice->first_class;
        if (class >= 0 && class < columns) slice->chosen[r] = logits[class];
        const float maximum = row_maximum(logits, columns);
        slice->maxima[r] = maximum;
        slice->places[r] = (int32_t)slice->first_class + first_place(logits, columns, maximum);
        float *terms = slice->terms + r * slice->pitch;
        slice->sums[r] = terms == logits ? row_exponentials(logits, columns, maximum, terms, false)
                                         : row_exponentials(logits, columns, maximum, terms, true);
    }
}

/* Tables of forward, (blocks, R) each, and the logit of each row's class. */
typedef struct Tables {
    float *maxima, *sums, *chosen;
    int32_t *places;
} Tables;

/* Joins the blocks of up to LANES rows. */
static void join_blocks(const OpCall *call, const HeadPlan *plan, const Tables *tables, int64_t row,
                        int64_t n) {
    vfloat top = v_load_part(tables->maxima + row, n), sum = v_zero();
    vint place = load_integers(tables->places + row, n);
    for (int64_t b = 1; b < plan->blocks; b++) {
        const vfloat maximum = v_load_part(tables->maxima + b * plan->rows + row, n);
        const vint above = maximum > top;
        place =
            select_integers(above, load_integers(tables->places + b * plan->rows + row, n), place);
        top = v_select(above, maximum, top);
    }
    for (int64_t b = 0; b < plan->blocks; b++) {
        const int64_t at = b * plan->rows + row;
        sum += v_load_part(tables->sums + at, n) *
               exp_negative(v_load_part(tables->maxima + at, n) - top);
    }
    v_store_part(call->out[1]->data + row,
                 (top - v_load_part(tables->chosen + row, n)) + v_log(sum), n);
    store_integers(call->out[2]->integers + row, place, n);
    if (!call->saves) return;
    v_store_part(call->saved[HEAD_TOP]->data + row, top, n);
    v_store_part(call->saved[HEAD_INVERSE]->data + row, 1.0f / sum, n);
}

static void forward(const OpCall *call, const Run *run) {
    const HeadPlan plan = head_plan(call);
    const float *x = call->in[0]->data, *table = call->in[1]->data;
    const float *bias = call->in[2] ? call->in[2]->data : NULL;
    const bool stored = call->saves > HEAD_TERMS;
    const int64_t cells = plan.blocks * plan.rows;
    float *scratch = call->scratch;
    const Tables tables = {.sums = scratch,
                           .places = (int32_t *)(scratch + cells),
                           .chosen = scratch + 2 * cells,
                           .maxima = stored ? call->saved[HEAD_MAXIMA]->data
                                            : scratch + 2 * cells + plan.rows};
    /* A class that does not exist leaves its loss not a number. */
    for (int64_t r = 0; r < plan.rows; r++) tables.chosen[r] = NAN;
    float *own = scratch + head_shared_floats(&plan, stored);
    const int64_t own_floats = head_thread_floats(&plan, stored);
    const int64_t slices = (plan.rows + plan.slice - 1) / plan.slice;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t task = 0; task < plan.blocks * slices; task++) {
        const int64_t b = task / slices, row = task % slices * plan.slice, at = b * plan.rows + row;
        const int64_t rows = smaller(plan.slice, plan.rows - row);
        float *mine = own + omp_get_thread_num() * own_floats;
        float *terms = stored ? call->saved[HEAD_TERMS]->data + at * plan.block : mine;
        float *logits = stored && !plan.streamed ? terms : mine;
        float *workspace = logits == mine ? mine + plan.slice * plan.block : mine;
        Slice slice = {.classes = call->in[3]->integers + row,
                       .first_class = b * plan.block,
                       .logits = logits,
                       .terms = terms,
                       .pitch = plan.block,
                       .maxima = tables.maxima + at,
                       .sums = tables.sums + at,
                       .chosen = tables.chosen + row,
                       .places = tables.places + at};
        const int64_t count = smaller(plan.block, plan.classes - slice.first_class);
        ISA(gemm_fused)
        (GEMM_NT, run->products, rows, count, plan.width, x + row * plan.width, plan.width,
         table + slice.first_class * plan.width, plan.width, bias ? bias + slice.first_class : NULL,
         0, logits, plan.block, &(GemmFinish){slice_rows, &slice}, workspace, 1);
        stream_end();
    }
    for (int64_t row = 0; row < plan.rows; row += LANES)
        join_blocks(call, &plan, &tables, row, smaller(LANES, plan.rows - row));
    double loss = 0;
    for (int64_t r = 0; r < plan.rows; r++) {
        const double weight = (double)call->in[4]->data[r];
        if (weight != 0) loss += weight * (double)call->out[1]->data[r];
    }
    call->out[0]->data[0] = (float)loss;
}

/* Backward of a batch of rows against a block of the table: the gradient of its logits. */
typedef struct Batch {
    const OpCall *call;
    const HeadPlan *plan;
    int64_t block, row, rows, count;
    float *slopes; /* (rows, plan->block) */
} Batch;

/* gradient of logit = slope (probability - [it is the class]). */
static inline float row_slope(const OpCall *call, int64_t row) {
    const float *each = call->out[1]->gradient;
    return call->out[0]->gradient[0] * call->in[4]->data[row] + (each ? each[row] : 0.0f);
}

static inline void subtract_class(const Batch *batch, int64_t r, float slope) {
    const int64_t class =
        batch->call->in[3]->integers[batch->row + r] - batch->block * batch->plan->block;
    if (class >= 0 && class < batch->count) batch->slopes[r * batch->plan->block + class] -= slope;
}

/* From the stored terms. */
static void scale_terms(const Batch *batch, int64_t r) {
    const OpCall *call = batch->call;
    const int64_t row = batch->row + r, at = batch->block * batch->plan->rows + row;
    const float slope = row_slope(call, row);
    const float *terms = call->saved[HEAD_TERMS]->data + at * batch->plan->block;
    float *slopes = batch->slopes + r * batch->plan->block;
    const vfloat lowered =
        exp_negative(v_set(call->saved[HEAD_MAXIMA]->data[at] - call->saved[HEAD_TOP]->data[row]));
    const vfloat factor = lowered * (call->saved[HEAD_INVERSE]->data[row] * slope);
    for (int64_t j = 0; j < batch->count; j += LANES)
        v_store(slopes + j, v_load(terms + j) * factor);
    subtract_class(batch, r, slope);
}

/* From the logits, which the product has just computed again. */
static void logits_to_slopes(void *context, int64_t row, int64_t rows, int64_t column,
                             int64_t columns) {
    const Batch *batch = context;
    const OpCall *call = batch->call;
    for (int64_t r = row; r < row + rows; r++) {
        const float slope = row_slope(call, batch->row + r);
        const float top = call->saved[HEAD_TOP]->data[batch->row + r];
        const float factor = call->saved[HEAD_INVERSE]->data[batch->row + r] * slope;
        float *slopes = batch->slopes + r * batch->plan->block + column;
        for (int64_t j = 0; j < columns; j += LANES)
            v_store_part(slopes + j,
                         exp_negative(v_load_part(slopes + j, columns - j) - top) * factor,
                         columns - j);
    }
}

static void logit_gradients(const Batch *batch, float *workspace, const Run *run) {
    const OpCall *call = batch->call;
    const HeadPlan *plan = batch->plan;
    if (call->saves > HEAD_TERMS) {
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
        for (int64_t r = 0; r < batch->rows; r++) scale_terms(batch, r);
        return;
    }
    const int64_t first = batch->block * plan->block;
    Batch again = *batch;
    ISA(gemm_fused)
    (GEMM_NT, run->products, batch->rows, batch->count, plan->width,
     call->in[0]->data + batch->row * plan->width, plan->width,
     call->in[1]->data + first * plan->width, plan->width,
     call->in[2] ? call->in[2]->data + first : NULL, 0, batch->slopes, plan->block,
     &(GemmFinish){logits_to_slopes, &again}, workspace, run->threads);
    for (int64_t r = 0; r < batch->rows; r++)
        subtract_class(batch, r, row_slope(call, batch->row + r));
}

static void bias_gradient(const Batch *batch, GradientTarget bias) {
    for (int64_t j = 0; j < batch->count; j += LANES) {
        const int64_t n = smaller(LANES, batch->count - j);
        vfloat sum = v_zero();
        for (int64_t r = 0; r < batch->rows; r++)
            sum += v_load_part(batch->slopes + r * batch->plan->block + j, n);
        v_deliver(bias, batch->block * batch->plan->block + j, sum, n);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const HeadPlan plan = head_plan(call);
    const GradientTarget to_x = gradient_target(call, 0), to_table = gradient_target(call, 1);
    const GradientTarget to_bias = gradient_target(call, 2);
    float *slopes = call->scratch, *workspace = slopes + HEAD_BATCH * plan.block;
    for (int64_t row = 0; row < plan.rows; row += HEAD_BATCH)
        for (int64_t b = 0; b < plan.blocks; b++) {
            const int64_t first = b * plan.block;
            const Batch batch = {.call = call,
                                 .plan = &plan,
                                 .block = b,
                                 .row = row,
                                 .rows = smaller(HEAD_BATCH, plan.rows - row),
                                 .count = smaller(plan.block, plan.classes - first),
                                 .slopes = slopes};
            logit_gradients(&batch, workspace, run);
            if (to_x.data) ISA(gemm)
            (GEMM_NN, run->products, batch.rows, plan.width, batch.count, slopes, plan.block,
             call->in[1]->data + first * plan.width, plan.width, to_x.data + row * plan.width,
             plan.width, to_x.add || b > 0, workspace, run->threads);
            if (to_table.data) ISA(gemm)
            (GEMM_TN, run->products, batch.count, plan.width, batch.rows, slopes, plan.block,
             call->in[0]->data + row * plan.width, plan.width, to_table.data + first * plan.width,
             plan.width, to_table.add || row > 0, workspace, run->threads);
            if (to_bias.data)
                bias_gradient(&batch, (GradientTarget){to_bias.data, to_bias.add || row > 0});
        }
}

const OpKernels ISA(cross_entropy_cpu) = {forward, backward};
