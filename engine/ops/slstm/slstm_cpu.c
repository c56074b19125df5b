/* Sequences and heads are independent: a thread walks time alone with a group of sequences of one
 * head, few enough for one tile of the recurrent product. R is packed as for the LSTM, so that one
 * panel yields the four gates of LANES units. Bound by the multiply-adds, 8 U a unit and token, and
 * by five exponentials and two divisions, which weigh more than the products below some 64 units.
 */
#include "engine/gradient_simd.h"
#include "engine/ops/lstm/lstm_product.h"
#include "engine/ops/slstm/slstm_plan.h"
#include "engine/vmath.h"

enum { ROWS = LANES == 16 ? SLSTM_GROUP : 2 };
_Static_assert((int)ROWS <= (int)WIDE_ROWS, "the rows of a group are one tile, and not packed");

typedef struct Slstm {
    const OpCall *call;
    SlstmPlan plan;
    int64_t groups; /* of sequences */
    const float *in_if, *in_zo, *bias, *state;
    float *h, *notes;   /* notes: NULL outside of training */
    float *gates;       /* backward: gate gradients (B, H, L, 4, U) */
    const float *slope; /* backward: gradient of h */
    GradientTarget to_if, to_zo;
} Slstm;

/* Sequences [first, end) of a head. */
typedef struct Walk {
    int64_t head, first, count;
    const float *packed; /* R of the head */
    float *rows;         /* scratch */
} Walk;

static Slstm open_call(const OpCall *call, Phase phase) {
    const Tensor *state = call->in[SLSTM_STATE];
    Slstm s = {.call = call,
               .plan = slstm_plan(call, phase),
               .in_if = call->in[SLSTM_IF]->data,
               .in_zo = call->in[SLSTM_ZO]->data,
               .bias = call->in[SLSTM_BIAS]->data,
               .state = state ? state->data : NULL,
               .h = call->out[SLSTM_H]->data,
               .notes = call->saves ? call->saved[0]->data : NULL};
    s.groups = (s.plan.B + ROWS - 1) / ROWS;
    return s;
}

static Walk group_of(const Slstm *s, int64_t number) {
    const SlstmPlan *plan = &s->plan;
    const int64_t group = number / plan->H, first = plan->B * group / s->groups;
    float *scratch = s->call->scratch;
    return (Walk){.head = number % plan->H,
                  .first = first,
                  .count = plan->B * (group + 1) / s->groups - first,
                  .packed = scratch + plan->packed + number % plan->H * slstm_packed(plan->U),
                  .rows = scratch + plan->rows + number * slstm_group_floats(plan->U)};
}

/* Where units of a token and head begin in notes or gate gradients of `kinds` numbers a unit. */
static inline int64_t note_at(const Slstm *s, const Walk *g, int64_t r, int64_t t, int64_t kinds) {
    return (((g->first + r) * s->plan.H + g->head) * s->plan.L + t) * kinds * s->plan.U;
}
/* And in (B, L, H U). */
static inline int64_t unit_at(const Slstm *s, const Walk *g, int64_t r, int64_t t) {
    return (((g->first + r) * s->plan.L + t) * s->plan.H + g->head) * s->plan.U;
}
/* State `which` (h, c, n, m) of a sequence, in (B, 4, H U). */
static inline int64_t state_at(const Slstm *s, const Walk *g, int64_t r, int64_t which) {
    return (((g->first + r) * 4 + which) * s->plan.H + g->head) * s->plan.U;
}

/* packed[j][k][gate][lane] = R[k][gate][j LANES + lane], zero beyond U. */
static void pack_gates(const Slstm *s, int64_t head) {
    const int64_t U = s->plan.U;
    const float *w = s->call->in[SLSTM_R]->data + head * U * 4 * U;
    float *to = (float *)s->call->scratch + s->plan.packed + head * slstm_packed(U);
    for (int64_t u = 0; u < U; u += LANES)
        for (int64_t k = 0; k < U; k++)
            for (int64_t gate = 0; gate < 4; gate++, to += LANES)
                v_store(to, v_load_part(w + (k * 4 + gate) * U + u, U - u));
}

/* The numbers of a group's rows: states h (before, after), c, n, m; each (ROWS, U). */
enum { ROW_H, ROW_H_NEXT, ROW_C, ROW_N, ROW_M };
static inline float *row_of(const Slstm *s, const Walk *g, int which, int64_t r) {
    return g->rows + (which * SLSTM_GROUP + r) * s->plan.U;
}

