/* A team whose processes are threads of this one: what MPI does, without it. */
#ifndef LONGHAUL_THREAD_TEAM_H
#define LONGHAUL_THREAD_TEAM_H

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "bench/cell/team.h"

enum { MOST_THREADS = 16 };

typedef struct ThreadTeam {
    int count;
    pthread_barrier_t barrier;
    const void *shown[MOST_THREADS]; /* memory of each member that the others read */
} ThreadTeam;

typedef struct ThreadMember {
    ThreadTeam *all;
    int rank;
} ThreadMember;

/* What each member shows is there between the two. */
static void show(ThreadMember *member, const void *memory) {
    member->all->shown[member->rank] = memory;
    pthread_barrier_wait(&member->all->barrier);
}
static void hide(ThreadMember *member) {
    pthread_barrier_wait(&member->all->barrier);
}

static void thread_gather(void *state, void *blocks, size_t bytes) {
    ThreadMember *member = state;
    show(member, blocks);
    for (int r = 0; r < member->all->count; r++)
        if (r != member->rank)
            memcpy((char *)blocks + (size_t)r * bytes,
                   (const char *)member->all->shown[r] + (size_t)r * bytes, bytes);
    hide(member);
}

static void thread_exchange(void *state, const float *from, const int64_t *cuts, float *into) {
    ThreadMember *member = state;
    const int64_t share = cuts[member->rank + 1] - cuts[member->rank];
    show(member, from);
    for (int r = 0; r < member->all->count; r++)
        memcpy(into + r * share, (const float *)member->all->shown[r] + cuts[member->rank],
               (size_t)share * sizeof *into);
    hide(member);
}

static void thread_collect(void *state, float *data, const int64_t *cuts) {
    ThreadMember *member = state;
    show(member, data);
    for (int r = 0; r < member->all->count; r++)
        if (r != member->rank)
            memcpy(data + cuts[r], (const float *)member->all->shown[r] + cuts[r],
                   (size_t)(cuts[r + 1] - cuts[r]) * sizeof *data);
    hide(member);
}

static void thread_close(void *state) {
    (void)state;
}

static const TeamKind thread_kind = {.name = "threads",
                                     .gather = thread_gather,
                                     .exchange = thread_exchange,
                                     .collect = thread_collect,
                                     .close = thread_close};

typedef struct ThreadStart {
    Team team;
    ThreadMember member;
    void (*body)(const Team *team, void *context);
    void *context;
} ThreadStart;

static void *thread_begin(void *argument) {
    ThreadStart *start = argument;
    start->body(&start->team, start->context);
    return NULL;
}

/* Runs the body as each member of a team of `count`, and waits for all. */
static void run_as_team(int count, void (*body)(const Team *team, void *context), void *context) {
    ThreadTeam all = {.count = count};
    ThreadStart starts[MOST_THREADS];
    pthread_t threads[MOST_THREADS];
    assert(count <= MOST_THREADS);
    pthread_barrier_init(&all.barrier, NULL, (unsigned)count);
    for (int r = 0; r < count; r++) {
        starts[r] = (ThreadStart){.member = {&all, r}, .body = body, .context = context};
        starts[r].team = (Team){r, count, &thread_kind, &starts[r].member};
        pthread_create(&threads[r], NULL, thread_begin, &starts[r]);
    }
    for (int r = 0; r < count; r++) pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&all.barrier);
}

#endif
