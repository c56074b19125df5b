/* Wide LSTMs, all steps in one launch. The grid is resident: a block has a multiprocessor, keeps
 * the recurrent weights of some units in shared memory for the whole sequence, and meets the others
 * once a step (backward: twice) by counters in device memory. The sequences of a batch are shared
 * out among groups of blocks as far as the weights fit several times: a group reads the states of
 * its own sequences alone.
 *
 * Per step a block multiplies (rows, H) by (H, 4 own), both ways. Forward, rows are h of the step
 * before and the columns are its units' gates. Backward, four blocks are a team: block r reads the
 * gradients of gate r, (rows, H) instead of (rows, 4H), and makes parts of dh of all the team's
 * units, 4 own; the team adds the four parts. h and the gate gradients, which are results, serve as
 * the exchange; only the parts of dh need scratch.
 *
 * Floors of a step, with 132 multiprocessors of 128 multiply-adds a cycle that read 24 bytes a
 * cycle from the second-level cache when all of them do:
 *
 *                  groups   rows x columns x H   multiply-adds   reading h
 *     B64H512           4      16 x 64 x 512         4096          1365      cycles
 *     B64H1024          1     64 x 32 x 1024        16384         10923
 *     the same, bf16    2     32 x 64 x 1024            -          5461
 *
 * Reading goes on under the products, in chunks of a ring. On top come a meeting (a release, an
 * acquire and a trip to the cache on the way in, some 2000 cycles; 4000 backward), the sum over
 * slices (float: 128 KB through shared memory, 1024) and the gates. Few tiles cover what a block
 * makes, so slices of the terms share them; then the slices are added. */
#include "engine/cuda/handover.cuh"
#include "engine/ops/lstm/lstm_steps.cuh"
#include "engine/ops/lstm/lstm_tiles.cuh"

enum { THREADS = 256, TEAM = 4 };
enum { CHUNK_CYCLES = 300 /* a barrier and some 130 instructions of each of 8 warps */ };
/* A cell is a unit of a sequence; floats of shared memory for each: the state and twice four gates,
 * backward the state, its cotangent and six inputs. */
enum { CELL = 9 };

/* How the grid shares B sequences and H units. */
struct Sharing {
    int B, H;
    int groups, blocks; /* blocks of a group: whole teams */
    int rows;           /* sequences of a group, at most */
    int own;            /* units of a block, even */
    int down, across;   /* tiles of a block's rows and of its 4 own columns */
    int columns, terms; /* 4 own and H, filled up to whole tiles */
    int slices;         /* of the terms */
    int share;          /* terms of a slice in one chunk */
    int chunk, chunks;  /* terms of one and how many */
    int stages;         /* of the ring of chunks: 2 or 4 */
    int pitch, stage;   /* floats from row to row and from chunk to chunk of the ring */
    int turn;           /* rows of a chunk that the threads copy at once */
    int weights, space; /* bytes of weights; of the ring, where then the sums lie */
    int cells;          /* of a block's threads */
};

