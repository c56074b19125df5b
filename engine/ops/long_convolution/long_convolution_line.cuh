/* Longer sequences: token t = P2 t1 + t2, frequency k1 + P1 k2. One launch is a line of three
 * stages: in (tokens to scratch, over P1), turn (over P2, product, back), out. A unit of the line
 * is a group of neighbouring channels, its lanes, of one row; unit n is in while unit n - lag turns
 * and unit n - 2 lag goes out, so blocks hardly ever wait, and what stages hand on stays in the
 * second-level cache: a ring of slots for units. A slot is (k1, t2, lanes) whatever order k2 has.
 */
#ifndef LONGHAUL_OPS_LONG_CONVOLUTION_LINE_CUH
#define LONGHAUL_OPS_LONG_CONVOLUTION_LINE_CUH

#include "engine/cuda/handover.cuh"
#include "engine/ops/long_convolution/long_convolution.cuh"

enum {
    MOST_LANES = 32,    /* neighbouring channels of a unit, half as many */
    MOST_POINTS = 32768 /* where sequences have more: scratch must fit the cache */
};

enum Kind { FILTER, SIGNAL, COTANGENT, KINDS };

template <int P_1, int P_2> struct LinePlan {
    static constexpr int P1 = P_1, P2 = P_2, POINTS = P1 * P2;
    typedef Fft<P1> F1;
    typedef Fft<P2> F2;
    static constexpr int FEWER_MANY = F1::MANY < F2::MANY ? F1::MANY : F2::MANY;
    static constexpr int WANTED = POINTS > MOST_POINTS ? MOST_LANES / 2 : (int)MOST_LANES;
    static constexpr int LANES = WANTED < FEWER_MANY ? WANTED : FEWER_MANY;
    static constexpr int SLOT = POINTS * LANES;
    static constexpr int TILES = SLOT / F1::WORK; /* blocks of a unit and kind in and out */
    static constexpr int TURNS = SLOT / F2::WORK; /* and of a unit that turns */
    static constexpr int BLOCKS = F1::BLOCKS < F2::BLOCKS ? F1::BLOCKS : F2::BLOCKS;
    static constexpr size_t BYTES = F1::BYTES > F2::BYTES ? F1::BYTES : F2::BYTES;
};

struct Line {
    LongConvolution x;
    const float2 *table1, *table2; /* of the transforms over P1 and P2 */
    const float2 *between;         /* (k1, t2): exp(-2 pi i t2 (k1 - 1/4) / N) */
    int64_t slot;                  /* its points */
    int units, rows;
    int lag, ring, filter_ring; /* slots; spectra of filters are done with when units have turned */
    bool filters;               /* their gradients are wanted */
    unsigned *number, *entered, *turned, *left; /* counters, of blocks for each unit */
    float2 *work[KINDS];
    float2 *correlation; /* sum over rows; that of one row lies over the signal */
};
struct Unit {
    int number, group, row;
    bool first, last; /* row of the group */
    __device__ Unit(const Line &o, int n)
        : number(n), group(n / o.rows), row(n % o.rows), first(row == 0), last(row == o.rows - 1) {
    }
    __device__ float2 *work(const Line &o, int kind) const {
        return o.work[kind] + (kind == FILTER ? group % o.filter_ring : number % o.ring) * o.slot;
    }
    __device__ float2 *correlation(const Line &o) const {
        return o.correlation + group % o.ring * o.slot;
    }
};

/* Sequences of a block over P1: tokens t2, and in them lanes. */
template <class Plan> struct Tile {
    int d, lane, t2;
    __device__ Tile(const Unit &unit, int tile, int c)
        : d(unit.group * Plan::LANES + c % Plan::LANES), lane(c % Plan::LANES),
          t2(tile * (Plan::F1::MANY / Plan::LANES) + c / Plan::LANES) {
    }
    /* Frequency r of a run, the next are EACH apart. */
    static __device__ int frequency(int r) {
        constexpr int M = Plan::F1::MIDDLE;
        return M == 1 ? r : r / M + r % M * Plan::F1::FIRST;
    }
    __device__ int between(int r) const {
        return frequency(r) * Plan::P2 + t2;
    }
    __device__ int work(int r) const {
        return between(r) * Plan::LANES + lane;
    }
    static constexpr int STEP = Plan::F1::EACH * Plan::P2;
};

