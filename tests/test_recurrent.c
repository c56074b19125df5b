/* The recurrent operations beyond what every operation is checked for: numbers computed elsewhere,
 * and a sequence cut in two pieces with the state handed over. */

#include "engine/ops/lstm/lstm.h"
#include "engine/ops/selective_scan/selective_scan.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "tests/bench.h"

static Tensor *input(const Bench *bench, const char *name, Shape shape) {
    return tape_input(bench->tape, name, TENSOR_FLOAT, shape, true);
}

static const Run run = {.threads = 1};

/* ---- selective scan against numbers from an independent double-precision program ---- */

static double wave(int64_t i) {
    return sin(0.7 * (double)i + 0.3);
}

static void fill_waves(const Tensor *tensor, int64_t first) {
    for (int64_t i = 0; i < tensor_size(tensor); i++) tensor->data[i] = (float)wave(first + i);
}

typedef struct Expected {
    int64_t index;
    double value;
} Expected;

/* The numbers have eight decimals (gradients seven); float32 sums of five steps keep six digits. */
static void expect_at(const float *values, const Expected *expected, int count) {
    for (int i = 0; i < count; i++)
        if (fabs(values[expected[i].index] - expected[i].value) > 5e-7)
            fail_msg("element %d is %.9g, expected %.9g", (int)expected[i].index,
                     (double)values[expected[i].index], expected[i].value);
}

static void selective_scan_numbers(void **unused) {
    (void)unused;
    enum { L = 5, E = 2, N = 2 };
    Bench bench;
    bench_open(&bench, TAPE_TRAIN);
    SelectiveScan in = {.u = input(&bench, "u", SHAPE(1, L, E)),
                        .raw = input(&bench, "raw", SHAPE(1, L, E)),
                        .A_log = input(&bench, "A_log", SHAPE(E, N)),
                        .B = input(&bench, "B", SHAPE(1, L, N)),
                        .C = input(&bench, "C", SHAPE(1, L, N)),
                        .D = input(&bench, "D", SHAPE(E)),
                        .bias = input(&bench, "bias", SHAPE(E)),
                        .z = input(&bench, "z", SHAPE(1, L, E)),
                        .state = input(&bench, "state", SHAPE(1, E, N))};
    Tensor *next, *y = selective_scan(bench.tape, &in, &next);
    tape_seed(bench.tape, y);
    tape_keep(bench.tape, next);
    bench_plan(&bench);
    fill_waves(in.u, 0);
    fill_waves(in.raw, 20);
    fill_waves(in.B, 40);
    fill_waves(in.C, 60);
    fill_waves(in.z, 80);
    for (int i = 0; i < E * N; i++) in.A_log->data[i] = i % N ? 0.69314718f : 0; /* A = -1, -2 */
    in.D->data[0] = 1;
    in.D->data[1] = 0.5f;
    in.bias->data[0] = -1;
    in.bias->data[1] = -2;
    for (int64_t i = 0; i < L * E; i++) y->gradient[i] = (float)wave(100 + i);
    tape_forward(bench.tape, &run);
    static const Expected outputs[] = {
        {0, -0.04456612}, {1, 0.14113454}, {2, 0.61401590}, {3, 0.20177086}, {4, -0.16222353},
        {5, 0.02504178},  {6, 0.28222527}, {7, 0.13987869}, {8, 0.00434028}, {9, -0.03480938}};
    static const Expected state[] = {
        {0, -0.36774481}, {1, -0.09923960}, {2, -0.06443160}, {3, -0.14184137}};
    expect_at(y->data, outputs, L * E);
    expect_at(next->data, state, E * N);
    tape_backward(bench.tape, &run);
    expect_at(in.u->gradient, (Expected[]){{0, -0.1253515}, {5, 0.0256476}}, 2);
    expect_at(in.raw->gradient, (Expected[]){{2, 0.0616790}}, 1);
    /* d/dA_log = A d/dA */
    expect_at(in.A_log->gradient, (Expected[]){{0, 0.0152032}, {3, 2 * 0.0057699}}, 2);
    expect_at(in.B->gradient, (Expected[]){{0, -0.0333139}}, 1);
    expect_at(in.C->gradient, (Expected[]){{9, 0.0253173}}, 1);
    expect_at(in.D->gradient, (Expected[]){{1, 0.0369295}}, 1);
    expect_at(in.bias->gradient, (Expected[]){{0, 0.0266312}}, 1);
    expect_at(in.z->gradient, (Expected[]){{6, 0.1561894}}, 1);
    bench_close(&bench);
}

/* ---- one sequence, whole and in two pieces: the same bits ---- */

enum {
    WHOLE = 41,
    CUT = 18,
    SEQUENCES = 2,
    WIDTH = 19,
    STATES = 3,
    TAPS = 4,
    CHANNELS = 4 * WIDTH
};

/* Sequence inputs and output of one call. x is (B, L, CHANNELS); only the scan reads B and C. */
typedef struct Piece {
    Tensor *x, *B, *C, *y;
} Piece;

/* An input that all pieces share, filled at once after allocation. */
typedef struct Shared {
    Tensor *list[6];
    int count;
} Shared;

static Tensor *share(const Bench *bench, Shared *shared, Shape shape) {
    return shared->list[shared->count++] = input(bench, "shared", shape);
}

/* Records one operation on consecutive pieces, handing the state over. */
typedef void Recorder(const Bench *bench, Piece *pieces, int count, Shared *shared);

static void record_convolution(const Bench *bench, Piece *pieces, int count, Shared *shared) {
    const ShortConvolution silu = {.activation = ACTIVATION_SILU};
    Tensor *w = share(bench, shared, SHAPE(TAPS, CHANNELS));
    Tensor *state = share(bench, shared, SHAPE(SEQUENCES, TAPS - 1, CHANNELS));
    for (int i = 0; i < count; i++)
        pieces[i].y = short_convolution(bench->tape, pieces[i].x, w, NULL, silu, state, &state);
}

