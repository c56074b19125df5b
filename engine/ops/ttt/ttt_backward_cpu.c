/* Backward: groups of mini-batches from the last one to the first. The forward pass of a group runs
 * once more from the weights that were kept before it, then its mini-batches go back one by one;
 * the gradient of the weights (P numbers) is what one hands to the one before it. Some 18 f^2
 * multiplications and additions a token and head with one layer of f channels.
 *
 * The paper leaves this to automatic differentiation; the formulas follow from those in ttt.h. D is
 * the gradient of the weights after a mini-batch, as the one that comes next left it. */
#include <omp.h>

#include "engine/ops/ttt/ttt_batch_simd.h"

void ISA(ttt_backward)(const OpCall *call, const Run *run);

/* The gradient of what the last layer gives the queries, from y's, which lies in dx[0]'s second
 * half: y = q + gamma z + beta. */
static void through_answers(const Head *head, const TttBatch *batch) {
    const int64_t l = head->plan.layers - 1, f = head->plan.f, p = head->p;
    const TttWork *work = &head->work;
    for (int64_t t = 0; t < p; t += LANES) {
        const float *x = batch->z[l] + p + t, *dy = work->dx[0] + p + t;
        float *dz = work->dz[l] + p + t;
        for (int64_t i = 0; i < f; i++) {
            const vfloat y = v_load(dy + i * 2 * p);
            float *dgamma = work->dgamma + i * TTT_LINE, *dbeta = work->dbeta + i * TTT_LINE;
            v_store(dgamma, v_load(dgamma) + y * v_load(x + i * 2 * p));
            v_store(dbeta, v_load(dbeta) + y);
            v_store(dz + i * 2 * p, y * head->gamma[i]);
        }
        through_norm(dz, 2 * p, x, 2 * p, v_load(batch->inverse + p + t), f);
    }
}

/* dE and the gradient of the attention scores, from that of the queries' z. dA: [key][query]. */
static void through_scores(const Head *head, const TttBatch *batch, int64_t l) {
    const TttWork *work = &head->work;
    const int64_t p = head->p, out = head->plan.out[l];
    multiply(p, p, out, (Left){batch->g[l], 1, p}, work->dz[l] + p, 2 * p, work->dA, p, false);
    for (int64_t j = 0; j < p; j++)
        for (int64_t t = 0; t < p; t += LANES) {
            const int64_t at = j * p + t;
            const vfloat d = -v_load(work->dA + at);
            v_store(work->dE + at,
                    v_load(work->dE + at) + d * (v_load(batch->attention[l] + at) + 1.0f));
            v_store(work->dA + at, d * step_sizes(head, batch, j, t));
        }
}

/* What flows into a layer's keys and their gradients g through the weights after the mini-batch. */
static void through_next_weights(const Head *head, const TttBatch *batch, int64_t l) {
    const TttPlan *plan = &head->plan;
    const TttWork *work = &head->work;
    const int64_t p = head->p, in = plan->in[l], out = plan->out[l];
    const float *D = work->dstate + plan->W[l], *Dc = work->dstate + plan->c[l];
    const float tau = work->tau[plan->b - 1];
    multiply(out, p, in, (Left){D, 1, out}, batch->x[l], 2 * p, work->scaled, p, false);
    for (int64_t t = 0; t < p; t += LANES) {
        const vfloat step = v_load(batch->rate + t) * tau;
        vfloat last = v_zero();
        for (int64_t c = 0; c < out; c++) {
            const int64_t at = c * p + t;
            const vfloat flow = v_load(work->scaled + at) + Dc[c], g = v_load(batch->g[l] + at);
            last += flow * g;
            v_store(work->dg[l] + at, v_load(work->dg[l] + at) - step * flow);
            v_store(work->scaled + at, -step * g);
        }
        v_store(work->dlast + t, v_load(work->dlast + t) - last);
    }
    multiply(in, p, out, (Left){D, out, 1}, work->scaled, p, work->dx[l], 2 * p, true);
}

/* A layer's lessons to the queries, and to the mini-batches that follow. dz's second half is known;
 * dg becomes the gradient of g, dx's halves grow by what comes through the scores and through the
 * next weights. */
