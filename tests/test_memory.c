/* The n-th allocation fails, for many n, alone or with all that follow: the program ends with a
 * message and an exit code, never by a signal; what it calls done is right, and what it leaves on
 * disk can be read, or is not there. Libraries' allocations fail as well as ours. */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/commands/program.h"
#include "bench/common/document.h"
#include "engine/file.h"

/* Shared with the children. */
static struct Fault {
    int64_t left;  /* allocations before one fails */
    bool for_good; /* all that follow fail, too */
    int64_t calls; /* since the child began */
} * fault;

static bool fails(void) {
    if (!fault) return false;
    __atomic_add_fetch(&fault->calls, 1, __ATOMIC_RELAXED);
    const int64_t left = __atomic_fetch_sub(&fault->left, 1, __ATOMIC_RELAXED);
    if (left > 1 || (left < 1 && !fault->for_good)) return false;
    errno = ENOMEM;
    return true;
}

/* Taking the C library's place; what it gives is freed by its own free. */
extern void *__libc_malloc(size_t bytes), *__libc_calloc(size_t count, size_t size),
    *__libc_realloc(void *memory, size_t bytes), *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes) {
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t size) {
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t bytes) {
    return fails() ? NULL : __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    return fails() ? NULL : __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
    if (fails()) return ENOMEM;
    *memory = __libc_memalign(alignment, bytes);
    return *memory ? 0 : ENOMEM;
}

/* Nor are there libraries that are loaded at run time: CUDA's crash as they are loaded when there
 * is no memory, before any of our code. */
void *dlopen(const char *file, int mode) {
    (void)file, (void)mode;
    return NULL;
}

char *dlerror(void) {
    static char message[] = "no such library in this test";
    return message;
}

/* ---- one command in a child ---- */

static char work[64], suite[PATH_MAX], results[PATH_MAX], output[PATH_MAX], messages[PATH_MAX];

static void redirect(int descriptor, const char *path) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(file, descriptor);
    close(file);
}

/* How the command ended, as waitpid says. n: which allocation fails; INT64_MAX: none does. */
static int run(const char *const *words, int64_t n, bool for_good) {
    int count = 0;
    while (words[count]) count++;
    *fault = (struct Fault){.left = INT64_MAX};
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* cmocka would take a crash of the child for a failed test, and run the others in it. */
        static const int crashes[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};
        for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) signal(crashes[i], SIG_DFL);
        redirect(STDOUT_FILENO, output);
        redirect(STDERR_FILENO, messages);
        *fault = (struct Fault){.left = n, .for_good = for_good};
        _exit(program_run(count, (char **)(uintptr_t)words));
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    const int64_t calls = fault->calls;
    *fault = (struct Fault){.left = INT64_MAX};
    fault->calls = calls;
    return how;
}

static char *text_of(const char *path) {
    char *text;
    size_t bytes;
    Error error = {0};
    if (file_read(path, &text, &bytes, &error) != STATUS_OK) fail_msg("%s", error.message);
    return text;
}

/* Test loss of the one result below the results folder; "" without one. Fails on a damaged one. */
static void result_of(char loss[32]) {
    char pattern[PATH_MAX + 32];
    glob_t found;
    *loss = '\0';
    snprintf(pattern, sizeof pattern, "%s/runs/*/*.json", results);
    if (glob(pattern, 0, NULL, &found) != 0) return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        json_t *object;
        Error error = {0};
        if (document_read(found.gl_pathv[i], &object, &error) != STATUS_OK)
            fail_msg("%s", error.message);
        const json_t *result = json_object_get(object, "result");
        if (result && strstr(found.gl_pathv[i], "/result.json"))
            snprintf(loss, 32, "%.9g", json_number_value(json_object_get(result, "test_loss")));
        json_decref(object);
    }
    globfree(&found);
}

typedef struct Expected {
    char *output;  /* of the undisturbed command; NULL: differs from run to run */
    char loss[32]; /* of its result */
} Expected;

