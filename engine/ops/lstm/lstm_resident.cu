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
 *                  groups   rows x columns x H   products   reading h
 *     B64H512           4      16 x 64 x 512      4096         1365      cycles
 *     B64H1024          1     64 x 32 x 1024     16384        10923
 *
 * Reading goes on under the products, in chunks of a ring. On top come a meeting (a release, an
 * acquire and a trip to the cache on the way in, some 2000 cycles; 4000 backward), the sum over
 * slices (128 KB through shared memory, 1024) and the gates.
 *
 * A thread has 8 x 8 sums: 16 loads of 16 bytes from shared memory for 256 multiply-adds. Few
 * tiles cover what a block makes, so slices of the terms share them; then the slices are added. */
#include "engine/cuda/copies.cuh"
#include "engine/cuda/handover.cuh"
#include "engine/ops/lstm/lstm_steps.cuh"

enum { THREADS = 256, TILE = 8, TEAM = 4, STAGES = 4, PAD = 4 };
enum { SUMS = TILE * TILE / 4 /* of a thread, in fours */ };

/* How the grid shares B sequences and H units. */
struct Sharing {
    int B, H;
    int groups, blocks; /* blocks of a group: whole teams */
    int rows;           /* sequences of a group, at most */
    int own;            /* units of a block, even */
    int down, across;   /* tiles of a block's rows and of its 4 own columns */
    int slices;         /* of the terms */
    int share;          /* terms of a slice in one chunk, a multiple of 8 */
    int turn;           /* rows of a chunk that the threads copy at once */
    int slots;          /* of a thread for cells: a sequence's unit */

    __host__ __device__ int columns() const {
        return 4 * own;
    }
    __host__ __device__ int chunk() const {
        return slices * share;
    }
    __host__ __device__ int chunks() const {
        return (H + chunk() - 1) / chunk();
    }
    __host__ __device__ int pitch() const { /* floats from row to row of the ring */
        return chunk() + PAD;
    }
    __host__ __device__ int stage() const {
        return rows * pitch();
    }

    __host__ __device__ int space() const { /* floats of the ring, where then the sums lie */
        return max(STAGES * stage(), (int)THREADS * TILE * TILE);
    }
    __host__ __device__ int cells() const {
        return slots * THREADS;
    }
};

/* Floats of shared memory for each cell. */
enum { CELL_INPUTS = 8, CELL_FORWARD = CELL_INPUTS + 1, CELL_ADJOINT = 8 };

static size_t shared_bytes(const Sharing &s) {
    return ((size_t)s.H * (size_t)s.columns() + (size_t)s.space() +
            (size_t)s.cells() * CELL_FORWARD) *
           sizeof(float);
}

/* What a thread knows of its block's part. */
struct Worker {
    const Sharing &s;
    int64_t first;  /* sequence of the group */
    int count;      /* of its sequences */
    int part, unit; /* of the block in its group; its first unit */
    int tile, slice;
    int down, across; /* of the tile */
    bool works;
    int copied, piece, pieces; /* first row and term that it copies of a chunk, and how often */
    float *w, *space, *ring, *cells;
    unsigned *group, *team; /* counters */

