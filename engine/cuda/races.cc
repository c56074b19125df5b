/* The detector of races.h. Every event has a time, and times go on from launch to launch. A label
 * says who touched a byte and at what time; what a thread knows of others is, for each of them, the
 * time up to which everything they did is ordered before what it does now (vector clocks, kept
 * sparse: barriers of blocks make all threads alike, and only who has met others elsewhere knows
 * more). A label is kept for who wrote a byte last, and a set of them for who has read it since. */
#include "engine/cuda/races.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <iterator>
#include <limits>
#include <link.h>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/cuda/grid.cuh"

namespace races {
namespace {

/* A time, whether the access is under way (it has begun and nobody has waited for it), and a number
 * in the cluster: of a thread or, behind the threads, of the bulk copies of a barrier. */
typedef uint64_t Label;
enum { NUMBER_BITS = 14, TIME_SHIFT };
static_assert((unsigned)emulation::MOST_FIBRES * 2 <= 1u << NUMBER_BITS);
constexpr Label UNDER_WAY = (Label)1 << NUMBER_BITS, NUMBERS = UNDER_WAY - 1;
constexpr Label label_of(uint64_t time, unsigned number) {
    return time << TIME_SHIFT | number;
}
constexpr uint64_t time_of(Label label) {
    return label >> TIME_SHIFT;
}
constexpr unsigned number_of(Label label) {
    return (unsigned)(label & NUMBERS);
}

/* Who has read: nobody, one label, or IN_SETS and the number of a set, a list that begins with the
 * newest. Sets are shared by all bytes that the same threads have read. */
typedef uint64_t Readers;
constexpr Readers IN_SETS = (Readers)1 << 63;
struct Set {
    Label newest;
    Readers others;
    /* All labels lie between these, and are of threads of the same block; else the second is the
     * largest number there is. */
    Label least, most;
};

struct Cell {
    Label write;
    Readers readers;
};

/* A page's bytes, 2^shift to a cell: as many as every access so far has touched together. */
enum { PAGE_BYTES = 4096, MOST_SHIFT = 4 };
struct Cells {
    int shift = MOST_SHIFT;
    std::vector<Cell> of = std::vector<Cell>(PAGE_BYTES >> MOST_SHIFT);

    void split(int to) {
        std::vector<Cell> all(PAGE_BYTES >> to);
        for (size_t i = 0; i < all.size(); i++) all[i] = of[i >> (shift - to)];
        of = std::move(all);
        shift = to;
    }
};

enum Space { UNWATCHED, SHARED, STATIC, DEVICE };
enum { PAGES_AT_HAND = 1024, STEPS_AT_HAND = 8192 };
struct Page {
    uintptr_t number;
    Cells *cells;
    Space space;
};
struct Range {
    uintptr_t start, end;
    Space space;
};

/* What is older does not count: of shared memory before the cluster, of device memory before the
 * launch. */
struct Horizon {
    Label labels = 0;
    Readers sets = IN_SETS;
};

/* For each of whom something is known, up to what time; sorted. */
class Clock {
  public:
    uint64_t of(uint64_t who) const {
        const auto at = std::lower_bound(known.begin(), known.end(), Known{who, 0}, before);
        return at != known.end() && at->who == who ? at->time : 0;
    }
    void learn(uint64_t who, uint64_t time) {
        const auto at = std::lower_bound(known.begin(), known.end(), Known{who, 0}, before);
        if (at != known.end() && at->who == who)
            at->time = std::max(at->time, time);
        else
            known.insert(at, {who, time});
    }
    void join(const Clock &other) {
        if (other.known.empty()) return;
        std::vector<Known> both;
        both.reserve(known.size() + other.known.size());
        std::merge(known.begin(), known.end(), other.known.begin(), other.known.end(),
                   std::back_inserter(both), before);
        size_t count = 0;
        for (const Known &next : both)
            if (count && both[count - 1].who == next.who)
                both[count - 1].time = std::max(both[count - 1].time, next.time);
            else
                both[count++] = next;
        both.resize(count);
        known = std::move(both);
    }
    void clear() {
        known.clear();
    }
    bool empty() const {
        return known.empty();
    }

