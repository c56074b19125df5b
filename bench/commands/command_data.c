/* longhaul data: the public data sets: which are here, getting them, checking them. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/cli/command.h"
#include "bench/data/data_fetch.h"
#include "bench/data/data_listing.h"
#include "bench/data/data_make.h"
#include "bench/data/data_verify.h"
#include "engine/file.h"
#include "engine/memory.h"
#include "engine/word.h"
#include "tasks/data.h"
#include "tasks/task.h"

/* The sets that the arguments name, or all. *count < 0 after an error. */
static const DataSet **chosen(const Invocation *invocation, int *count, Error *error) {
    int known;
    const DataSet *sets = data_set_list(&known);
    const int wanted = invocation->argument_count - 1;
    const DataSet **list =
        memory_take_zeroed((size_t)(wanted > known ? wanted : known) + 1, sizeof *list);
    *count = wanted > 0 ? wanted : known;
    for (int i = 0; i < *count; i++) {
        list[i] = wanted > 0 ? data_set_find(invocation->arguments[1 + i]) : &sets[i];
        if (list[i]) continue;
        Nearest nearest = {.wanted = invocation->arguments[1 + i]};
        for (int k = 0; k < known; k++) nearest_offer(&nearest, sets[k].name);
        char advice[128];
        nearest_advice(&nearest, advice, sizeof advice);
        error_set(error, STATUS_USAGE, "unknown data set '%s'%s (longhaul data list)",
                  nearest.wanted, advice);
        *count = -1;
    }
    return list;
}

/* ---- list ---- */

static int64_t partial_bytes(const DataSet *set) {
    int64_t sum = 0;
    for (int i = 0; i < DATA_FILES && set->downloads[i].file.path; i++) {
        char path[PATH_MAX];
        struct stat facts;
        snprintf(path, sizeof path, "%s/%s" FILE_PARTIAL, data_folder(),
                 set->downloads[i].file.path);
        if (stat(path, &facts) == 0) sum += facts.st_size;
    }
    return sum;
}

/* "here", "missing", "no ptb.test.txt", "partial 1234 bytes"; the first file's place. */
static void describe(const DataSet *set, char state[128], char place[PATH_MAX]) {
    int found = 0, files = 0;
    const char *missing = NULL;
    snprintf(place, PATH_MAX, "-");
    for (int i = 0; i < DATA_FILES && set->files[i].path; i++, files++) {
        char path[PATH_MAX];
        const DataFile *file = &set->files[i];
        if (!data_glimpse(set->name, file->path, file->folder ? DATA_FOLDER : DATA_FILE, path))
            missing = missing ? missing : file->path;
        else if (found++ == 0)
            snprintf(place, PATH_MAX, "%s", path);
    }
    const int64_t partial = partial_bytes(set);
    if (partial > 0)
        snprintf(state, 128, "partial, %lld bytes", (long long)partial);
    else if (found == 0)
        snprintf(state, 128, "missing");
    else if (missing)
        snprintf(state, 128, "no %s", missing);
    else
        snprintf(state, 128, "here");
}

static Status list_sets(const Invocation *invocation, const DataSet *const *sets, int count,
                        Error *error) {
    (void)invocation, (void)error;
    for (int i = 0; i < count; i++) {
        char state[128], place[PATH_MAX];
        describe(sets[i], state, place);
        printf("%-17s %-22s %s; %s; task %s%s%s; %s\n", sets[i]->name, state, sets[i]->title,
               sets[i]->terms, sets[i]->task, *sets[i]->settings ? " " : "", sets[i]->settings,
               place);
    }
    fprintf(stderr, "data folder: %s\n", data_folder());
    return STATUS_OK;
}

/* ---- fetch ---- */

static Status fetch_set(const Invocation *invocation, const DataSet *set, Error *error) {
    const Flags *flags = &invocation->flags;
    if (set->bucket) {
        int64_t files;
        if (data_fetch_listed(set, flags->from, flags->quiet, &files, error) != STATUS_OK)
            return error_context(error, "%s", set->name);
        printf("%s: %lld files in %s/%s\n", set->name, (long long)files, data_folder(),
               set->folders[0]);
        return STATUS_OK;
    }
    if (!set->downloads[0].file.path)
        return error_set(error, STATUS_DATA, "%s: %s", set->name, set->note);
    for (int i = 0; i < DATA_FILES && set->downloads[i].file.path; i++) {
        if (data_download(&set->downloads[i], flags->from, flags->quiet, error) != STATUS_OK)
            return error_context(error, "%s", set->name);
        printf("%s: %s/%s\n", set->name, data_folder(), set->downloads[i].file.path);
    }
    return STATUS_OK;
}

static Status fetch_sets(const Invocation *invocation, const DataSet *const *sets, int count,
                         Error *error) {
    if (invocation->argument_count < 2)
        return error_set(error, STATUS_USAGE,
                         "name the sets to fetch, such as: longhaul data fetch tiny-shakespeare "
                         "(longhaul data list names them)");
    for (int i = 0; i < count; i++)
        if (fetch_set(invocation, sets[i], error) != STATUS_OK) return error->status;
    return STATUS_OK;
}