    __device__ Worker(const Sharing &sharing, unsigned *counters) : s(sharing) {
        const int number = (int)blockIdx.x / s.blocks, tiles = s.down * s.across;
        part = (int)blockIdx.x % s.blocks;
        unit = part * s.own;
        first = (int64_t)number * s.rows;
        count = min(s.rows, s.B - (int)first);
        tile = (int)threadIdx.x % tiles;
        slice = (int)threadIdx.x / tiles;
        works = slice < s.slices;
        piece = (int)threadIdx.x % (s.chunk() / 4) * 4;
        copied = (int)threadIdx.x / (s.chunk() / 4);
        pieces = copied < s.turn ? max(0, (count - copied + s.turn - 1) / s.turn) : 0;
        /* Neighbouring lanes read the same state, lanes two apart the same weights: such loads
         * need half as many turns. */
        if (s.down % 2 == 0 && s.across % 2 == 0) {
            const int square = tile / 4;
            across = square % (s.across / 2) * 2 + tile % 2;
            down = square / (s.across / 2) * 2 + tile / 2 % 2;
        } else {
            across = tile % s.across;
            down = tile / s.across;
        }
        w = shared_memory<float>();
        space = w + s.H * s.columns();
        ring = space + copied * s.pitch() + piece;
        cells = space + s.space();
        group = counters + number * COUNTER_APART;
        team = counters + (MOST_BLOCKS + (int)blockIdx.x) / TEAM * COUNTER_APART;
    }

    /* Weights (H, columns) into shared memory: fill(term, column), zero for units that are not. */
    template <class Read> __device__ void keep(const Read &read) const {
        for (int i = (int)threadIdx.x; i < s.H * s.columns(); i += THREADS)
            w[i] = read(i / s.columns(), i % s.columns());
    }

    /* One chunk of the states' terms into the ring, zeros behind the last one. This thread's first
     * piece of it lies at `from`, the next `step` further. */
    __device__ void fetch(const float *from, int64_t step, int chunk) const {
        if (chunk < s.chunks()) {
            const bool exists = chunk * s.chunk() + piece < s.H;
            float *to = ring + chunk % STAGES * s.stage();
            from += chunk * s.chunk();
            for (int i = 0; i < pieces; i++, from += step, to += s.turn * s.pitch())
                if (exists)
                    copy_async(to, from);
                else
                    store<4>(to, Lanes<4>{});
        }
        copy_commit();
    }

    /* Four terms of a tile's rows, and where their weights lie, the first of them read. */
    struct Terms {
        Lanes<4> a[TILE], b[2];
        const float *weights;
    };
    __device__ void read(Terms &of, const float *x, const int row[TILE], int term) const {
        of.weights = w + min(term, s.H - 4) * s.columns() + across * 4;
#pragma unroll
        for (int i = 0; i < TILE; i++) of.a[i] = load<4>(x + row[i]);
        of.b[0] = load<4>(of.weights);
        of.b[1] = load<4>(of.weights + s.columns() / 2);
    }
    __device__ void add(Lanes<4> sums[TILE][2], const Terms &of) const {
        Lanes<4> b[2] = {of.b[0], of.b[1]}, next[2] = {};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (j < 3) {
                next[0] = load<4>(of.weights + (2 * j + 2) * (s.columns() / 2));
                next[1] = load<4>(of.weights + (2 * j + 3) * (s.columns() / 2));
            }
#pragma unroll
            for (int i = 0; i < TILE; i++)
#pragma unroll
                for (int n = 0; n < TILE; n++)
                    sums[i][n / 4].of[n % 4] += of.a[i].of[j] * b[n / 4].of[n % 4];
            b[0] = next[0];
            b[1] = next[1];
        }
    }

    /* Sums of all slices, each slice's left in shared memory for total(). While four terms are
     * multiplied the next four are read, those of the next chunk too. */
    __device__ void multiply(const float *from, int64_t ld) const {
        const int chunks = s.chunks();
        const int start = min(slice, s.slices - 1) * s.share; /* idle threads repeat the last one */
        int row[TILE];
#pragma unroll
        for (int i = 0; i < TILE; i++)
            row[i] = min(i * s.down + down, count - 1) * s.pitch() + start;
        Lanes<4> sums[TILE][2] = {};
        Terms even, odd;
        const int64_t step = s.turn * ld;
        from += copied * ld + piece;
        for (int chunk = 0; chunk < STAGES; chunk++) fetch(from, step, chunk);
        copy_wait<STAGES - 1>();
        __syncthreads();
        read(even, space, row, start);
        for (int chunk = 0; chunk < chunks; chunk++) {
            const float *x = space + chunk % STAGES * s.stage();
            int term = chunk * s.chunk() + start;
            for (int k = 0; k < s.share; k += 8, x += 8, term += 8) {
                read(odd, x + 4, row, term + 4);
                add(sums, even);
                if (k + 8 < s.share) {
                    read(even, x + 8, row, term + 8);
                } else {
                    copy_wait<STAGES - 2>();
                    __syncthreads(); /* the next chunk is here, this one has been read */
                    fetch(from, step, chunk + STAGES);
                    if (chunk + 1 < chunks)
                        read(even, space + (chunk + 1) % STAGES * s.stage(), row,
                             (chunk + 1) * s.chunk() + start);
                }
                add(sums, odd);
            }
        }
#pragma unroll
        for (int e = 0; e < SUMS; e++)
            store<4>(space + (e * THREADS + (int)threadIdx.x) * 4, sums[e / 2][e % 2]);
        __syncthreads();
    }
    __device__ Lanes<4> total(int e) const {
        Lanes<4> sum = {};
        for (int i = 0; i < s.slices; i++) {
            const Lanes<4> part = load<4>(space + (e * THREADS + i * s.down * s.across + tile) * 4);
            for (int n = 0; n < 4; n++) sum.of[n] += part.of[n];
        }
        return sum;
    }

    /* The block's cells are shared out as its sums, in fours, are: body(row, four, slot, e) for
     * those of this thread, sequence first + row and columns 4 four and on. */
    template <class Body> __device__ void each_cell(const Body &body) const {
        if (!works) return;
        for (int e = slice, slot = (int)threadIdx.x; e < SUMS; e += s.slices, slot += THREADS) {
            const int row = e / 2 * s.down + down, four = e % 2 * s.across + across;
            if (row < count) body(row, four, slot, e);
        }
    }
};