  private:
    struct Known {
        uint64_t who, time;
    };
    static bool before(const Known &a, const Known &b) {
        return a.who < b.who;
    }
    std::vector<Known> known;
};

struct Flight {
    uintptr_t from, to;
    size_t bytes;
    Label label;
    int group;
};

struct ThreadState {
    uint64_t time; /* of what it does now */
    Clock clock;   /* what it knows besides its block */
    std::vector<Flight> flights[KINDS];
};
struct BlockState {
    Label met; /* labels below it are of before the last barrier */
    Clock clock;
};
struct BarrierState {
    unsigned number; /* of its bulk copies */
    Clock gathering, complete;
    std::vector<Flight> flights;
};
struct ClusterStart {
    Label labels;
    uint64_t block;
};

/* What became of readers when a label came or went: the same for the next byte. */
struct Step {
    Readers from;
    Label label;
    Readers to;
    bool added;
};

struct Detector {
    uint64_t time = 0;
    std::vector<Range> ranges;
    std::unordered_map<uintptr_t, std::unique_ptr<Cells>> cells;
    Page pages[PAGES_AT_HAND] = {};
    uintptr_t shared = 0;
    size_t apart = 1;

    unsigned grid_x = 0, grid_y = 0;
    Horizon launch, cluster;
    std::vector<ClusterStart> starts;
    std::unordered_map<const unsigned *, std::vector<Clock>> counters; /* after each count */
    std::vector<Set> sets; /* the first is number launch.sets */
    Step steps[STEPS_AT_HAND] = {};
    std::vector<Label> kept; /* of a set that is made anew */

    unsigned blocks = 0, threads = 0; /* of the cluster, of each block */
    std::vector<ThreadState> of_thread;
    std::vector<BlockState> of_block;
    std::unordered_map<const uint64_t *, BarrierState> barriers;
    bool begun = false;   /* all blocks of the cluster have */
    bool reached = false; /* since they met, some block has reached into another */