static void record_lstm(const Bench *bench, Piece *pieces, int count, Shared *shared) {
    Tensor *w = share(bench, shared, SHAPE(WIDTH, CHANNELS));
    LstmState state = {.h = share(bench, shared, SHAPE(SEQUENCES, WIDTH)),
                       .c = share(bench, shared, SHAPE(SEQUENCES, WIDTH))};
    for (int i = 0; i < count; i++) {
        const LstmState before = state;
        pieces[i].y = lstm(bench->tape, pieces[i].x, w, &before, &state);
    }
}

static void record_scan(const Bench *bench, Piece *pieces, int count, Shared *shared) {
    SelectiveScan in = {.A_log = share(bench, shared, SHAPE(CHANNELS, STATES)),
                        .D = share(bench, shared, SHAPE(CHANNELS)),
                        .bias = share(bench, shared, SHAPE(CHANNELS)),
                        .state = share(bench, shared, SHAPE(SEQUENCES, CHANNELS, STATES))};
    for (int i = 0; i < count; i++) {
        in.u = in.raw = pieces[i].x;
        in.B = pieces[i].B;
        in.C = pieces[i].C;
        pieces[i].y = selective_scan(bench->tape, &in, &in.state);
    }
}

/* Rows first .. of the long sequence. */
static void fill_rows(float *data, const Tensor *like, int64_t first) {
    const int64_t L = extent(like, 1), width = extent(like, 2);
    for (int64_t i = 0; i < tensor_size(like); i++) {
        const int64_t b = i / (L * width), rest = i % (L * width);
        data[i] = (float)wave((b * WHOLE + first) * width + rest);
    }
}

static void copy_rows(float *to, const float *from, const Tensor *like, int64_t first) {
    const int64_t rows = extent(like, 1) * extent(like, 2);
    for (int64_t b = 0; b < SEQUENCES; b++)
        for (int64_t i = 0; i < rows; i++)
            to[(b * WHOLE + first) * extent(like, 2) + i] = from[b * rows + i];
}

/* The operation on pieces of the given lengths: output and gradient of x as one sequence, gradients
 * of the shared inputs one after the other. */
static void run_pieces(Recorder *record, const int64_t *lengths, int count, float *y, float *dx,
                       float *dshared) {
    Bench bench;
    bench_open(&bench, TAPE_TRAIN);
    Piece pieces[2];
    Shared shared = {0};
    for (int i = 0; i < count; i++)
        pieces[i] = (Piece){.x = input(&bench, "x", SHAPE(SEQUENCES, lengths[i], CHANNELS)),
                            .B = input(&bench, "B", SHAPE(SEQUENCES, lengths[i], STATES)),
                            .C = input(&bench, "C", SHAPE(SEQUENCES, lengths[i], STATES))};
    record(&bench, pieces, count, &shared);
    for (int i = 0; i < count; i++) tape_seed(bench.tape, pieces[i].y);
    bench_plan(&bench);
    for (int i = 0; i < shared.count; i++) fill_waves(shared.list[i], 1000 * i);
    int64_t first = 0;
    for (int i = 0; i < count; first += lengths[i++]) {
        fill_rows(pieces[i].x->data, pieces[i].x, first);
        fill_rows(pieces[i].B->data, pieces[i].B, first);
        fill_rows(pieces[i].C->data, pieces[i].C, first);
        fill_rows(pieces[i].y->gradient, pieces[i].y, first);
    }
    tape_forward(bench.tape, &run);
    tape_backward(bench.tape, &run);
    first = 0;
    for (int i = 0; i < count; first += lengths[i++]) {
        copy_rows(y, pieces[i].y->data, pieces[i].y, first);
        copy_rows(dx, pieces[i].x->gradient, pieces[i].x, first);
    }
    for (int i = 0; i < shared.count; i++)
        for (int64_t k = 0; k < tensor_size(shared.list[i]); k++)
            *dshared++ = shared.list[i]->gradient[k];
    bench_close(&bench);
}

static void pieces_equal_whole(void **state) {
    Recorder *record = *(Recorder *const *)*state;
    static float y[2][SEQUENCES * WHOLE * CHANNELS], dx[2][SEQUENCES * WHOLE * CHANNELS];
    static float dshared[2][2 * SEQUENCES * CHANNELS * STATES + WIDTH * CHANNELS];
    run_pieces(record, (int64_t[]){WHOLE}, 1, y[0], dx[0], dshared[0]);
    run_pieces(record, (int64_t[]){CUT, WHOLE - CUT}, 2, y[1], dx[1], dshared[1]);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    /* Backward: each value passes some 40 steps with a rounding of 6e-8 in each, and shared inputs
     * sum the pieces in another order. */
    for (size_t i = 0; i < sizeof dx[0] / sizeof **dx; i++)
        assert_true(fabsf(dx[0][i] - dx[1][i]) <= 1e-5f * (1 + fabsf(dx[0][i])));
    for (size_t i = 0; i < sizeof dshared[0] / sizeof **dshared; i++)
        assert_true(fabsf(dshared[0][i] - dshared[1][i]) <= 2e-5f * (1 + fabsf(dshared[0][i])));
}

static Recorder *const convolution = record_convolution, *const long_short = record_lstm,
                       *const scan = record_scan;

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selective_scan_numbers),
        {"short_convolution in pieces", pieces_equal_whole, .initial_state = (void *)&convolution},
        {"lstm in pieces", pieces_equal_whole, .initial_state = (void *)&long_short},
        {"selective_scan in pieces", pieces_equal_whole, .initial_state = (void *)&scan},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
