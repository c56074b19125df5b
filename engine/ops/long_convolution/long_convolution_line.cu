/* Longer sequences: how the work is cut, factors and scratch of the line. */
#include <algorithm>

#include "engine/ops/long_convolution/long_convolution_line.cuh"

enum { PROCESSORS = 132 }; /* of an H100; bits are the same on other GPUs */

/* From shapes alone. */
struct LineCut {
    int64_t units, counters;
    int64_t slot, table1, tables; /* complex numbers: of a slot, factors over P1, all factors */
    int lag, ring, filter_ring;
};
/* Stages lie as many units apart as the GPU runs blocks of at once, so that what a block waits for
 * has begun long before. Backward up to 16384 tokens that is one or two units, and three are faster
 * (by 1.08 at 16384 tokens on an H200; at 131072 by 1.01, which the room is not worth). Slots under
 * way take room in the second-level cache: for each unit between in and turn one, backward two; for
 * each between turn and out one; and the filter's, backward with that of the sum over rows. That is
 * 46 of 50 MB at 16384 tokens.
 * A step's blocks go out first and in last, with TURNS between them, so a slot that leaves in a
 * step may be filled in the same one, if so many blocks are about all that run at once; otherwise
 * there are slots to spare. Fewer slots are written again sooner: what nobody will read stays in
 * the cache instead of going to device memory. */
static LineCut cut_of(const LongConvolution &x, Phase phase) {
    LineCut c = {};
    with_plan(x.points, [&]<class Plan>() {
        check_step<Plan::P1>(x);
        c.table1 = Plan::F1::TABLE;
        c.tables = c.table1 + Plan::F2::TABLE + Plan::POINTS;
        c.slot = Plan::SLOT;
        c.units = (x.D + Plan::LANES - 1) / Plan::LANES * x.B;
        const bool forward = phase == PHASE_FORWARD;
        const int step = forward ? Stages<Plan, false>::ALL : Stages<Plan, true>::ALL;
        const int resident = Plan::BLOCKS * PROCESSORS;
        c.lag = std::max((resident + step - 1) / step, !forward && Plan::POINTS <= 16384 ? 3 : 1);
        const int short_of = std::max(resident - resident / 8 - Plan::TURNS, 0);
        const int spare = (short_of + step - 1) / step;
        c.ring = 2 * c.lag + spare;
        c.filter_ring = c.lag + spare;
    });
    c.counters = 1 + 3 * c.units;
    return c;
}

/* All factors in the order table1, table2, between; zeroes counters. Extended lambdas must not
 * stand in generic ones. */
template <class Plan>
static void make_tables(const Run *run, float2 *to, unsigned *counter, int64_t counters) {
    constexpr int64_t FIRST = Plan::F1::TABLE, BOTH = FIRST + Plan::F2::TABLE;
    constexpr int64_t ALL = BOTH + Plan::POINTS;
    for_each(run, ALL > counters ? ALL : counters, [=] __device__(int64_t i) {
        if (i < counters) counter[i] = 0;
        if (i < FIRST) {
            to[i] = fft_factor<Plan::P1>((int)i, true);
        } else if (i < BOTH) {
            to[i] = fft_factor<Plan::P2>((int)(i - FIRST), false);
        } else if (i < ALL) {
            const int64_t k1 = (i - BOTH) / Plan::P2, t2 = (i - BOTH) % Plan::P2;
            to[i] = fft_turn((float)(t2 * (4 * k1 - 1)) / (float)(4 * (int64_t)Plan::POINTS));
        }
    });
}

void long_convolution_line(const Run *run, const LongConvolution &x, Phase phase, void *scratch) {
    const bool backward = phase == PHASE_BACKWARD;
    const LineCut c = cut_of(x, phase);
    Carver carver = {static_cast<unsigned char *>(scratch)};
    Line o = {};
    o.x = x;
    o.lag = c.lag;
    o.ring = c.ring;
    o.filter_ring = c.filter_ring;
    o.filters = wants_filters(x);
    o.units = (int)c.units;
    o.rows = (int)x.B;
    o.slot = c.slot;
    float2 *const tables = carver.take<float2>(c.tables);
    o.table1 = tables;
    o.table2 = tables + c.table1;
    o.between = tables + c.tables - x.points;
    o.number = carver.take<unsigned>(c.counters);
    o.entered = o.number + 1;
    o.turned = o.entered + o.units;
    o.left = o.turned + o.units;
    o.work[FILTER] = carver.take<float2>(c.filter_ring * c.slot);
    for (int kind = SIGNAL; kind < (backward ? KINDS : COTANGENT); kind++)
        o.work[kind] = carver.take<float2>(c.ring * c.slot);
    o.correlation = backward && x.B > 1 ? carver.take<float2>(c.ring * c.slot) : o.work[SIGNAL];
    with_plan(x.points,
              [&]<class Plan>() { make_tables<Plan>(run, tables, o.number, c.counters); });
    if (backward)
        long_convolution_line_backward(run, o);
    else
        long_convolution_line_forward(run, o);
}

size_t long_convolution_line_scratch(const LongConvolution &x, Phase phase) {
    const LineCut c = cut_of(x, phase);
    const size_t arrays = phase == PHASE_FORWARD ? 1 : x.B > 1 ? 3 : 2;
    return carved(c.tables, sizeof(float2)) + carved(c.counters, sizeof(unsigned)) +
           carved(c.filter_ring * c.slot, sizeof(float2)) +
           arrays * carved(c.ring * c.slot, sizeof(float2));
}
