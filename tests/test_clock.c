/* Somebody sets the clock while a cell runs: budgets and beats are counted by a clock that nobody
 * can set. */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "bench/cell/claim.h"
#include "bench/train/train.h"
#include "engine/clock.h"
#include "engine/file.h"

/* ---- a wall clock that jumps by years at each look at it, back and forth ---- */

enum { YEARS = 5 * 365 * 86400 };
static int looks;

static time_t jump(void) {
    return __atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED) % 2 ? YEARS : -YEARS;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    const long result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
    return (int)result;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    *now = (struct timeval){.tv_sec = time(NULL)};
    return 0;
}

/* The last deadline that anybody waited for. */
static struct timespec deadline;
static bool waited;

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    deadline = *until;
    __atomic_store_n(&waited, true, __ATOMIC_RELEASE);
    return pthread_cond_wait(condition, mutex); /* until it is woken */
}

/* ---- */

static void a_budget_of_seconds(void **state) {
    (void)state;
    static const char *const settings[][2] = {{"length", "16"},
                                              {"pairs", "2"},
                                              {"vocabulary", "32"},
                                              {"width", "8"},
                                              {"layers", "1"},
                                              {"batch", "4"},
                                              {"validation_samples", "4"},
                                              {"test_samples", "4"},
                                              {"evaluations", "4"},
                                              {"budget", "0.2s"},
                                              {"stop_when_solved", "no"}};
    Cell cell;
    Error error = {0};
    Result result = {0};
    assert_int_equal(cell_open(&cell, "mqar", "lstm", &error), STATUS_OK);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (cell_set(&cell, settings[i][0], settings[i][1], &error) != STATUS_OK)
            fail_msg("%s", error.message);
    const TrainOptions options = {.threads = 1};
    const double start = seconds_now();
    if (cell_train(&cell, &options, &result, &error) != STATUS_OK) fail_msg("%s", error.message);
    const double took = seconds_now() - start;
    assert_int_equal(result.outcome, OUTCOME_FINISHED);
    assert_true(result.train_seconds >= 0.2 && result.train_seconds <= took);
    assert_true(result.wall_seconds >= 0.2 && result.wall_seconds <= took);
    assert_true(result.curve_count >= 1);
    for (int i = 1; i < result.curve_count; i++)
        assert_true(result.curve[i].seconds >= result.curve[i - 1].seconds);
    result_free(&result);
    cell_close(&cell);
}

/* Were it on the wall clock, setting that back by an hour would stop the beats for an hour, and
 * another machine would take the claim for a dead one's. */
static void beats_of_a_claim(void **state) {
    (void)state;
    char folder[] = "/tmp/longhaul-clock-XXXXXX", holder[CLAIM_HOLDER_BYTES];
    assert_non_null(mkdtemp(folder));
    Claim *claim;
    Error error = {0};
    struct timespec now;
    if (claim_take(folder, &claim, holder, &error) != STATUS_OK) fail_msg("%s", error.message);
    const double start = seconds_now();
    while (!__atomic_load_n(&waited, __ATOMIC_ACQUIRE) && seconds_now() - start < 10) usleep(1000);
    assert_true(waited);
    clock_gettime(CLOCK_MONOTONIC, &now);
    assert_true(deadline.tv_sec >= now.tv_sec && deadline.tv_sec <= now.tv_sec + 60);
    claim_release(claim);
    folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_of_seconds),
        cmocka_unit_test(beats_of_a_claim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
