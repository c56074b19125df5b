/* Every model against the properties that all models share, some of them once more with batch
 * or scale normalisation or where an option puts another part in, and a sabotage run that must be
 * noticed. An argument selects checks by name: build/tests/test_models model/mamba/ -v */
#include <math.h>
#include <stdio.h>

#include "bench/check/check.h"

/* One of the shared backbone, in its two orders, and one with a stack of its own. Not the gradient
 * where a layer with a bias stands in front of the norm, which takes any constant away: that of the
 * bias is rounding alone. */
static const char *const other_norms[][2] = {
    {"model/s4d/", "norm=batch"},      {"model/s4d/", "norm=batch norm_place=post"},
    {"model/mega/bits", "norm=batch"}, {"model/mega/padding", "norm=batch"},
    {"model/mega/step", "norm=batch"}, {"model/s4d/gradient", "norm=scale"}};

/* Sizes above and below the checks' 12 tokens: frequencies are limited, taps become a ring. */
static const char *const parts[][2] = {
    {"model/hyena/", "filter=state_space filter_size=6"},
    {"model/hyena/", "filter=transfer"},
    {"model/hyena/", "filter=modes"},
    {"model/hyena/", "filter=taps filter_size=5"},
    {"model/mamba/", "layer=s4d block=none"},
    {"model/mamba/", "block=h3 expand=1"},
    {"model/mamba/gradient", "layer=hyena"},
    {"model/mamba/step", "layer=hyena"},
    {"model/mamba/learns", "layer=hyena block=h3"},
};

static void with_settings(const char *const ways[][2], size_t count, CheckCount *verdicts) {
    for (size_t i = 0; i < count; i++) {
        const CheckOptions options = {.out = stdout, .filter = ways[i][0], .settings = ways[i][1]};
        check_models(&options, verdicts);
    }
}

int main(int arguments, char **argument) {
    CheckOptions options = {
        .out = stdout, .filter = arguments > 1 ? argument[1] : NULL, .verbose = arguments > 2};
    CheckCount count = {0};
    check_models(&options, &count);
    if (arguments == 1) {
        with_settings(other_norms, sizeof other_norms / sizeof *other_norms, &count);
        with_settings(parts, sizeof parts / sizeof *parts, &count);
        FILE *null = fopen("/dev/null", "w");
        const CheckOptions sabotage = {.out = null, .filter = "/gradient", .sabotage = 0.1};
        CheckCount caught = {0};
        check_models(&sabotage, &caught);
        /* One parameter whose error is no number, before others that are right. */
        const CheckOptions infinite = {
            .out = null, .filter = "model/lstm/gradient", .sabotage = INFINITY};
        CheckCount noticed = {0};
        check_models(&infinite, &noticed);
        if (!noticed.failed) printf("FAIL sabotage: a gradient that is no number passed\n");
        *(noticed.failed ? &count.passed : &count.failed) += 1;
        fclose(null);
        int models;
        model_list(&models);
        if (caught.failed < models) printf("FAIL sabotage: a wrong gradient passed\n");
        *(caught.failed < models ? &count.failed : &count.passed) += 1;
    }
    printf("%d passed, %d failed\n", count.passed, count.failed);
    return count.failed != 0 || count.passed == 0;
}