static void through_lessons(const Head *head, const TttBatch *batch, int64_t l, bool followed) {
    const TttWork *work = &head->work;
    const int64_t p = head->p, in = head->plan.in[l], out = head->plan.out[l];
    through_scores(head, batch, l);
    multiply(in, p, p, (Left){batch->x[l], 2 * p, 1}, work->dA, p, work->dx[l] + p, 2 * p, true);
    turn_square(work->dA, work->turned, p);
    multiply(in, p, p, (Left){batch->x[l] + p, 2 * p, 1}, work->turned, p, work->dx[l], 2 * p,
             true);
    weigh(head, batch, l, work->square);
    turn_square(work->square, work->turned, p);
    multiply(out, p, p, (Left){work->dz[l] + p, 2 * p, 1}, work->turned, p, work->dg[l], p, false);
    if (followed) through_next_weights(head, batch, l);
}

/* Adds the gradient of a layer's weights from both halves of dz: x dz^T. */
static void add_weights(const Head *head, const TttBatch *batch, int64_t l) {
    const TttPlan *plan = &head->plan;
    const TttWork *work = &head->work;
    const int64_t p = head->p, b = plan->b, in = plan->in[l], out = plan->out[l], row = work->row;
    float *dc = work->dstate + plan->c[l], *rows = work->rows;
    const bool close = b == p; /* the halves' tokens lie one behind the other */
    tokens_as_rows(head, work->dz[l], 2 * p, out, NULL, rows);
    tokens_as_rows(head, work->dz[l] + p, 2 * p, out, NULL, rows + b * row);
    float *dW = work->dstate + plan->W[l];
    const Left keys = {batch->x[l], 2 * p, 1}, queries = {batch->x[l] + p, 2 * p, 1};
    multiply(in, out, close ? 2 * b : b, keys, rows, row, dW, out, true);
    if (!close) multiply(in, out, b, queries, rows + b * row, row, dW, out, true);
    for (int64_t i = 0; i < out; i += LANES)
        v_store_part(dc + i, v_load_part(dc + i, out - i) + channel_sum(rows + i, row, 2 * b),
                     out - i);
}

/* dg of the last layer, the gradient of the loss's gradient there, to dz (its keys' half), to the
 * target v - k and to gamma and beta. With D for through_norm, symmetric in its panel,
 *
 *     g = D(gamma r),  r = gamma x + beta - (v - k)
 *
 * x and the deviation in D depend on z, too. dv takes the place of v. */
static void through_gradient(const Head *head, const TttBatch *batch) {
    const int64_t l = head->plan.layers - 1, f = head->plan.f, p = head->p;
    const TttWork *work = &head->work;
    const float part = 1.0f / (float)f;
    for (int64_t t = 0; t < p; t += LANES) {
        const float *x = batch->z[l] + t, *g = batch->g[l] + t;
        float *dg = work->dg[l] + t, *dx = work->dz[l] + t, *dk = work->dx[0] + t;
        float *target = batch->v + t, *pull = work->panel + t;
        const vfloat inverse = v_load(batch->inverse + t);
        const vfloat stretch = channel_product(g, p, dg, p, f) * part;
        const vfloat h_along = channel_product(dg, p, x, 2 * p, f) * part;
        for (int64_t i = 0; i < f; i++) { /* r, and gamma r */
            const vfloat r = v_load(x + i * 2 * p) * head->gamma[i] + head->beta[i] -
                             (v_load(target + i * p) - v_load(batch->x[0] + i * 2 * p + t));
            v_store(target + i * p, r);
            v_store(pull + i * p, r * head->gamma[i]);
        }
        const vfloat p_along = channel_product(pull, p, x, 2 * p, f) * part;
        for (int64_t i = 0; i < f; i++)
            v_store(dx + i * 2 * p,
                    -inverse * (p_along * v_load(dg + i * p) + h_along * v_load(pull + i * p)));
        through_norm(dg, p, x, 2 * p, inverse, f);
        for (int64_t i = 0; i < f; i++) {
            const vfloat flow = v_load(dg + i * p), r = v_load(target + i * p);
            const vfloat dr = flow * head->gamma[i], xi = v_load(x + i * 2 * p);
            float *dgamma = work->dgamma + i * TTT_LINE, *dbeta = work->dbeta + i * TTT_LINE;
            v_store(dgamma, v_load(dgamma) + flow * r + dr * xi);
            v_store(dbeta, v_load(dbeta) + dr);
            v_store(dx + i * 2 * p, v_load(dx + i * 2 * p) + dr * head->gamma[i]);
            v_store(dk + i * 2 * p, v_load(dk + i * 2 * p) + dr);
            v_store(target + i * p, -dr);
        }
        through_norm(dx, 2 * p, x, 2 * p, inverse, f);
        /* The deviation: d(1 / deviation) scales all of g. */
        for (int64_t i = 0; i < f; i++)
            v_store(dx + i * 2 * p,
                    v_load(dx + i * 2 * p) - stretch * inverse * v_load(x + i * 2 * p));
    }
}

