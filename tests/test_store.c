/* Results and checkpoints under faults. This program stands between the library and the system: its
 * own write, fsync, rename and unlink count the calls and fail or end the process at a chosen one.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/cell/claim.h"
#include "bench/cell/config.h"
#include "bench/cell/record.h"
#include "bench/cell/result.h"
#include "bench/cell/store.h"
#include "bench/train/checkpoint.h"
#include "engine/device.h"
#include "engine/file.h"

enum { NEVER = -1, ENDED = 99 };

static struct {
    int calls_left; /* before the fault; NEVER: no fault */
    int fails_with; /* errno; 0: the process ends, as by kill -9 */
} fault = {NEVER, 0};

/* True when this call has to fail. */
static bool fault_now(void) {
    if (fault.calls_left == NEVER) return false;
    if (fault.calls_left > 0) {
        fault.calls_left--;
        return false;
    }
    if (fault.fails_with == 0) _exit(ENDED);
    errno = fault.fails_with;
    return true;
}

ssize_t write(int descriptor, const void *data, size_t bytes) {
    /* A process that dies while writing leaves a part of it. */
    if (fault.calls_left == 0 && fault.fails_with == 0)
        syscall(SYS_write, descriptor, data, bytes / 2);
    return fault_now() ? -1 : (ssize_t)syscall(SYS_write, descriptor, data, bytes);
}

/* Nothing is flushed here: a process that ends, unlike a power cut, loses no written data. */
int fsync(int descriptor) {
    (void)descriptor;
    return fault_now() ? -1 : 0;
}

int rename(const char *from, const char *to) {
    return fault_now() ? -1 : (int)syscall(SYS_rename, from, to);
}

int unlink(const char *path) {
    return fault_now() ? -1 : (int)syscall(SYS_unlink, path);
}

static char folder[] = "/tmp/longhaul-store-XXXXXX";

static Device device;

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) && device_open(&device, "cpu", NULL) == STATUS_OK ? 0 : -1;
}

static int empty_folder(void **state) {
    (void)state;
    char command[128];
    fault.calls_left = NEVER;
    snprintf(command, sizeof command, "rm -rf %s/*", folder);
    return system(command);
}

static int remove_folder(void **state) {
    device_close(&device);
    empty_folder(state);
    return rmdir(folder);
}

static void in_folder(char path[PATH_MAX], const char *name) {
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
}

/* A state and parameters in which every number tells which save it belongs to. */
static void fill(Parameters *parameters, CheckpointState *state, int64_t step) {
    static CurvePoint curve[3];
    static double seconds[2] = {0.1, 1.0 / 3};
    for (int64_t i = 0; i < parameters->size; i++) {
        parameters->values[i] = (float)(step * 1000 + i);
        parameters->moments1[i] = (float)(step * 2000 + i);
        parameters->moments2[i] = (float)(step * 3000 + i);
    }
    curve[1] = (CurvePoint){step, 1e12 / 3, 0.1, 7, NAN, 2.5, 0.25};
    *state = (CheckpointState){.identity = "0123456789abcdef",
                               .step = step,
                               .loss_sum = 0.1 * (double)step,
                               .loss_steps = 3};
    state->so_far = (Result){.steps = step,
                             .flops = 1e15 / 7,
                             .best_validation_metric = -INFINITY,
                             .train_loss = NAN,
                             .data_hash = 0xfedcba9876543210u,
                             .curve = curve,
                             .curve_count = 3,
                             .step_seconds = seconds,
                             .step_seconds_count = 2,
                             .threads = 2,
                             .sessions = 1};
}

static Parameters *make_parameters(void) {
    Parameters *parameters = parameters_open();
    parameters_declare(parameters, "embedding", SHAPE(5, 3), init_constant(0), GROUP_DECAY);
    parameters_declare(parameters, "layers.0.weight", SHAPE(7), init_constant(0), GROUP_NO_DECAY);
    assert_int_equal(parameters_allocate(parameters, &device, true, 1, NULL), STATUS_OK);
    return parameters;
}

