// Barriers of the block and operations of the warp: threads meet, the last to come does the work for all.
#include "runtime.h"

namespace simt {

// ---- clocks of a warp, for the detector ----

// All that the lanes in mask did before, each of them comes after from now on.
static void join_clocks(Warp& warp, u32 mask) {
    if (!SIMT_DETECT) return;
    if (mask == warp.exists) {
        u32 latest = warp.clock;
        for (u32 lane = 0; warp.partial && lane < 32; ++lane)
            if (warp.lane_clock[lane] > latest) latest = warp.lane_clock[lane];
        warp.clock = latest + 1;
        warp.partial = false;
        return;
    }
    if (!warp.partial) {
        warp.partial = true;
        for (u32 i = 0; i < 32; ++i) {
            warp.lane_clock[i] = warp.clock;
            for (u32 j = 0; j < 32; ++j) warp.known[i][j] = warp.clock;
        }
    }
    u32 joined[32] = {}, latest = 0;
    for (u32 i = 0; i < 32; ++i) {
        if (!(mask >> i & 1)) continue;
        if (warp.lane_clock[i] > latest) latest = warp.lane_clock[i];
        for (u32 j = 0; j < 32; ++j)
            if (warp.known[i][j] > joined[j]) joined[j] = warp.known[i][j];
    }
    ++latest;
    for (u32 j = 0; j < 32; ++j)
        if (mask >> j & 1) joined[j] = latest;
    for (u32 i = 0; i < 32; ++i) {
        if (!(mask >> i & 1)) continue;
        warp.lane_clock[i] = latest;
        std::memcpy(warp.known[i], joined, sizeof joined);
    }
}

// ---- meeting ----

enum Operation : u32 { SYNC, VOTE, SHUFFLE, MATCH, LDMATRIX, LDMATRIX_TRANSPOSED, MMA_BF16, MMA_TF32 };
static const char* const names[] = {"__syncwarp", "a vote", "a shuffle", "__match_any_sync", "ldmatrix", "ldmatrix_trans", "mma bf16", "mma tf32"};

[[noreturn]] static void report_mismatch(u64 pc, const char* what, u32 other, const char* other_what) {
    const Thread& thread = state.threads[other];
    if (Finding* finding = report(Kind::MismatchedCollective, pc, thread.pc)) {
        Site& mine = add_site(*finding, Role::Waits, pc, state.block, state.current);
        std::snprintf(mine.text, sizeof mine.text, "%s", what);
        Site& theirs = add_site(*finding, Role::Waits, thread.pc, state.block, other);
        std::snprintf(theirs.text, sizeof theirs.text, "%s", other_what);
    }
    abandon();
}

// Lanes that came to another operation and count on this lane will never be satisfied.
static inline bool same(const Post& a, const Post& b) {
    return a.mask == b.mask && a.operation == b.operation && a.variant == b.variant;
}
static inline void check_against(const Warp& warp, const Post& mine, u32 lane, u32 other, u64 pc) {
    const Post& post = warp.posts[other];
    if (!same(post, mine) && post.mask >> lane & 1)
        report_mismatch(pc, names[mine.operation], (state.current & ~31u) + other, names[post.operation]);
}

// Whether all lanes of the mask have come to this very operation. Before they are all there, one of them is compared:
// it stands for those that came before it, and whom it misses, the deadlock reports.
static inline bool complete(const Warp& warp, const Post& mine, u32 lane, u64 pc) {
    const u32 here = warp.posted & mine.mask;
    if (warp.uniform) return here == mine.mask;
    if (here != mine.mask) {
        if (const u32 others = here & ~(1u << lane)) check_against(warp, mine, lane, u32(__builtin_ctz(others)), pc);
        return false;
    }
    for (u32 rest = mine.mask; rest; rest &= rest - 1) {
        const u32 other = u32(__builtin_ctz(rest));
        if (same(warp.posts[other], mine)) continue;
        check_against(warp, mine, lane, other, pc);
        return false;
    }
    return true;
}

template <class Perform>
static inline void meet(u32 operation, u32 variant, u32 mask, u64 pc, Post& mine, Perform perform) {
    Warp& warp = current_warp();
    const u32 lane = state.current % 32;
    mine.mask = mask, mine.operation = operation, mine.variant = variant;
    if (!(mask >> lane & 1)) {
        if (Finding* finding = report(Kind::InactiveLane, pc)) {
            add_site(*finding, Role::Waits, pc, state.block, state.current);
            describe(*finding, "%s: the mask 0x%08x does not name the calling lane %u", names[operation], mask, lane);
        }
        abandon();
    }
    // As long as all who wait came to the same, nobody has to be compared.
    const u64 meeting = u64(mask) << 32 | operation << 8 | variant;
    if (!warp.posted) warp.meeting = meeting, warp.uniform = true;
    if (meeting != warp.meeting) warp.uniform = false;
    warp.posted |= 1u << lane;
    if (complete(warp, mine, lane, pc)) {
        perform(warp, mask);
        join_clocks(warp, mask);
        warp.posted &= ~mask;
        make_ready(state.current / 32, mask);
    }
    suspend(names[operation], pc);
}

static inline Post& my_post() { return current_warp().posts[state.current % 32]; }

template <class Do>
static inline void each_lane(u32 mask, Do action) {
    for (; mask; mask &= mask - 1) action(u32(__builtin_ctz(mask)));
}

}  // namespace simt

