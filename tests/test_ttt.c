/* What test-time training is by its definition: descent that lowers the loss, tokens one by one as
 * in mini-batches, weights that the last token of a mini-batch already uses, and nothing learned at
 * a step size of zero. The state of ttt_step tells the weights inside. */
#include "engine/activation.h"
#include "engine/ops/ttt/ttt.h"
#include "engine/ops/ttt_step/ttt_step.h"
#include "engine/random.h"
#include "tests/bench.h"

enum {
    B = 2,
    L = 23,
    F = 6,
    HIDDEN = 10,
    MINI_BATCH = 5,
    MOST_STATE = 2 * (2 * F * HIDDEN + HIDDEN + F)
};

/* All inputs, their sizes for one token less L; H is 1. */
typedef struct Values {
    float q[B * L * F], k[B * L * F], v[B * L * F], rate[B * L];
    float index[MINI_BATCH], gamma[F], beta[F];
    float W1[F * HIDDEN], c1[HIDDEN], W2[HIDDEN * F], c2[F];
    bool two;
    double base;
} Values;

static void fill(float *data, int64_t size, double deviation, double mean, Random *random) {
    for (int64_t i = 0; i < size; i++) data[i] = (float)(mean + deviation * random_normal(random));
}

static Values values_of(bool two, double base) {
    Values values = {.two = two, .base = base};
    Random random = random_open(1, random_stream("test/ttt"), 0);
    fill(values.q, B * L * F, 1, 0, &random);
    fill(values.k, B * L * F, 1, 0, &random);
    fill(values.v, B * L * F, 1, 0, &random);
    fill(values.rate, B * L, 0.1, 0.5, &random);
    fill(values.index, MINI_BATCH, 0.1, 0, &random);
    fill(values.gamma, F, 0.2, 1, &random);
    fill(values.beta, F, 0.2, 0, &random);
    fill(values.W1, F * HIDDEN, 0.4, 0, &random);
    fill(values.c1, HIDDEN, 0.2, 0, &random);
    fill(values.W2, HIDDEN * F, 0.4, 0, &random);
    fill(values.c2, F, 0.2, 0, &random);
    return values;
}

typedef struct Layer {
    Bench bench;
    TttInputs in;
    Tensor *y, *state;
} Layer;

static void layer_open(Layer *layer, const Values *values, bool steps) {
    Bench *bench = &layer->bench;
    const int64_t length = steps ? 1 : L, h = values->two ? HIDDEN : F;
    bench_open(bench, steps ? TAPE_STEP : TAPE_EVALUATE);
    layer->in = (TttInputs){.q = bench_input(bench, SHAPE(B, length, F)),
                            .k = bench_input(bench, SHAPE(B, length, F)),
                            .v = bench_input(bench, SHAPE(B, length, F)),
                            .rate = bench_input(bench, SHAPE(B, length, 1)),
                            .index = bench_input(bench, SHAPE(MINI_BATCH)),
                            .gamma = bench_input(bench, SHAPE(1, F)),
                            .beta = bench_input(bench, SHAPE(1, F)),
                            .W1 = bench_input(bench, SHAPE(1, F, h)),
                            .c1 = bench_input(bench, SHAPE(1, h)),
                            .base = values->base};
    if (values->two) {
        layer->in.W2 = bench_input(bench, SHAPE(1, h, F));
        layer->in.c2 = bench_input(bench, SHAPE(1, F));
    }
    if (steps) {
        const Shape shape = SHAPE(B, 1, ttt_state_floats(&layer->in));
        layer->y = ttt_step(bench->tape, &layer->in, tape_carry(bench->tape, "state", shape),
                            tape_position(bench->tape), &layer->state);
        tape_carry_out(bench->tape, "state", layer->state);
    } else {
        layer->y = ttt(bench->tape, &layer->in);
    }
    tape_keep(bench->tape, layer->y);
    bench_plan(bench);
    give(layer->in.index, values->index);
    give(layer->in.gamma, values->gamma);
    give(layer->in.beta, values->beta);
    give(layer->in.W1, values->W1);
    give(layer->in.c1, values->c1);
    if (values->two) give(layer->in.W2, values->W2);
    if (values->two) give(layer->in.c2, values->c2);
}

/* y (B, L, F) by mini-batches. */
static void run_whole(const Values *values, float *y) {
    Layer layer;
    layer_open(&layer, values, false);
    give(layer.in.q, values->q);
    give(layer.in.k, values->k);
    give(layer.in.v, values->v);
    give(layer.in.rate, values->rate);
    bench_run(&layer.bench);
    memcpy(y, layer.y->data, sizeof(float[B * L * F]));
    bench_close(&layer.bench);
}

/* y by single tokens; state: (B, numbers) after the first `tokens` of them. */
static void run_steps(const Values *values, int64_t tokens, float *y, float *state) {
    Layer layer;
    layer_open(&layer, values, true);
    tape_reset_state(layer.bench.tape);
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t b = 0; b < B; b++) {
            const int64_t from = b * L + t;
            memcpy(layer.in.q->data + b * F, values->q + from * F, sizeof(float[F]));
            memcpy(layer.in.k->data + b * F, values->k + from * F, sizeof(float[F]));
            memcpy(layer.in.v->data + b * F, values->v + from * F, sizeof(float[F]));
            layer.in.rate->data[b] = values->rate[from];
        }
        bench_run(&layer.bench);
        for (int64_t b = 0; b < B; b++)
            memcpy(y + (b * L + t) * F, layer.y->data + b * F, sizeof(float[F]));
    }
    memcpy(state, layer.state->data, (size_t)tensor_size(layer.state) * sizeof(float));
    bench_close(&layer.bench);
}