/* Step of the checkpoint in the folder, every number of which must belong to it; -1: none. */
static int64_t loaded_step(Parameters *parameters) {
    CheckpointState state, expected;
    bool found;
    Error error = {0};
    if (checkpoint_load(folder, parameters, "0123456789abcdef", &state, &found, &error) !=
        STATUS_OK)
        fail_msg("%s", error.message);
    if (!found) return -1;
    Parameters *wanted = make_parameters();
    fill(wanted, &expected, state.step);
    for (int p = 0; p < parameters->count; p++) {
        const Parameter *a = parameters->list[p], *b = wanted->list[p];
        const size_t bytes = (size_t)tensor_size(&a->tensor) * sizeof(float);
        assert_memory_equal(a->tensor.data, b->tensor.data, bytes);
        assert_memory_equal(a->host_moment1, b->host_moment1, bytes);
        assert_memory_equal(a->host_moment2, b->host_moment2, bytes);
    }
    assert_true(state.loss_sum == expected.loss_sum && state.loss_steps == 3);
    assert_true(state.so_far.steps == state.step && state.so_far.flops == expected.so_far.flops);
    assert_true(isinf(state.so_far.best_validation_metric) && isnan(state.so_far.train_loss));
    assert_true(state.so_far.best_validation_metric < 0);
    assert_true(state.so_far.data_hash == expected.so_far.data_hash);
    assert_int_equal(state.so_far.curve_count, 3);
    assert_true(state.so_far.curve[1].flops == 1e12 / 3 && isnan(state.so_far.curve[1].train_loss));
    assert_true(state.so_far.step_seconds[1] == 1.0 / 3);
    const int64_t step = state.step;
    result_free(&state.so_far);
    parameters_close(wanted);
    return step;
}

static void save(Parameters *parameters, int64_t step) {
    CheckpointState state;
    Error error = {0};
    fill(parameters, &state, step);
    if (checkpoint_save(folder, parameters, &state, &error) != STATUS_OK)
        fail_msg("%s", error.message);
}

static void checkpoint_round_trip(void **state) {
    (void)state;
    Parameters *parameters = make_parameters();
    assert_int_equal(loaded_step(parameters), -1);
    for (int64_t step = 1; step <= 3; step++) {
        save(parameters, step);
        assert_int_equal(loaded_step(parameters), step);
    }
    parameters_close(parameters);
}

/* A child saves step 2 over step 1 and is ended at its n-th call, for every n. */
static void kill_at_every_write_of_a_save(void **state) {
    Parameters *parameters = make_parameters();
    int kept_old = 0, calls = 0;
    for (bool over = false; !over; calls++) {
        empty_folder(state);
        save(parameters, 1);
        const pid_t child = fork();
        if (child == 0) {
            CheckpointState next;
            fill(parameters, &next, 2);
            fault.fails_with = 0;
            fault.calls_left = calls;
            checkpoint_save(folder, parameters, &next, NULL);
            _exit(0);
        }
        int how;
        waitpid(child, &how, 0);
        over = WEXITSTATUS(how) == 0;
        const int64_t step = loaded_step(parameters);
        assert_true(step == 1 || step == 2);
        if (over) assert_int_equal(step, 2);
        kept_old += step == 1;
        folder_clean(folder, NULL, 0);
        save(parameters, 3); /* leftovers do not disturb the next save */
        assert_int_equal(loaded_step(parameters), 3);
    }
    /* Three files with a write, two flushes and a rename each at least: the loop saw them all. */
    assert_true(calls > 12 && kept_old >= 12);
    parameters_close(parameters);
}

/* The same with errors of a full disk: the save says so, the previous checkpoint stands. */
static void full_disk_keeps_the_last_checkpoint(void **state) {
    Parameters *parameters = make_parameters();
    for (int calls = 0;; calls++) {
        empty_folder(state);
        save(parameters, 1);
        CheckpointState next;
        Error error = {0};
        fill(parameters, &next, 2);
        fault.fails_with = ENOSPC;
        fault.calls_left = calls;
        const Status status = checkpoint_save(folder, parameters, &next, &error);
        const bool reached = fault.calls_left == 0;
        fault.calls_left = NEVER;
        const int64_t step = loaded_step(parameters);
        if (status == STATUS_OK) { /* the faults came after the last file was in place */
            assert_int_equal(step, 2);
            if (!reached) break;
            continue;
        }
        assert_int_equal(status, STATUS_IO);
        assert_non_null(strstr(error.message, "No space left on device"));
        assert_non_null(strstr(error.message, folder));
        assert_true(step == 1 || step == 2); /* 2: only the flush of the folder failed */
    }
    parameters_close(parameters);
}

static void another_configuration_is_refused(void **state) {
    (void)state;
    Parameters *parameters = make_parameters();
    save(parameters, 1);
    CheckpointState loaded;
    bool found;
    Error error = {0};
    assert_int_equal(
        checkpoint_load(folder, parameters, "ffffffffffffffff", &loaded, &found, &error),
        STATUS_DATA);
    assert_non_null(strstr(error.message, "another configuration (0123456789abcdef"));
    assert_non_null(strstr(error.message, "checkpoint.json"));
    parameters_close(parameters);
}

