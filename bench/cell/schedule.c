#include "bench/cell/schedule.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static double constant(const Schedule *schedule, double progress, double rest) {
    (void)schedule, (void)progress, (void)rest;
    return 1;
}

/* Half a cosine from 1 to the end, `phase` of it gone: 0 to 1. */
static double half_cosine(double end, double phase) {
    return end + (1 - end) * 0.5 * (1 + cos(M_PI * phase));
}

/* Loshchilov and Hutter 2017 (SGDR), arXiv 1608.03983, with periods of equal length. The last one
 * reaches its end, the others begin anew there. */
static double cosine(const Schedule *schedule, double progress, double rest) {
    (void)progress;
    const double periods = rest * (schedule->restarts + 1);
    return half_cosine(schedule->end, rest < 1 ? periods - floor(periods) : 1);
}

/* The released code of S5 (Smith et al. 2023, arXiv 2208.04933): as long as what follows the
 * warm-up, but its steps are counted from the first one of all. */
static double early_cosine(const Schedule *schedule, double progress, double rest) {
    (void)rest;
    const double length = 1 - schedule->warmup;
    return half_cosine(schedule->end, progress < length ? progress / length : 1);
}

static double exponential(const Schedule *schedule, double progress, double rest) {
    (void)progress;
    return pow(schedule->end, rest);
}

static double inverse_sqrt(const Schedule *schedule, double progress, double rest) {
    (void)rest;
    return fmax(schedule->end, sqrt(schedule->warmup / progress));
}

static double linear(const Schedule *schedule, double progress, double rest) {
    (void)progress;
    return 1 - (1 - schedule->end) * rest;
}

static double plateau(const Schedule *schedule, double progress, double rest) {
    (void)progress, (void)rest;
    return fmax(schedule->end, pow(schedule->plateau_factor, (double)schedule->reductions));
}

static Status needs_end(const RunOptions *run, const Budget *warmup, Error *error) {
    (void)warmup;
    if (run->lr_end > 0 || run->lr_floor > 0) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "schedule=exponential never reaches zero; set where it ends: lr_end, a part "
                     "of lr, or lr_floor, a rate");
}

static Status needs_warmup(const RunOptions *run, const Budget *warmup, Error *error) {
    if (warmup->amount > 0) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "schedule=inverse_sqrt with warmup=%s: it counts in lengths of the warm-up; "
                     "set warmup, such as 0.1 or 1000step",
                     run->warmup);
}

/* The first validation is always the best so far, and no step follows the last one. */
static Status needs_validations(const RunOptions *run, const Budget *warmup, Error *error) {
    (void)warmup;
    const int64_t least = run->plateau_patience + 3;
    if (run->evaluations >= least) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "schedule=plateau with plateau_patience=%" PRId64
                     " cannot reduce the rate within evaluations=%" PRId64
                     "; expected evaluations=%" PRId64 " or more, or less patience",
                     run->plateau_patience, run->evaluations, least);
}

