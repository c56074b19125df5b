/* What the delta rule must do by its definition, across chunks, and the one-token form of the two
 * models for settings that `longhaul check` does not run. */
#include "engine/ops/delta_rule/delta_rule.h"
#include "tests/bench.h"
#include "tests/step_form.h"

enum { L = 150, D = 4, M = 3 };

/* One head. Token t has key e_(t mod D) and value t, t + 1/4, t + 1/2, and asks for the next
 * token's key. The state before: 7 everywhere. */
typedef struct Memory {
    Bench bench;
    Tensor *q, *k, *v, *beta, *log_decay, *state, *out, *next;
} Memory;

static double value_of(int64_t t, int64_t c) {
    return (double)t + 0.25 * (double)c;
}

static void run_memory(Memory *memory, double beta, double log_decay) {
    bench_open(&memory->bench, TAPE_EVALUATE);
    Tape *tape = memory->bench.tape;
    memory->q = bench_input(&memory->bench, SHAPE(1, L, D));
    memory->k = bench_input(&memory->bench, SHAPE(1, L, D));
    memory->v = bench_input(&memory->bench, SHAPE(1, L, M));
    memory->beta = bench_input(&memory->bench, SHAPE(1, L, 1));
    memory->log_decay = bench_input(&memory->bench, SHAPE(1, L, 1));
    memory->state = bench_input(&memory->bench, SHAPE(1, 1, D * M));
    const DeltaRuleInputs in = {memory->q,    memory->k,         memory->v,
                                memory->beta, memory->log_decay, memory->state};
    /* Inputs half as long as keys and queries are. */
    memory->out = delta_rule(tape, &in, &(DeltaRule){1, 2, 2}, &memory->next);
    tape_keep(tape, memory->out);
    tape_keep(tape, memory->next);
    bench_plan(&memory->bench);
    for (int64_t t = 0; t < L; t++) {
        for (int64_t i = 0; i < D; i++) {
            memory->k->data[t * D + i] = i == t % D ? 0.5f : 0;
            memory->q->data[t * D + i] = i == (t + 1) % D ? 0.5f : 0;
        }
        for (int64_t c = 0; c < M; c++) memory->v->data[t * M + c] = (float)value_of(t, c);
        memory->beta->data[t] = (float)beta;
        memory->log_decay->data[t] = (float)log_decay;
    }
    for (int i = 0; i < D * M; i++) memory->state->data[i] = 7;
    bench_run(&memory->bench);
}

/* Under orthonormal keys and with beta = 1 the last value is found as it was written. */
static void the_last_value_is_found(void **state) {
    (void)state;
    Memory memory;
    run_memory(&memory, 1, 0);
    for (int64_t t = 0; t < L; t++)
        for (int64_t c = 0; c < M; c++)
            near("what is found", (double)memory.out->data[t * M + c],
                 t < D - 1 ? 7 : value_of(t - D + 1, c), 1e-5 * (double)(t + 7));
    for (int64_t i = 0; i < D; i++) {
        const int64_t last = L - 1 - (L - 1 - i) % D;
        near("the last state", (double)memory.next->data[i * M], value_of(last, 0), 1e-3);
    }
    bench_close(&memory.bench);
}

/* beta = 0 writes nothing, and decays are those of the state alone. */
static void nothing_is_written(void **state) {
    (void)state;
    Memory memory;
    const double decay = 0.03125; /* a float, and so is every sum of it */
    run_memory(&memory, 0, -decay);
    for (int64_t t = 0; t < L; t++)
        near("what is left", (double)memory.out->data[t * M], 7 * exp(-decay * (double)(t + 1)),
             3e-6);
    bench_close(&memory.bench);
}

/* A memory that fades at once holds the token's own value alone, of which beta is written. */
static void all_is_forgotten(void **state) {
    (void)state;
    Memory memory;
    run_memory(&memory, 0.5, -200);
    for (int64_t t = 0; t < L * M; t++)
        near("what is found", (double)memory.out->data[t], 0, 1e-30);
    for (int64_t i = 0; i < D * M; i++)
        near("the last state", (double)memory.next->data[i],
             i / M == (L - 1) % D ? 0.5 * value_of(L - 1, i % M) : 0, 1e-4);
    bench_close(&memory.bench);
}

static void the_step_form_agrees(void **state) {
    (void)state;
    step_form_agrees("delta_net", "width=12 heads=3 expand_k=0.5 negative_eigenvalues=yes", 70, 0.2,
                     2e-4f);
    step_form_agrees("delta_net", "width=10 heads=1 convolution=2 expand_v=2 norm=layer", 66, 0.1,
                     2e-4f);
    step_form_agrees("gated_delta_net", "width=10 heads=3 negative_eigenvalues=yes", 70, 0.2,
                     2e-4f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_value_is_found),
        cmocka_unit_test(nothing_is_written),
        cmocka_unit_test(all_is_forgotten),
        cmocka_unit_test(the_step_form_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