/* Changes one file of the checkpoint; loading must name that file. */
static void damage(Parameters *parameters, const char *name, size_t at, bool truncate_there) {
    char path[PATH_MAX], *text;
    size_t bytes;
    in_folder(path, name);
    assert_int_equal(file_read(path, &text, &bytes, NULL), STATUS_OK);
    const char before = text[at];
    text[at] = (char)(before ^ 0x10);
    assert_int_equal(file_write(path, text, truncate_there ? at : bytes, NULL), STATUS_OK);
    CheckpointState loaded;
    bool found;
    Error error = {0};
    if (checkpoint_load(folder, parameters, "0123456789abcdef", &loaded, &found, &error) !=
        STATUS_DATA)
        fail_msg("%s byte %zu (%c): loaded", name, at, before);
    if (!strstr(error.message, name)) fail_msg("%s not named in: %s", name, error.message);
    text[at] = before;
    assert_int_equal(file_write(path, text, bytes, NULL), STATUS_OK);
    free(text);
}

static void damaged_checkpoints_are_named(void **state) {
    (void)state;
    static const char *const names[] = {"checkpoint.a.safetensors", "optimizer.a.safetensors",
                                        "checkpoint.json"};
    Parameters *parameters = make_parameters();
    save(parameters, 1);
    for (int i = 0; i < 3; i++) {
        char path[PATH_MAX];
        in_folder(path, names[i]);
        struct stat facts;
        assert_int_equal(stat(path, &facts), 0);
        for (size_t at = 0; at < (size_t)facts.st_size; at += 13) {
            damage(parameters, names[i], at, false);
            damage(parameters, names[i], at, true);
        }
    }
    char path[PATH_MAX];
    in_folder(path, names[1]);
    assert_int_equal(unlink(path), 0);
    CheckpointState loaded;
    bool found;
    Error error = {0};
    assert_int_equal(
        checkpoint_load(folder, parameters, "0123456789abcdef", &loaded, &found, &error),
        STATUS_DATA);
    assert_non_null(strstr(error.message, names[1]));
    parameters_close(parameters);
}

/* What fits its checksum and yet leads out of the arrays of a training. */
static void impossible_checkpoints_are_refused(void **state) {
    (void)state;
    static double seconds[RESULT_STEPS + 1];
    Parameters *parameters = make_parameters();
    for (int which = 0; which < 3; which++) {
        CheckpointState bad, loaded;
        bool found;
        Error error = {0};
        fill(parameters, &bad, 1);
        if (which == 0) bad.step = -1;
        if (which == 1) bad.loss_steps = -1;
        if (which == 2) bad.so_far.step_seconds_count = RESULT_STEPS + 1;
        if (which == 2) bad.so_far.step_seconds = seconds;
        assert_int_equal(checkpoint_save(folder, parameters, &bad, &error), STATUS_OK);
        assert_int_equal(
            checkpoint_load(folder, parameters, "0123456789abcdef", &loaded, &found, &error),
            STATUS_DATA);
        assert_non_null(strstr(error.message, which < 2 ? "from 0 on" : "'step_seconds'"));
    }
    parameters_close(parameters);
}

static void weights_must_fit(void **state) {
    (void)state;
    char path[PATH_MAX];
    in_folder(path, "weights.safetensors");
    Parameters *parameters = make_parameters(), *other = parameters_open();
    assert_int_equal(weights_save(path, parameters, NULL, 0, NULL), STATUS_OK);
    assert_int_equal(weights_load(path, parameters, NULL), STATUS_OK);
    parameters_declare(other, "embedding", SHAPE(5, 3), init_constant(4), GROUP_DECAY);
    assert_int_equal(parameters_allocate(other, &device, true, 1, NULL), STATUS_OK);
    Error error = {0};
    assert_int_equal(weights_load(path, other, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "'layers.0.weight' belongs to no parameter"));
    assert_true(other->values[0] == 4);
    parameters_close(parameters);
    parameters_close(other);
}

static void write_result(Settings *settings, Cell *cell) {
    Error error = {0};
    settings_parse(settings, "task=mqar", "test", &error);
    settings_parse(settings, "model=lstm", "test", &error);
    settings_parse(settings, "lr=3e-3", "mine line 4", &error);
    assert_int_equal(cell_build(cell, settings, &error), STATUS_OK);
    CurvePoint curve[] = {{.step = 5, .validation_metric = 0.5}};
    const Result result = {.outcome = OUTCOME_SOLVED,
                           .test_metric = 0.99,
                           .validation_loss = NAN,
                           .curve = curve,
                           .curve_count = 1};
    if (record_write(folder, cell, settings, &result, &error) != STATUS_OK)
        fail_msg("%s", error.message);
}

