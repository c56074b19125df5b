/* The Sparse Transformer's patterns: visible sets against their definitions, what two blocks reach,
 * cases in which nothing is hidden, cost, and the one-token form. */
/* cmocka wants the four above first */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ops/pattern_attention/pattern_attention.h"
#include "tests/step_form.h"

enum { B = 2, L = 45, D = 24, MOST = 64 };

static const PatternAttention patterns[] = {
    {.pattern = PATTERN_SEGMENTS, .length = 7, .memory = 10},
    {.pattern = PATTERN_LOCAL, .length = 6},
    {.pattern = PATTERN_STRIDED, .length = 6},
    {.pattern = PATTERN_LOCAL_STRIDED, .length = 6},
    {.pattern = PATTERN_FIXED, .length = 8, .summaries = 2, .kinds = 1},
    {.pattern = PATTERN_FIXED, .length = 8, .summaries = 3, .kinds = 2},
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

/* The paper's sets, in its order. */
static bool defined(const PatternAttention *a, int h, int i, int j) {
    const int l = (int)a->length, c = (int)a->summaries;
    const bool local = j > i - l, strided = (i - j) % l == 0, own = i / l == j / l;
    const int last =
        l - h % (a->kinds ? (int)a->kinds : 1) * c; /* the end of the head's summaries */
    if (j > i) return false;
    switch (a->pattern) {
    case PATTERN_SEGMENTS:
        return own || j >= i / l * l - (int)a->memory;
    case PATTERN_LOCAL:
        return local;
    case PATTERN_STRIDED:
        return strided;
    case PATTERN_LOCAL_STRIDED:
        return local || strided;
    case PATTERN_FIXED:
        break;
    }
    return own || (j % l >= last - c && j % l < last);
}

static void seen(const PatternAttention *a, int h, bool mask[MOST][MOST]) {
    memset(mask, 0, sizeof(bool) * MOST * MOST);
    for (int i = 0; i < MOST; i++)
        for (int64_t n = 0; n < pattern_count(a, i); n++) {
            bool *one = &mask[i][pattern_key(a, h, i, n)];
            assert_false(*one); /* no key twice */
            *one = true;
        }
}

static void test_definition(void **state) {
    (void)state;
    static bool mask[MOST][MOST];
    for (int p = 0; p < PATTERNS; p++)
        for (int h = 0; h < 3; h++) {
            seen(&patterns[p], h, mask);
            for (int i = 0; i < MOST; i++)
                for (int j = 0; j < MOST; j++)
                    if (mask[i][j] != defined(&patterns[p], h, i, j))
                        fail_msg("pattern %d head %d: query %d and key %d", p, h, i, j);
        }
}

/* Local and strided blocks in turns, and merged fixed heads twice, reach all earlier positions; but
 * the fixed pattern's other positions of earlier segments only through a summary behind them. */
static void test_reach(void **state) {
    (void)state;
    static bool first[MOST][MOST], second[MOST][MOST];
    static const int both[][2] = {{1, 2}, {3, 3}, {4, 4}};
    for (int p = 0; p < 3; p++) {
        seen(&patterns[both[p][0]], 0, first);
        seen(&patterns[both[p][1]], 0, second);
        for (int i = 0; i < MOST; i++)
            for (int j = 0; j <= i; j++) {
                bool reached = false;
                for (int k = j; k <= i; k++) reached |= second[i][k] && first[k][j];
                if (!reached) fail_msg("%d: %d does not reach %d", p, j, i);
            }
    }
}

static void open_kind(Subject *subject, const char *name, const char *more, TapeMode mode,
                      int64_t length, const Subject *like) {
    char settings[256];
    snprintf(settings, sizeof settings, "width=%d layers=2 heads=3 %s", D, more);
    open_model(subject, name, settings, (SubjectShape){B, length, length, mode, true, false}, 0.2,
               like);
}

/* A window or segment as long as the sequence, or a stride of one: the Transformer with the same
 * weights, up to the order of float32 sums through two blocks. */
static void test_nothing_hidden(void **state) {
    (void)state;
    static const char *const all[] = {
        "pattern=fixed pattern_stride=45", "pattern=fixed pattern_stride=9 summaries=9",
        "pattern=strided factors=alternate pattern_stride=45 layers=1",
        "pattern=strided pattern_stride=1", "pattern=strided pattern_stride=50"};
    for (int i = 0; i < 5; i++) {
        Subject full, sparse;
        const char *layers =
            strstr(all[i], "layers=1") ? "mlp=gelu_sigmoid layers=1" : "mlp=gelu_sigmoid";
        open_kind(&full, "transformer", layers, TAPE_EVALUATE, L, NULL);
        open_kind(&sparse, "sparse_transformer", all[i], TAPE_EVALUATE, L, &full);
        subject_forward(&full, 1);
        subject_forward(&sparse, 1);
        for (int n = 0; n < B * L * D; n++)
            if (!(fabsf(full.out->data[n] - sparse.out->data[n]) < 2e-5f))
                fail_msg("%s: %d is off", all[i], n);
        subject_close(&sparse);
        subject_close(&full);
    }
}

static double attention_flops(const Subject *subject) {
    double flops = 0;
    for (int i = 0; i < tape_call_count(subject->tape); i++) {
        const OpCall *call = tape_call(subject->tape, i);
        Cost forward = {0}, backward = {0};
        if (!strstr(call->op->name, "attention")) continue;
        call->op->cost(call, &forward, &backward);
        flops += forward.flops + backward.flops;
    }
    return flops;
}

/* At a stride of sqrt(L) the visible keys are some 2 sqrt(L) instead of L / 2. */
static void test_costs_less(void **state) {
    (void)state;
    static const char *const kinds[] = {"pattern=strided pattern_stride=32",
                                        "pattern=fixed pattern_stride=32 summaries=1"};
    Subject full, sparse;
    open_kind(&full, "transformer", "", TAPE_TRAIN, 1024, NULL);
    for (int i = 0; i < 2; i++) {
        open_kind(&sparse, "sparse_transformer", kinds[i], TAPE_TRAIN, 1024, NULL);
        const double share = attention_flops(&sparse) / attention_flops(&full);
        assert_true(share > 0.05 && share < 0.1);
        subject_close(&sparse);
    }
    subject_close(&full);
}

static void test_step(void **state) {
    (void)state;
    static const char *const kinds[] = {"pattern=fixed pattern_stride=8 summaries=2 kinds=3",
                                        "pattern=strided pattern_stride=7",
                                        "pattern=strided factors=alternate pattern_stride=7"};
    for (int p = 0; p < 3; p++) { /* float32 sums in another order through two blocks */
        char settings[256];
        snprintf(settings, sizeof settings, "width=%d layers=2 heads=3 %s", D, kinds[p]);
        step_form_agrees("sparse_transformer", settings, L, 0.2, 2e-5f);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const char *const refused[][2] = {
        {"width=64 heads=3", "heads of at most 128 channels"},
        {"factors=alternate", "needs factors=merged"},
        {"pattern_stride=16 summaries=5 kinds=4", "at most 4 summaries"},
    };
    for (int i = 0; i < 3; i++) {
        Subject subject;
        Error error = {0};
        const SubjectShape shape = {B, L, L, TAPE_EVALUATE, true, false};
        assert_int_equal(subject_open(&subject, model_find("sparse_transformer"), refused[i][0],
                                      &shape, NULL, &error),
                         STATUS_USAGE);
        if (!strstr(error.message, refused[i][1]))
            fail_msg("'%s' does not say '%s'", error.message, refused[i][1]);
        free(subject.options);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),     cmocka_unit_test(test_reach),
        cmocka_unit_test(test_nothing_hidden), cmocka_unit_test(test_costs_less),
        cmocka_unit_test(test_step),           cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