/* Second derivative of the activation: gelu(x) = x s(y), s the logistic function, y a cubic. */
static vfloat gelu_curve(vfloat x) {
    vfloat slope;
    const vfloat s = v_sigmoid(v_gelu_tanh_argument(x, &slope)), ds = s * (1.0f - s);
    const vfloat clamped = v_max(v_set(-30.0f), v_min(v_set(30.0f), x));
    const vfloat bend = clamped * (6 * 0.0713548163f);
    return ds * (2.0f * slope + clamped * ((1.0f - 2.0f * s) * slope * slope + bend));
}

/* dz's half of the first layer from dx of the second. */
static void through_activation(const Head *head, const TttBatch *batch, int64_t offset, bool add) {
    const int64_t p = head->p;
    for (int64_t i = 0; i < head->plan.out[0]; i++)
        for (int64_t t = offset; t < offset + p; t += LANES) {
            const int64_t at = i * 2 * p + t;
            const vfloat flow = v_load(head->work.dx[1] + at) *
                                v_activate_gradient(ACTIVATION_GELU_TANH, v_load(batch->z[0] + at));
            v_store(head->work.dz[0] + at, add ? v_load(head->work.dz[0] + at) + flow : flow);
        }
}

/* g[0] = u gelu'(z), u = g[1] W2^T: from dg[0] to dg[1], dz[0] (overwritten), and W2. du takes the
 * place of dg[0]. */
static void through_hidden_gradient(const Head *head, const TttBatch *batch) {
    const TttPlan *plan = &head->plan;
    const TttWork *work = &head->work;
    const int64_t p = head->p, f = plan->f, h = plan->out[0];
    for (int64_t i = 0; i < h; i++)
        for (int64_t t = 0; t < p; t += LANES) {
            const vfloat z = v_load(batch->z[0] + i * 2 * p + t);
            const vfloat dg = v_load(work->dg[0] + i * p + t);
            v_store(work->dz[0] + i * 2 * p + t, dg * v_load(batch->u + i * p + t) * gelu_curve(z));
            v_store(work->dg[0] + i * p + t, dg * v_activate_gradient(ACTIVATION_GELU_TANH, z));
        }
    multiply(f, p, h, (Left){batch->state + plan->W[1], 1, f}, work->dg[0], p, work->dg[1], p,
             true);
    tokens_as_rows(head, batch->g[1], p, f, NULL, work->rows);
    multiply(h, f, plan->b, (Left){work->dg[0], p, 1}, work->rows, work->row,
             work->dstate + plan->W[1], f, true);
}

/* dx of a layer += W dz, for `columns` lanes from `offset` on. */
static void through_weights(const Head *head, const TttBatch *batch, int64_t l, int64_t offset,
                            int64_t columns) {
    const int64_t in = head->plan.in[l], out = head->plan.out[l], p = head->p;
    multiply(in, columns, out, (Left){batch->state + head->plan.W[l], out, 1},
             head->work.dz[l] + offset, 2 * p, head->work.dx[l] + offset, 2 * p, true);
}

/* One mini-batch back. y's gradient lies in dx[0]'s second half; the gradients of keys and queries
 * are left in dx[0], of values in batch->v. */