static void result_round_trip(void **state) {
    (void)state;
    Settings settings = {0};
    Cell cell;
    write_result(&settings, &cell);
    char path[PATH_MAX], identity[17];
    in_folder(path, "result.json");
    Record record;
    Error error = {0};
    assert_int_equal(record_read(&record, path, &error), STATUS_OK);
    cell_identity(&cell, identity);
    assert_string_equal(record.identity, identity);
    assert_string_equal(record.model, "lstm");
    assert_string_equal(record_setting(&record, "lr"), "0.003");
    assert_string_equal(settings_find(&record.settings, "lr")->source, "mine line 4");
    assert_string_equal(settings_find(&record.settings, "beta1")->source, "default");
    assert_true(record.result.test_metric == 0.99 && isnan(record.result.validation_loss));
    assert_int_equal(record.result.outcome, OUTCOME_SOLVED);
    assert_int_equal(record.result.curve[0].step, 5);
    record_close(&record);
    cell_close(&cell);
    settings_free(&settings);
}

static void damaged_results_are_named(void **state) {
    (void)state;
    Settings settings = {0};
    Cell cell;
    write_result(&settings, &cell);
    char path[PATH_MAX], *text;
    size_t bytes;
    in_folder(path, "result.json");
    assert_int_equal(file_read(path, &text, &bytes, NULL), STATUS_OK);
    for (size_t at = 0; at < bytes; at++) {
        const char before = text[at];
        text[at] = (char)(before ^ 1);
        assert_int_equal(file_write(path, text, bytes, NULL), STATUS_OK);
        Record record;
        Error error = {0};
        if (record_read(&record, path, &error) != STATUS_DATA)
            fail_msg("byte %zu, '%c' as '%c', was read", at, before, text[at]);
        assert_non_null(strstr(error.message, path));
        text[at] = before;
    }
    for (size_t length = 0; length + 1 < bytes; length += 7) {
        assert_int_equal(file_write(path, text, length, NULL), STATUS_OK);
        Record record;
        Error error = {0};
        assert_int_equal(record_read(&record, path, &error), STATUS_DATA);
        assert_non_null(strstr(error.message, path));
    }
    char *schema = strstr(text, "\"schema\": 1");
    assert_non_null(schema);
    schema[strlen("\"schema\": ")] = '7';
    assert_int_equal(file_write(path, text, bytes, NULL), STATUS_OK);
    Record record;
    Error error = {0};
    assert_int_equal(record_read(&record, path, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, "has schema 7, this program reads 1"));
    free(text);
    cell_close(&cell);
    settings_free(&settings);
}

/* The configuration that a cell leaves gives the same cell with the same sources. */
static void configuration_round_trip(void **state) {
    (void)state;
    Settings settings = {0}, again = {0};
    Error error = {0};
    Cell cell, copy;
    write_result(&settings, &cell);
    assert_int_equal(store_write_config(folder, &cell, &settings, &error), STATUS_OK);
    char path[PATH_MAX], identity[17], expected[17];
    in_folder(path, "config.yaml");
    assert_int_equal(config_read(path, &again, &error), STATUS_OK);
    assert_int_equal(cell_build(&copy, &again, &error), STATUS_OK);
    cell_identity(&cell, expected);
    cell_identity(&copy, identity);
    assert_string_equal(identity, expected);
    assert_string_equal(settings_find(&again, "lr")->source, "mine line 4");
    settings_free(&settings);
    settings_free(&again);
    cell_close(&cell);
    cell_close(&copy);
}

static void store_states(void **state) {
    (void)state;
    Claim *claim;
    char holder[CLAIM_HOLDER_BYTES];
    Error error = {0};
    assert_int_equal(store_state(folder), CELL_WAITING);
    error_set(&error, STATUS_NUMERIC, "why");
    assert_int_equal(store_write_failure(folder, &error, NULL), STATUS_OK);
    assert_int_equal(store_state(folder), CELL_FAILED);
    Error failure = {0};
    assert_int_equal(store_read_failure(folder, &failure, NULL), STATUS_OK);
    assert_int_equal(failure.status, STATUS_NUMERIC);
    assert_string_equal(failure.message, "why");
    assert_int_equal(claim_take(folder, &claim, holder, NULL), STATUS_OK);
    assert_non_null(claim);
    assert_int_equal(store_state(folder), CELL_RUNNING);
    claim_release(claim);
    assert_int_equal(store_forget(folder, false, NULL), STATUS_OK);
    assert_int_equal(store_state(folder), CELL_WAITING);
}

