/* A block for each head of each sequence, or of some sequences where there are many, mini-batch
 * after mini-batch. With one layer of 64 channels a block's numbers fit into shared memory; with a
 * hidden layer they stay in scratch, which the second-level cache holds. Bound by shared memory: a
 * thread's 8 sums cost 9 reads a step. */
#include "engine/ops/ttt/ttt.cuh"

#include "engine/cuda/columns.cuh"

namespace {

__device__ void sequence(const Inner &x, const Head &head, int64_t s) {
    const TttPlan &plan = x.plan;
    const TttBatch &batch = head.work.batch[0];
    const int64_t l = plan.layers - 1, f = plan.f;
    const int p = head.p;
    first_state(x, head, batch.state);
    for (int64_t number = 0; number < plan.batches; number++) {
        const int64_t group = number / TTT_GROUP, kept = s * plan.H + head.number;
        if (x.saved && group > 0 && number % TTT_GROUP == 0)
            copy_floats(batch.state, x.saved + (kept * (plan.groups - 1) + group - 1) * plan.P,
                        plan.P);
        batch_load(x, head, s, number, batch);
        batch_learn(head, batch);
        batch_answer(head, batch);
        float *const y = x.y + batch_place(head, s, number);
        for (int i = (int)threadIdx.x; i < (int)f * batch_tokens(plan, number); i += THREADS) {
            const int t = i / (int)f, c = i % (int)f, at = c * 2 * p + p + t;
            y[t * plan.H * f + c] =
                batch.x[0][at] + (batch.z[l][at] * head.gamma[c] + head.beta[c]);
        }
        __syncthreads();
        if (number + 1 < plan.batches) batch_step(head, batch, batch.state);
    }
}

/* A block takes every `blocks`-th sequence of its head. */
KERNEL void __launch_bounds__(THREADS) learn(const Inner x) {
    const Head head = head_of(x, PHASE_FORWARD, blockIdx.x % x.plan.H);
    for (int64_t s = blockIdx.x / x.plan.H; s < x.plan.B; s += x.blocks) sequence(x, head, s);
}

/* The gradient of what the last layer gives the queries, from y's in dx[0]'s second half. */
__device__ void through_answers(const Head &head, const TttBatch &batch) {
    const int64_t l = head.plan.layers - 1, f = head.plan.f;
    const TttWork &work = head.work;
    const int p = head.p;
    for (int c = (int)threadIdx.x; c < (int)f; c += THREADS)
        for (int t = 0; t < p; t++) {
            const int at = c * 2 * p + p + t;
            const float dy = work.dx[0][at];
            work.dgamma[c] += dy * batch.z[l][at];
            work.dbeta[c] += dy;
            work.dz[l][at] = dy * head.gamma[c];
        }
    __syncthreads();
    const Slot slot = slot_of(p);
    through_norm(slot, work.dz[l] + p, 2 * p, batch.z[l] + p, 2 * p, batch.inverse[p + slot.lane],
                 f);
}

/* What flows into a layer's keys and their gradients g through the weights after the mini-batch. */
__device__ void through_next_weights(const Head &head, const TttBatch &batch, int l) {
    const TttPlan &plan = head.plan;
    const TttWork &work = head.work;
    const int p = head.p;
    const int64_t in = plan.in[l], out = plan.out[l];
    const float *const D = work.dstate + plan.W[l], *const Dc = work.dstate + plan.c[l];
    const float tau = work.tau[plan.b - 1];
    multiply(out, p, in, {D, 1, out}, batch.x[l], 2 * p, work.scaled, p, false);
    const Slot slot = slot_of(p);
    const int t = slot.lane;
    const float last = sum_channels(
        slot, out, [&](int c) { return (work.scaled[c * p + t] + Dc[c]) * batch.g[l][c * p + t]; });
    const float step = batch.rate[t] * tau;
    for_channels(slot, out, [&](int c) {
        const int at = c * p + t;
        work.dg[l][at] -= step * (work.scaled[at] + Dc[c]);
        work.scaled[at] = -step * batch.g[l][at];
    });
    if (slot.first == 0) work.dlast[t] -= last;
    __syncthreads();
    multiply(in, p, out, {D, out, 1}, work.scaled, p, work.dx[l], 2 * p, true);
}

/* A layer's lessons to the queries, and to the mini-batches that follow. */
__device__ void through_lessons(const Head &head, const TttBatch &batch, int l, bool followed) {
    const TttWork &work = head.work;
    const int p = head.p;
    const int64_t in = head.plan.in[l], out = head.plan.out[l];
    multiply(p, p, out, {batch.g[l], 1, p}, work.dz[l] + p, 2 * p, work.dA, p, false);
    for_panel(p, p, [&](int j, int t) {
        const float d = -work.dA[j * p + t];
        work.dE[j * p + t] += d * (batch.attention[l][j * p + t] + 1.0f);
        work.dA[j * p + t] = work.turned[t * p + j] = d * step_size(head, batch, j, t);
    });
    multiply(in, p, p, {batch.x[l], 2 * p, 1}, work.dA, p, work.dx[l] + p, 2 * p, true);
    multiply(in, p, p, {batch.x[l] + p, 2 * p, 1}, work.turned, p, work.dx[l], 2 * p, true);
    weigh(head, batch, l, true);
    multiply(out, p, p, {work.dz[l] + p, 2 * p, 1}, work.square, p, work.dg[l], p, false);
    if (followed) through_next_weights(head, batch, l);
}

/* Adds the gradient of a layer's weights from both halves of dz: x dz^T. */
__device__ void add_weights(const Head &head, const TttBatch &batch, int l) {
    const TttPlan &plan = head.plan;
    const TttWork &work = head.work;
    const int p = head.p;
    const int64_t b = plan.b, in = plan.in[l], out = plan.out[l], row = work.row;
    float *const dW = work.dstate + plan.W[l], *const queries = work.rows + b * row;
    tokens_as_rows(head, work.dz[l], 2 * p, out, work.rows);
    tokens_as_rows(head, work.dz[l] + p, 2 * p, out, queries);
    multiply(in, out, b, {batch.x[l], 2 * p, 1}, work.rows, row, dW, out, true);
    multiply(in, out, b, {batch.x[l] + p, 2 * p, 1}, queries, row, dW, out, true);
    add_rows(head, out, 2 * b, work.dstate + plan.c[l]);
}

/* dg of the last layer to dz (its keys' half), to the target v - k and to gamma and beta: as on the
 * CPU. dv takes the place of v. */
__device__ void through_gradient(const Head &head, const TttBatch &batch) {
    const int64_t l = head.plan.layers - 1, f = head.plan.f;
    const TttWork &work = head.work;
    const int p = head.p;
    const Slot slot = slot_of(p);
    const int t = slot.lane;
    const float part = 1.0f / (float)f, inverse = batch.inverse[t];
    const float *const x = batch.z[l], *const g = batch.g[l];
    float *const dg = work.dg[l], *const dx = work.dz[l], *const pull = work.panel;
    const float stretch =
        part * sum_channels(slot, f, [&](int c) { return g[c * p + t] * dg[c * p + t]; });
    const float along =
        part * sum_channels(slot, f, [&](int c) { return dg[c * p + t] * x[c * 2 * p + t]; });
    for_channels(slot, f, [&](int c) {
        const float r = x[c * 2 * p + t] * head.gamma[c] + head.beta[c] -
                        (batch.v[c * p + t] - batch.x[0][c * 2 * p + t]);
        batch.v[c * p + t] = r;
        pull[c * p + t] = r * head.gamma[c];
    });
    const float pulled =
        part * sum_channels(slot, f, [&](int c) { return pull[c * p + t] * x[c * 2 * p + t]; });
    for_channels(slot, f, [&](int c) {
        dx[c * 2 * p + t] = -inverse * (pulled * dg[c * p + t] + along * pull[c * p + t]);
    });
    through_norm(slot, dg, p, x, 2 * p, inverse, f);
    for (int c = (int)threadIdx.x; c < (int)f; c += THREADS)
        for (int j = 0; j < p; j++) {
            const int at = c * p + j, pair = c * 2 * p + j;
            const float dr = dg[at] * head.gamma[c];
            work.dgamma[c] += dg[at] * batch.v[at] + dr * x[pair];
            work.dbeta[c] += dr;
            dx[pair] += dr * head.gamma[c];
            work.dx[0][pair] += dr;
            batch.v[at] = -dr;
        }
    __syncthreads();
    through_norm(slot, dx, 2 * p, x, 2 * p, inverse, f);
    for_channels(slot, f,
                 [&](int c) { dx[c * 2 * p + t] -= stretch * inverse * x[c * 2 * p + t]; });
}

/* dz's half of the first layer from dx of the second. */
__device__ void through_activation(const Head &head, const TttBatch &batch, int offset, bool add) {
    const int pitch = 2 * head.p;
    for_panel(head.plan.out[0], head.p, [&](int i, int t) {
        const int at = i * pitch + offset + t;
        put(head.work.dz[0] + at, head.work.dx[1][at] * gelu_of(batch.z[0][at]).slope, add);
    });
}

/* g[0] = u gelu'(z), u = g[1] W2^T. du takes the place of dg[0]. */
__device__ void through_hidden_gradient(const Head &head, const TttBatch &batch) {
    const TttPlan &plan = head.plan;
    const TttWork &work = head.work;
    const int p = head.p;
    const int64_t f = plan.f, h = plan.out[0];
    for_panel(h, p, [&](int i, int t) {
        const Gelu gelu = gelu_of(batch.z[0][i * 2 * p + t]);
        const float dg = work.dg[0][i * p + t];
        work.dz[0][i * 2 * p + t] = dg * batch.u[i * p + t] * gelu.curve;
        work.dg[0][i * p + t] = dg * gelu.slope;
    });
    multiply(f, p, h, {batch.state + plan.W[1], 1, f}, work.dg[0], p, work.dg[1], p, true);
    tokens_as_rows(head, batch.g[1], p, f, work.rows);
    multiply(h, f, plan.b, {work.dg[0], p, 1}, work.rows, work.row, work.dstate + plan.W[1], f,
             true);
}

/* dx of a layer += W dz, for `columns` lanes from `offset` on. */
__device__ void through_weights(const Head &head, const TttBatch &batch, int l, int offset,
                                int columns) {
    const int64_t in = head.plan.in[l], out = head.plan.out[l], pitch = 2 * head.p;
    multiply(in, columns, out, {batch.state + head.plan.W[l], out, 1}, head.work.dz[l] + offset,
             pitch, head.work.dx[l] + offset, pitch, true);
}

__device__ void batch_back(const Head &head, const TttBatch &batch, bool followed) {
    const TttPlan &plan = head.plan;
    const TttWork &work = head.work;
    const int p = head.p;
    for_panel(p, p, [&](int j, int t) { work.dE[j * p + t] = 0; });
    for_panel(1, p, [&](int, int t) { work.dlast[t] = 0; });
    for_panel(plan.f, p, [&](int i, int t) { work.dx[0][i * 2 * p + t] = 0; });
    through_answers(head, batch);
    if (plan.layers > 1) {
        for_panel(plan.out[0], 2 * p, [&](int i, int t) { work.dx[1][i * 2 * p + t] = 0; });
        through_weights(head, batch, 1, p, p);
        through_lessons(head, batch, 1, followed);
        through_activation(head, batch, p, false);
    }
    through_lessons(head, batch, 0, followed);
    if (plan.layers > 1) through_hidden_gradient(head, batch);
    through_gradient(head, batch);
    if (plan.layers > 1) {
        through_weights(head, batch, 1, 0, p);
        add_weights(head, batch, 1);
        through_activation(head, batch, 0, true);
    }
    through_weights(head, batch, 0, 0, 2 * p);
    add_weights(head, batch, 0);
}

/* The rates' gradients and tau's, from E_tj = tau_t rate_j. */
__device__ void give_step_sizes(const Inner &x, const Head &head, const TttBatch &batch, int64_t s,
                                int64_t number) {
    const TttPlan &plan = head.plan;
    const TttWork &work = head.work;
    const int p = head.p, last = (int)plan.b - 1, tokens = batch_tokens(plan, number);
    for (int t = (int)threadIdx.x; t < p; t += THREADS) {
        float tau = 0, rate = work.dlast[t] * work.tau[last];
        for (int j = 0; j <= t; j++) tau += work.dE[j * p + t] * batch.rate[j];
        for (int j = 0; t == last && j < p; j++) tau += work.dlast[j] * batch.rate[j];
        for (int query = t; query < p; query++) rate += work.dE[t * p + query] * work.tau[query];
        work.dtau[t] += tau;
        const int64_t at = batch_place(head, s, number) / plan.f + t * plan.H;
        if (x.drate && t < tokens) put(x.drate + at, plan.scale * rate, x.add_rate);
    }
    __syncthreads();
}

__device__ void give(const Head &head, const float *panel, int64_t pitch, float *to, bool add,
                     int64_t s, int64_t number) {
    const int f = (int)head.plan.f;
    const int64_t at = batch_place(head, s, number), apart = head.plan.H * f;
    const int count = to ? f * batch_tokens(head.plan, number) : 0;
    for (int i = (int)threadIdx.x; i < count; i += THREADS)
        put(to + at + i / f * apart + i % f, panel[i % f * pitch + i / f], add);
    __syncthreads();
}

__device__ void sequence_back(const Inner &x, const Head &head, int64_t s) {
    const TttPlan &plan = head.plan;
    const int p = head.p;
    const TttBatch *const batch = head.work.batch;
    for (int64_t group = plan.groups; group-- > 0;) {
        const int64_t first = group * TTT_GROUP;
        int64_t last = min(first + TTT_GROUP, plan.batches);
        if (group == 0)
            first_state(x, head, batch->state);
        else
            copy_floats(x.saved +
                            ((s * plan.H + head.number) * (plan.groups - 1) + group - 1) * plan.P,
                        batch->state, plan.P);
        for (int64_t number = first; number < last; number++) {
            const TttBatch &now = batch[number - first];
            batch_load(x, head, s, number, now);
            batch_learn(head, now);
            batch_answer(head, now);
            if (number + 1 < last) batch_step(head, now, batch[number + 1 - first].state);
        }
        while (last-- > first) {
            const TttBatch &now = batch[last - first];
            panel_from_rows(head, x.dy + batch_place(head, s, last), batch_tokens(plan, last),
                            head.work.dx[0] + p, 2 * p);
            batch_back(head, now, last + 1 < plan.batches);
            give_step_sizes(x, head, now, s, last);
            give(head, head.work.dx[0], 2 * p, x.dk, x.add_k, s, last);
            give(head, head.work.dx[0] + p, 2 * p, x.dq, x.add_q, s, last);
            give(head, now.v, p, x.dv, x.add_v, s, last);
        }
    }
}

/* The same, backward; parts: (blocks, H, ttt_part_floats). */
KERNEL void __launch_bounds__(THREADS) learn_adjoint(const Inner x) {
    const TttPlan &plan = x.plan;
    const Head head = head_of(x, PHASE_BACKWARD, blockIdx.x % plan.H);
    const TttWork &work = head.work;
    float *const part = x.parts + blockIdx.x * ttt_part_floats(&plan);
    for_panel(1, (int)ttt_part_floats(&plan), [&](int, int i) { part[i] = 0; });
    for_panel(1, head.p, [&](int, int t) { work.dtau[t] = 0; });
    for_panel(plan.f, 1, [&](int c, int) { work.dgamma[c] = work.dbeta[c] = 0; });
    for (int64_t s = blockIdx.x / plan.H; s < plan.B; s += x.blocks) {
        for_panel(1, (int)plan.P, [&](int, int i) { work.dstate[i] = 0; });
        sequence_back(x, head, s);
        for_panel(1, (int)plan.P, [&](int, int i) { part[i] += work.dstate[i]; });
    }
    for_panel(plan.f, 1, [&](int c, int) {
        part[plan.P + c] = work.dgamma[c];
        part[plan.P + plan.f + c] = work.dbeta[c];
    });
    for_panel(1, (int)plan.b, [&](int, int t) {
        part[plan.P + 2 * plan.f + t] = work.tau[t] > 0 ? work.dtau[t] : 0;
    });
}

/* Blocks of one head: from the shape alone, so that all GPUs add alike. */
int64_t blocks_of(const TttPlan &plan) {
    const int64_t blocks = plan.H < MOST_BLOCKS ? MOST_BLOCKS / plan.H : 1;
    return blocks < plan.B ? blocks : plan.B;
}

Inner inner_of(const OpCall *call) {
    Inner x = {ttt_inner(call)};
    x.saved = call->saves ? call->saved[0]->data : NULL;
    x.blocks = blocks_of(x.plan);
    return x;
}

template <class Kernel>
void start(const Run *run, Kernel *kernel, const char *name, Inner x, Phase phase, float *scratch) {
    x.floats = ttt_work_floats(&x.plan, phase, 1);
    const size_t bytes = (size_t)x.floats * sizeof(float), least = 2048; /* of sum_slots */
    const bool fits = bytes + least <= most_shared(run);
    x.scratch = fits ? NULL : scratch;
    launch_named(name, run, kernel, dim3((unsigned)(x.blocks * x.plan.H)), dim3(THREADS),
                 fits ? bytes : 0, x);
}

void forward(const OpCall *call, const Run *run) {
    Inner x = inner_of(call);
    x.y = call->out[0]->data;
    start(run, learn, "ttt", x, PHASE_FORWARD, static_cast<float *>(call->scratch));
}

/* A gradient (H, size) is the sum over blocks of what lies `offset` floats behind each part's
 * beginning. */
struct Parts {
    const float *parts;
    int64_t floats, H, offset, size;
    __device__ float operator()(int64_t row, int64_t column) const {
        return parts[(row * H + column / size) * floats + offset + column % size];
    }
};

void backward(const OpCall *call, const Run *run) {
    Inner x = inner_of(call);
    const TttPlan &plan = x.plan;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const int64_t H = plan.H, floats = ttt_part_floats(&plan);
    x.dy = call->out[0]->gradient;
    x.dq = gradient_of(call, TTT_Q);
    x.dk = gradient_of(call, TTT_K);
    x.dv = gradient_of(call, TTT_V);
    x.drate = gradient_of(call, TTT_RATE);
    x.add_q = call->accumulate[TTT_Q];
    x.add_k = call->accumulate[TTT_K];
    x.add_v = call->accumulate[TTT_V];
    x.add_rate = call->accumulate[TTT_RATE];
    x.parts = carver.take<float>(x.blocks * H * floats);
    float *const sums = carver.take<float>(column_slices(x.blocks * H) * H * (plan.P + plan.b));
    start(run, learn_adjoint, "ttt backward", x, PHASE_BACKWARD,
          reinterpret_cast<float *>(carver.next));
    const auto add = [&](int input, int64_t rows, int64_t heads, int64_t offset, int64_t size) {
        float *const to = gradient_of(call, input);
        const Parts parts = {x.parts, floats, heads, offset, size};
        if (to) sum_columns(run, parts, rows, heads * size, to, call->accumulate[input], sums);
    };
    for (int l = 0; l < plan.layers; l++) {
        add(TTT_W1 + 2 * l, x.blocks, H, plan.W[l], plan.in[l] * plan.out[l]);
        add(TTT_C1 + 2 * l, x.blocks, H, plan.c[l], plan.out[l]);
    }
    add(TTT_GAMMA, x.blocks, H, plan.P, plan.f);
    add(TTT_BETA, x.blocks, H, plan.P + plan.f, plan.f);
    add(TTT_INDEX, x.blocks * H, 1, plan.P + 2 * plan.f, plan.b);
}

size_t scratch(const OpCall *call, Phase phase) {
    const TttPlan plan = ttt_plan(call->in, static_cast<const Ttt *>(call->attributes));
    const int64_t floats = ttt_work_floats(&plan, phase, 1), H = plan.H;
    const int64_t blocks = blocks_of(plan) * H;
    if (phase == PHASE_FORWARD) return carved(blocks * floats, sizeof(float));
    return carved(blocks * ttt_part_floats(&plan), sizeof(float)) +
           carved(column_slices(blocks) * H * (plan.P + plan.b), sizeof(float)) +
           carved(blocks * floats, sizeof(float));
}

} // namespace

CUDA_OP(ttt, {forward, backward}, scratch);