template <class Plan>
__device__ inline void enter(const Line &o, const BlockSpace &space, const Unit &unit, int kind,
                             int tile) {
    typedef typename Plan::F1 F;
    float2 *const work = unit.work(o, kind);
    transform_in<Plan::P1>(space, [&](int c, int j, float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        const int t = j * Plan::P2 + at.t2, every = F::ROWS * Plan::P2;
        if (kind == FILTER)
            read_filter<F::FIRST, true>(o.x, at.d, t, every, v);
        else if (kind == SIGNAL)
            read_signal<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
        else
            read_cotangent<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
    });
    turning_pass<Plan::P1, false>(space, [&](int, int c, int r, float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        float2 *const to = work + at.work(r);
        const float2 *const by = o.between + at.between(r);
#pragma unroll
        for (int q = 0; q < F::LAST; q++) v[q] = v[q] * by[q * at.STEP];
#pragma unroll
        for (int q = 0; q < F::LAST; q++) to[q * at.STEP * Plan::LANES] = v[q];
    });
}

template <class Plan, bool BACKWARD>
__device__ inline void leave(const Line &o, const BlockSpace &space, const Unit &unit, int kind,
                             int tile) {
    typedef typename Plan::F1 F;
    const float2 *const work = kind == FILTER ? unit.correlation(o) : unit.work(o, kind);
    returning_pass<Plan::P1>(space, [&](int, int c, int r, float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        const float2 *const from = work + at.work(r);
        const float2 *const by = o.between + at.between(r);
#pragma unroll
        for (int q = 0; q < F::LAST; q++)
            v[q] = from[q * at.STEP * Plan::LANES] * conjugate(by[q * at.STEP]);
    });
    transform_out<Plan::P1>(space, [&](int c, int j, const float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        const int t = j * Plan::P2 + at.t2, every = F::ROWS * Plan::P2;
        if constexpr (!BACKWARD)
            write_signal<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
        else if (kind == FILTER)
            write_filter_gradient<F::FIRST, true>(o.x, at.d, t, every, v);
        else
            write_gradient<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
    });
}

/* Sequences of a block over P2 lie one after the other in a slot: its part `turn`. */
template <class Plan> __device__ inline int turn_place(int turn, int c, int j) {
    return turn * Plan::F2::WORK + (c / Plan::LANES * Plan::P2 + j) * Plan::LANES + c % Plan::LANES;
}
template <class Plan>
__device__ inline void read_work(const BlockSpace &space, int turn, const float2 *work) {
    typedef typename Plan::F2 F;
    transform_in<Plan::P2>(space, [&](int c, int j, float2 *v) {
        const float2 *const from = work + turn_place<Plan>(turn, c, j);
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) v[q] = from[q * F::ROWS * Plan::LANES];
    });
}
template <class Plan>
__device__ inline void write_work(const BlockSpace &space, int turn, float2 *work) {
    typedef typename Plan::F2 F;
    transform_out<Plan::P2>(space, [&](int c, int j, const float2 *v) {
        float2 *const to = work + turn_place<Plan>(turn, c, j);
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) to[q * F::ROWS * Plan::LANES] = v[q];
    });
}
/* In place: what a block reads is its own. */
template <class Plan>
__device__ inline void spectrum_of(const BlockSpace &space, int turn, float2 *work, float scale) {
    constexpr int P2 = Plan::P2;
    read_work<Plan>(space, turn, work);
    turning_pass<P2, false>(space, [&](int i, int, int, const float2 *v) {
        Spectrum<P2>(work, turn, i).set(v, scale);
    });
}

