#include "bench/cell/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/file.h"

enum { BEAT_SECONDS = 10, STALE_SECONDS = 120, TEXT_BYTES = 512 };

struct Claim {
    char path[PATH_MAX];
    int descriptor;
    pthread_t beater;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

/* A process, so that a pid which was given away again is not taken for the owner. The place is
 * host, boot and process namespace: only there does a pid mean anything. */
typedef struct Owner {
    char place[256];
    long pid;
    unsigned long long start; /* clock ticks after boot */
} Owner;

/* First word of a small file; "-" when it cannot be read. */
static void read_word(const char *path, char *word, size_t bytes) {
    char format[16];
    snprintf(format, sizeof format, "%%%zus", bytes - 1);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, format, word) != 1) snprintf(word, bytes, "-");
    if (file) fclose(file);
}

/* 0 when there is no such process, or only its remains: in a container without an init that asks
 * for them a killed process stays in the table for ever. */
static unsigned long long start_of(long pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    const size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    /* The second field is a name in brackets that may hold blanks; then comes the state, and the
     * start is field 22. */
    const char *at = strrchr(text, ')');
    if (at && (strncmp(at, ") Z", 3) == 0 || strncmp(at, ") X", 3) == 0)) return 0;
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

static Owner owner_self(void) {
    char host[96] = "-", boot[64], space[64];
    gethostname(host, sizeof host - 1);
    read_word("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    const ssize_t length = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[length > 0 ? length : 0] = '\0';
    Owner owner = {.pid = (long)getpid(), .start = start_of((long)getpid())};
    snprintf(owner.place, sizeof owner.place, "%s/%s/%s", host, boot, space);
    return owner;
}

/* False when there is no claim. An unreadable one (its owner is just writing it) gets pid 0. */
static bool owner_read(const char *path, Owner *owner, struct stat *facts) {
    *owner = (Owner){.place = "?"};
    FILE *file = fopen(path, "r");
    if (!file) return false;
    if (fstat(fileno(file), facts) != 0 ||
        fscanf(file, "%255s %ld %llu", owner->place, &owner->pid, &owner->start) != 3)
        owner->pid = 0;
    fclose(file);
    return true;
}

typedef enum Life { LIFE_DEAD, LIFE_ALIVE, LIFE_UNKNOWN } Life;
static Life owner_life(const Owner *owner, const Owner *self) {
    if (owner->pid <= 0 || strcmp(owner->place, self->place) != 0) return LIFE_UNKNOWN;
    return start_of(owner->pid) == owner->start ? LIFE_ALIVE : LIFE_DEAD;
}

static void *beat(void *context) {
    Claim *claim = context;
    pthread_mutex_lock(&claim->lock);
    while (!claim->done) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until); /* somebody may set the other one back */
        until.tv_sec += BEAT_SECONDS;
        pthread_cond_timedwait(&claim->wake, &claim->lock, &until);
        futimens(claim->descriptor, NULL); /* a missed beat is made good by the next */
    }
    pthread_mutex_unlock(&claim->lock);
    return NULL;
}

/* The beating thread leaves signals to the one that trains. */
static int start_beating(Claim *claim) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int result = pthread_create(&claim->beater, NULL, beat, claim);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

static Status claim_own(const char *path, int descriptor, const Owner *self, Claim **claim,
                        Error *error) {
    char text[TEXT_BYTES];
    const int length =
        snprintf(text, sizeof text, "%s %ld %llu\n", self->place, self->pid, self->start);
    Claim *own = calloc(1, sizeof *own);
    if (!own || write(descriptor, text, (size_t)length) != length) {
        const Status status = error_set(error, STATUS_IO, "writing %s: %s", path, strerror(errno));
        close(descriptor);
        unlink(path);
        free(own);
        return status;
    }
    own->descriptor = descriptor;
    snprintf(own->path, sizeof own->path, "%s", path);
    pthread_mutex_init(&own->lock, NULL);
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&own->wake, &steady);
    pthread_condattr_destroy(&steady);
    if (start_beating(own) != 0) {
        close(descriptor);
        unlink(path);
        free(own);
        return error_set(error, STATUS_IO, "cannot start a thread for %s", path);
    }
    *claim = own;
    return STATUS_OK;
}