using namespace simt;

// ---- the block's barrier ----

extern "C" int simt_barrier(int kind, int predicate) {
    static const char* const kinds[] = {"__syncthreads", "__syncthreads_count", "__syncthreads_and", "__syncthreads_or"};
    const u64 pc = SIMT_CALLER;
    if (state.at_barrier == 0) {
        state.barrier_kind = kind;
        state.barrier_pc = pc;
        state.barrier_sum = 0;
    } else if (kind != state.barrier_kind) {
        u32 other = 0;
        while (state.threads[other].waits != kinds[state.barrier_kind]) ++other;
        report_mismatch(pc, kinds[kind], other, kinds[state.barrier_kind]);
    } else if (SIMT_DETECT && pc != state.barrier_pc) {
        note_barriers(state.barrier_pc, pc);
    }
    state.barrier_sum += predicate != 0;
    if (++state.at_barrier == state.thread_count) {
        state.at_barrier = 0;
        const u32 sum = u32(state.barrier_sum);
        state.barrier_result = kind == COUNT ? int(sum) : kind == ALL_OF ? sum == state.thread_count : sum != 0;
        ++state.epoch;
        state.ready_warps = u32((1ull << state.warp_count) - 1);
        for (u32 w = 0; w < state.warp_count; ++w) {
            Warp& warp = state.warps[w];
            warp.ready = warp.exists;
            warp.clock = 1;  // the epoch outweighs it
            warp.partial = false;
        }
    }
    suspend(kinds[kind], pc);
    return state.barrier_result;
}

// ---- the warp's operations ----

extern "C" void simt_syncwarp(unsigned mask) {
    meet(SYNC, 0, mask, SIMT_CALLER, my_post(), [](Warp&, u32) {});
}

extern "C" unsigned simt_vote(int kind, unsigned mask, int predicate) {
    Post& mine = my_post();
    mine.value = predicate != 0;
    meet(VOTE, u32(kind), mask, SIMT_CALLER, mine, [kind](Warp& warp, u32 mask) {
        u32 ballot = 0;
        each_lane(mask, [&](u32 lane) { ballot |= u32(warp.posts[lane].value) << lane; });
        const u32 result = kind == BALLOT ? ballot : kind == ANY ? ballot != 0 : ballot == mask;
        each_lane(mask, [&](u32 lane) { warp.posts[lane].result = result; });
    });
    return unsigned(mine.result);
}

extern "C" unsigned simt_match(unsigned mask, unsigned long long value) {
    Post& mine = my_post();
    mine.value = value;
    meet(MATCH, 0, mask, SIMT_CALLER, mine, [](Warp& warp, u32 mask) {
        each_lane(mask, [&](u32 lane) {
            warp.posts[lane].result = 0;
            each_lane(mask, [&](u32 other) {
                if (warp.posts[other].value == warp.posts[lane].value) warp.posts[lane].result |= 1u << other;
            });
        });
    });
    return unsigned(mine.result);
}

// The lane that a shuffle reads from: as PTX's shfl, with its clamp to the segment of `width` lanes.
static u32 source_lane(int kind, u32 lane, int argument, int width) {
    const int first = int(lane) & ~(width - 1), last = first | (width - 1);
    int source = 0;
    switch (kind) {
        case INDEXED: source = first | (argument & (width - 1)); break;
        case UP: source = int(lane) - argument; return u32(source < first ? int(lane) : source);
        case DOWN: source = int(lane) + argument; break;
        default: source = int(lane) ^ argument; break;
    }
    return u32(source > last ? int(lane) : source);
}

extern "C" unsigned long long simt_shuffle(int kind, unsigned mask, unsigned long long value, int argument, int width) {
    Post& mine = my_post();
    const u64 pc = SIMT_CALLER;
    mine.value = value;
    mine.argument = kind == UP || kind == DOWN ? argument & 31 : argument;
    if (width <= 0 || width > 32 || (width & (width - 1)) != 0) {
        if (Finding* finding = report(Kind::MismatchedCollective, pc)) {
            add_site(*finding, Role::Waits, pc, state.block, state.current);
            describe(*finding, "the width of a shuffle is a power of two up to 32, not %d", width);
        }
        abandon();
    }
    // Width may differ from lane to lane, so each lane's source is its own business.
    mine.a[0] = source_lane(kind, state.current % 32, mine.argument, width);
    meet(SHUFFLE, u32(kind), mask, pc, mine, [pc](Warp& warp, u32 mask) {
        each_lane(mask, [&](u32 lane) {
            const u32 source = warp.posts[lane].a[0];
            const bool active = mask >> source & 1;
            warp.posts[lane].result = active ? warp.posts[source].value : ~0ull;
            if (active) return;
            if (Finding* finding = report(Kind::InactiveLane, pc)) {
                add_site(*finding, Role::Waits, pc, state.block, (state.current & ~31u) + lane);
                describe(*finding, "lane %u reads from lane %u, which the mask 0x%08x does not name", lane, source, mask);
            }
        });
    });
    return mine.result;
}

// Lanes that have not exited. CUDA promises no more than that the caller is among them.
extern "C" unsigned simt_activemask() {
    u32 mask = 0;
    each_lane(current_warp().exists, [&](u32 lane) {
        if (!state.threads[(state.current & ~31u) + lane].exited) mask |= 1u << lane;
    });
    return mask;
}
