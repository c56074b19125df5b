/* The inside of a tape, shared by tape.c (recording), plan.c (lifetimes and placement) and
 * replay.c. */
#ifndef LONGHAUL_TAPE_INTERNAL_H
#define LONGHAUL_TAPE_INTERNAL_H

#include "engine/tape.h"

enum { MAX_SCOPE_DEPTH = 16 };

typedef enum StepKind { STEP_FORWARD, STEP_RECOMPUTE, STEP_BACKWARD } StepKind;

/* One kernel launch of a replay. */
typedef struct Step {
    int call;
    StepKind kind;
    int scratch; /* buffer, or -1 */
} Step;

/* Memory that is live during up to two stretches of steps (two when its content is recomputed). */
typedef struct Buffer {
    size_t bytes, offset;
    int intervals;
    int first[2], last[2];
} Buffer;

/* What the plan knows of one tensor. Views have no record of their own: ask for the owner's. */
typedef struct TensorPlan {
    int producer; /* call, or -1 for inputs */
    bool keep, seed;
    bool has_gradient; /* backward gives it a gradient */
    bool zeroed;       /* its gradient must be zero before backward */
    bool summed;       /* its gradient is the sum over the replays of a step */
    bool from_zero;    /* and that begins with zero, not with a backward */
    bool recomputed;
    int data_buffer, gradient_buffer; /* -1: none */
} TensorPlan;

typedef struct Carry {
    Tensor *state, *next;
} Carry;

/* A replay that the device can launch as a whole. */
typedef struct Recording {
    void *launchable;
    bool training; /* of the Run it was recorded with; everything else is read at launch */
    bool warm;     /* has run once without recording */
    bool hopeless; /* could not be recorded */
} Recording;

struct Tape {
    Parameters *parameters;
    TapeMode mode;
    Error error;

    OpCall **calls;
    int call_count, call_capacity;
    Tensor **tensors; /* inputs, activations, saved; not parameters */
    TensorPlan *plans;
    int tensor_count, tensor_capacity;

    char scope[512];
    size_t scope_ends[MAX_SCOPE_DEPTH]; /* length of the scope text before each push */
    int scope_depth;
    int segment, segment_count; /* open segment or -1 */
    int64_t horizon;
    Tensor *position;
    int32_t place; /* of the next token; written to position's host copy when its replay begins */
    Carry *carries;
    int carry_count;

    Step *steps;
    int step_count, forward_steps;
    Buffer *buffers;
    int buffer_count;
    bool *constant;            /* call depends on parameters alone */
    bool keeps;                /* results of constant calls are kept from replay to replay */
    bool fresh;                /* and fit the parameters */
    bool first, last;          /* of the replays with these parameters: the next one */
    bool *active;              /* call takes part in backward */
    uint32_t *starts;          /* by call, bit i: begins the sum that is in[i]'s gradient */
    int *kept;                 /* by call: buffer of what its forward leaves for backward, or -1 */
    int (*copies)[MAX_INPUTS]; /* by call and input: buffer of the rounded copy; see has_copy */
    size_t bytes;              /* of the arena */
    int threads;

    Device *device;
    Products products;
    unsigned char *arena;
    Tape *host;                /* whose arena it is; NULL: its own */
    const Tape *occupant;      /* of the own arena: whose replay was the last there */
    const OpKernels **kernels; /* by call */
    double *seconds;           /* by call, while profiling */
    void *pinned;              /* host copies, where the device has memory of its own */
    bool recording;            /* tape_record was called */
    bool leaves, stays;        /* tape_leave, tape_stay was called */
    bool doubled;              /* tape_double was called */
    size_t copy_bytes;         /* of all inputs on the host: distance of the two copies */
    int turn;                  /* the copy that is being filled */
    void *sent[2];             /* marks behind the sending of each; NULL: not sent yet */
    Recording recordings[2];   /* by Phase */
};

static inline Tensor *owner_of(Tensor *tensor) {
    return tensor->base ? tensor->base : tensor;
}

static inline TensorPlan *plan_of(const Tape *tape, Tensor *tensor) {
    Tensor *owner = owner_of(tensor);
    return owner->role == ROLE_PARAMETER ? NULL : &tape->plans[owner->number];
}

/* Computed once for several replays. */
static inline bool is_kept(const Tape *tape, int call) {
    return tape->keeps && tape->constant[call];
}

/* Gives back what tape_allocate took. */
void tape_release(Tape *tape);

#endif