/* What a thread knows of its block's part. */
template <class Tiles> struct Worker {
    typedef typename Tiles::Weight Weight;
    typedef typename Tiles::Terms Terms;
    enum { EACH = Tiles::THREADS_EACH, HELD = Tiles::HELD, FOURS = Tiles::FOURS };
    enum { DEPTH = Tiles::DEPTH };

    const Sharing &s;
    int64_t first;  /* sequence of the group */
    int count;      /* of its sequences */
    int part, unit; /* of the block in its group; its first unit */
    Tile tile;
    int place, slice; /* of the thread among those of all tiles; which slice */
    bool works;
    int copied, piece, pieces; /* first row and term that it copies of a chunk, and how often */
    Weight *w;
    float *space, *ring, *cells;
    unsigned *group, *team; /* counters */

    __device__ Worker(const Sharing &sharing, unsigned *counters) : s(sharing) {
        const int thread = (int)threadIdx.x, number = (int)blockIdx.x / s.blocks;
        part = (int)blockIdx.x % s.blocks;
        unit = part * s.own;
        first = (int64_t)number * s.rows;
        count = min(s.rows, s.B - (int)first);
        place = thread % (EACH * s.down * s.across);
        slice = thread / (EACH * s.down * s.across);
        works = slice < s.slices;
        copied = thread / (s.chunk / 4);
        piece = thread % (s.chunk / 4) * 4;
        pieces = copied < s.turn ? max(0, (count - copied + s.turn - 1) / s.turn) : 0;
        const int t = place / EACH;
        tile = {t / s.across, t % s.across, s.down, s.across, place % EACH};
        /* Neighbouring tiles read the same states, those two apart the same weights: if they are
         * lanes, such loads need half as many turns. */
        if (s.down % 2 == 0 && s.across % 2 == 0) {
            tile.down = t / 4 / (s.across / 2) * 2 + t / 2 % 2;
            tile.across = t / 4 % (s.across / 2) * 2 + t % 2;
        }
        w = shared_memory<Weight>();
        space = shared_memory<float>() + s.weights / (int)sizeof(float);
        ring = space + copied * s.pitch + piece;
        cells = space + s.space / (int)sizeof(float);
        group = counters + number * COUNTER_APART;
        team = counters + (MOST_BLOCKS + (int)blockIdx.x) / TEAM * COUNTER_APART;
    }

    /* Weights into shared memory: read(term, column). BY_TERMS: four neighbouring terms lie side by
     * side where they are read. */
    template <bool BY_TERMS, class Read> __device__ void keep(const Read &read) const {
        const int deep = BY_TERMS ? 4 : 1, period = deep * s.columns;
        int in = (int)threadIdx.x % period, term = (int)threadIdx.x / period * deep;
#pragma unroll 4
        while (term < s.terms) {
            const int t = term + in % deep, column = in / deep;
            const bool exists = t < s.H && column < 4 * s.own;
            Tiles::keep(w, s.columns, t, column, exists ? read(t, column) : 0.0f);
            in += THREADS % period;
            term += THREADS / period * deep;
            if (in < period) continue;
            in -= period;
            term += deep;
        }
    }

    /* One chunk of the states' terms into the ring, zeros behind the last one. This thread's first
     * piece of it lies at `from`, the next `step` further. */
    __device__ void fetch(const float *from, int64_t step, int chunk) const {
        if (chunk < s.chunks) {
            const bool exists = chunk * s.chunk + piece < s.H;
            float *to = ring + (chunk & (s.stages - 1)) * s.stage;
            const int hop = s.turn * s.pitch;
            from += chunk * s.chunk;
#pragma unroll 4
            for (int i = 0; exists && i < pieces; i++, from += step, to += hop)
                copy_async(to, from);
#pragma unroll 1
            for (int i = 0; !exists && i < pieces; i++, to += hop) store<4>(to, Lanes<4>{});
        }
        copy_commit();
    }

    /* All threads wait for a chunk: all but the newest stages - LESS have come. */
    template <int LESS> __device__ void await_chunk() const {
        if (s.stages == 4)
            copy_wait<4 - LESS>();
        else
            copy_wait<2 - LESS>();
        __syncthreads();
    }

    /* Sums over all terms of states, row 0 at `from`, the next ld further; each slice's are left in
     * shared memory for total(). While some terms are multiplied the next are read, those of the
     * next chunk too. */
    __device__ void multiply(const float *from, int64_t ld) const {
        const int start = min(slice, s.slices - 1) * s.share; /* idle threads repeat the last one */
        const Weight *const weights = w + Tiles::first_weight(tile);
        int row[HELD];
#pragma unroll
        for (int i = 0; i < HELD; i++)
            row[i] = min(Tiles::held_row(tile, i), count - 1) * s.pitch + start +
                     Tiles::held_column(tile);
        const auto read = [&](Terms &of, const float *x, int term) {
            Tiles::read(of, x, row, weights + min(term, s.terms - DEPTH) * s.columns, s.columns);
        };
        typename Tiles::Sums sums = {};
        Terms even, odd;
        const int64_t step = s.turn * ld;
        from += copied * ld + piece;
        for (int chunk = 0; chunk < s.stages; chunk++) fetch(from, step, chunk);
        await_chunk<1>();
        read(even, space, start);
        for (int chunk = 0; chunk < s.chunks; chunk++) {
            const float *x = space + (chunk & (s.stages - 1)) * s.stage;
            int term = chunk * s.chunk + start;
            for (int k = 0; k < s.share; k += 2 * DEPTH, x += 2 * DEPTH, term += 2 * DEPTH) {
                read(odd, x + DEPTH, term + DEPTH);
                Tiles::add(sums, even, s.columns);
                if (k + 2 * DEPTH < s.share) {
                    read(even, x + 2 * DEPTH, term + 2 * DEPTH);
                } else {
                    await_chunk<2>(); /* and all threads have read this one */
                    fetch(from, step, chunk + s.stages);
                    if (chunk + 1 < s.chunks)
                        read(even, space + ((chunk + 1) & (s.stages - 1)) * s.stage,
                             (chunk + 1) * s.chunk + start);
                }
                Tiles::add(sums, odd, s.columns);
            }
        }
#pragma unroll
        for (int e = 0; e < FOURS; e++)
            store<4>(space + (e * THREADS + (int)threadIdx.x) * 4, Tiles::take(sums, e));
        __syncthreads();
    }
    __device__ Lanes<4> total(int e) const {
        Lanes<4> sum = {};
        for (int i = 0; i < s.slices; i++) {
            const Lanes<4> more =
                load<4>(space + (e * THREADS + i * EACH * s.down * s.across + place) * 4);
            for (int n = 0; n < 4; n++) sum.of[n] += more.of[n];
        }
        return sum;
    }

    /* The fours of columns whose sums this thread adds up, as multiply's threads share them:
     * body(sequence, four, slot, e) for the four of columns 4 four and on. */
    template <class Body> __device__ void each_four(const Body &body) const {
        if (!works) return;
        for (int e = slice, slot = (int)threadIdx.x; e < FOURS; e += s.slices, slot += THREADS) {
            const int row = Tiles::row(tile, e), four = Tiles::four(tile, e);
            if (row < count && four < s.own) body(first + row, four, slot, e);
        }
    }
    /* The block's cells in the same way, that of unit `four` of its own for each four:
     * body(sequence, unit, slot, e). */
    template <class Body> __device__ void each_cell(const Body &body) const {
        each_four([&](int64_t b, int four, int slot, int e) {
            if (unit + four < s.H) body(b, unit + four, slot, e);
        });
    }
};