/* Units u .. of one sequence at token t: from the sums of its gates to its states. */
static inline void cell(const Slstm *s, const Walk *g, int64_t t, int64_t u, int64_t r,
                        const float *sums, int next) {
    const int64_t U = s->plan.U, left = U - u, at = unit_at(s, g, r, t), in = 2 * at + u;
    const float *bias = s->bias + g->head * 4 * U + u;
    float *c_at = row_of(s, g, ROW_C, r) + u, *n_at = row_of(s, g, ROW_N, r) + u;
    float *m_at = row_of(s, g, ROW_M, r) + u;
    const vfloat i = v_load(sums) + v_load_part(s->in_if + in, left) + v_load_part(bias, left);
    const vfloat f =
        v_load(sums + LANES) + v_load_part(s->in_if + in + U, left) + v_load_part(bias + U, left);
    const vfloat z = v_tanh(v_load(sums + 2 * LANES) + v_load_part(s->in_zo + in, left) +
                            v_load_part(bias + 2 * U, left));
    const vfloat o = v_sigmoid(v_load(sums + 3 * LANES) + v_load_part(s->in_zo + in + U, left) +
                               v_load_part(bias + 3 * U, left));
    const vfloat n_before = v_load_part(n_at, left);
    const vfloat kept = v_load_part(m_at, left) - v_softplus(-f);
    const vfloat m = v_select(n_before == 0.0f, i, v_max(i, kept));
    const vfloat add = v_exp(i - m), keep = v_exp(v_min(v_zero(), kept - m));
    const vfloat c = keep * v_load_part(c_at, left) + add * z, n = keep * n_before + add;
    const vfloat h = o * c / n;
    v_store_part(c_at, c, left);
    v_store_part(n_at, n, left);
    v_store_part(m_at, m, left);
    v_store_part(row_of(s, g, next, r) + u, h, left);
    v_store_part(s->h + at + u, h, left);
    if (!s->notes) return;
    float *note = s->notes + note_at(s, g, r, t, SLSTM_NOTES) + u;
    v_store_part(note + SLSTM_NOTE_I * U, add, left);
    v_store_part(note + SLSTM_NOTE_F * U, keep, left);
    v_store_part(note + SLSTM_NOTE_SLOPE * U, v_sigmoid(-f), left);
    v_store_part(note + SLSTM_NOTE_Z * U, z, left);
    v_store_part(note + SLSTM_NOTE_O * U, o, left);
    v_store_part(note + SLSTM_NOTE_C * U, c, left);
    v_store_part(note + SLSTM_NOTE_N * U, n, left);
}

static void start_states(const Slstm *s, const Walk *g) {
    static const int rows[4] = {ROW_H, ROW_C, ROW_N, ROW_M};
    for (int64_t r = 0; r < g->count; r++)
        for (int which = 0; which < 4; which++) {
            float *to = row_of(s, g, rows[which], r);
            if (s->state)
                memcpy(to, s->state + state_at(s, g, r, which), (size_t)s->plan.U * sizeof *to);
            else
                memset(to, 0, (size_t)s->plan.U * sizeof *to);
        }
}

static void forward_group(const Slstm *s, const Walk *g) {
    const int64_t U = s->plan.U;
    float sums[GROUP_ROWS * PANEL] __attribute__((aligned(64)));
    start_states(s, g);
    for (int64_t t = 0; t < s->plan.L; t++) {
        const int before = t % 2 ? ROW_H_NEXT : ROW_H, next = t % 2 ? ROW_H : ROW_H_NEXT;
        const RowGroup rows = {.count = g->count, .rows = row_of(s, g, before, 0), .apart = U};
        for (int64_t u = 0; u < U; u += LANES) {
            product(t > 0 || s->state ? U : 0, &rows, g->packed + u * U * 4, sums, PANEL_VECTORS);
            for (int64_t r = 0; r < g->count; r++) cell(s, g, t, u, r, sums + r * PANEL, next);
        }
    }
    if (s->call->outputs == 1) return;
    const int rows[4] = {s->plan.L % 2 ? ROW_H_NEXT : ROW_H, ROW_C, ROW_N, ROW_M};
    for (int64_t r = 0; r < g->count; r++)
        for (int which = 0; which < 4; which++)
            memcpy(s->call->out[SLSTM_NEXT]->data + state_at(s, g, r, which),
                   row_of(s, g, rows[which], r), (size_t)U * sizeof(float));
}