    bool running = false;
    unsigned thread = 0, rank = 0;
    unsigned first = 0; /* thread of its block */
    Label label = 0;
    Label met = 0;         /* of its block */
    bool alone = true;     /* it knows no more than its block */
    Label seen = 0;        /* the last label that the thread turned out to know */
    Readers all_known = 0; /* the last set, the same */
};
Detector d;

/* ---- who knows what ---- */

/* Keys of clocks: all threads of a block, or one number of a cluster. */
uint64_t key_of(size_t cluster, unsigned number) {
    return (uint64_t)cluster << 16 | number;
}
uint64_t block_key(size_t cluster, unsigned rank) {
    return key_of(cluster, 0x8000u | rank);
}
size_t cluster_now() {
    return d.starts.size() - 1;
}
size_t cluster_of(Label label) {
    if (label >= d.cluster.labels) return cluster_now();
    const auto later =
        std::upper_bound(d.starts.begin(), d.starts.end(), label,
                         [](Label x, const ClusterStart &start) { return x < start.labels; });
    return (size_t)(later - d.starts.begin()) - 1;
}

bool told(Label label) {
    const size_t cluster = cluster_of(label);
    const unsigned number = number_of(label);
    const uint64_t block = block_key(cluster, number / d.threads), own = key_of(cluster, number);
    const bool by_block = number < d.blocks * d.threads;
    for (const Clock *clock : {&d.of_thread[d.thread].clock, &d.of_block[d.rank].clock})
        if (clock->of(own) >= time_of(label) || (by_block && clock->of(block) >= time_of(label)))
            return true;
    return false;
}

/* The same for what no barrier of its block tells the running thread. */
bool known_otherwise(Label label) {
    if (label & UNDER_WAY || !told(label)) return false;
    d.seen = label;
    return true;
}
/* Whether what has this label is ordered before what the running thread does. */
inline bool known(Label label, const Horizon &horizon) {
    if (label < horizon.labels || label == d.seen) return true;
    if (label >= d.cluster.labels && !(label & UNDER_WAY)) {
        const unsigned number = number_of(label);
        if (number == d.thread) return true;
        if (number - d.first < d.threads) {
            if (label < d.met) return true;
            if (d.alone) return false;
        }
    }
    return known_otherwise(label);
}

void take_label() {
    d.label = label_of(d.of_thread[d.thread].time, d.thread);
    d.alone = d.of_thread[d.thread].clock.empty();
    d.seen = 0;
    d.all_known = 0;
}
/* What the thread does from now on has another time than what it has done. */
void tick(unsigned thread) {
    d.of_thread[thread].time = ++d.time;
    if (thread == d.thread) take_label();
}
/* What the thread knows, itself and its block included. */
Clock knowledge(unsigned thread) {
    const unsigned rank = thread / d.threads;
    Clock all = d.of_block[rank].clock;
    all.join(d.of_thread[thread].clock);
    all.learn(key_of(cluster_now(), thread), d.of_thread[thread].time);
    return all;
}

/* ---- reports ---- */

void say_who(char *text, size_t size, Label label) {
    const unsigned number = number_of(label);
    const uint64_t block = d.starts[cluster_of(label)].block + number / d.threads;
    if (number >= d.blocks * d.threads)
        std::snprintf(text, size, "a bulk copy");
    else
        std::snprintf(text, size, "%sthread %u of block (%u, %u, %u)",
                      label & UNDER_WAY ? "a copy or product under way of " : "",
                      number % d.threads, (unsigned)(block % d.grid_x),
                      (unsigned)(block / d.grid_x % d.grid_y),
                      (unsigned)(block / d.grid_x / d.grid_y));
}
void say_where(char *text, size_t size, uintptr_t at) {
    const auto range = std::find_if(d.ranges.begin(), d.ranges.end(),
                                    [&](const Range &x) { return at >= x.start && at < x.end; });
    const size_t byte = at - range->start;
    if (range->space == SHARED)
        std::snprintf(text, size, "byte %zu of the shared memory of block %zu of the cluster",
                      byte % d.apart, byte / d.apart);
    else
        std::snprintf(text, size, "byte %zu of %s", byte,
                      range->space == STATIC ? "the __shared__ arrays (the library's data)"
                                             : "an allocation of device memory");
}
[[noreturn]] void report(bool write, uintptr_t at, Label other, bool other_wrote) {
    char where[128], who[128], text[512];
    say_where(where, sizeof where, at);
    say_who(who, sizeof who, other);
    std::snprintf(text, sizeof text, "race: thread %u %s %s, which %s %s; nothing orders the two",
                  d.thread % d.threads, write ? "writes" : "reads", where, who,
                  other_wrote ? "writes" : "reads");
    emulation::complain(text);
}

/* ---- readers ---- */

bool stale(Readers readers, const Horizon &horizon) {
    return readers < (readers & IN_SETS ? horizon.sets : horizon.labels);
}
const Set &set_of(Readers readers) {
    return d.sets[readers - d.launch.sets];
}
Label newest(Readers readers) {
    return readers & IN_SETS ? set_of(readers).newest : readers;
}
Readers others(Readers readers) {
    return readers & IN_SETS ? set_of(readers).others : 0;
}
Readers with(Label label, Readers readers) {
    if (!readers) return label;
    Label least = readers, most = readers;
    if (readers & IN_SETS) {
        least = set_of(readers).least;
        most = set_of(readers).most;
    }
    const bool alike = !((label | most) & UNDER_WAY) &&
                       number_of(label) / d.threads == number_of(most) / d.threads &&
                       number_of(label) / d.threads < d.blocks;
    d.sets.push_back({label, readers, std::min(least, label),
                      alike ? std::max(most, label) : std::numeric_limits<Label>::max()});
    return d.launch.sets + d.sets.size() - 1;
}

/* Whether a barrier of the block orders all of them before what the running thread does. */
bool all_met(Readers readers) {
    if (!(readers & IN_SETS)) return false;
    const Set &set = set_of(readers);
    return set.least >= d.cluster.labels && set.most < d.met &&
           number_of(set.most) - d.first < d.threads;
}

/* Without those of this cluster that `drop` names. */
template <class Drop> Readers without(Readers readers, const Horizon &horizon, const Drop &drop) {
    std::vector<Label> &kept = d.kept;
    kept.clear();
    bool dropped = false;
    Readers rest = readers;
    for (; rest && !stale(rest, horizon) && newest(rest) >= d.cluster.labels; rest = others(rest)) {
        const Label label = newest(rest);
        if (drop(label))
            dropped = true;
        else
            kept.push_back(label);
    }
    if (!dropped) return readers;
    if (stale(rest, horizon)) rest = 0;
    for (size_t i = kept.size(); i-- > 0;) rest = with(kept[i], rest);
    return rest;
}

Readers stepped(Readers readers, Label label, const Horizon &horizon, bool add) {
    const uint64_t mixed = (readers * 0x9E3779B97F4A7C15u ^ label) * 0xD1B54A32D192ED03u + add;
    Step &step = d.steps[(mixed >> 40) % STEPS_AT_HAND];
    if (step.from == readers && step.label == label && step.added == add) return step.to;
    Readers to;
    if (add) {
        bool there = false;
        /* Who orders a write behind this reader orders it behind those that the reader knows;
         * bulk copies know nobody. */
        const bool own = number_of(label) == d.thread;
        if (own && all_met(readers)) return label;
        to = without(readers, horizon, [&](Label x) {
            there |= x == label;
            return x != label && own && known(x, horizon);
        });
        if (!there) to = with(label, to);
    } else {
        to = without(readers, horizon, [&](Label x) { return x == label; });
    }
    step = {readers, label, to, add};
    return to;
}

void add_reader(Cell &cell, Label label, const Horizon &horizon) {
    if (cell.readers == label) return;
    cell.readers = !cell.readers || stale(cell.readers, horizon)
                       ? label
                       : stepped(cell.readers, label, horizon, true);
}
void remove_reader(Cell &cell, Label label, const Horizon &horizon) {
    if (cell.readers == label)
        cell.readers = 0;
    else if (cell.readers & IN_SETS && !stale(cell.readers, horizon))
        cell.readers = stepped(cell.readers, label, horizon, false);
}

/* ---- accesses ---- */

void read(Cell &cell, uintptr_t at, Label label, const Horizon &horizon) {
    if (!known(cell.write, horizon)) report(false, at, cell.write, true);
    add_reader(cell, label, horizon);
}

void write(Cell &cell, uintptr_t at, Label label, const Horizon &horizon) {
    if (!known(cell.write, horizon)) report(true, at, cell.write, true);
    if (cell.readers && cell.readers != d.all_known && !stale(cell.readers, horizon) &&
        !all_met(cell.readers)) {
        for (Readers r = cell.readers; r && !stale(r, horizon); r = others(r))
            if (!known(newest(r), horizon)) report(true, at, newest(r), false);
        if (cell.readers & IN_SETS) d.all_known = cell.readers;
    }
    cell = {label, 0};
}

Page find_page(uintptr_t number) {
    const uintptr_t at = number * PAGE_BYTES;
    for (const Range &range : d.ranges) {
        if (at < range.start || at >= range.end) continue;
        std::unique_ptr<Cells> &cells = d.cells[number];
        if (!cells) cells = std::make_unique<Cells>();
        return {number, cells.get(), range.space};
    }
    return {number, nullptr, UNWATCHED};
}

/* A block of a cluster reaches into another one. */
void check_reach(uintptr_t at) {
    if ((at - d.shared) / d.apart == d.rank) return;
    if (!d.begun) emulation::complain("race: reaches into a block that may not have begun");
    d.reached = true;
}

/* action(cell, address, horizon) for all bytes that are watched. */
template <class Action> void each_cell(uintptr_t at, size_t bytes, const Action &action) {
    /* the built-in variables */
    if (at - reinterpret_cast<uintptr_t>(&emulation::current) < sizeof emulation::current) return;
    while (bytes) {
        Page &slot = d.pages[at / PAGE_BYTES % PAGES_AT_HAND];
        if (slot.number != at / PAGE_BYTES) slot = find_page(at / PAGE_BYTES);
        const Page page = slot;
        const uintptr_t first = at % PAGE_BYTES;
        const size_t here = std::min(bytes, (size_t)PAGE_BYTES - first);
        if (page.cells) {
            const int whole = std::countr_zero((first | here) | 1u << MOST_SHIFT);
            if (whole < page.cells->shift) page.cells->split(whole);
            if (page.space == SHARED && d.blocks > 1) check_reach(at);
            const Horizon &horizon = page.space == DEVICE ? d.launch : d.cluster;
            const int shift = page.cells->shift;
            for (size_t i = first >> shift; i < (first + here) >> shift; i++)
                action(page.cells->of[i], at - first + (i << shift), horizon);
        }
        at += here;
        bytes -= here;
    }
}

void reads(const volatile void *at, size_t bytes) {
    if (!d.running) return;
    each_cell(reinterpret_cast<uintptr_t>(at), bytes,
              [](Cell &cell, uintptr_t byte, const Horizon &horizon) {
                  read(cell, byte, d.label, horizon);
              });
}
void writes(const volatile void *at, size_t bytes) {
    if (!d.running) return;
    each_cell(reinterpret_cast<uintptr_t>(at), bytes,
              [](Cell &cell, uintptr_t byte, const Horizon &horizon) {
                  write(cell, byte, d.label, horizon);
              });
}

/* ---- what goes on while the thread does other things ---- */

Flight begun(int group, const void *from, void *to, size_t bytes, Label label) {
    const Flight flight = {reinterpret_cast<uintptr_t>(from), reinterpret_cast<uintptr_t>(to),
                           bytes, label, group};
    if (from)
        each_cell(flight.from, bytes, [&](Cell &cell, uintptr_t at, const Horizon &horizon) {
            read(cell, at, label, horizon);
        });
    if (to)
        each_cell(flight.to, bytes, [&](Cell &cell, uintptr_t at, const Horizon &horizon) {
            write(cell, at, label, horizon);
        });
    return flight;
}
void ended(const Flight &flight, Label label) {
    if (flight.from)
        each_cell(flight.from, flight.bytes, [&](Cell &cell, uintptr_t, const Horizon &horizon) {
            remove_reader(cell, flight.label, horizon);
            add_reader(cell, label, horizon);
        });
    if (flight.to)
        each_cell(flight.to, flight.bytes,
                  [&](Cell &cell, uintptr_t, const Horizon &) { cell.write = label; });
}

/* The library's own data hold the __shared__ arrays. */
int watch_own_data(dl_phdr_info *object, size_t, void *) {
    const uintptr_t own = reinterpret_cast<uintptr_t>(&d);
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) &part = object->dlpi_phdr[i];
        const uintptr_t start = object->dlpi_addr + part.p_vaddr, end = start + part.p_memsz;
        if (part.p_type != PT_LOAD || own < start || own >= end) continue;
        d.ranges.push_back({start / PAGE_BYTES * PAGE_BYTES, end, STATIC});
        return 1;
    }
    return 0;
}