static bool can_claim(char holder[CLAIM_HOLDER_BYTES]) {
    Claim *claim;
    assert_int_equal(claim_take(folder, &claim, holder, NULL), STATUS_OK);
    const bool taken = claim != NULL;
    claim_release(claim);
    return taken;
}

static void a_claim_is_exclusive_and_outlives_nobody(void **state) {
    (void)state;
    char holder[CLAIM_HOLDER_BYTES], expected[64];
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        Claim *claim;
        if (claim_take(folder, &claim, holder, NULL) != STATUS_OK || !claim) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ready[0], holder, 1), 1);
    assert_false(can_claim(holder));
    assert_true(claim_held(folder));
    snprintf(expected, sizeof expected, "pid %ld on ", (long)child);
    assert_non_null(strstr(holder, expected));
    kill(child, SIGKILL);
    siginfo_t ended;
    assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT), 0);
    assert_false(claim_held(folder)); /* ended, though nobody has asked how: a zombie */
    waitpid(child, NULL, 0);
    assert_false(claim_held(folder));
    assert_true(can_claim(holder));
    assert_true(can_claim(holder)); /* and released again */
    close(ready[0]);
    close(ready[1]);
}

/* Of another machine only the time of its last beat is known. */
static void claims_of_other_machines_age(void **state) {
    (void)state;
    char path[PATH_MAX], holder[CLAIM_HOLDER_BYTES];
    static const char text[] = "elsewhere/boot/pid:[1] 42 1000\n";
    in_folder(path, "claim");
    assert_int_equal(file_write(path, text, sizeof text - 1, NULL), STATUS_OK);
    assert_true(claim_held(folder));
    assert_false(can_claim(holder));
    assert_string_equal(holder, "pid 42 on elsewhere");
    const struct timespec old[2] = {{time(NULL) - 600, 0}, {time(NULL) - 600, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_false(claim_held(folder));
    assert_true(can_claim(holder));
}

/* Many at once want a stale claim: one gets it. */
static void one_of_many_takes_a_stale_claim(void **state) {
    char path[PATH_MAX], holder[CLAIM_HOLDER_BYTES];
    static const char text[] = "elsewhere/boot/pid:[1] 42 1000\n";
    enum { MANY = 8, ROUNDS = 20 };
    for (int round = 0; round < ROUNDS; round++) {
        empty_folder(state);
        in_folder(path, "claim");
        assert_int_equal(file_write(path, text, sizeof text - 1, NULL), STATUS_OK);
        const struct timespec old[2] = {{1000, 0}, {1000, 0}};
        assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
        int gate[2];
        assert_int_equal(pipe(gate), 0);
        pid_t children[MANY];
        for (int i = 0; i < MANY; i++)
            if ((children[i] = fork()) == 0) {
                Claim *claim;
                close(gate[1]);
                if (read(gate[0], holder, 1) < 0) _exit(3); /* all start when the gate closes */
                if (claim_take(folder, &claim, holder, NULL) != STATUS_OK) _exit(2);
                usleep(30000); /* hold it while the others try */
                _exit(claim ? 1 : 0);
            }
        close(gate[0]);
        close(gate[1]);
        int winners = 0;
        for (int i = 0; i < MANY; i++) {
            int how;
            waitpid(children[i], &how, 0);
            assert_true(WIFEXITED(how) && WEXITSTATUS(how) <= 1);
            winners += WEXITSTATUS(how);
        }
        assert_true(winners <= 1); /* none: each met another one's turn; the next try succeeds */
        assert_true(can_claim(holder) || winners == 1);
    }
}

#define FRESH(test) cmocka_unit_test_setup(test, empty_folder)
int main(void) {
    const struct CMUnitTest tests[] = {
        FRESH(checkpoint_round_trip),
        FRESH(kill_at_every_write_of_a_save),
        FRESH(full_disk_keeps_the_last_checkpoint),
        FRESH(another_configuration_is_refused),
        FRESH(damaged_checkpoints_are_named),
        FRESH(impossible_checkpoints_are_refused),
        FRESH(weights_must_fit),
        FRESH(result_round_trip),
        FRESH(damaged_results_are_named),
        FRESH(configuration_round_trip),
        FRESH(store_states),
        FRESH(a_claim_is_exclusive_and_outlives_nobody),
        FRESH(claims_of_other_machines_age),
        FRESH(one_of_many_takes_a_stale_claim),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
