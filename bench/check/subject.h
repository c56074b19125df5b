/* A small network of one model, ready to replay: what the property checks and golden tests look at.
 */
#ifndef LONGHAUL_SUBJECT_H
#define LONGHAUL_SUBJECT_H

#include "models/model.h"

typedef struct SubjectShape {
    int64_t batch, length, max_length; /* length 1 and TAPE_STEP: the one-token form */
    TapeMode mode;
    bool causal;
    bool padded; /* the model is told the sequences' lengths: fill the integers of `lengths` */
} SubjectShape;

/* Features only: no embedding, no head. Numbers are read and written at Tensor.host and the like.
 */
typedef struct Subject {
    const Model *model;
    Backbone backbone;
    void *options;
    Device own, *device;
    Parameters *parameters;
    bool owns_parameters;
    Tape *tape;
    Tensor *x, *out; /* (B, L, D) */
    Tensor *lengths; /* (B), NULL unless padded */
} Subject;

/* Default settings of the model, changed by "key=value key=value" (backbone or model keys). Values
 * of parameters come from `like` when it is not NULL, otherwise from the model's initialisers with
 * seed 1. Close `like` last. */
Status subject_open(Subject *subject, const Model *model, const char *settings,
                    const SubjectShape *shape, const Subject *like, Error *error);
/* The same on a device that is open; NULL: on a CPU of the subject's own. */
Status subject_open_on(Device *device, Subject *subject, const Model *model, const char *settings,
                       const SubjectShape *shape, const Subject *like, Error *error);
void subject_close(Subject *subject);

/* Adds deviation * N(0, 1) to every parameter that is trained, so that no zero or one of an
 * initialiser hides a wrong gradient; its magnitude to running averages, as variances are positive.
 */
void subject_disturb(Subject *subject, double deviation);

/* To the device, after host values of parameters were changed. */
void subject_send(Subject *subject);

/* A device that fails ends the program: nothing can be checked with it any more. */
void subject_forward(Subject *subject, int threads);

/* Forward and backward from a cotangent of out (B, L, D); parameter gradients start from zero. */
void subject_backward(Subject *subject, const float *cotangent, int threads);

#endif