void watch(void *start, size_t bytes, Space space) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(start);
    d.ranges.push_back({at, at + bytes, space});
    std::fill(std::begin(d.pages), std::end(d.pages), Page{});
}

} // namespace

void watch_shared(void *start, size_t apart, size_t blocks) {
    d.shared = reinterpret_cast<uintptr_t>(start);
    d.apart = apart;
    watch(start, apart * blocks, SHARED);
    dl_iterate_phdr(watch_own_data, nullptr);
}
void watch_device(void *start, size_t bytes) {
    watch(start, bytes, DEVICE);
}
void forget_device(void *start) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(start);
    const auto range = std::find_if(d.ranges.begin(), d.ranges.end(),
                                    [&](const Range &x) { return x.start == at; });
    std::erase_if(d.cells, [&](const auto &page) {
        return page.first >= range->start / PAGE_BYTES && page.first < range->end / PAGE_BYTES;
    });
    d.ranges.erase(range);
    std::fill(std::begin(d.pages), std::end(d.pages), Page{});
}

void launch_begins(unsigned grid_x, unsigned grid_y) {
    d.grid_x = grid_x;
    d.grid_y = grid_y;
    d.launch = {label_of(++d.time, 0), d.launch.sets + d.sets.size()};
    d.sets.clear();
    d.starts.clear();
    d.counters.clear();
}

