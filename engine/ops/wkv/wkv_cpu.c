/* Channels are the vector lanes. Time advances in chunks over whole rows, and inside a chunk block
 * by block, so that a block's state stays in registers. Bound by arithmetic: two exponentials and a
 * quotient a token and channel forward, some 45 vector operations of which 30 are multiply-adds;
 * five exponentials backward. 12 and 24 bytes of traffic are little beside it. */
#include "engine/gradient_simd.h"
#include "engine/ops/wkv/wkv_plan.h"
#include "engine/vmath.h"

#define LOG2_E 1.44269504f

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

typedef struct State {
    vfloat p, q, o;
} State;

/* e^a and e^b relative to the larger of them, which becomes *largest. */
ALWAYS_INLINE void relative(vfloat a, vfloat b, vfloat *of_a, vfloat *of_b, vfloat *largest) {
    const vfloat apart = a - b, small = v_exp2_weight(v_abs(apart) * -LOG2_E);
    *of_a = v_select(apart >= 0.0f, v_set(1), small);
    *of_b = v_select(apart >= 0.0f, small, v_set(1));
    *largest = v_max(a, b);
}

static inline void advance(State *state, vfloat w, vfloat k, vfloat v) {
    vfloat old, now;
    relative(state->o + w, k, &old, &now, &state->o);
    state->p = old * state->p + now * v;
    state->q = old * state->q + now;
}

/* Parts of a state (3, D) from channel d on, of which `width` are left. */
static State load_state(const float *from, int64_t D, int64_t d, int64_t width) {
    return (State){v_load_part(from + WKV_P * D + d, width),
                   v_load_part(from + WKV_Q * D + d, width),
                   v_load_part(from + WKV_O * D + d, width)};
}
static void store_state(float *to, int64_t D, int64_t d, int64_t width, const State *state) {
    v_store_part(to + WKV_P * D + d, state->p, width);
    v_store_part(to + WKV_Q * D + d, state->q, width);
    v_store_part(to + WKV_O * D + d, state->o, width);
}

static inline vfloat v_rate(const OpCall *call, int64_t d, int64_t width) {
    return -v_exp(v_load_part(call->in[WKV_DECAY]->data + d, width));
}

/* Rows of a chunk for LANES channels; i: the first element. */
static void chunk_forward(const OpCall *call, const WkvPlan *plan, int64_t i, int64_t rows,
                          int64_t d, State *state) {
    const float *keys = call->in[WKV_K]->data, *values = call->in[WKV_V]->data;
    const int64_t D = plan->D, width = D - d;
    const vfloat w = v_rate(call, d, width), u = v_load_part(call->in[WKV_U]->data + d, width);
    for (int64_t t = 0; t < rows; t++, i += D) {
        __builtin_prefetch(keys + i + WKV_ROWS * D);
        __builtin_prefetch(values + i + WKV_ROWS * D);
        const vfloat k = v_load_part(keys + i, width), v = v_load_part(values + i, width);
        vfloat old, now, largest;
        relative(state->o, u + k, &old, &now, &largest);
        v_store_part(call->out[0]->data + i, (old * state->p + now * v) / (old * state->q + now),
                     width);
        advance(state, w, k, v);
    }
}

/* Channels first .. last-1 of sequence b, from the first token to the last. */
static void unit_forward(const OpCall *call, const WkvPlan *plan, int64_t b, int64_t first,
                         int64_t last) {
    const int64_t D = plan->D, part = b * WKV_PARTS * D;
    State states[WKV_CHANNELS / LANES];
    for (int64_t d = first; d < last; d += LANES) {
        State *state = &states[(d - first) / LANES];
        *state = (State){v_zero(), v_zero(), v_set(WKV_EMPTY)};
        if (!call->in[WKV_STATE]) continue;
        *state = load_state(call->in[WKV_STATE]->data + part, D, d, D - d);
        state->o = v_select(state->q > 0.0f, state->o, v_set(WKV_EMPTY));
    }
    for (int64_t chunk = 0; chunk < plan->chunks; chunk++) {
        const int64_t t = chunk * WKV_ROWS, rows = smaller(WKV_ROWS, plan->L - t);
        for (int64_t d = first; d < last; d += LANES) {
            State *state = &states[(d - first) / LANES];
            if (call->saves)
                store_state(call->saved[0]->data + (b * plan->chunks + chunk) * WKV_PARTS * D, D, d,
                            D - d, state);
            chunk_forward(call, plan, (b * plan->L + t) * D + d, rows, d, state);
        }
    }
    for (int64_t d = first; d < last && call->in[WKV_STATE]; d += LANES)
        store_state(call->out[1]->data + part, D, d, D - d, &states[(d - first) / LANES]);
}

static void forward(const OpCall *call, const Run *run) {
    const WkvPlan plan = wkv_plan(call);
    const int64_t groups = (plan.D + WKV_CHANNELS - 1) / WKV_CHANNELS;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * groups; n++) {
        const int64_t first = n % groups * WKV_CHANNELS;
        unit_forward(call, &plan, n / groups, first, smaller(first + WKV_CHANNELS, plan.D));
    }
}

/* What forward knew at a token: the state before it, the largest exponent of its result, one over
 * the sum of weights relative to that, and the token's own share of the weights. */
typedef struct Token {
    State before;
    vfloat largest, inverse, share;
} Token;

