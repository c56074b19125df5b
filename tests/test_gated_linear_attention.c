/* What gated linear attention must do by its definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/ops/gated_linear_attention/gated_linear_attention.h"
#include "engine/ops/linear_attention/linear_attention.h"
#include "engine/random.h"
#include "tests/bench.h"

/* Three chunks, the last of them and its last block not full. */
enum { B = 2, L = 150, H = 2, D = 5, M = 7 };

static const GatedLinearAttention attributes = {H, 0.5};

/* q, k, v, decays of channels and state, then decays of heads, of one tape. */
typedef struct Inputs {
    GatedLinearAttentionInputs channels;
    Tensor *heads; /* (B, L, H) */
} Inputs;

static Inputs inputs(Bench *bench) {
    return (Inputs){{.q = bench_input(bench, SHAPE(B, L, H * D)),
                     .k = bench_input(bench, SHAPE(B, L, H * D)),
                     .v = bench_input(bench, SHAPE(B, L, H * M)),
                     .log_decay = bench_input(bench, SHAPE(B, L, H * D)),
                     .state = bench_input(bench, SHAPE(B, H, D * M))},
                    bench_input(bench, SHAPE(B, L, H))};
}

static void fill(Tensor *tensor, const char *stream) {
    Random random = random_open(1, random_stream(stream), 0);
    for (int64_t i = 0; i < tensor_size(tensor); i++)
        tensor->data[i] = (float)random_normal(&random);
}
static void fill_all(const Inputs *in) {
    fill(in->channels.q, "q");
    fill(in->channels.k, "k");
    fill(in->channels.v, "v");
    fill(in->channels.state, "state");
}

/* Sums of 64 products of order one in float32. */
static void expect_near(const Tensor *actual, const Tensor *expected) {
    for (int64_t i = 0; i < tensor_size(actual); i++)
        near(actual->name, (double)actual->data[i], (double)expected->data[i],
             1e-5 * (1 + fabs((double)expected->data[i])));
}

/* Where all channels of a head forget alike it is linear attention with a decay a head: results and
 * state. */
static void equal_channels_are_heads(void **state) {
    (void)state;
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    const Inputs in = inputs(&bench);
    const LinearAttention plain = {H, H, D, M, FEATURE_IDENTITY, 0.5, false, 0, true};
    const LinearAttentionInputs of_heads = {.q = in.channels.q,
                                            .k = in.channels.k,
                                            .v = in.channels.v,
                                            .log_decay = in.heads,
                                            .state = in.channels.state};
    Tensor *next, *next_plain;
    Tensor *out = gated_linear_attention(bench.tape, &in.channels, &attributes, &next);
    Tensor *out_plain = linear_attention(bench.tape, &of_heads, &plain, &next_plain);
    Tensor *const kept[] = {out, next, out_plain, next_plain};
    for (int i = 0; i < 4; i++) tape_keep(bench.tape, kept[i]);
    bench_plan(&bench);
    fill_all(&in);
    for (int64_t i = 0; i < B * L * H; i++) {
        in.heads->data[i] = -(float)(i % 13) / 20;
        for (int c = 0; c < D; c++) in.channels.log_decay->data[i * D + c] = in.heads->data[i];
    }
    bench_run(&bench);
    expect_near(out, out_plain);
    expect_near(next, next_plain);
    bench_close(&bench);
}

/* A channel that forgets everything leaves the token itself, however far the logarithms add up. */
static void forgetting_leaves_the_token(void **state) {
    (void)state;
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    const Inputs in = inputs(&bench);
    Tensor *next, *out = gated_linear_attention(bench.tape, &in.channels, &attributes, &next);
    tape_keep(bench.tape, out);
    bench_plan(&bench);
    fill_all(&in);
    for (int64_t i = 0; i < B * L * H * D; i++) in.channels.log_decay->data[i] = -1e6f;
    bench_run(&bench);
    for (int64_t i = 0; i < B * L * H; i++) {
        double weight = 0;
        for (int c = 0; c < D; c++)
            weight += 0.5 * (double)in.channels.q->data[i * D + c] *
                      (double)in.channels.k->data[i * D + c];
        for (int e = 0; e < M; e++)
            near("out", (double)out->data[i * M + e],
                 weight * (double)in.channels.v->data[i * M + e], 1e-5);
    }
    bench_close(&bench);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_channels_are_heads),
        cmocka_unit_test(forgetting_leaves_the_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