void cluster_begins(uint64_t first, unsigned blocks, unsigned threads) {
    d.blocks = blocks;
    d.threads = threads;
    d.cluster = {label_of(++d.time, 0), d.launch.sets + d.sets.size()};
    d.starts.push_back({d.cluster.labels, first});
    d.of_block.assign(blocks, {d.cluster.labels, {}});
    d.of_thread.resize(std::max(d.of_thread.size(), (size_t)blocks * threads));
    for (unsigned i = 0; i < blocks * threads; i++) {
        d.of_thread[i].time = d.time;
        d.of_thread[i].clock.clear();
        for (std::vector<Flight> &flights : d.of_thread[i].flights) flights.clear();
    }
    d.barriers.clear();
    d.begun = d.reached = false;
}
void cluster_ends() {
    d.running = false;
    if (d.reached) emulation::complain("race: a block may end while another reaches into it");
}

void thread_runs(unsigned thread) {
    d.running = true;
    d.thread = thread;
    d.rank = thread / d.threads;
    d.first = d.rank * d.threads;
    d.met = d.of_block[d.rank].met;
    take_label();
}

void warp_met(unsigned first, unsigned last) {
    Clock all;
    for (unsigned i = first; i < last; i++) all.join(knowledge(i));
    for (unsigned i = first; i < last; i++) {
        d.of_thread[i].clock = all;
        tick(i);
    }
}
/* What all these blocks' threads know, and that they have done what they did. */
static void blocks_met(unsigned first, unsigned last) {
    Clock all;
    const uint64_t met = d.time++;
    for (unsigned rank = first; rank < last; rank++) {
        all.join(d.of_block[rank].clock);
        all.learn(block_key(cluster_now(), rank), met);
        for (unsigned i = rank * d.threads; i < (rank + 1) * d.threads; i++) {
            all.join(d.of_thread[i].clock);
            d.of_thread[i].clock.clear();
            d.of_thread[i].time = d.time;
        }
    }
    for (unsigned rank = first; rank < last; rank++) d.of_block[rank] = {label_of(d.time, 0), all};
}
void block_met(unsigned rank) {
    blocks_met(rank, rank + 1);
}
void cluster_met() {
    blocks_met(0, d.blocks);
    d.begun = true;
    d.reached = false;
}