static const ScheduleKind kinds[] = {
#define SCHEDULE(name, help, reads, check) {#name, help, reads, check, name},
#include "bench/cell/schedules.def"
#undef SCHEDULE
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const ScheduleKind *schedule_kinds(int *count) {
    *count = KINDS;
    return kinds;
}

static bool has_word(const char *words, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* A setting that no schedule names is read by all of them. */
static bool reads(const ScheduleKind *kind, const char *key) {
    bool named = false;
    for (int i = 0; i < KINDS; i++) named |= has_word(kinds[i].reads, key);
    return !named || has_word(kind->reads, key);
}

static Status ignored(const ScheduleKind *kind, const char *key, const char *text, Error *error) {
    char others[OPTION_TEXT_BYTES] = "";
    for (int i = 0; i < KINDS; i++) {
        const size_t used = strlen(others);
        if (reads(&kinds[i], key))
            snprintf(others + used, sizeof others - used, "%s%s", used ? ", " : "", kinds[i].name);
    }
    return error_set(error, STATUS_USAGE,
                     "%s=%s has no effect with schedule=%s; leave it out, or choose a schedule "
                     "that reads it: %s",
                     key, text, kind->name, others);
}

/* What was set away from its default must have an effect. */
static Status check_read(const RunOptions *run, const ScheduleKind *kind, Error *error) {
    RunOptions defaults;
    option_defaults(&run_options, &defaults);
    for (int i = 0; i < run_options.count; i++) {
        const Option *option = &run_options.options[i];
        char text[OPTION_VALUE_BYTES], standard[OPTION_VALUE_BYTES];
        option_text(option, run, text);
        option_text(option, &defaults, standard);
        if (strcmp(text, standard) != 0 && !reads(kind, option->name))
            return ignored(kind, option->name, text, error);
    }
    return STATUS_OK;
}

static Status check_floor(const RunOptions *run, Error *error) {
    if (run->lr_floor == 0) return STATUS_OK;
    char floor_text[NUMBER_TEXT_BYTES], rate[NUMBER_TEXT_BYTES], end[NUMBER_TEXT_BYTES];
    number_text(run->lr_floor, floor_text);
    number_text(run->lr, rate);
    number_text(run->lr_end, end);
    if (run->lr_end > 0)
        return error_set(error, STATUS_USAGE,
                         "lr_end=%s and lr_floor=%s are both set; expected one of them: the lowest "
                         "rate as a part of lr, or the rate itself",
                         end, floor_text);
    if (run->lr < run->lr_floor)
        return error_set(error, STATUS_USAGE,
                         "lr=%s is below lr_floor=%s, so the rate would rise after the warm-up; "
                         "expected lr_floor of at most lr",
                         rate, floor_text);
    return STATUS_OK;
}

static Status check_power(const RunOptions *run, const Budget *warmup, Error *error) {
    if (run->warmup_power == 1 || warmup->amount > 0) return STATUS_OK;
    char power[NUMBER_TEXT_BYTES];
    number_text(run->warmup_power, power);
    return error_set(error, STATUS_USAGE,
                     "warmup_power=%s has no effect with warmup=%s; leave it out, or set warmup, "
                     "such as 0.1 or 1000step",
                     power, run->warmup);
}

Status schedule_check(const RunOptions *run, Error *error) {
    const ScheduleKind *kind = &kinds[run->schedule];
    Budget warmup;
    if (warmup_parse(run->warmup, &warmup, error) != STATUS_OK ||
        check_read(run, kind, error) != STATUS_OK || check_floor(run, error) != STATUS_OK ||
        check_power(run, &warmup, error) != STATUS_OK)
        return STATUS_USAGE;
    return kind->check ? kind->check(run, &warmup, error) : STATUS_OK;
}

Schedule schedule_open(const RunOptions *run, double warmup, bool higher_is_better) {
    return (Schedule){.kind = &kinds[run->schedule],
                      .warmup = warmup,
                      .warmup_power = run->warmup_power,
                      .end = run->lr_floor > 0 ? run->lr_floor / run->lr : run->lr_end,
                      .restarts = (double)run->restarts,
                      .plateau_factor = run->plateau_factor,
                      .plateau_patience = run->plateau_patience,
                      .higher_is_better = higher_is_better,
                      .best = higher_is_better ? -INFINITY : INFINITY};
}

double schedule_factor(const Schedule *schedule, double progress) {
    const double warmup = schedule->warmup;
    if (progress < warmup) return pow(progress / warmup, schedule->warmup_power);
    const double rest = warmup < 1 ? fmin(1, (progress - warmup) / (1 - warmup)) : 1;
    return schedule->kind->factor(schedule, progress, rest);
}

void schedule_observe(Schedule *schedule, double metric) {
    static const double least_gain = 1e-4; /* of the published runs' scheduler, PyTorch's default */
    const bool better = schedule->higher_is_better ? metric > schedule->best * (1 + least_gain)
                                                   : metric < schedule->best * (1 - least_gain);
    if (better) {
        schedule->best = metric;
        schedule->waited = 0;
    } else if (++schedule->waited > schedule->plateau_patience) {
        schedule->reductions++;
        schedule->waited = 0;
    }
}