KERNEL void __launch_bounds__(THREADS, 1) steps(Cells x, Sharing s, unsigned *counters) {
    const Worker own(s, counters);
    const int64_t L = x.L, H = x.H;
    float *const c = own.cells, *const inputs = c + s.cells(); /* four each, of two steps */
    own.keep([&](int term, int column) {
        const int u = own.unit + column / 4;
        return u < s.H ? x.w[term * 4 * H + column % 4 * H + u] : 0.0f;
    });
    const auto prefetch = [&](int64_t t) {
        if (t >= L) return;
        own.each_cell([&](int row, int four, int slot, int) {
            const int u = own.unit + four;
            if (u >= s.H) return;
            const float *const from = x.gates + ((own.first + row) * L + t) * 4 * H + u;
            float *const to = inputs + (t % 2 * s.cells() + slot) * 4;
            for (int gate = 0; gate < 4; gate++) copy_async_if(true, to + gate, from + gate * H);
        });
        copy_commit();
    };
    own.each_cell([&](int row, int four, int slot, int) {
        const int u = own.unit + four;
        c[slot] = x.c0 && u < s.H ? x.c0[(own.first + row) * H + u] : 0.0f;
    });
    prefetch(0);
    for (int64_t t = 0; t < L; t++) {
        const bool recurs = t > 0 || x.h0;
        if (t > 0) meet(own.group, (unsigned)(s.blocks * t));
        if (recurs)
            own.multiply(t > 0 ? x.h + (own.first * L + t - 1) * H : x.h0 + own.first * H,
                         t > 0 ? L * H : H);
        else
            wait_copies();
        float *const G = inputs + t % 2 * 4 * s.cells(); /* then after the activation */
        own.each_cell([&](int row, int four, int slot, int e) {
            const int u = own.unit + four;
            if (u >= s.H) return;
            const Lanes<4> sum = recurs ? own.total(e) : Lanes<4>{};
            Lanes<4> g = load<4>(G + slot * 4);
            for (unsigned gate = 0; gate < 4; gate++)
                g.of[gate] = activated_gate(gate, sum.of[gate] + g.of[gate]);
            c[slot] = g.of[1] * c[slot] + g.of[0] * g.of[2];
            store<4>(G + slot * 4, g);
            const float h = g.of[3] * tanhf(c[slot]);
            x.h[((own.first + row) * L + t) * H + u] = h;
            if (x.h_last && t + 1 == L) x.h_last[(own.first + row) * H + u] = h;
        });
        hand_over(own.group);
        prefetch(t + 1);
        if (!x.activated) continue;
        own.each_cell([&](int row, int four, int slot, int) {
            const int u = own.unit + four;
            if (u >= s.H) return;
            const int64_t at = (own.first + row) * L + t;
            const Lanes<4> g = load<4>(G + slot * 4);
            for (int gate = 0; gate < 4; gate++)
                x.activated[at * 4 * H + gate * H + u] = g.of[gate];
            x.c[at * H + u] = c[slot];
        });
    }
    own.each_cell([&](int row, int four, int slot, int) {
        const int u = own.unit + four;
        if (x.c_last && u < s.H) x.c_last[(own.first + row) * H + u] = c[slot];
    });
}