static void forward(const OpCall *call, const Run *run) {
    const Slstm s = open_call(call, PHASE_FORWARD);
    for (int64_t head = 0; head < s.plan.H; head++) pack_gates(&s, head);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t number = 0; number < s.groups * s.plan.H; number++) {
        const Walk g = group_of(&s, number);
        forward_group(&s, &g);
    }
}

/* Vectors of the panel of R transposed that begins at unit u. */
static inline int panel_vectors(int64_t U, int64_t u) {
    return U - u > 2 * LANES ? PANEL_VECTORS : 2;
}

/* R transposed, in panels: packed[panel][gate][k][lane] = R[u + lane][gate][k]. */
static void pack_transposed(const Slstm *s, int64_t head) {
    const int64_t U = s->plan.U;
    const float *w = s->call->in[SLSTM_R]->data + head * U * 4 * U;
    float *to = (float *)s->call->scratch + s->plan.packed + head * slstm_packed(U);
    for (int64_t u = 0; u < U;) {
        const int64_t width = panel_vectors(U, u) * LANES;
        for (int64_t g = 0; g < 4 * U; g++, to += width)
            for (int64_t lane = 0; lane < width; lane++)
                to[lane] = u + lane < U ? w[(u + lane) * 4 * U + g] : 0;
        u += width;
    }
}

/* In backward the rows are gradients of h, c and n, and those of the gates, (ROWS, 4 U). */
enum { ROW_DH, ROW_DC, ROW_DN, ROW_DG };

static inline void cell_gradients(const Slstm *s, const Walk *g, int64_t t, int64_t u, int64_t r) {
    const int64_t U = s->plan.U, left = U - u, at = unit_at(s, g, r, t) + u;
    const float *note = s->notes + note_at(s, g, r, t, SLSTM_NOTES) + u;
    const float *earlier = note - SLSTM_NOTES * U;
    float *dc_at = row_of(s, g, ROW_DC, r) + u, *dn_at = row_of(s, g, ROW_DN, r) + u;
    vfloat c_before = v_zero(), n_before = v_zero();
    if (t > 0) {
        c_before = v_load_part(earlier + SLSTM_NOTE_C * U, left);
        n_before = v_load_part(earlier + SLSTM_NOTE_N * U, left);
    } else if (s->state) {
        c_before = v_load_part(s->state + state_at(s, g, r, 1) + u, left);
        n_before = v_load_part(s->state + state_at(s, g, r, 2) + u, left);
    }
    const vfloat add = v_load_part(note + SLSTM_NOTE_I * U, left);
    const vfloat keep = v_load_part(note + SLSTM_NOTE_F * U, left);
    const vfloat z = v_load_part(note + SLSTM_NOTE_Z * U, left);
    const vfloat o = v_load_part(note + SLSTM_NOTE_O * U, left), h = v_load_part(s->h + at, left);
    const vfloat dy =
        v_load_part(s->slope + at, left) + v_load_part(row_of(s, g, ROW_DH, r) + u, left);
    const vfloat e = dy / v_load_part(note + SLSTM_NOTE_N * U, left);
    const vfloat dc = v_load_part(dc_at, left) + e * o, dn = v_load_part(dn_at, left) - e * h;
    const vfloat slope = v_load_part(note + SLSTM_NOTE_SLOPE * U, left);
    const vfloat gradients[4] = {add * (z * dc + dn),
                                 keep * (c_before * dc + n_before * dn) * slope,
                                 dc * add * (1.0f - z * z), dy * h * (1.0f - o)};
    v_store_part(dc_at, keep * dc, left);
    v_store_part(dn_at, keep * dn, left);
    float *gates = s->gates + note_at(s, g, r, t, 4) + u;
    for (int gate = 0; gate < 4; gate++) {
        const GradientTarget to = gate < 2 ? s->to_if : s->to_zo;
        v_store_part(gates + gate * U, gradients[gate], left);
        v_store_part(row_of(s, g, ROW_DG, 0) + (r * 4 + gate) * U + u, gradients[gate], left);
        if (to.data) v_deliver(to, 2 * (at - u) + gate % 2 * U + u, gradients[gate], left);
    }
}

