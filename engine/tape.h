/* The tape: the operations of one step on one shape, recorded once by plain calls, planned once,
 * replayed for every step. Recording is the only time that anything is allocated or looked up.
 *
 * Life of a tape: tape_open, record (inputs, parameters, op builders), tape_seed / tape_keep,
 * tape_plan, tape_allocate, then tape_forward and tape_backward as often as wanted, tape_close.
 *
 * Errors while recording are sticky: after the first one builders return tensors of a plausible
 * shape and do nothing; tape_plan reports it with op and scope. */
#ifndef LONGHAUL_TAPE_H
#define LONGHAUL_TAPE_H

#include "engine/device.h"
#include "engine/op.h"
#include "engine/parameter.h"
#include "engine/status.h"

typedef enum TapeMode {
    TAPE_TRAIN,    /* forward and backward */
    TAPE_EVALUATE, /* forward only: buffers are reused at once */
    TAPE_STEP      /* forward only, L = 1, state carried from replay to replay */
} TapeMode;

Tape *tape_open(Parameters *parameters, TapeMode mode);
void tape_close(Tape *tape);
TapeMode tape_mode(const Tape *tape);

/* Names: parameters and calls are named by the open scopes, joined with dots. */
void tape_scope(Tape *tape, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tape_scope_end(Tape *tape);

/* ---- recording ---- */

/* A tensor that the caller fills before each replay. wants_gradient leaves its gradient readable
 * after tape_backward (checks, golden tests). */
Tensor *tape_input(Tape *tape, const char *name, TensorType type, Shape shape, bool wants_gradient);

/* The parameter SCOPE.name, declared at its first use. */
Tensor *tape_parameter(Tape *tape, const char *name, Shape shape, Init init, Group group);

/* Same memory, other extents, same size. */
Tensor *tape_reshape(Tape *tape, Tensor *tensor, Shape shape);

/* The same values, through which no gradient flows back. */
Tensor *tape_detach(Tape *tape, Tensor *tensor);

/* The first rows of a parameter, in place: (R, ..) -> (rows, ..). */
Tensor *tape_prefix(Tape *tape, Tensor *parameter, int64_t rows);

/* State of the one-token step: SCOPE.name, zero before the first step. Returns NULL unless the mode
 * is TAPE_STEP, which sequence operations read as "starts from zero". tape_carry_out names the
 * tensor that becomes the state of the next step (ignored in other modes and when next is NULL). */
Tensor *tape_carry(Tape *tape, const char *name, Shape shape);
void tape_carry_out(Tape *tape, const char *name, Tensor *next);

/* TAPE_STEP: an integer input (1) holding the index of the token of this step, counted from 0. */
Tensor *tape_position(Tape *tape);

/* Largest number of steps that a TAPE_STEP tape will be asked for: sizes caches. */
void tape_set_horizon(Tape *tape, int64_t length);
int64_t tape_horizon(const Tape *tape);

/* Everything recorded between the two is recomputed in backward instead of kept. No nesting. */
void tape_segment(Tape *tape);
void tape_segment_end(Tape *tape);

/* Records op on in[0..inputs) (NULL for left-out optional inputs); returns the call. */
OpCall *tape_apply(Tape *tape, const Op *op, Tensor *const *in, int inputs, const void *attributes);

/* For the shape functions of operations. */
Tensor *tape_output(Tape *tape, OpCall *call, TensorType type, Shape shape);
Tensor *tape_saved(Tape *tape, OpCall *call, TensorType type, Shape shape);
void tape_fail(Tape *tape, const OpCall *call, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* tensor's data stays readable after the replay. */
void tape_keep(Tape *tape, Tensor *tensor);
/* Backward starts here: the caller writes tensor->gradient before tape_backward. Implies keep. */
void tape_seed(Tape *tape, Tensor *tensor);

/* ---- planning and replaying ---- */

/* Before tape_plan, for a device whose kernels need other memory than the CPU's; products: of every
 * Run that will replay the tape. */
void tape_set_device(Tape *tape, Device *device, Products products);
/* Before tape_plan and after tape_set_device: parameters will stay the same for several replays
 * (parts of a batch; an evaluation), and what depends on them alone (filters, discretised matrices)
 * may be computed once and kept for them. On a device with memory of its own nothing happens. */
void tape_repeat(Tape *tape);
Status tape_plan(Tape *tape, int threads, Error *error);
size_t tape_bytes(const Tape *tape); /* the arena that the plan needs, parameters excluded */
Status tape_allocate(Tape *tape, Device *device, Error *error);
/* The same in the memory of `host`, a tape of the same device that is allocated, needs no fewer
 * bytes and is closed later. What one replay leaves is gone when one of the other tape begins. */
Status tape_allocate_in(Tape *tape, Tape *host, Error *error);

/* On a device with memory of its own a replay begins with sending the host's copies of inputs and
 * of gradients that the caller sets, and ends with fetching those of kept results and of wanted
 * gradients (Tensor.host, host_gradient). Nothing waits: tape_finish before reading. */
void tape_forward(Tape *tape, const Run *run);
void tape_backward(Tape *tape, const Run *run);
/* With tape_repeat: whether the next replay, forward and backward, is the first and the last of
 * those with the same parameters. The first computes what depends on them alone; the gradients that
 * arrive there are added up, and the last takes them back to the parameters, which have none of
 * them before. Without this call a replay is both. */
void tape_share(Tape *tape, bool first, bool last);
/* Waits for everything replayed so far. STATUS_IO when the device failed, and in what. */
Status tape_finish(Tape *tape, Error *error);
/* From now on replays may be recorded and launched as one (CUDA graphs): for tapes whose calls stay
 * as planned. The first replay after this runs as usual, so that libraries can warm up. */
void tape_record(Tape *tape);
/* On a device with memory of its own inputs get a second copy on the host, so that one can be
 * filled while the device still reads the other; before tape_allocate. Elsewhere nothing happens.
 */
void tape_double(Tape *tape);
/* Tensor.host of the inputs becomes the other copy, as soon as the device has read what it was last
 * sent from there. */
void tape_turn(Tape *tape);
/* From now on results and gradients stay on such a device: device_download takes what is wanted.
 * Before the first replay. */
void tape_leave(Tape *tape);
/* From now on replays on a device with memory of its own are kernels alone: nothing is sent or
 * fetched, seed and pass stay those of the last replay. For timing, before tape_record. */
void tape_stay(Tape *tape);
/* TAPE_STEP: back to zero state, position 0. What depends on parameters alone (filters, discretised
 * matrices) is computed in the first step after this and kept, so call it after changing weights.
 */
void tape_reset_state(Tape *tape);
/* TAPE_STEP: the next token is the one at this position, those after it follow. The state stays as
 * it is: this is for timing, where numbers do not matter but the position does. */
void tape_place(Tape *tape, int64_t position);

/* ---- looking at it ---- */

/* Sum over the calls of so many replays with the same parameters. executed counts recomputation,
 * and what depends on parameters alone as often as it is computed; model neither. */
typedef struct TapeCost {
    Cost forward, backward; /* model */
    Cost executed_forward, executed_backward;
} TapeCost;
TapeCost tape_cost(const Tape *tape, int64_t replays);

/* FLOPs as the budget counts them: flops plus specials of the model, forward and backward. */
double tape_model_flops(const Tape *tape, int64_t replays);
double tape_executed_flops(const Tape *tape, int64_t replays);

int tape_call_count(const Tape *tape);
const OpCall *tape_call(const Tape *tape, int i);

/* Seconds per call (forward + backward) are summed while profiling is on. */
void tape_profile(Tape *tape, bool on);
double tape_seconds(const Tape *tape, int call);

/* Replays forward and returns the first call with an output that is not finite, or NULL. For the
 * message after a loss went bad; slow. */
const OpCall *tape_find_not_finite(Tape *tape, const Run *run);

#endif