template <class Plan, bool BACKWARD>
__device__ inline void turn_round(const Line &o, const BlockSpace &space, const Unit &unit,
                                  int turn) {
    constexpr int P2 = Plan::P2;
    constexpr float scale = 1.0f / Plan::POINTS;
    float2 *const filter = unit.work(o, FILTER), *const signal = unit.work(o, SIGNAL);
    if (unit.first) spectrum_of<Plan>(space, turn, filter, scale);
    if constexpr (!BACKWARD) {
        read_work<Plan>(space, turn, signal);
        turning_pass<P2, true>(
            space, [&](int i, int, int, float2 *v) { Spectrum<P2>(filter, turn, i).multiply(v); });
        write_work<Plan>(space, turn, signal);
    } else {
        float2 *const cotangent = unit.work(o, COTANGENT), *const sum = unit.correlation(o);
        spectrum_of<Plan>(space, turn, signal, 1);
        read_work<Plan>(space, turn, cotangent);
        turning_pass<P2, true>(space, [&](int i, int, int, float2 *v) {
            correlate(Spectrum<P2>(filter, turn, i), Spectrum<P2>(signal, turn, i),
                      Spectrum<P2>(sum, turn, i), unit.first, v);
        });
        write_work<Plan>(space, turn, cotangent);
        if (!o.filters || !unit.last) return;
        returning_pass<P2>(space, [&](int i, int, int, float2 *v) {
            const Spectrum<P2> own(sum, turn, i);
#pragma unroll
            for (int q = 0; q < own.R; q++)
                v[q] = make_float2(scale * own.at[q * own.STEP].x, scale * own.at[q * own.STEP].y);
        });
        write_work<Plan>(space, turn, sum);
    }
}

/* Kinds of blocks that a unit has at most, in and out. */
template <class Plan, bool BACKWARD> struct Stages {
    static constexpr int IN = BACKWARD ? 3 : 2, OUT = BACKWARD ? 2 : 1;
    static constexpr int ALL = (IN + OUT) * Plan::TILES + Plan::TURNS;
    static __device__ unsigned entering(const Unit &unit) {
        return (unsigned)(Plan::TILES * (unit.first ? IN : IN - 1));
    }
    static __device__ unsigned leaving(const Line &o, const Unit &unit) {
        return (unsigned)(Plan::TILES * (BACKWARD && o.filters && unit.last ? 2 : 1));
    }
};

/* The slots are free, or what this stage reads is there. Threads of different warps ask, so that
 * they do not wait for each other's answers. Inputs need no slot: nothing is written before the
 * first pass's barriers, so there is none here. */
template <class Plan, bool BACKWARD>
__device__ inline void await_slots(const Line &o, const Unit &unit, int kind) {
    if (kind == FILTER) {
        if (threadIdx.x == 0 && unit.group >= o.filter_ring)
            await_count(o.turned + (unit.group - o.filter_ring + 1) * o.rows - 1,
                        (unsigned)Plan::TURNS);
        return;
    }
    if (threadIdx.x == 0 && unit.number >= o.ring) {
        const Unit before(o, unit.number - o.ring);
        await_count(o.left + before.number, Stages<Plan, BACKWARD>::leaving(o, before));
    }
    if (threadIdx.x == WARP && unit.group >= o.ring) { /* sums over rows have left */
        const Unit before(o, (unit.group - o.ring + 1) * o.rows - 1);
        await_count(o.left + before.number, Stages<Plan, BACKWARD>::leaving(o, before));
    }
}
template <class Plan, bool BACKWARD>
__device__ inline void await_entered(const Line &o, const Unit &unit) {
    if (threadIdx.x == 0)
        await_count(o.entered + unit.number, Stages<Plan, BACKWARD>::entering(unit));
    if (threadIdx.x == WARP && !unit.first)
        await_count(o.turned + unit.number - 1, (unsigned)Plan::TURNS);
    __syncthreads();
}
template <class Plan> __device__ inline void await_turned(const Line &o, const Unit &unit) {
    if (threadIdx.x == 0) await_count(o.turned + unit.number, (unsigned)Plan::TURNS);
    __syncthreads();
}