void flies(Kind kind, int group, const void *from, void *to, size_t bytes) {
    std::vector<Flight> &flights = d.of_thread[d.thread].flights[kind];
    /* One label a group: it ends as a whole. */
    const Label label = !flights.empty() && flights.back().group == group
                            ? flights.back().label
                            : label_of(++d.time, d.thread) | UNDER_WAY;
    flights.push_back(begun(group, from, to, bytes, label));
}
void landed(Kind kind, int groups) {
    std::erase_if(d.of_thread[d.thread].flights[kind], [&](const Flight &flight) {
        if (flight.group >= groups) return false;
        ended(flight, d.label);
        return true;
    });
}

void arrivals_open(const uint64_t *barrier) {
    writes(barrier, sizeof *barrier);
    const unsigned number = d.blocks * d.threads + (unsigned)d.barriers.size();
    d.barriers[barrier] = {number, {}, {}, {}};
}
void arrives(const uint64_t *barrier) {
    reads(barrier, sizeof *barrier);
    d.barriers[barrier].gathering.join(knowledge(d.thread));
    tick(d.thread);
}
void flies_bulk(const uint64_t *barrier, const void *from, void *to, size_t bytes) {
    reads(barrier, sizeof *barrier);
    const Label label = label_of(++d.time, d.thread) | UNDER_WAY;
    d.barriers[barrier].flights.push_back(begun(0, from, to, bytes, label));
}
void phase_ends(const uint64_t *barrier) {
    BarrierState &state = d.barriers[barrier];
    const uint64_t time = ++d.time;
    for (const Flight &flight : state.flights) ended(flight, label_of(time, state.number));
    state.flights.clear();
    state.gathering.learn(key_of(cluster_now(), state.number), time);
    state.complete = state.gathering;
}
void awaited(const uint64_t *barrier) {
    reads(barrier, sizeof *barrier);
    d.of_thread[d.thread].clock.join(d.barriers[barrier].complete);
    tick(d.thread);
}