/* dh = dG R^T for the units of one panel. */
ALWAYS_INLINE void pass_back(const Slstm *s, const Walk *g, const float *panel, int64_t u,
                             const int vectors) {
    const int64_t U = s->plan.U;
    const RowGroup rows = {.count = g->count, .rows = row_of(s, g, ROW_DG, 0), .apart = 4 * U};
    float sums[GROUP_ROWS * PANEL] __attribute__((aligned(64)));
    product(4 * U, &rows, panel, sums, vectors);
    for (int64_t r = 0; r < g->count; r++)
        for (int64_t v = u; v < U && v < u + vectors * LANES; v += LANES)
            v_store_part(row_of(s, g, ROW_DH, r) + v, v_load(sums + r * PANEL + v - u), U - v);
}

static void backward_group(const Slstm *s, const Walk *g) {
    const int64_t U = s->plan.U;
    memset(g->rows, 0, (size_t)(ROW_DG * SLSTM_GROUP * U) * sizeof(float));
    for (int64_t t = s->plan.L - 1; t >= 0; t--) {
        for (int64_t r = 0; r < g->count; r++)
            for (int64_t u = 0; u < U; u += LANES) cell_gradients(s, g, t, u, r);
        const float *panel = g->packed;
        for (int64_t u = 0; u < U && t > 0;) {
            const int vectors = panel_vectors(U, u);
            if (vectors == PANEL_VECTORS)
                pass_back(s, g, panel, u, PANEL_VECTORS);
            else
                pass_back(s, g, panel, u, 2);
            panel += vectors * LANES * 4 * U;
            u += vectors * LANES;
        }
    }
}

/* Gradients of a head's R and bias: h before each token times the gates', sequence by sequence. */
static void weight_gradients(const Slstm *s, int64_t head, float *workspace, int threads) {
    const SlstmPlan *plan = &s->plan;
    const int64_t L = plan->L, U = plan->U;
    GradientTarget to = gradient_target(s->call, SLSTM_R);
    GradientTarget bias = gradient_target(s->call, SLSTM_BIAS);
    for (int64_t b = 0; b < plan->B; b++) {
        const Walk g = {.head = head, .first = b};
        const float *gates = s->gates + note_at(s, &g, 0, 0, 4);
        const float *h = s->h + unit_at(s, &g, 0, 0);
        float *into = to.data ? to.data + head * U * 4 * U : NULL;
        if (into && s->state) {
            ISA(gemm)
            (GEMM_TN, PRODUCTS_FLOAT, U, 4 * U, 1, s->state + state_at(s, &g, 0, 0), U, gates,
             4 * U, into, 4 * U, to.add, workspace, threads);
            to.add = true;
        }
        if (into) {
            ISA(gemm)
            (GEMM_TN, PRODUCTS_FLOAT, U, 4 * U, L - 1, h, plan->H * U, gates + 4 * U, 4 * U, into,
             4 * U, to.add, workspace, threads);
            to.add = true;
        }
        for (int64_t c = 0; c < 4 * U && bias.data; c += LANES) {
            vfloat sum = v_zero();
            for (int64_t t = 0; t < L; t++) sum += v_load_part(gates + t * 4 * U + c, 4 * U - c);
            v_deliver(bias, head * 4 * U + c, sum, 4 * U - c);
        }
        bias.add = true;
    }
}

static void backward(const OpCall *call, const Run *run) {
    Slstm s = open_call(call, PHASE_BACKWARD);
    float *workspace = (float *)call->scratch + s.plan.workspace;
    s.gates = (float *)call->scratch + s.plan.gates;
    s.slope = call->out[SLSTM_H]->gradient;
    s.to_if = gradient_target(call, SLSTM_IF);
    s.to_zo = gradient_target(call, SLSTM_ZO);
    for (int64_t head = 0; head < s.plan.H; head++) pack_transposed(&s, head);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t number = 0; number < s.groups * s.plan.H; number++) {
        const Walk g = group_of(&s, number);
        backward_group(&s, &g);
    }
    for (int64_t head = 0; head < s.plan.H; head++)
        weight_gradients(&s, head, workspace, run->threads);
}

const OpKernels ISA(slstm_cpu) = {forward, backward};