/* What threads read only when other data has come, or behind a barrier. */
template <class Plan, class... Tensors>
__device__ inline void ask_tile(const Line &o, const Unit &unit, int tile, Tensors... tensors) {
    constexpr int WIDTH = Plan::F1::MANY / Plan::LANES;
    ask<Plan::P1, WIDTH, Plan::LANES>(o.x, unit.row, unit.group * Plan::LANES, tile * WIDTH,
                                      Plan::P2, tensors...);
}
template <class Plan>
__device__ inline void ask_to_enter(const Line &o, const Unit &unit, int kind, int tile) {
    if (kind == SIGNAL)
        ask_tile<Plan>(o, unit, tile, o.x.u, o.x.pre);
    else if (kind == COTANGENT)
        ask_tile<Plan>(o, unit, tile, o.x.dy, o.x.post, o.x.dpost ? o.x.sum : NULL);
}
template <class Plan, bool BACKWARD>
__device__ inline void ask_to_leave(const Line &o, const Unit &unit, int kind, int tile) {
    if (!BACKWARD)
        ask_tile<Plan>(o, unit, tile, o.x.post);
    else if (kind == COTANGENT)
        ask_tile<Plan>(o, unit, tile, o.x.dpre ? o.x.u : NULL, o.x.du ? o.x.pre : NULL);
}

template <class Plan, bool BACKWARD>
KERNEL void __launch_bounds__(FFT_THREADS, Plan::BLOCKS) long_line(const Line o) {
    typedef Stages<Plan, BACKWARD> S;
    constexpr int OUTS = S::OUT * Plan::TILES;
    const unsigned number = take_number(o.number);
    const int step = (int)(number / (unsigned)S::ALL);
    int i = (int)(number % (unsigned)S::ALL);
    if (i < OUTS) {
        const Unit unit(o, step - 2 * o.lag);
        const int kind = i < Plan::TILES ? (BACKWARD ? COTANGENT : SIGNAL) : FILTER;
        if (step < 2 * o.lag || (kind == FILTER && !(o.filters && unit.last))) return;
        const BlockSpace space = block_space<Plan::P1>(o.table1);
        ask_to_leave<Plan, BACKWARD>(o, unit, kind, i % Plan::TILES);
        await_turned<Plan>(o, unit);
        leave<Plan, BACKWARD>(o, space, unit, kind, i % Plan::TILES);
        hand_over(o.left + unit.number);
    } else if ((i -= OUTS) < Plan::TURNS) {
        const Unit unit(o, step - o.lag);
        if (step < o.lag || unit.number >= o.units) return;
        const BlockSpace space = block_space<Plan::P2>(o.table2);
        await_entered<Plan, BACKWARD>(o, unit);
        turn_round<Plan, BACKWARD>(o, space, unit, i);
        hand_over(o.turned + unit.number);
    } else {
        i -= Plan::TURNS;
        const Unit unit(o, step);
        const int kind = (i / Plan::TILES + 1) % S::IN; /* filters last: spectra turn until then */
        if (unit.number >= o.units || (kind == FILTER && !unit.first)) return;
        const BlockSpace space = block_space<Plan::P1>(o.table1);
        ask_to_enter<Plan>(o, unit, kind, i % Plan::TILES);
        await_slots<Plan, BACKWARD>(o, unit, kind);
        enter<Plan>(o, space, unit, kind, i % Plan::TILES);
        hand_over(o.entered + unit.number);
    }
}

/* body.operator()<LinePlan<P1, P2>>(): points = P1 P2, P2 = P1 or 2 P1. */
template <class Body> void with_plan(int64_t points, const Body &body) {
    int64_t P1 = points, P2 = 1;
    for (; P1 > P2; P1 /= 2) P2 *= 2;
    assert(P2 <= FFT_MOST && "more than 4M tokens: factors' angles would not be exact");
    with_points(P1, [&]<int P>() {
        if constexpr (P < FFT_MOST)
            if (P2 > P1) return body.template operator()<LinePlan<P, 2 * P>>();
        body.template operator()<LinePlan<P, P>>();
    });
}

template <bool BACKWARD> void run_line(const Run *run, const Line &o) {
    with_plan(o.x.points, [&]<class Plan>() {
        const int64_t steps = (int64_t)o.units + 2 * o.lag;
        const int64_t blocks = steps * Stages<Plan, BACKWARD>::ALL;
        assert(blocks <= INT32_MAX && "more rows and channels");
        LAUNCH(run, (long_line<Plan, BACKWARD>), (unsigned)blocks, FFT_THREADS, Plan::BYTES, o);
    });
}

/* Either direction's kernels have a file of their own, so that they compile side by side. */
void long_convolution_line_forward(const Run *run, const Line &o);
void long_convolution_line_backward(const Run *run, const Line &o);

#endif
