/* Bound by the products: 2 B I O operations forward, twice that backward. What is done element by
 * element (bias, activation, residual and their gradients) happens where the product has just left
 * its result, a few rows in the nearest cache, or in blocks that stay in the second. */
#include "engine/activation_simd.h"
#include "engine/gemm.h"
#include "engine/gradient_simd.h"
#include "engine/ops/linear/linear.h"

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* A part of the output in forward; row and column are its first element, width the row length. */
typedef struct Part {
    const float *before; /* x W + b */
    float *out;
    const float *bias, *residual; /* NULL: nothing to add. bias is added after the activation */
    int64_t width, row, rows, column, columns;
} Part;

ALWAYS_INLINE void finish_vector(Activation activation, const Part *part, int64_t i, int64_t j,
                                 int64_t n) {
    vfloat v = v_activate(activation, v_load_part(part->before + i, n));
    if (part->residual) v += v_load_part(part->residual + i, n);
    if (part->bias) v += v_load_part(part->bias + j, n);
    v_store_part(part->out + i, v, n);
}

ALWAYS_INLINE void finish_part(Activation activation, void *context) {
    const Part *part = context;
    const int64_t end = part->column + part->columns;
    for (int64_t r = part->row; r < part->row + part->rows; r++) {
        const int64_t row = r * part->width;
        int64_t j = part->column;
        for (; j + LANES <= end; j += LANES) finish_vector(activation, part, row + j, j, LANES);
        if (j < end) finish_vector(activation, part, row + j, j, end - j);
    }
}

typedef struct Finish {
    Activation activation;
    Part whole;
} Finish;

static void finish(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const Finish *all = context;
    Part part = all->whole;
    part.row = row;
    part.rows = rows;
    part.column = column;
    part.columns = columns;
    for_activation(all->activation, finish_part, &part);
}

static void forward(const OpCall *call, const Run *run) {
    const Linear *attributes = call->attributes;
    const Tensor *x = call->in[0], *weight = call->in[1];
    const float *bias = call->in[2] ? call->in[2]->data : NULL;
    const float *residual = call->in[3] ? call->in[3]->data : NULL;
    const int64_t inputs = extent(weight, 0), outputs = extent(weight, 1);
    float *before = call->saves ? call->saved[0]->data : call->out[0]->data;
    const bool active = attributes->activation != ACTIVATION_NONE;
    /* The product starts from a matrix or from a repeated row. Without an activation that is the
     * residual, if there is one, and the bias is left to the end. */
    const bool from_residual = residual && !active;
    Finish all = {.activation = attributes->activation,
                  .whole = {.before = before,
                            .out = call->out[0]->data,
                            .bias = from_residual ? bias : NULL,
                            .residual = from_residual ? NULL : residual,
                            .width = outputs}};
    const GemmFinish then = {finish, &all};
    const bool finished = !active && !(from_residual && bias);
    ISA(gemm_fused)
    (GEMM_NN, run->products, rows_of(x), outputs, inputs, x->data, inputs, weight->data, outputs,
     from_residual ? residual : bias, from_residual ? outputs : 0, before, outputs,
     finished ? NULL : &then, call->scratch, run->threads);
}

/* Some rows of the output's gradient in backward, all outputs. */
typedef struct Slopes {
    const float *slope;  /* gradient of the output */
    const float *before; /* x W + b; NULL without an activation */
    float *inner;        /* receives the gradient of x W + b; NULL without an activation */
    float *sums;         /* receives its column sums; NULL when nobody wants them */
    GradientTarget residual;
    int64_t rows, width;
} Slopes;

enum { GROUP = 4 }; /* rows that share one update of the column sums */

ALWAYS_INLINE void slope_vectors(Activation activation, const Slopes *s, int64_t row, int rows,
                                 int64_t j, int64_t n) {
    vfloat sum = v_zero();
    for (int r = 0; r < rows; r++) {
        const int64_t i = (row + r) * s->width + j;
        vfloat v = v_load_part(s->slope + i, n);
        if (s->residual.data) v_deliver(s->residual, i, v, n);
        if (s->inner) {
            v *= v_activate_gradient(activation, v_load_part(s->before + i, n));
            v_store_part(s->inner + i, v, n);
        }
        sum += v;
    }
    if (!s->sums) return;
    if (row) sum += v_load_part(s->sums + j, n);
    v_store_part(s->sums + j, sum, n);
}