void counts_up(const unsigned *counter) {
    std::vector<Clock> &counts = d.counters[counter];
    Clock all = knowledge(d.thread);
    if (!counts.empty()) all.join(counts.back());
    counts.push_back(std::move(all));
    tick(d.thread);
}
void count_awaited(const unsigned *counter, unsigned count) {
    const std::vector<Clock> &counts = d.counters[counter];
    const size_t seen = std::min(counts.size(), (size_t)count);
    if (seen) d.of_thread[d.thread].clock.join(counts[seen - 1]);
    tick(d.thread);
}

} // namespace races

/* ---- what -fsanitize=thread makes kernels call ---- */

extern "C" {

#define ACCESS(name, bytes)                                                                        \
    void __tsan_read##name(void *at) {                                                             \
        races::reads(at, bytes);                                                                   \
    }                                                                                              \
    void __tsan_write##name(void *at) {                                                            \
        races::writes(at, bytes);                                                                  \
    }                                                                                              \
    void __tsan_unaligned_read##name(void *at) {                                                   \
        races::reads(at, bytes);                                                                   \
    }                                                                                              \
    void __tsan_unaligned_write##name(void *at) {                                                  \
        races::writes(at, bytes);                                                                  \
    }
ACCESS(1, 1)
ACCESS(2, 2)
ACCESS(4, 4)
ACCESS(8, 8)
ACCESS(16, 16)

void __tsan_read_range(void *at, unsigned long bytes) {
    races::reads(at, bytes);
}
void __tsan_write_range(void *at, unsigned long bytes) {
    races::writes(at, bytes);
}

/* The program is linked with --wrap: what compilers leave to the C library. */
void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__real_memmove(void *to, const void *from, size_t bytes);
void *__real_memset(void *to, int value, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes) {
    races::reads(from, bytes);
    races::writes(to, bytes);
    return __real_memcpy(to, from, bytes);
}
void *__wrap_memmove(void *to, const void *from, size_t bytes) {
    races::reads(from, bytes);
    races::writes(to, bytes);
    return __real_memmove(to, from, bytes);
}
void *__wrap_memset(void *to, int value, size_t bytes) {
    races::writes(to, bytes);
    return __real_memset(to, value, bytes);
}

void __tsan_init() {
}
void __tsan_func_entry(void *) {
}
void __tsan_func_exit() {
}
/* Tables of virtual functions are not the kernels' memory. */
void __tsan_vptr_update(void **, void *) {
}
void __tsan_vptr_read(void **) {
}

} // extern "C"

namespace races {
void move(void *to, const void *from, size_t bytes) {
    __real_memcpy(to, from, bytes);
}
void clear(void *to, size_t bytes) {
    __real_memset(to, 0, bytes);
}
} // namespace races