static void tokens_again(const OpCall *call, const WkvPlan *plan, int64_t i, int64_t rows,
                         int64_t d, State state, Token *tokens) {
    const int64_t D = plan->D, width = D - d;
    const vfloat w = v_rate(call, d, width), u = v_load_part(call->in[WKV_U]->data + d, width);
    for (int64_t t = 0; t < rows; t++, i += D) {
        const vfloat k = v_load_part(call->in[WKV_K]->data + i, width);
        const vfloat v = v_load_part(call->in[WKV_V]->data + i, width);
        vfloat old, now;
        tokens[t].before = state;
        relative(state.o, u + k, &old, &now, &tokens[t].largest);
        tokens[t].inverse = 1.0f / (old * state.q + now);
        tokens[t].share = now * tokens[t].inverse;
        advance(&state, w, k, v);
    }
}

/* The gradients of P and Q behind a token times e^-o, and of w and u so far. */
typedef struct Adjoint {
    State state;
    vfloat w, u;
} Adjoint;

/* One token, its results in dk and dv; exponents are at most 0 but for rounding. */
ALWAYS_INLINE void token_backward(Adjoint *adjoint, const Token *token, vfloat w, vfloat k,
                                  vfloat v, vfloat y, vfloat dy, vfloat *dk, vfloat *dv) {
    const State *before = &token->before, *g = &adjoint->state;
    const vfloat own = dy * token->share;
    const vfloat later = v_exp2_weight(v_min(v_zero(), (k + g->o) * LOG2_E));
    const vfloat decayed = v_exp2_weight(v_min(v_zero(), (w + before->o + g->o) * LOG2_E));
    *dk = own * (v - y) + later * (g->p * v + g->q);
    *dv = own + later * g->p;
    adjoint->u += own * (v - y);
    adjoint->w += decayed * (g->p * before->p + g->q * before->q);
    vfloat old, now;
    relative(w + g->o, -token->largest, &old, &now, &adjoint->state.o);
    const vfloat more = dy * token->inverse * now;
    adjoint->state.p = old * adjoint->state.p + more;
    adjoint->state.q = old * adjoint->state.q - more * y;
}

static void chunk_backward(const OpCall *call, const WkvPlan *plan, int64_t i, int64_t rows,
                           int64_t d, const Token *tokens, Adjoint *adjoint) {
    const int64_t D = plan->D, width = D - d;
    const GradientTarget to_k = gradient_target(call, WKV_K), to_v = gradient_target(call, WKV_V);
    const vfloat w = v_rate(call, d, width);
    for (int64_t t = rows - 1; t >= 0; t--) {
        const int64_t at = i + t * D;
        __builtin_prefetch(call->out[0]->data + at - WKV_ROWS * D);
        __builtin_prefetch(call->out[0]->gradient + at - WKV_ROWS * D);
        vfloat dk, dv;
        token_backward(adjoint, &tokens[t], w, v_load_part(call->in[WKV_K]->data + at, width),
                       v_load_part(call->in[WKV_V]->data + at, width),
                       v_load_part(call->out[0]->data + at, width),
                       v_load_part(call->out[0]->gradient + at, width), &dk, &dv);
        if (to_k.data) v_deliver(to_k, at, dk, width);
        if (to_v.data) v_deliver(to_v, at, dv, width);
    }
}

static void unit_backward(const OpCall *call, const WkvPlan *plan, int64_t b, int64_t first,
                          int64_t last) {
    const int64_t D = plan->D;
    float *sums = (float *)call->scratch + 2 * b * D;
    Adjoint adjoints[WKV_CHANNELS / LANES];
    for (int64_t n = 0; n < WKV_CHANNELS / LANES; n++)
        adjoints[n] = (Adjoint){.state = {v_zero(), v_zero(), v_set(WKV_EMPTY)}};
    for (int64_t chunk = plan->chunks - 1; chunk >= 0; chunk--) {
        const int64_t t = chunk * WKV_ROWS, rows = smaller(WKV_ROWS, plan->L - t);
        const float *note = call->saved[0]->data + (b * plan->chunks + chunk) * WKV_PARTS * D;
        for (int64_t d = first; d < last; d += LANES) {
            const int64_t i = (b * plan->L + t) * D + d;
            Token tokens[WKV_ROWS];
            tokens_again(call, plan, i, rows, d, load_state(note, D, d, D - d), tokens);
            chunk_backward(call, plan, i, rows, d, tokens, &adjoints[(d - first) / LANES]);
        }
    }
    for (int64_t d = first; d < last; d += LANES) {
        v_store_part(sums + d, adjoints[(d - first) / LANES].w, D - d);
        v_store_part(sums + D + d, adjoints[(d - first) / LANES].u, D - d);
    }
}

/* The sums of all sequences; factor: -exp(decay) = dw / ddecay, or one for u. */
static void deliver_sums(const OpCall *call, const WkvPlan *plan, int input, const float *sums) {
    const GradientTarget to = gradient_target(call, input);
    for (int64_t d = 0; to.data && d < plan->D; d += LANES) {
        const int64_t width = plan->D - d;
        vfloat sum = v_zero();
        for (int64_t b = 0; b < plan->B; b++) sum += v_load_part(sums + 2 * b * plan->D + d, width);
        v_deliver(to, d, input == WKV_DECAY ? sum * v_rate(call, d, width) : sum, width);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const WkvPlan plan = wkv_plan(call);
    const int64_t groups = (plan.D + WKV_CHANNELS - 1) / WKV_CHANNELS;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * groups; n++) {
        const int64_t first = n % groups * WKV_CHANNELS;
        unit_backward(call, &plan, n / groups, first, smaller(first + WKV_CHANNELS, plan.D));
    }
    deliver_sums(call, &plan, WKV_DECAY, call->scratch);
    deliver_sums(call, &plan, WKV_U, (float *)call->scratch + plan.D);
}

const OpKernels ISA(wkv_cpu) = {forward, backward};