/* Removes a claim whose owner is gone. Only one process at a time may, or the second would remove
 * the fresh claim of the first: whoever makes the file `turn` exclusively has the turn. Its
 * modification time also tells what the time is on the file server. */
static bool remove_stale(const char *path, const char *turn, const Owner *self) {
    struct stat facts, now;
    const int descriptor = open(turn, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) { /* taken; by a process that died if it is old */
        if (errno == EEXIST && stat(turn, &facts) == 0 &&
            time(NULL) - facts.st_mtime > STALE_SECONDS)
            unlink(turn);
        return false;
    }
    Owner owner;
    bool stale = false;
    if (fstat(descriptor, &now) == 0 && owner_read(path, &owner, &facts)) {
        const Life life = owner_life(&owner, self);
        const bool old = now.st_mtime - facts.st_mtime > STALE_SECONDS;
        stale = life == LIFE_DEAD || (life == LIFE_UNKNOWN && old);
    }
    if (stale) unlink(path);
    close(descriptor);
    unlink(turn);
    return stale;
}

Status claim_take(const char *folder, Claim **claim, char holder[CLAIM_HOLDER_BYTES],
                  Error *error) {
    char path[PATH_MAX], turn[PATH_MAX];
    *claim = NULL;
    holder[0] = '\0';
    Status status = path_join(path, folder, "claim", error);
    if (status == STATUS_OK) status = path_join(turn, folder, "claim.turn", error);
    if (status != STATUS_OK) return status;
    const Owner self = owner_self();
    for (int attempt = 0; attempt < 2; attempt++) {
        const int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0) return claim_own(path, descriptor, &self, claim, error);
        if (errno != EEXIST)
            return error_set(error, STATUS_IO, "claiming %s: %s", path, strerror(errno));
        if (attempt > 0 || !remove_stale(path, turn, &self)) break;
    }
    claim_holder(folder, holder);
    return STATUS_OK;
}

void claim_holder(const char *folder, char holder[CLAIM_HOLDER_BYTES]) {
    char path[PATH_MAX];
    Owner owner;
    struct stat facts;
    if (path_join(path, folder, "claim", NULL) != STATUS_OK || !owner_read(path, &owner, &facts))
        snprintf(holder, CLAIM_HOLDER_BYTES, "a process that has just ended");
    else if (owner.pid == 0) /* so it stays when the process died there */
        snprintf(holder, CLAIM_HOLDER_BYTES,
                 "a process that has not yet said who it is, within the last two minutes");
    else
        snprintf(holder, CLAIM_HOLDER_BYTES, "pid %ld on %.*s", owner.pid,
                 (int)strcspn(owner.place, "/"), owner.place);
}

void claim_release(Claim *claim) {
    if (!claim) return;
    pthread_mutex_lock(&claim->lock);
    claim->done = true;
    pthread_cond_signal(&claim->wake);
    pthread_mutex_unlock(&claim->lock);
    pthread_join(claim->beater, NULL);
    /* After a long sleep the claim may have been taken over: remove only our own. */
    struct stat ours, there;
    if (fstat(claim->descriptor, &ours) == 0 && stat(claim->path, &there) == 0 &&
        ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
        unlink(claim->path);
    close(claim->descriptor);
    pthread_cond_destroy(&claim->wake);
    pthread_mutex_destroy(&claim->lock);
    free(claim);
}

bool claim_held(const char *folder) {
    char path[PATH_MAX];
    struct stat facts;
    Owner owner;
    if (path_join(path, folder, "claim", NULL) != STATUS_OK) return false;
    if (!owner_read(path, &owner, &facts)) return false;
    const Owner self = owner_self();
    const Life life = owner_life(&owner, &self);
    return life == LIFE_ALIVE ||
           (life == LIFE_UNKNOWN && time(NULL) - facts.st_mtime <= STALE_SECONDS);
}