ALWAYS_INLINE void slope_rows(Activation activation, const Slopes *s, int64_t row, int rows) {
    int64_t j = 0;
    for (; j + LANES <= s->width; j += LANES) slope_vectors(activation, s, row, rows, j, LANES);
    if (j < s->width) slope_vectors(activation, s, row, rows, j, s->width - j);
}

ALWAYS_INLINE void slopes_of(Activation activation, void *context) {
    const Slopes *s = context;
    int64_t row = 0;
    for (; row + GROUP <= s->rows; row += GROUP) slope_rows(activation, s, row, GROUP);
    for (; row < s->rows; row++) slope_rows(activation, s, row, 1);
}

/* total[j] (+)= sum over the chunks, in their order. */
static void add_sums(GradientTarget total, const float *sums, int64_t chunks, int64_t width) {
    for (int64_t j = 0; j < width; j += LANES) {
        const int64_t n = smaller(LANES, width - j);
        vfloat sum = v_zero();
        for (int64_t c = 0; c < chunks; c++) sum += v_load_part(sums + c * width + j, n);
        v_deliver(total, j, sum, n);
    }
}

/* Gradient of x W + b for a block of rows, and what needs nothing but it: bias and residual. */
static void element_gradients(const OpCall *call, int threads, int64_t first, int64_t rows,
                              float *inner, float *sums, GradientTarget bias) {
    const Linear *attributes = call->attributes;
    const int64_t width = extent(call->in[1], 1), at = first * width;
    const GradientTarget residual = gradient_target(call, 3);
    const int64_t chunks = (rows + LINEAR_CHUNK - 1) / LINEAR_CHUNK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t c = 0; c < chunks; c++) {
        const int64_t row = c * LINEAR_CHUNK, start = at + row * width;
        Slopes s = {.slope = call->out[0]->gradient + start,
                    .before = inner ? call->saved[0]->data + start : NULL,
                    .inner = inner ? inner + row * width : NULL,
                    .sums = bias.data ? sums + c * width : NULL,
                    .residual = {residual.data ? residual.data + start : NULL, residual.add},
                    .rows = smaller(LINEAR_CHUNK, rows - row),
                    .width = width};
        for_activation(attributes->activation, slopes_of, &s);
    }
    if (bias.data) add_sums(bias, sums, chunks, width);
}

static void backward(const OpCall *call, const Run *run) {
    const Linear *attributes = call->attributes;
    const Tensor *x = call->in[0], *weight = call->in[1];
    const int64_t inputs = extent(weight, 0), outputs = extent(weight, 1), count = rows_of(x);
    const GradientTarget to_x = gradient_target(call, 0), residual = gradient_target(call, 3);
    GradientTarget to_weight = gradient_target(call, 1), to_bias = gradient_target(call, 2);
    const bool active = attributes->activation != ACTIVATION_NONE;
    const int64_t block = smaller(count, linear_block(inputs, outputs));
    float *inner = call->scratch, *sums = inner + linear_inner_floats(block, outputs);
    float *workspace = sums + linear_sum_floats(block, outputs);
    for (int64_t row = 0; row < count; row += block) {
        const int64_t rows = smaller(block, count - row);
        if (active || to_bias.data || residual.data)
            element_gradients(call, run->threads, row, rows, active ? inner : NULL, sums, to_bias);
        const float *slope = active ? inner : call->out[0]->gradient + row * outputs;
        if (to_x.data) ISA(gemm)
        (GEMM_NT, run->products, rows, inputs, outputs, slope, outputs, weight->data, outputs,
         to_x.data + row * inputs, inputs, to_x.add, workspace, run->threads);
        if (to_weight.data) ISA(gemm)
        (GEMM_TN, run->products, inputs, outputs, rows, x->data + row * inputs, inputs, slope,
         outputs, to_weight.data, outputs, to_weight.add, workspace, run->threads);
        to_weight.add = to_bias.add = true;
    }
}

const OpKernels ISA(linear_cpu) = {forward, backward};