static void batch_back(const Head *head, const TttBatch *batch, bool followed) {
    const TttPlan *plan = &head->plan;
    const TttWork *work = &head->work;
    const int64_t p = head->p, h = plan->out[0];
    memset(work->dE, 0, (size_t)(p * p) * sizeof(float));
    memset(work->dlast, 0, (size_t)p * sizeof(float));
    for (int64_t i = 0; i < plan->f; i++)
        memset(work->dx[0] + i * 2 * p, 0, (size_t)p * sizeof(float));
    through_answers(head, batch);
    if (plan->layers > 1) {
        memset(work->dx[1], 0, (size_t)(h * 2 * p) * sizeof(float));
        through_weights(head, batch, 1, p, p);
        through_lessons(head, batch, 1, followed);
        through_activation(head, batch, p, false);
    }
    through_lessons(head, batch, 0, followed);
    if (plan->layers > 1) through_hidden_gradient(head, batch);
    through_gradient(head, batch);
    if (plan->layers > 1) {
        through_weights(head, batch, 1, 0, p);
        add_weights(head, batch, 1);
        through_activation(head, batch, 0, true);
    }
    through_weights(head, batch, 0, 0, 2 * p);
    add_weights(head, batch, 0);
}

/* The rates' gradients and tau's, from E_tj = tau_t rate_j. */
static void give_step_sizes(const OpCall *call, const Head *head, const TttBatch *batch, int64_t s,
                            int64_t number) {
    const TttPlan *plan = &head->plan;
    const TttWork *work = &head->work;
    const int64_t p = head->p, b = plan->b, token = s * plan->L + number * b;
    const GradientTarget rate = gradient_target(call, TTT_RATE);
    float last = 0;
    for (int64_t j = 0; j < batch_tokens(plan, number); j++) {
        vfloat sum = v_zero();
        for (int64_t t = j / LANES * LANES; t < p; t += LANES) {
            const vfloat seen = from_key_on(v_load(work->dE + j * p + t), j, t);
            v_store(work->dtau + t, v_load(work->dtau + t) + seen * batch->rate[j]);
            sum += seen * v_load(work->tau + t);
        }
        last += work->dlast[j] * batch->rate[j];
        const float d = plan->scale * (v_sum(sum) + work->dlast[j] * work->tau[b - 1]);
        const int64_t at = (token + j) * plan->H + head->number;
        if (rate.data) rate.data[at] = rate.add ? rate.data[at] + d : d;
    }
    work->dtau[b - 1] += last;
}

static void give(const OpCall *call, const Head *head, int input, const float *panel, int64_t pitch,
                 int64_t s, int64_t number) {
    const TttPlan *plan = &head->plan;
    GradientTarget target = gradient_target(call, input);
    if (!target.data) return;
    target.data += (s * plan->L + number * plan->b) * plan->H * plan->f + head->number * plan->f;
    panel_to_rows(panel, pitch, plan->f, target, plan->H * plan->f, batch_tokens(plan, number));
}

static void sequence_back(const OpCall *call, const Head *head, int64_t s) {
    const TttPlan *plan = &head->plan;
    const int64_t p = head->p, D = plan->H * plan->f;
    for (int64_t group = plan->groups; group-- > 0;) {
        const int64_t first = group * TTT_GROUP;
        int64_t last = first + TTT_GROUP < plan->batches ? first + TTT_GROUP : plan->batches;
        const TttBatch *const batch = head->work.batch;
        if (group == 0)
            first_state(call, head, batch->state);
        else
            memcpy(batch->state,
                   call->saved[0]->data +
                       ((s * plan->H + head->number) * (plan->groups - 1) + group - 1) * plan->P,
                   (size_t)plan->P * sizeof(float));
        for (int64_t number = first; number < last; number++) {
            const TttBatch *now = &batch[number - first];
            batch_load(call, head, s, number, now);
            batch_learn(head, now);
            batch_answer(head, now);
            if (number + 1 < last) batch_step(head, now, now[1].state);
        }
        while (last-- > first) {
            const TttBatch *now = batch + (last - first);
            const int64_t at = (s * plan->L + last * plan->b) * D + head->number * plan->f;
            panel_from_rows(call->out[0]->gradient + at, D, batch_tokens(plan, last), plan->f,
                            head->work.dx[0] + p, 2 * p, p);
            batch_back(head, now, last + 1 < plan->batches);
            give_step_sizes(call, head, now, s, last);
            give(call, head, TTT_K, head->work.dx[0], 2 * p, s, last);
            give(call, head, TTT_Q, head->work.dx[0] + p, 2 * p, s, last);
            give(call, head, TTT_V, now->v, p, s, last);
        }
    }
}