template <class Tiles>
KERNEL void __launch_bounds__(THREADS, 1) whole_grid_steps(Cells x, Sharing s, unsigned *counters) {
    const Worker<Tiles> own(s, counters);
    const int64_t L = x.L, H = x.H;
    float *const c = own.cells, *const inputs = c + s.cells; /* four each, of two steps */
    own.template keep<false>([&](int term, int column) {
        const int u = own.unit + column / 4;
        return u < s.H ? x.w[term * 4 * H + column % 4 * H + u] : 0.0f;
    });
    const auto prefetch = [&](int64_t t) {
        if (t >= L) return;
        own.each_cell([&](int64_t b, int u, int slot, int) {
            const float *const from = x.gates + (b * L + t) * 4 * H + u;
            float *const to = inputs + (t % 2 * s.cells + slot) * 4;
            for (int gate = 0; gate < 4; gate++) copy_async_if(true, to + gate, from + gate * H);
        });
        copy_commit();
    };
    own.each_cell([&](int64_t b, int u, int slot, int) { c[slot] = x.c0 ? x.c0[b * H + u] : 0; });
    prefetch(0);
    for (int64_t t = 0; t < L; t++) {
        const bool recurs = t > 0 || x.h0;
        if (t > 0) meet(own.group, (unsigned)(s.blocks * t));
        if (recurs)
            own.multiply(t > 0 ? x.h + (own.first * L + t - 1) * H : x.h0 + own.first * H,
                         t > 0 ? L * H : H);
        else
            wait_copies();
        float *const G = inputs + t % 2 * 4 * s.cells; /* then after the activation */
        own.each_cell([&](int64_t b, int u, int slot, int e) {
            const Lanes<4> sum = recurs ? own.total(e) : Lanes<4>{};
            Lanes<4> g = load<4>(G + slot * 4);
            for (unsigned gate = 0; gate < 4; gate++)
                g.of[gate] = activated_gate(gate, sum.of[gate] + g.of[gate]);
            c[slot] = g.of[1] * c[slot] + g.of[0] * g.of[2];
            store<4>(G + slot * 4, g);
            const float h = g.of[3] * tanh_fast(c[slot]);
            x.h[(b * L + t) * H + u] = h;
            if (x.h_last && t + 1 == L) x.h_last[b * H + u] = h;
        });
        hand_over(own.group);
        prefetch(t + 1);
        if (!x.activated) continue;
        own.each_cell([&](int64_t b, int u, int slot,
                          int) { /* nobody waits for these */
                                 const int64_t at = b * L + t;
                                 const Lanes<4> g = load<4>(G + slot * 4);
                                 for (int gate = 0; gate < 4; gate++)
                                     x.activated[at * 4 * H + gate * H + u] = g.of[gate];
                                 x.c[at * H + u] = c[slot];
        });
    }
    own.each_cell([&](int64_t b, int u, int slot, int) {
        if (x.c_last) x.c_last[b * H + u] = c[slot];
    });
}

