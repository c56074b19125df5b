/* Learning-rate schedules: the factor at several steps against closed forms, when a plateau is one,
 * settings that make no sense together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/schedule.h"

/* Run options from "key=value key=value ...". */
static RunOptions options_of(const char *settings) {
    RunOptions run;
    option_defaults(&run_options, &run);
    char *text = strdup(settings), *rest = text;
    for (char *pair; (pair = strsep(&rest, " "));) {
        Error error = {0};
        char *value = strchr(pair, '=');
        assert_non_null(value);
        *value = '\0';
        if (option_set(&run_options, &run, pair, value + 1, &error) != STATUS_OK)
            fail_msg("%s", error.message);
    }
    free(text);
    return run;
}

static Schedule schedule_of(const char *settings, double warmup) {
    const RunOptions run = options_of(settings);
    Error error = {0};
    if (schedule_check(&run, &error) != STATUS_OK) fail_msg("%s", error.message);
    return schedule_open(&run, warmup, true);
}

static void follows_closed_forms(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        double warmup, progress, factor;
    } cases[] = {
        {"schedule=cosine", 0.1, 0.05, 0.5},
        {"schedule=cosine", 0.1, 0.1, 1},
        {"schedule=cosine", 0, 0, 1},
        {"schedule=cosine lr_end=0.2", 0.1, 0.55, 0.6},
        {"schedule=cosine lr_end=0.2", 0.1, 1, 0.2},
        /* 1e-3 to 1e-4 and 1e-2 to 1e-4: the same floor of two rates */
        {"schedule=cosine lr=1e-3 lr_floor=1e-4", 0.1, 0.55, 0.55},
        {"schedule=cosine lr=1e-3 lr_floor=1e-4", 0.1, 1, 0.1},
        {"schedule=cosine lr=1e-2 lr_floor=1e-4", 0.1, 1, 0.01},
        {"schedule=cosine lr=1e-4 lr_floor=1e-4", 0.1, 0.7, 1},
        /* four periods of 0.2 behind a warm-up of 0.2; each begins at 1, the last one ends */
        {"schedule=cosine restarts=3", 0.2, 0.3, 0.5},
        {"schedule=cosine restarts=3", 0.2, 0.35, 0.5 * (1 - 0.70710678118654752)},
        {"schedule=cosine restarts=3", 0.2, 0.5, 0.5},
        {"schedule=cosine restarts=3", 0.2, 0.9, 0.5},
        {"schedule=cosine restarts=3 lr_end=0.1", 0.2, 1, 0.1},
        {"schedule=cosine restarts=1", 0, 0.5, 1},
        /* S5, 1 of 5 epochs of warm-up: from cos(pi / 4), not from 1; at its end after 4 epochs */
        {"schedule=early_cosine", 0.2, 0.1, 0.5},
        {"schedule=early_cosine", 0.2, 0.2, 0.5 * (1 + 0.70710678118654752)},
        {"schedule=early_cosine", 0.2, 0.4, 0.5},
        {"schedule=early_cosine lr_end=0.2", 0.2, 0.4, 0.6},
        {"schedule=early_cosine lr_end=0.2", 0.2, 0.8, 0.2},
        {"schedule=early_cosine lr_end=0.2", 0.2, 0.9, 0.2},
        {"schedule=early_cosine warmup=0", 0, 0.5, 0.5},
        /* Mega on Path-X: 25k of 125k steps, their square */
        {"schedule=linear warmup_power=2", 0.2, 0.1, 0.25},
        {"schedule=linear warmup_power=2", 0.2, 0.2, 1},
        {"schedule=linear warmup_power=2", 0.2, 0.6, 0.5},
        {"schedule=linear", 0.5, 0.75, 0.5},
        {"schedule=linear lr_end=0.1", 0.5, 1, 0.1},
        {"schedule=constant", 0.1, 0.9, 1},
        {"schedule=constant", 0.1, 0.025, 0.25},
        /* RWKV-4: 8e-4 to 1e-5 without a warm-up; half-way is their geometric mean */
        {"schedule=exponential warmup=0 lr=8e-4 lr_floor=1e-5", 0, 0.5, 0.11180339887498949},
        {"schedule=exponential warmup=0 lr=8e-4 lr_floor=1e-5", 0, 1, 0.0125},
        {"schedule=exponential lr_end=0.01", 0.2, 0.6, 0.1},
        /* Long Range Arena on ListOps: 0.05 min(1, s / 1000) / sqrt(max(s, 1000)) of 5000 steps,
         * whose peak is 0.05 / sqrt(1000) */
        {"schedule=inverse_sqrt", 0.2, 0.1, 0.5},
        {"schedule=inverse_sqrt", 0.2, 0.2, 1},
        {"schedule=inverse_sqrt", 0.2, 0.8, 0.5},
        {"schedule=inverse_sqrt", 0.2, 1, 0.44721359549995794},
        {"schedule=inverse_sqrt lr_end=0.6", 0.2, 0.8, 0.6},
        /* on Retrieval: 8000 of 5000 steps */
        {"schedule=inverse_sqrt", 1.6, 1, 0.625},
        {"schedule=plateau", 0.5, 0.25, 0.5},
        {"schedule=plateau", 0.5, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Schedule schedule = schedule_of(cases[i].settings, cases[i].warmup);
        const double factor = schedule_factor(&schedule, cases[i].progress);
        /* A few roundings of double precision; the phase of a cosine adds those of progress. */
        if (!(fabs(factor - cases[i].factor) < 1e-12))
            fail_msg("%s, warm-up %g, progress %g: %.17g; expected %.17g", cases[i].settings,
                     cases[i].warmup, cases[i].progress, factor, cases[i].factor);
    }
}

