/* S4: state spaces with a HiPPO matrix as long convolutions (Gu, Goel and Re 2021, arXiv
 * 2111.00396; settings of later releases: Gu, Gupta, Goel and Re 2022, arXiv 2206.11893). Every
 * channel is a linear system of its own whose matrix is diagonal plus low rank, in N real states
 * held as M = N / 2 complex modes:
 *
 *     s' = A s + B u,  y = Re(c s) + skip u,  A = diag(lambda) - sum_r P_r P_r^H,   bilinear at the
 * step size dt K_l = Re(c Abar^l Bbar),  out = (z W_value + b_value) sigmoid(z W_gate + b_gate),  z
 * = gelu(K * u + skip u)
 *
 * The kernel comes from its generating function at the roots of unity (engine/ops/dplr_kernel), and
 * so what is trained is C = c (1 - Abar^T) instead of c. T is the longest length, rounded up to a
 * power of two; shorter kernels are the beginning of that one. lambda, P and B start from a HiPPO
 * matrix, c as complex normal numbers of mean square 1. Bidirectional: a second C gives the filter
 * that looks ahead, from the next token on.
 *
 * Parameters of a layer: 2 D^2 + 2 D for the output, D (N + 2) for C, skip and log_dt, S N (2 + R)
 * for lambda, B and P, which S sets of channels share. FLOPs a token: 4 D^2, some D (10 log2(2L) +
 * 40), and for the kernel, which is made once a batch, (5 + 4 (1 + R)^2) N D / B. State: N D floats
 * a layer; a step is dplr_modes' recurrence in 24 operations for a mode. */
#include "models/s4_layer.h"

typedef struct S4 {
    S4Layer own;
} S4;

static const Option options[] = {S4_OPTIONS(S4, own)};

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const S4Layer *own = &((const S4 *)context->options)->own;
    const DplrParameters p = s4_parameters(tape, context, own, extent(u, 2));
    Tensor *y = s4_system(tape, context, p, state_space_input(tape, context, u));
    return state_space_output(tape, context, &own->layer, y);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    return s4_check(backbone, &((const S4 *)values)->own, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    return s4_state_floats(backbone, &((const S4 *)values)->own);
}

const Model model_s4 = {
    .name = "s4",
    .title = "S4",
    .paper = {.authors = "Gu, Goel, Ré",
              .title = "Efficiently Modeling Long Sequences with Structured State Spaces",
              .venue = "ICLR",
              .arxiv = "2111.00396",
              .year = 2022},
    .kind = KIND_STATE_SPACE,
    .note = "the period of the generating function is a power of two; no sampling rates or band "
            "limit, no clipping of B",
    .options = {options, sizeof options / sizeof *options, sizeof(S4)},
    .backbone = "mlp=none",
    .bidirectional = true,
    .exempt = EXEMPT_LONGER, /* C is that of the period */
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