/* parts (4, B, H): of dh, by gate. */
template <class Tiles>
KERNEL void __launch_bounds__(THREADS, 1)
    whole_grid_adjoint_steps(Adjoint x, Sharing s, unsigned *counters, float *parts) {
    const Worker<Tiles> own(s, counters);
    const int64_t L = x.L, H = x.H, cells = s.cells;
    const int gate = own.part % TEAM, team = own.unit - gate * s.own; /* its first unit */
    float *const c = own.cells, *const dc = c + cells, *const inputs = dc + cells;
    own.template keep<true>([&](int term, int column) {
        const int u = team + column;
        return u < s.H ? x.w[u * 4 * H + gate * H + term] : 0.0f;
    });
    /* Of step t: four gates, the cotangent of h, the state before. */
    const auto prefetch = [&](int64_t t) {
        own.each_cell([&](int64_t b, int u, int slot, int) {
            const int64_t at = b * L + t;
            float *const to = inputs + slot;
            const float *const G = x.activated + at * 4 * H + u;
            for (int i = 0; i < 4; i++) copy_async_if(true, to + i * cells, G + i * H);
            copy_async_if(true, to + 4 * cells, x.dh + at * H + u);
            if (t > 0 || x.c0)
                copy_async_if(true, to + 5 * cells,
                              t > 0 ? x.c + (at - 1) * H + u : x.c0 + b * H + u);
            else
                to[5 * cells] = 0;
        });
        copy_commit();
    };
    const auto later_h = [&](int64_t at) {
        float sum = parts[at];
        for (int r = 1; r < TEAM; r++) sum += parts[r * s.B * H + at];
        return sum;
    };
    own.each_cell([&](int64_t b, int u, int slot, int) {
        c[slot] = x.c[(b * L + L - 1) * H + u];
        dc[slot] = x.dc_last ? x.dc_last[b * H + u] : 0.0f;
    });
    prefetch(L - 1);
    wait_copies();
    unsigned met = 0;
    for (int64_t t = L - 1; t >= 0; t--) {
        own.each_cell([&](int64_t b, int u, int slot, int) {
            const float *const in = inputs + slot;
            const float i = in[0], f = in[cells], g = in[2 * cells], o = in[3 * cells];
            const float before = in[5 * cells], bent = tanh_fast(c[slot]);
            const float later = met ? later_h(b * H + u) : x.dh_last ? x.dh_last[b * H + u] : 0.0f;
            const float to_h = later + in[4 * cells];
            const float to_c = dc[slot] + to_h * o * (1 - bent * bent);
            float *const d = x.d_gates + (b * L + t) * 4 * H + u;
            d[0] = to_c * g * i * (1 - i);
            d[H] = to_c * before * f * (1 - f);
            d[2 * H] = to_c * i * (1 - g * g);
            d[3 * H] = to_h * bent * o * (1 - o);
            dc[slot] = to_c * f;
            c[slot] = before;
        });
        if (t == 0 && !x.dh0) break;
        hand_over(own.group);
        if (t > 0) prefetch(t - 1);
        met++;
        meet(own.group, (unsigned)s.blocks * met);
        own.multiply(x.d_gates + (own.first * L + t) * 4 * H + gate * H, L * 4 * H);
        own.each_four([&](int64_t b, int four, int, int e) {
            const int u = team + four * 4;
            if (u < s.H) store<4>(parts + (gate * s.B + b) * H + u, own.total(e));
        });
        hand_over(own.team);
        meet(own.team, TEAM * met);
    }
    own.each_cell([&](int64_t b, int u, int slot, int) {
        const int64_t at = b * H + u;
        if (x.dh0) put(x.dh0 + at, later_h(at), x.add_h0);
        if (x.dc0) put(x.dc0 + at, dc[slot], x.add_c0);
    });
}

static size_t shared_bytes(const Sharing &s) {
    return (size_t)s.weights + (size_t)s.space + (size_t)s.cells * CELL * sizeof(float);
}

static void zero_counters(const Run *run, unsigned *counters) {
    for_each(run, RESIDENT_COUNTERS, [=] __device__(int64_t i) { counters[i] = 0; });
}

/* The sharing among at most `most` blocks that takes least time by the floors above; groups = 0
 * where none fits, or where so many rows keep plain products busy. */
