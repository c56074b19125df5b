/* What a reader of the kernel benchmark's numbers must know about the run. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/speed/kernels.h"
#include "engine/gpu_clock.h"

/* A sample this short is mostly the clock and the loop around it. */
static const double short_sample = 0.2e-3;
enum { FEW_SAMPLES = 10 };

static void warn(KernelReport *report, const char *id, const char *text) {
    if (report->warning_count == MAX_KERNEL_WARNINGS) return;
    KernelWarning *warning = &report->warnings[report->warning_count++];
    warning->id = id;
    snprintf(warning->text, sizeof warning->text, "%s", text);
}

static void noisy_machine(KernelReport *report) {
    double best = 0;
    int disturbed = 0;
    char text[256];
    for (int i = 0; i < report->probe_count; i++) best = fmax(best, report->probes[i]);
    for (int i = 0; i < report->probe_count; i++) disturbed += report->probes[i] < 0.93 * best;
    if (disturbed * 5 <= report->probe_count) return;
    snprintf(text, sizeof text,
             "%d of %d rounds ran beside a processor below 93 %% of its best rate; close other "
             "programs, pin the process (taskset) or measure longer (--seconds)",
             disturbed, report->probe_count);
    warn(report, "noisy-machine", text);
}

static bool read_word(const char *path, char *word, int bytes) {
    FILE *file = fopen(path, "r");
    if (!file) return false;
    const bool read = fgets(word, bytes, file);
    fclose(file);
    word[strcspn(word, "\n")] = '\0';
    return read;
}

static void frequency_scaling(KernelReport *report) {
    char text[256], governor[32];
    if (!read_word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor,
                   (int)sizeof governor) ||
        strcmp(governor, "performance") == 0)
        return;
    snprintf(text, sizeof text,
             "frequency governor is '%s': rates change while measuring; as root: cpupower "
             "frequency-set -g performance",
             governor);
    warn(report, "frequency-scaling", text);
}

static void clock_held(KernelReport *report) {
    int held = 0, all = 0;
    char text[288], reasons[128];
    for (int i = 0; i < report->count; i++) {
        all += report->rows[i].count;
        for (int k = 0; k < report->rows[i].count; k++) held += report->rows[i].held[k];
    }
    if (!held) return;
    gpu_clock_reasons(report->clocks.held, reasons, sizeof reasons);
    snprintf(
        text, sizeof text,
        "%d of %d samples were taken while the GPU's clock was held down (%.80s); they are marked "
        "in --output: cool it, raise its power limit, or measure fewer cases",
        held, all, reasons);
    warn(report, "clock-held", text);
}

static void clock_unknown(KernelReport *report) {
    if (report->clocks.highest > 0) return;
    warn(report, "clock-unknown",
         "the driver's management library (libnvidia-ml.so.1) does not tell the GPU's clock; "
         "whether it was constant is not known: compare with a second run");
}

typedef bool (*RowTest)(const KernelReport *report, const KernelRow *row);

/* A GPU's own clock stands at the ends of a replay and has a resolution of half a microsecond. */
static const double short_gpu_sample = 10e-6;

static bool is_short(const KernelReport *report, const KernelRow *row) {
    if (report->gpu[0]) return row->median < short_gpu_sample;
    return (double)row->replays * row->median < short_sample;
}

static bool has_few(const KernelReport *report, const KernelRow *row) {
    (void)report;
    return row->count < FEW_SAMPLES;
}

static bool is_wide(const KernelReport *report, const KernelRow *row) {
    (void)report;
    return row->interval.high - row->interval.low >= 0.2 * row->median;
}

/* Special functions differ in cost, so their roof, the exponential, is no hard one. */
static bool is_above_roof(const KernelReport *report, const KernelRow *row) {
    (void)report;
    return kernel_fraction(row) > 1.1 && strcmp(row->bound, "specials") != 0;
}

static const struct {
    const char *id;
    RowTest test;
    const char *text;
} row_warnings[] = {
    {"short-timing", is_short,
     "a sample lasts less than 0.2 ms (GPU: 10 us), of which the clock is a part; give the case a "
     "larger shape"},
    {"few-samples", has_few,
     "fewer than ten samples; the interval says little: measure longer (--seconds)"},
    {"wide-interval", is_wide,
     "the interval of the median is wider than 20 %; measure longer (--seconds), on a quieter "
     "machine"},
    {"above-roof", is_above_roof,
     "faster than the roof allows: the roof was measured while the machine was disturbed, or the "
     "case's cost is stated too high; measure again"},
};

void kernels_warn(KernelReport *report) {
    if (report->gpu[0]) {
        clock_held(report);
        clock_unknown(report);
    } else {
        noisy_machine(report);
        frequency_scaling(report);
    }
    for (size_t w = 0; w < sizeof row_warnings / sizeof *row_warnings; w++) {
        const KernelRow *first = NULL;
        int count = 0;
        char text[256];
        for (int i = 0; i < report->count; i++) {
            const KernelRow *row = &report->rows[i];
            if (!row->count || !row_warnings[w].test(report, row)) continue;
            if (!count++) first = row;
        }
        if (!count) continue;
        snprintf(text, sizeof text, "%d case%s (%.60s%s): %s", count, count == 1 ? "" : "s",
                 first->name, count == 1 ? "" : ", ...", row_warnings[w].text);
        warn(report, row_warnings[w].id, text);
    }
}