/* Metrics of validations and the factor after each, to the last bit: products of 0.5. */
static void check_plateau(const char *settings, bool higher_is_better, int count,
                          const double *metrics, const double *factors) {
    const RunOptions run = options_of(settings);
    Error error = {0};
    assert_int_equal(schedule_check(&run, &error), STATUS_OK);
    Schedule schedule = schedule_open(&run, 0, higher_is_better);
    for (int i = 0; i < count; i++) {
        schedule_observe(&schedule, metrics[i]);
        const double factor = schedule_factor(&schedule, 0.5);
        if (factor != factors[i])
            fail_msg("%s, after validation %d: %g; expected %g", settings, i + 1, factor,
                     factors[i]);
    }
}

static void acts_on_a_plateau(void **state) {
    (void)state;
    /* With patience 1 the second one in a row without improvement acts, and the count begins anew.
     * Equal is no improvement, nor is one part in 20,000; not-a-number is none either. */
    check_plateau("schedule=plateau plateau_factor=0.5 plateau_patience=1", true, 9,
                  (double[]){0.1, 0.2, 0.2, 0.20001, 0.1, 0.3, NAN, 0.3, 0.2},
                  (double[]){1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25});
    check_plateau("schedule=plateau plateau_factor=0.5 plateau_patience=0", false, 5,
                  (double[]){20, 10, 9.9995, 9.998, 11}, (double[]){1, 1, 0.5, 0.5, 0.25});
    check_plateau("schedule=plateau plateau_factor=0.5 plateau_patience=0 lr_end=0.4", true, 4,
                  (double[]){0, 0, 0, 0}, (double[]){1, 0.5, 0.4, 0.4});
    check_plateau("schedule=plateau plateau_factor=0.5 plateau_patience=0 lr=4 lr_floor=1", true, 4,
                  (double[]){0, 0, 0, 0}, (double[]){1, 0.5, 0.25, 0.25});
    /* Others take no notice. */
    check_plateau("schedule=constant", true, 7, (double[]){0, 0, 0, 0, 0, 0, 0},
                  (double[]){1, 1, 1, 1, 1, 1, 1});
}

static void nonsense_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *settings, *expected;
    } cases[] = {
        {"schedule=constant lr_end=0.1", "lr_end=0.1 has no effect with schedule=constant"},
        {"schedule=linear restarts=3", "choose a schedule that reads it: cosine"},
        {"plateau_patience=2", "plateau_patience=2 has no effect with schedule=cosine"},
        {"lr_end=0.1 lr_floor=1e-4", "lr_end=0.1 and lr_floor=0.0001 are both set"},
        {"lr=1e-5 lr_floor=1e-4", "lr=1e-5 is below lr_floor=0.0001"},
        {"schedule=exponential", "set where it ends"},
        {"schedule=inverse_sqrt warmup=0", "set warmup, such as 0.1 or 1000step"},
        {"schedule=plateau evaluations=7", "expected evaluations=8 or more"},
        {"warmup=0 warmup_power=2", "warmup_power=2 has no effect with warmup=0"},
        {"warmup=1.5", "warmup=1.5: no share; expected a share of the budget from 0 to 1"},
        {"warmup=-0.1", "no share"},
        {"warmup=0step", "not positive"},
        {"warmup=3parsec", "unknown unit"},
        {"warmup=step", "no finite number in front"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const RunOptions run = options_of(cases[i].settings);
        Error error = {0};
        assert_int_equal(schedule_check(&run, &error), STATUS_USAGE);
        if (!strstr(error.message, cases[i].expected))
            fail_msg("%s\n  said: %s\n  expected: %s", cases[i].settings, error.message,
                     cases[i].expected);
    }
}

/* The option's choices and the kinds are made from one list; every kind says what it does. */
static void kinds_are_the_choices(void **state) {
    (void)state;
    int count;
    const ScheduleKind *kinds = schedule_kinds(&count);
    assert_true(count >= 6);
    const Option *option = option_find(&run_options, "schedule");
    for (int i = 0; i < count; i++) {
        RunOptions run;
        char text[OPTION_VALUE_BYTES];
        option_defaults(&run_options, &run);
        assert_int_equal(option_set(&run_options, &run, "schedule", kinds[i].name, NULL),
                         STATUS_OK);
        assert_int_equal(run.schedule, i);
        option_text(option, &run, text);
        assert_string_equal(text, kinds[i].name);
        assert_true(*kinds[i].help != '\0');
        char *words = strdup(kinds[i].reads), *rest = words;
        for (char *word; (word = strtok_r(rest, " ", &rest));)
            assert_non_null(option_find(&run_options, word));
        free(words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_closed_forms),
        cmocka_unit_test(acts_on_a_plateau),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(kinds_are_the_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