template <class Tiles> static Sharing share_out(int64_t B, int64_t H, unsigned most, size_t bytes) {
    Sharing best = {};
    int least = 0;
    const auto up = [](int n, int to) { return (n + to - 1) / to; };
    for (int groups = 1; groups <= (int)most / TEAM && groups <= B; groups++) {
        Sharing s = {(int)B, (int)H};
        s.rows = up(s.B, groups);
        s.groups = up(s.B, s.rows);
        s.blocks = (int)most / groups / TEAM * TEAM;
        s.own = up(up(s.H, s.blocks), 2) * 2;
        s.blocks = up(up(s.H, s.own), TEAM) * TEAM;
        s.down = up(s.rows, Tiles::ROWS);
        s.across = up(4 * s.own, Tiles::COLUMNS);
        s.columns = s.across * Tiles::COLUMNS;
        s.terms = up(s.H, Tiles::DEPTH) * Tiles::DEPTH;
        s.slices = THREADS / (Tiles::THREADS_EACH * s.down * s.across);
        if (!s.slices) continue;
        s.cells = up(Tiles::FOURS, s.slices) * THREADS;
        s.weights = s.terms * s.columns * (int)sizeof(typename Tiles::Weight);
        for (int choice = 0; choice < 8; choice++) {
            s.stages = choice % 2 ? 2 : 4;
            s.share = (choice / 2 + 1) * 2 * Tiles::DEPTH;
            s.chunk = s.slices * s.share;
            s.chunks = up(s.H, s.chunk);
            s.pitch = s.chunk + Tiles::PAD;
            s.stage = s.rows * s.pitch;
            s.space = max(s.stages * s.stage, (int)THREADS * Tiles::FOURS * 4) * (int)sizeof(float);
            s.turn = THREADS / (s.chunk / 4);
            const int reading = s.rows * s.H / 6; /* cycles */
            const int adding = s.chunks * (Tiles::CYCLES * s.share + CHUNK_CYCLES);
            const int time = max(reading, adding) + reading / s.chunks;
            if (shared_bytes(s) > bytes || !s.turn || time > Tiles::MOST_CYCLES) continue;
            if (best.groups && time >= least) continue;
            best = s;
            least = time;
        }
    }
    return best;
}

/* How a launch would share the work, with counters at zero; none where it does not fit, or for one
 * step, which is not worth moving the weights. */
template <class Tiles>
static Sharing prepared(const Run *run, int64_t B, int64_t L, int64_t H, unsigned fit,
                        unsigned *counters) {
    if (L < 2 || H % 4 != 0 || H > 4096 || B > 4096) return {};
    const Sharing s = share_out<Tiles>(B, H, min(fit, (unsigned)MOST_BLOCKS), most_shared(run));
    if (s.groups) zero_counters(run, counters);
    return s;
}

template <class Tiles>
static bool launched(const Run *run, int64_t B, const Cells &x, unsigned *counters) {
    const unsigned fit = resident_blocks(run, whole_grid_steps<Tiles>, THREADS, most_shared(run));
    const Sharing s = prepared<Tiles>(run, B, x.L, x.H, fit, counters);
    if (!s.groups) return false;
    LAUNCH_RESIDENT(run, whole_grid_steps<Tiles>, (unsigned)(s.groups * s.blocks), THREADS,
                    shared_bytes(s), x, s, counters);
    return true;
}
template <class Tiles>
static bool launched(const Run *run, int64_t B, const Adjoint &x, unsigned *counters,
                     float *parts) {
    const unsigned fit =
        resident_blocks(run, whole_grid_adjoint_steps<Tiles>, THREADS, most_shared(run));
    const Sharing s = prepared<Tiles>(run, B, x.L, x.H, fit, counters);
    if (!s.groups) return false;
    LAUNCH_RESIDENT(run, whole_grid_adjoint_steps<Tiles>, (unsigned)(s.groups * s.blocks), THREADS,
                    shared_bytes(s), x, s, counters, parts);
    return true;
}

template <class... A> static bool launched_by_products(const Run *run, const A &...rest) {
    switch (run->products) {
    case PRODUCTS_TF32:
        return launched<Tf32Tiles>(run, rest...);
    case PRODUCTS_BF16:
        return launched<Bf16Tiles>(run, rest...);
    case PRODUCTS_FLOAT:
        break;
    }
    return launched<FloatTiles>(run, rest...);
}

bool resident_steps(const Run *run, int64_t B, const Cells &x, unsigned *counters) {
    return launched_by_products(run, B, x, counters);
}
bool resident_adjoint_steps(const Run *run, int64_t B, const Adjoint &x, unsigned *counters,
                            float *parts) {
    return launched_by_products(run, B, x, counters, parts);
}