/* The sequences of one part of a head, one after the other; part: ttt_part_floats. */
static void part_back(const OpCall *call, const Head *head, int64_t number, float *part) {
    const TttPlan *plan = &head->plan;
    const TttWork *work = &head->work;
    const int64_t parts = ttt_parts(plan), f = plan->f;
    memset(part, 0, (size_t)plan->P * sizeof(float));
    memset(work->dtau, 0, (size_t)head->p * sizeof(float));
    memset(work->dgamma, 0, (size_t)(f * TTT_LINE) * sizeof(float));
    memset(work->dbeta, 0, (size_t)(f * TTT_LINE) * sizeof(float));
    for (int64_t s = number * plan->B / parts; s < (number + 1) * plan->B / parts; s++) {
        memset(work->dstate, 0, (size_t)plan->P * sizeof(float));
        sequence_back(call, head, s);
        for (int64_t i = 0; i < plan->P; i++) part[i] += work->dstate[i];
    }
    for (int64_t i = 0; i < f; i++) {
        part[plan->P + i] = v_sum(v_load(work->dgamma + i * TTT_LINE));
        part[plan->P + f + i] = v_sum(v_load(work->dbeta + i * TTT_LINE));
    }
    for (int64_t t = 0; t < plan->b; t++)
        part[plan->P + 2 * f + t] = work->tau[t] > 0 ? work->dtau[t] : 0;
}

/* target (H, size): the sums over parts of what lies `offset` floats behind the part's beginning.
 */
static void add_parts(const OpCall *call, int input, const float *all, int64_t offset,
                      int64_t size) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const GradientTarget target = gradient_target(call, input);
    const int64_t parts = ttt_parts(&plan), floats = ttt_part_floats(&plan);
    if (!target.data) return;
    for (int64_t head = 0; head < plan.H; head++)
        for (int64_t i = 0; i < size; i += LANES) {
            vfloat sum = v_zero();
            for (int64_t part = 0; part < parts; part++)
                sum += v_load_part(all + (head * parts + part) * floats + offset + i, size - i);
            v_deliver(target, head * size + i, sum, size - i);
        }
}

/* index is shared by the heads. */
static void add_index(const OpCall *call, const float *all) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const GradientTarget target = gradient_target(call, TTT_INDEX);
    if (!target.data) return;
    for (int64_t t = 0; t < plan.b; t++) {
        float sum = 0;
        for (int64_t part = 0; part < plan.H * ttt_parts(&plan); part++)
            sum += all[part * ttt_part_floats(&plan) + plan.P + 2 * plan.f + t];
        target.data[t] = target.add ? target.data[t] + sum : sum;
    }
}

void ISA(ttt_backward)(const OpCall *call, const Run *run) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const int64_t parts = ttt_parts(&plan),
                  floats = ttt_work_floats(&plan, PHASE_BACKWARD, TTT_LINE);
    float *all = call->scratch, *threads = all + parts * plan.H * ttt_part_floats(&plan);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < parts * plan.H; unit++) {
        const Head head =
            head_open(call, PHASE_BACKWARD, unit / parts, threads + omp_get_thread_num() * floats);
        part_back(call, &head, unit % parts, all + unit * ttt_part_floats(&plan));
    }
    for (int64_t l = 0; l < plan.layers; l++) {
        add_parts(call, TTT_W1 + 2 * (int)l, all, plan.W[l], plan.in[l] * plan.out[l]);
        add_parts(call, TTT_C1 + 2 * (int)l, all, plan.c[l], plan.out[l]);
    }
    add_parts(call, TTT_GAMMA, all, plan.P, plan.f);
    add_parts(call, TTT_BETA, all, plan.P + plan.f, plan.f);
    add_index(call, all);
}