static void check(const char *const *words, int64_t n, bool for_good, const Expected *expected) {
    folder_remove(results);
    const int how = run(words, n, for_good);
    char loss[32], about[128];
    char *said = text_of(messages), *out = text_of(output);
    snprintf(about, sizeof about, "longhaul %s, allocation %lld%s", words[1], (long long)n,
             for_good ? " and all after it" : "");
    result_of(loss);
    if (!WIFEXITED(how)) fail_msg("%s: signal %d; %s", about, WTERMSIG(how), said);
    if (WEXITSTATUS(how) == 0) {
        if (strcmp(loss, expected->loss) != 0)
            fail_msg("%s: loss %s, expected %s", about, loss, expected->loss);
        if (expected->output && strcmp(out, expected->output) != 0)
            fail_msg("%s: other output:\n%s", about, out);
    } else if (WEXITSTATUS(how) != STATUS_IO || !strcasestr(said, "memory")) {
        fail_msg("%s: status %d, which says: %s", about, WEXITSTATUS(how), said);
    }
    free(said);
    free(out);
}

/* Every allocation of the first ones, then ever fewer: most of what comes late is done often. */
static void fail_at_many(const char *const *words, bool same_output) {
    Expected expected = {0};
    folder_remove(results);
    assert_int_equal(run(words, INT64_MAX, false), 0);
    const int64_t calls = fault->calls;
    assert_true(calls > 100); /* or the allocations go past this file */
    if (same_output) expected.output = text_of(output);
    result_of(expected.loss);
    int runs = 0;
    for (int64_t n = 1; n <= calls; n += 1 + n / 6, runs++)
        check(words, n, runs % 2 == 1, &expected);
    /* The last one is far from the first: the loop went through all stages. */
    assert_true(runs > 20);
    free(expected.output);
}

static void reading_and_planning(void **state) {
    (void)state;
    const char *const words[] = {"longhaul", "plan", suite, "--results", results, NULL};
    fail_at_many(words, true);
}

/* A cell as small as cells are. */
#define TRAIN_SMALL                                                                                \
    "longhaul", "train", "task=mqar", "length=8", "pairs=2", "vocabulary=16", "width=8",           \
        "layers=1", "batch=2", "lr=1e-3", "train_samples=4", "validation_samples=2",               \
        "test_samples=2", "--quiet", "--results", results

/* Building the network, a step of training, evaluation, checkpoint, result. */
static void a_step_of_training(void **state) {
    (void)state;
    const char *const words[] = {TRAIN_SMALL,    "model=transformer", "heads=2",
                                 "budget=1step", "evaluations=1",     NULL};
    fail_at_many(words, false);
}

/* What a run without memory left behind does not disturb the next one. */
static void a_later_run_continues(void **state) {
    (void)state;
    const char *const words[] = {TRAIN_SMALL,     "model=lstm",         "budget=3step",
                                 "evaluations=3", "checkpoint_every=1", NULL};
    char expected[32], loss[32];
    folder_remove(results);
    assert_int_equal(run(words, INT64_MAX, false), 0);
    result_of(expected);
    const int64_t calls = fault->calls;
    for (int part = 1; part <= 5; part++) {
        folder_remove(results);
        run(words, calls * part / 6, true);
        assert_int_equal(run(words, INT64_MAX, false), 0);
        result_of(loss);
        assert_string_equal(loss, expected);
    }
}

static int prepare(void **state) {
    (void)state;
    static const char text[] = "title: Tiny\ntask: mqar\n"
                               "set: {length: 8, pairs: 2, vocabulary: 16, width: 8, layers: 1,\n"
                               "      batch: 2, budget: 1step}\n"
                               "models: [transformer, lstm]\n"
                               "presets:\n  quick:\n    tune: {lr: [1e-3, 1e-2]}\n"
                               "    seeds: [1, 2]\n";
    fault = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fault == MAP_FAILED) return -1;
    fault->left = INT64_MAX;
    strcpy(work, "/tmp/longhaul-short-XXXXXX");
    if (!mkdtemp(work)) return -1;
    snprintf(suite, sizeof suite, "%s/tiny.yaml", work);
    snprintf(results, sizeof results, "%s/results", work);
    snprintf(output, sizeof output, "%s/out", work);
    snprintf(messages, sizeof messages, "%s/err", work);
    return file_write(suite, text, sizeof text - 1, NULL) == STATUS_OK ? 0 : -1;
}

static int clean(void **state) {
    (void)state;
    folder_remove(work);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_and_planning),
        cmocka_unit_test(a_step_of_training),
        cmocka_unit_test(a_later_run_continues),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