/* x + norm(z) with the weights less `taken`, those of ttt.h in the order of a state; F numbers. */
static void model(const Values *values, const float *taken, const float *x, double *y) {
    const int h = values->two ? HIDDEN : F;
    double z[HIDDEN], mean = 0, variance = 0;
    for (int j = 0; j < h; j++) {
        z[j] = (double)values->c1[j] - (double)taken[F * h + j];
        for (int i = 0; i < F; i++)
            z[j] += (double)x[i] * ((double)values->W1[i * h + j] - (double)taken[i * h + j]);
    }
    if (values->two) {
        const float *second = taken + F * h + h;
        double hidden[HIDDEN];
        for (int i = 0; i < h; i++) hidden[i] = activation_value(ACTIVATION_GELU_TANH, z[i]);
        for (int j = 0; j < F; j++) {
            z[j] = (double)values->c2[j] - (double)second[h * F + j];
            for (int i = 0; i < h; i++)
                z[j] += hidden[i] * ((double)values->W2[i * F + j] - (double)second[i * F + j]);
        }
    }
    for (int j = 0; j < F; j++) mean += z[j] / F;
    for (int j = 0; j < F; j++) variance += (z[j] - mean) * (z[j] - mean) / F;
    for (int j = 0; j < F; j++)
        y[j] = (double)x[j] + (double)values->gamma[j] * (z[j] - mean) / sqrt(variance + 1e-6) +
               (double)values->beta[j];
}

static double loss(const Values *values, const float *taken, int64_t b, int64_t t) {
    double y[F], sum = 0;
    model(values, taken, values->k + (b * L + t) * F, y);
    for (int j = 0; j < F; j++) sum += pow(y[j] - (double)values->v[(b * L + t) * F + j], 2) / 2;
    return sum;
}

static const double rounding = 1e-4; /* values of about 1, some 10^3 dependent operations */

/* The last mini-batch has three tokens. */
static void single_tokens_do_as_mini_batches(void **unused) {
    (void)unused;
    for (int two = 0; two < 2; two++) {
        const Values values = values_of(two, 1);
        float whole[B * L * F], steps[B * L * F], state[B * MOST_STATE];
        run_whole(&values, whole);
        run_steps(&values, L, steps, state);
        for (int i = 0; i < B * L * F; i++)
            assert_true(fabs((double)whole[i] - (double)steps[i]) < rounding);
    }
}

/* What the next mini-batch starts from is what the last token of this one was answered with. */
static void last_token_uses_the_next_weights(void **unused) {
    (void)unused;
    for (int two = 0; two < 2; two++) {
        const Values values = values_of(two, 1);
        const int64_t last = 2 * MINI_BATCH - 1;
        const int floats = two ? MOST_STATE : 2 * (F * F + F);
        float y[B * L * F], state[B * MOST_STATE];
        run_steps(&values, last + 1, y, state);
        for (int64_t b = 0; b < B; b++) {
            double expected[F];
            model(&values, state + b * floats, values.q + (b * L + last) * F, expected);
            for (int j = 0; j < F; j++)
                assert_true(fabs((double)y[(b * L + last) * F + j] - expected[j]) < rounding);
            for (int i = floats / 2; i < floats; i++)
                assert_true(fabsf(state[b * floats + i]) == 0);
        }
    }
}

/* To first order a step takes (step size) |gradient|^2 off its token's loss. */
static void a_step_lowers_the_loss(void **unused) {
    (void)unused;
    for (int two = 0; two < 2; two++) {
        const Values values = values_of(two, 1e-2);
        const int floats = two ? MOST_STATE : 2 * (F * F + F);
        const float nothing[MOST_STATE] = {0};
        float y[B * L * F], state[B * MOST_STATE];
        run_steps(&values, 1, y, state);
        for (int64_t b = 0; b < B; b++) {
            const float *sum = state + b * floats + floats / 2;
            const double tau = 1 + (double)values.index[0];
            const double step = values.base / F * (double)values.rate[b * L];
            float taken[MOST_STATE];
            double square = 0;
            for (int i = 0; i < floats / 2; i++) {
                taken[i] = (float)tau * sum[i];
                square += pow((double)sum[i] / step, 2);
            }
            const double fall = loss(&values, nothing, b, 0) - loss(&values, taken, b, 0);
            assert_true(square > 0.1);
            assert_true(fabs(fall / (tau * step * square) - 1) < 0.05); /* second order */
        }
    }
}

static void without_steps_the_model_stays(void **unused) {
    (void)unused;
    for (int clamped = 0; clamped < 2; clamped++) {
        Values values = values_of(false, clamped ? 1 : 0);
        const float nothing[MOST_STATE] = {0};
        float y[B * L * F];
        for (int t = 0; t < MINI_BATCH && clamped; t++) values.index[t] = -1;
        run_whole(&values, y);
        for (int64_t t = 0; t < B * L; t++) {
            double expected[F];
            model(&values, nothing, values.q + t * F, expected);
            for (int j = 0; j < F; j++)
                assert_true(fabs((double)y[t * F + j] - expected[j]) < rounding);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_tokens_do_as_mini_batches),
        cmocka_unit_test(last_token_uses_the_next_weights),
        cmocka_unit_test(a_step_lowers_the_loss),
        cmocka_unit_test(without_steps_the_model_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