/* parts (4, B, H): of dh, by gate. */
KERNEL void __launch_bounds__(THREADS, 1)
    adjoint_steps(Adjoint x, Sharing s, unsigned *counters, float *parts) {
    const Worker own(s, counters);
    const int64_t L = x.L, H = x.H, cells = s.cells();
    const int gate = own.part % TEAM, team = own.unit - gate * s.own; /* its first unit */
    float *const c = own.cells, *const dc = c + cells, *const inputs = dc + cells;
    own.keep([&](int term, int column) {
        const int u = team + column;
        return u < s.H ? x.w[u * 4 * H + gate * H + term] : 0.0f;
    });
    /* Of step t: four gates, the cotangent of h and the state before. */
    const auto prefetch = [&](int64_t t) {
        own.each_cell([&](int row, int four, int slot, int) {
            const int u = own.unit + four;
            if (u >= s.H) return;
            const int64_t b = own.first + row, at = b * L + t;
            const float *const from[] = {x.activated + at * 4 * H + u,
                                         x.activated + at * 4 * H + H + u,
                                         x.activated + at * 4 * H + 2 * H + u,
                                         x.activated + at * 4 * H + 3 * H + u,
                                         x.dh + at * H + u,
                                         t > 0  ? x.c + (at - 1) * H + u
                                         : x.c0 ? x.c0 + b * H + u
                                                : NULL};
            for (int i = 0; i < 6; i++)
                copy_async_if(from[i] != NULL, inputs + i * cells + slot, from[i]);
        });
        copy_commit();
    };
    const auto later_h = [&](int64_t at) {
        float sum = parts[at];
        for (int r = 1; r < TEAM; r++) sum += parts[r * s.B * H + at];
        return sum;
    };
    own.each_cell([&](int row, int four, int slot, int) {
        const int u = own.unit + four;
        if (u >= s.H) return;
        const int64_t b = own.first + row;
        c[slot] = x.c[(b * L + L - 1) * H + u];
        dc[slot] = x.dc_last ? x.dc_last[b * H + u] : 0.0f;
    });
    prefetch(L - 1);
    wait_copies();
    unsigned met = 0;
    for (int64_t t = L - 1; t >= 0; t--) {
        own.each_cell([&](int row, int four, int slot, int) {
            const int u = own.unit + four;
            if (u >= s.H) return;
            const int64_t b = own.first + row, at = b * L + t;
            const float *const in = inputs + slot;
            const float i = in[0], f = in[cells], g = in[2 * cells], o = in[3 * cells];
            const float before = in[5 * cells], bent = tanhf(c[slot]);
            const float later = met ? later_h(b * H + u) : x.dh_last ? x.dh_last[b * H + u] : 0.0f;
            const float to_h = later + in[4 * cells];
            const float to_c = dc[slot] + to_h * o * (1 - bent * bent);
            float *const d = x.d_gates + at * 4 * H + u;
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
        own.each_cell([&](int row, int four, int, int e) {
            const int u = team + four * 4;
            if (u < s.H) store<4>(parts + (gate * s.B + own.first + row) * H + u, own.total(e));
        });
        hand_over(own.team);
        meet(own.team, TEAM * met);
    }
    own.each_cell([&](int row, int four, int slot, int) {
        const int u = own.unit + four;
        if (u >= s.H) return;
        const int64_t at = (own.first + row) * H + u;
        if (x.dh0) put(x.dh0 + at, later_h(at), x.add_h0);
        if (x.dc0) put(x.dc0 + at, dc[slot], x.add_c0);
    });
}

/* The sharing among at most `most` blocks that takes least time by the floors above; groups = 0
 * where none fits. */
static Sharing share_out(int64_t B, int64_t H, unsigned most, size_t bytes) {
    Sharing best = {};
    int64_t least = 0;
    for (int groups = 1; groups <= (int)most / TEAM && groups <= B; groups++) {
        Sharing s = {(int)B, (int)H};
        s.rows = (int)((B + groups - 1) / groups);
        s.groups = (int)((B + s.rows - 1) / s.rows);
        s.blocks = (int)most / groups / TEAM * TEAM;
        s.own = ((int)H + s.blocks - 1) / s.blocks;
        s.own += s.own % 2;
        s.down = (s.rows + TILE - 1) / TILE;
        s.across = s.columns() / TILE;
        s.slices = THREADS / (s.down * s.across);
        if (s.slices < 2) continue; /* so many rows keep a plain product busy */
        s.slots = (SUMS + s.slices - 1) / s.slices;
        for (s.share = 8; s.share <= 16 && s.chunk() / 4 <= THREADS; s.share += 8) {
            if (shared_bytes(s) > bytes) continue;
            s.turn = THREADS / (s.chunk() / 4);
            const int64_t time = 128 * s.chunks() * s.share + s.rows * H / 6;
            if (best.groups && time > least) continue;
            best = s;
            least = time;
        }
    }
    return best;
}

/* How a launch would share the work, with counters at zero; none where it does not fit. */
static Sharing prepare(const Run *run, int64_t B, int64_t H, unsigned fit, unsigned *counters) {
    if (run->products != PRODUCTS_FLOAT || H % 4 != 0 || H > 4096 || B > 65536) return {};
    const unsigned most = MOST_BLOCKS;
    const Sharing s = share_out(B, H, fit < most ? fit : most, most_shared(run));
    if (s.groups) for_each(run, RESIDENT_COUNTERS, [=] __device__(int64_t i) { counters[i] = 0; });
    return s;
}

bool resident_steps(const Run *run, int64_t B, const Cells &x, unsigned *counters) {
    const unsigned fit = RESIDENT_BLOCKS(run, steps, THREADS, most_shared(run));
    const Sharing s = prepare(run, B, x.H, fit, counters);
    if (!s.groups) return false;
    LAUNCH_RESIDENT(run, steps, (unsigned)(s.groups * s.blocks), THREADS, shared_bytes(s), x, s,
                    counters);
    return true;
}

bool resident_adjoint_steps(const Run *run, int64_t B, const Adjoint &x, float *parts,
                            unsigned *counters) {
    const unsigned fit = RESIDENT_BLOCKS(run, adjoint_steps, THREADS, most_shared(run));
    const Sharing s = prepare(run, B, x.H, fit, counters);
    if (!s.groups) return false;
    LAUNCH_RESIDENT(run, adjoint_steps, (unsigned)(s.groups * s.blocks), THREADS, shared_bytes(s),
                    x, s, counters, parts);
    return true;
}