/* ---- make ---- */

static Status make_stand_ins(const Invocation *invocation, Error *error) {
    int known;
    const StandIn *list = stand_in_list(&known);
    if (invocation->argument_count < 2)
        return error_set(error, STATUS_USAGE,
                         "name the stand-in to make: image-synthetic, lm-synthetic, "
                         "retrieval-synthetic or text-synthetic");
    for (int i = 1; i < invocation->argument_count; i++) {
        const char *name = invocation->arguments[i];
        const StandIn *stand_in = stand_in_find(name);
        Nearest nearest = {.wanted = name};
        for (int k = 0; k < known; k++) nearest_offer(&nearest, list[k].name);
        char advice[128];
        nearest_advice(&nearest, advice, sizeof advice);
        if (!stand_in)
            return error_set(error, STATUS_USAGE,
                             "'%s' is no generated stand-in%s; public sets are fetched: longhaul "
                             "data fetch",
                             name, advice);
        if (stand_in_make(stand_in, invocation->flags.samples, error) != STATUS_OK)
            return error->status;
        printf("%s: %s/%s, in the format of %s; task %s generates the same without files\n", name,
               data_folder(), name, stand_in->format, stand_in->task);
    }
    return STATUS_OK;
}

/* ---- verify ---- */

static void print_report(const DataSet *set, const DataReport *report) {
    static const char *const states[] = {[DATA_UNCHECKED] = "no published checksum",
                                         [DATA_OFFICIAL] = "official",
                                         [DATA_PART] = "a part, as its SHA256SUMS says"};
    printf("%-17s %s; %lld checksums fit", set->name, states[report->state],
           (long long)report->checked);
    if (report->missing[0])
        printf("; without %s", report->missing);
    else
        for (int split = 0; split < 3; split++)
            if (report->counts[split] > 0)
                printf("; %s %lld", split_name((Split)split), (long long)report->counts[split]);
    printf("\n");
}

/* Goes on after a bad set, so that one call shows all of them; the first is the error. */
static Status verify_sets(const Invocation *invocation, const DataSet *const *sets, int count,
                          Error *error) {
    const bool named = invocation->argument_count > 1;
    int checked = 0;
    for (int i = 0; i < count; i++) {
        char state[128], place[PATH_MAX];
        describe(sets[i], state, place);
        if (!named && strcmp(place, "-") == 0) continue;
        DataReport report;
        Error wrong = {0};
        const Status status = data_verify(sets[i], &report, &wrong);
        checked++;
        if (status == STATUS_OK) {
            print_report(sets[i], &report);
            continue;
        }
        printf("%-17s WRONG: %s\n", sets[i]->name, wrong.message);
        error_set(error, status, "%s: %s", sets[i]->name, wrong.message);
    }
    if (checked == 0)
        return error_set(error, STATUS_DATA,
                         "no data set in %s; longhaul data fetch NAME gets one, data.dir=FOLDER or "
                         "LONGHAUL_DATA names another folder",
                         data_folder());
    return error->status;
}

/* ---- */

static const struct {
    const char *name;
    Status (*run)(const Invocation *invocation, const DataSet *const *sets, int count,
                  Error *error);
} actions[] = {{"list", list_sets}, {"fetch", fetch_sets}, {"verify", verify_sets}};

static Status data(const Invocation *invocation, Error *error) {
    const char *what = invocation->arguments[0];
    if (invocation->settings.count > 0)
        return error_set(error, STATUS_USAGE, "unknown setting '%s'; data takes only data.dir",
                         invocation->settings.list[0].key);
    if (strcmp(what, "make") == 0) return make_stand_ins(invocation, error);
    Nearest nearest = {.wanted = what};
    nearest_offer(&nearest, "make");
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        nearest_offer(&nearest, actions[i].name);
        if (strcmp(actions[i].name, what) != 0) continue;
        int count;
        const DataSet **sets = chosen(invocation, &count, error);
        const Status status =
            count < 0 ? error->status : actions[i].run(invocation, sets, count, error);
        free(sets);
        return status;
    }
    char advice[128];
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "cannot '%s' data%s; expected %s", what, advice,
                     invocation->command->arguments);
}

const Command command_data = {
    .name = "data",
    .arguments = "list|fetch|verify|make [SET...]",
    .summary = "public data sets: which are here, download, check; make stand-ins",
    .detail = "The data folder is data.dir=FOLDER, LONGHAUL_DATA, or data in the current folder. "
              "fetch downloads from the official addresses with curl and continues what was "
              "interrupted; a file gets its name once its checksum fits. verify compares "
              "checksums (published ones, and those in a file SHA256SUMS beside a set) and reads "
              "every sample that its task reads. make writes generated stand-ins "
              "(text-synthetic, retrieval-synthetic, image-synthetic, lm-synthetic) in the formats "
              "of the real sets.",
    .flags = "from quiet samples",
    .least_arguments = 1,
    .most_arguments = 64,
    .takes_settings = true,
    .run = data,
};
