// The detector: every access is checked against who touched these bytes before.
//
// Two accesses of one block are ordered by a __syncthreads between them (epoch), and two of one warp by a meeting of
// its lanes (clock). Nothing orders two blocks, but a counter: see note_fence. Nothing else orders anything; that lanes
// of a warp march together is not assumed.
#include <algorithm>
#include <unordered_map>

#include "runtime.h"

namespace simt {

#if SIMT_DETECT

// ---- blocks and the epochs that they began with ----

struct BlockStart {
    u32 epoch, block;
};
static std::vector<BlockStart> block_starts;

void block_begins(u32 block) {
    // Cells keep epochs of 32 bits. Long before they run out, tests end.
    state.block_epoch = ++state.epoch;
    if (state.block_epoch == state.launch_epoch + 1) block_starts.clear();
    block_starts.push_back({state.block_epoch, block});
}

static const BlockStart& start_of(u32 epoch) {
    auto after = std::upper_bound(block_starts.begin(), block_starts.end(), epoch,
                                  [](u32 value, const BlockStart& start) { return value < start.epoch; });
    return *(after - 1);
}

u32 block_of(u32 epoch) { return start_of(epoch).block; }

// ---- fences ----
//
// A block that fences and then touches a counter atomically publishes what it did; a block that touches the counter
// later comes after that. It is how the last block to arrive may read what all others wrote.

using Times = std::unordered_map<u32, u32>;  // by first epoch of a block: its last epoch that is published
static std::unordered_map<const void*, Times> published;
static Times acquired;
static u32 acquired_by;

void forget_fences() {
    if (!published.empty()) published.clear();
    acquired.clear();
}

void note_fence(bool release, const void* address) {
    if (release) {
        current_thread().fenced = true;
        return;
    }
    if (acquired_by != state.block_epoch) {
        acquired.clear();
        acquired_by = state.block_epoch;
    }
    auto found = published.find(address);
    if (found != published.end())
        for (const auto& time : found->second) acquired[time.first] = std::max(acquired[time.first], time.second);
    if (current_thread().fenced) {
        Times& times = published[address];
        for (const auto& time : acquired) times[time.first] = std::max(times[time.first], time.second);
        times[state.block_epoch] = state.epoch;
    }
}

static bool fenced(const Record& record) {
    if (acquired_by != state.block_epoch) return false;
    const auto found = acquired.find(start_of(record.epoch).epoch);
    return found != acquired.end() && record.epoch <= found->second;
}

// ---- order ----

static inline u32 thread_of(const Record& record) { return record.who & 1023; }

// Whether nothing orders this access, by somebody in this launch, before one of the current thread.
static inline bool concurrent(const Record& record, u32 first_epoch) {
    if (record.epoch < first_epoch) return false;
    if (record.epoch == state.epoch) {
        const u32 other = thread_of(record);
        if (other == state.current) return false;
        if (other / 32 != state.current / 32) return true;
        const Warp& warp = current_warp();
        return (record.who >> 10) >= (warp.partial ? warp.known[state.current % 32][other % 32] : warp.clock);
    }
    return record.epoch < state.block_epoch && !fenced(record);
}

// ---- findings ----

static Role role_of(Access access) {
    return access == Access::Read ? Role::Reads : access == Access::Write ? Role::Writes : Role::WritesAtomically;
}

static void report_race(bool shared, const char* address, u32 bytes, const Record& before, Role role, Access access, u64 pc) {
    const bool block_race = before.epoch < state.block_epoch;
    const Kind kind = shared ? Kind::SharedRace : block_race ? Kind::BlockRace : Kind::GlobalRace;
    Finding* finding = report(kind, pc, before.pc);
    if (!finding) return;
    finding->address = reinterpret_cast<u64>(address);
    finding->bytes = bytes;
    add_site(*finding, role_of(access), pc, state.block, state.current);
    add_site(*finding, role, before.pc, block_of(before.epoch), thread_of(before));
}

static void report_access(Kind kind, const void* address, u32 bytes, Access access, u64 pc) {
    Finding* finding = report(kind, pc);
    if (!finding) return;
    finding->address = reinterpret_cast<u64>(address);
    finding->bytes = bytes;
    add_site(*finding, role_of(access), pc, state.block, state.current);
}

static void report_pending(const char* address, u32 bytes, Access access, u64 pc) {
    u32 thread;
    const Copy* copy = pending_copy(address, thread);
    Finding* finding = report(Kind::PendingCopy, pc, copy ? copy->pc : 0);
    if (!finding) return;
    finding->address = reinterpret_cast<u64>(address);
    finding->bytes = bytes;
    add_site(*finding, role_of(access), pc, state.block, state.current);
    if (copy) add_site(*finding, Role::Copies, copy->pc, state.block, thread);
}

// ---- one cell ----

// Remembers one more of those that do not collide with each other. Two are enough, if they are of different warps or
// blocks where there are such: whoever collides with any of them later collides with one of the two.
static inline void remember(Record (&records)[2], const Record& now, u32 first_epoch) {
    if (!concurrent(records[0], first_epoch)) {
        records[0] = now;
    } else if (thread_of(records[0]) / 32 == thread_of(records[1]) / 32 || !concurrent(records[1], first_epoch)) {
        records[1] = now;
    }
}

// Checks and notes a plain access. `quiet`: of the bytes of one access only the first collision is told. Returns whether
// there was one.
static inline bool check_cell(Cell& cell, bool shared, u32 first_epoch, const char* address, u32 bytes, Access access, u64 pc,
                              bool quiet = false) {
    const Record now = {state.epoch, state.who, u32(pc)};
    if (access == Access::Read && cell.read[0].epoch == now.epoch && cell.read[0].who == now.who) return false;
    bool raced = concurrent(cell.write, first_epoch);
    if (raced && !quiet) report_race(shared, address, bytes, cell.write, Role::Writes, access, pc);
    if (access == Access::Read) {
        remember(cell.read, now, first_epoch);
        return raced;
    }
    for (const Record& read : cell.read) {
        if (raced || !concurrent(read, first_epoch)) continue;
        raced = true;
        if (!quiet) report_race(shared, address, bytes, read, Role::Reads, access, pc);
    }
    cell.write = now;
    return raced;
}

// Whether an access of another kind collides with atomics on this word.
static bool check_atomics(Region& region, u64 word, bool shared, u32 first_epoch, const char* address, u32 bytes, Access access,
                          u64 pc, bool quiet) {
    for (const Record& atomic : region.atomics[word].last) {
        if (!concurrent(atomic, first_epoch)) continue;
        if (!quiet) report_race(shared, address, bytes, atomic, Role::WritesAtomically, access, pc);
        return true;
    }
    return false;
}

// An atomic collides with plain accesses, not with atomics.
static bool check_atomic(Region& region, u64 word, const Cell& cell, bool shared, u32 first_epoch, const char* address,
                         u32 bytes, u64 pc, bool quiet) {
    const Record* before[] = {&cell.write, &cell.read[0], &cell.read[1]};
    remember(region.atomics[word].last, {state.epoch, state.who, u32(pc)}, first_epoch);
    for (const Record* record : before) {
        if (!concurrent(*record, first_epoch)) continue;
        const Role role = record == &cell.write ? Role::Writes : Role::Reads;
        if (!quiet) report_race(shared, address, bytes, *record, role, Access::Atomic, pc);
        return true;
    }
    return false;
}

// ---- one access ----

[[noreturn]] static void out_of_bounds(Kind kind, const void* address, u32 bytes, Access access, u64 pc) {
    report_access(kind, address, bytes, access, pc);
    abandon();
}

static __attribute__((noinline)) void touch_bytes(Region& region, bool shared, u32 first_epoch, const char* address, u32 bytes,
                                                  Access access, u64 pc) {
    const u64 offset = u64(address - region.base);
    bool uninitialised = false, pending = false, raced = false;
    for (u64 byte = offset; byte < offset + bytes; ++byte) {
        const u64 word = byte / 4;
        u16& cell_state = region.states[word];
        if (!(cell_state >> byte % 4 & 1))
            out_of_bounds(shared ? Kind::OutOfBoundsShared : Kind::OutOfBoundsGlobal, address, bytes, access, pc);
        const u16 written = u16(0x10 << byte % 4);
        pending |= (cell_state & PENDING) != 0;
        uninitialised |= access != Access::Write && !(cell_state & written);
        if (access != Access::Read) cell_state |= written;
        if (access == Access::Atomic) cell_state |= ATOMIC;
        if (!(cell_state & SPLIT)) {
            for (int i = 0; i < 4; ++i) region.byte_cells[word * 4 + u64(i)] = region.cells[word];
            cell_state |= SPLIT;
        }
        if (cell_state & PENDING) continue;
        Cell& cell = region.byte_cells[byte];
        if (access == Access::Atomic) {
            raced |= check_atomic(region, word, cell, shared, first_epoch, address, bytes, pc, raced);
            continue;
        }
        if (cell_state & ATOMIC) raced |= check_atomics(region, word, shared, first_epoch, address, bytes, access, pc, raced);
        raced |= check_cell(cell, shared, first_epoch, address, bytes, access, pc, raced);
    }
    if (pending) report_pending(address, bytes, access, pc);
    if (uninitialised && !pending)
        report_access(shared ? Kind::UninitialisedShared : Kind::UninitialisedGlobal, address, bytes, access, pc);
}

static inline void touch_region(Region& region, bool shared, u32 first_epoch, const char* address, u32 bytes, Access access, u64 pc) {
    const u64 offset = u64(address - region.base);
    if (bytes % 4 == 0 && offset % 4 == 0) {
        u64 word = offset / 4;
        for (const u64 end = word + bytes / 4; word < end; ++word) {
            u16& cell_state = region.states[word];
            if (cell_state == WHOLE && access != Access::Atomic) {
            } else if (access == Access::Write && cell_state == 0xf) {
                cell_state = WHOLE;
            } else {
                const u32 done = u32(word * 4 - offset);
                return touch_bytes(region, shared, first_epoch, address + done, bytes - done, access, pc);
            }
            check_cell(region.cells[word], shared, first_epoch, address, bytes, access, pc);
        }
        return;
    }
    touch_bytes(region, shared, first_epoch, address, bytes, access, pc);
}

extern Region shared_region;

static __attribute__((noinline)) void touch_elsewhere(const void* address, u32 bytes, Access access, u64 pc) {
    bool own;
    const char* at = static_cast<const char*>(address);
    if (on_stacks(address, own)) {
        if (!own) report_access(Kind::ForeignStack, address, bytes, access, pc);
        return;
    }
    // Tables of constants of the program itself.
    if (at >= __ehdr_start && at < _end) return;
    out_of_bounds(Kind::OutOfBoundsGlobal, address, bytes, access, pc);
}

inline void touch_checked(const void* address, u32 bytes, Access access, u64 pc) {
    const char* at = static_cast<const char*>(address);
    if (u64(at - shared_region.base) < shared_region.bytes) {
        touch_region(shared_region, true, state.epoch, at, bytes, access, pc);
    } else if (Region& memory = device->memory; u64(at - memory.base) < memory.bytes) {
        touch_region(memory, false, state.launch_epoch, at, bytes, access, pc);
    } else {
        touch_elsewhere(address, bytes, access, pc);
    }
}

void report_misaligned(const void* address, u32 alignment, Access access, u64 pc) {
    if (Finding* finding = report(Kind::Misaligned, pc)) {
        finding->address = reinterpret_cast<u64>(address);
        finding->bytes = alignment;
        add_site(*finding, access == Access::Write ? Role::Writes : Role::Reads, pc, state.block, state.current);
    }
    abandon();
}

void touch(const void* address, u32 bytes, Access access, u64 pc, u32 alignment) {
    if (reinterpret_cast<u64>(address) % alignment != 0) report_misaligned(address, alignment, access, pc);
    touch_checked(address, bytes, access, pc);
}

// A cp.async begins (pending) or is waited for. From then on it counts as written now.
void note_copy(char* shared, u32 bytes, u64 pc, bool pending) {
    const u64 offset = u64(shared - shared_region.base);
    if (offset >= shared_region.bytes) return;  // touch has complained or it is a thread's own array
    const Record now = {state.epoch, state.who, u32(pc)};
    for (u64 word = offset / 4; word < (offset + bytes) / 4; ++word) {
        u16& cell_state = shared_region.states[word];
        cell_state = u16(pending ? cell_state | PENDING : cell_state & ~PENDING);
        shared_region.cells[word].write = now;
        if (cell_state & SPLIT)
            for (u64 i = 0; i < 4; ++i) shared_region.byte_cells[word * 4 + i].write = now;
    }
}

void note_barriers(u64 pc, u64 other_pc) {
    Launch& launch = *state.launch;
    for (u32 i = 0; i < launch.barrier_pairs; ++i)
        if (launch.barrier_pcs[i * 2] == pc && launch.barrier_pcs[i * 2 + 1] == other_pc) return;
    if (launch.barrier_pairs == sizeof launch.barrier_pcs / sizeof(u64) / 2) return;
    launch.barrier_pcs[launch.barrier_pairs * 2] = pc;
    launch.barrier_pcs[launch.barrier_pairs * 2 + 1] = other_pc;
    ++launch.barrier_pairs;
}

#else

void block_begins(u32) {}
void forget_fences() {}
void note_fence(bool, const void*) {}
void note_copy(char*, u32, u64, bool) {}
void note_barriers(u64, u64) {}
void touch(const void*, u32, Access, u64, u32) {}

#endif

}  // namespace simt
