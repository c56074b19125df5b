/* Liquid-S4: S4 plus a term of products of inputs (Hasani, Lechner, Wang, Chahine, Amini and Rus
 * 2022, arXiv 2209.12951). A liquid state space multiplies its state by 1 + B u; unrolled, that
 * adds products of inputs at p times to S4's sums. As released ("PB", the better of the two
 * kernels), each degree has one gain for a channel:
 *
 *     y = S4(u) + sum_{p=2..P} gain_p r_p,   gain_p = sum C v^(p),   v^(p) = v^(p-1) sum v^(p-1),
 * v^(1) = dt B / (1 - dt lambda / 2)
 *
 * Where the whole sequence may be seen, r_p are the last L combinations of p of its last tokens
 * (engine/ops/ liquid_products), reversed in time, and a second gain, of the C that looks ahead, is
 * that of the combinations as they are. Both see the future. So on causal problems r_p is the
 * product of neighbours instead, the released option allcombs=no without its reversal: r_p[t] =
 * r_{p-1}[t] r_{p-1}[t-1], r_1 = u.
 *
 * Gains follow the parameters, as in the paper; the released code leaves them at their start on
 * GPUs. Parameters: those of S4. FLOPs a token: those of S4 and some 2 (P - 1)(P + 3) D. State: N D
 * and (P - 1) D floats a layer. */
#include "engine/ops/channel_gain/channel_gain.h"
#include "engine/ops/flip/flip.h"
#include "engine/ops/liquid_gain/liquid_gain.h"
#include "engine/ops/liquid_products/liquid_products.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/token_shift/token_shift.h"
#include "models/s4_layer.h"

typedef struct LiquidS4 {
    S4Layer own;
    int64_t degree;
    bool contraction;
} LiquidS4;

static const Option options[] = {
    S4_OPTIONS(LiquidS4, own),
    {"degree", OPTION_INTEGER, offsetof(LiquidS4, degree), "2", 2, LIQUID_MOST_DEGREE, NULL,
     "largest number of inputs in a product (P)"},
    {"contraction", OPTION_SWITCH, offsetof(LiquidS4, contraction), "no", 0, -1, NULL,
     "tanh of every product"},
};

static Tensor *contracted(Tape *tape, const LiquidS4 *own, Tensor *r) {
    return own->contraction ? activate(tape, r, ACTIVATION_TANH) : r;
}

/* r (B, L, D) -> r[t - 1]. */
static Tensor *shifted(Tape *tape, int degree, Tensor *r) {
    const int64_t D = extent(r, 2);
    tape_scope(tape, "shift%d", degree);
    Tensor *none = tape_parameter(tape, "mix", SHAPE(D), init_constant(0), (Group){.frozen = true});
    Tensor *past = tape_carry(tape, "past", SHAPE(extent(r, 0), D)), *y, *next;
    token_shift(tape, r, &none, 1, past, &y, &next);
    tape_carry_out(tape, "past", next);
    tape_scope_end(tape);
    return y;
}

/* y + gain_p r_p for all degrees. */
static Tensor *add_neighbours(Tape *tape, const LiquidS4 *own, DplrParameters p, Tensor *y,
                              Tensor *u) {
    Tensor *r = u;
    for (int degree = 2; degree <= own->degree; degree++) {
        r = multiply(tape, r, shifted(tape, degree, r));
        Tensor *gain = liquid_gain(tape, p, p.C, degree);
        y = add(tape, y, channel_gain(tape, contracted(tape, own, r), gain, NULL, NULL));
    }
    return y;
}

static Tensor *add_combinations(Tape *tape, const LiquidS4 *own, DplrParameters p, Tensor *y,
                                Tensor *u) {
    for (int degree = 2; degree <= own->degree; degree++) {
        Tensor *r = contracted(tape, own, liquid_products(tape, u, (LiquidProducts){degree, true}));
        Tensor *forward = liquid_gain(tape, p, p.C, degree);
        Tensor *ahead = liquid_gain(tape, p, p.C_reverse, degree);
        y = add(tape, y, channel_gain(tape, r, forward, flip(tape, r), ahead));
    }
    return y;
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const LiquidS4 *own = context->options;
    const DplrParameters p = s4_parameters(tape, context, &own->own, extent(u, 2));
    u = state_space_input(tape, context, u);
    Tensor *y = s4_system(tape, context, p, u);
    y = (context->causal ? add_neighbours : add_combinations)(tape, own, p, y, u);
    return state_space_output(tape, context, &own->own.layer, y);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    return s4_check(backbone, &((const LiquidS4 *)values)->own, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const LiquidS4 *own = values;
    return s4_state_floats(backbone, &own->own) +
           backbone->layers * (own->degree - 1) * backbone->width;
}

const Model model_liquid_s4 = {
    .name = "liquid_s4",
    .title = "Liquid-S4",
    .paper = {.authors = "Hasani, Lechner, Wang, Chahine, Amini, Rus",
              .title = "Liquid Structural State-Space Models",
              .venue = "ICLR",
              .arxiv = "2209.12951",
              .year = 2023},
    .kind = KIND_STATE_SPACE,
    .note = "the kernel PB only; gains follow the parameters; two-sided where the future may be "
            "seen; on causal problems "
            "products of neighbouring inputs, as the released combinations see the future",
    .options = {options, sizeof options / sizeof *options, sizeof(LiquidS4)},
    .backbone = "mlp=none",
    .bidirectional = true,
    .exempt = EXEMPT_LONGER, /* as S4 */
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
