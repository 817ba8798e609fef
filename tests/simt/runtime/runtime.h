// The state of the emulator and how its parts call each other. One launch runs at a time in a loaded program (a lock in
// launch.cpp sees to it), on one thread of the process, so all of this is plain global data.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "simt.h"

#ifndef SIMT_DETECT
#define SIMT_DETECT 0
#endif

namespace simt {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 NONE = ~0u;
constexpr u32 MAX_THREADS = 1024;
constexpr u32 MAX_WARPS = 32;

// ---- findings (findings.cpp) ----

enum class Kind : u32 {
    SharedRace, GlobalRace, BlockRace, UninitialisedShared, UninitialisedGlobal, OutOfBoundsShared, OutOfBoundsGlobal,
    Misaligned, DivergentBarrier, DivergentCollective, MismatchedCollective, InactiveLane, PendingCopy, FloatAtomic,
    SharedLimit, BlockLimit, Arguments, UnknownKernel, AssertFailed, Trap, Fault, ForeignStack, TimeLimit,
};

// What a site did, as src/report.rs words it.
enum class Role : u32 { Reads, Writes, WritesAtomically, Waits, Exited, Declares, Copies, Launches };

struct Site {
    u64 pc;  // offset in this module of the instruction; 0: none
    Role role;
    u32 block;  // linear
    u32 threads[MAX_THREADS / 32];
    char text[40];
};

struct Finding {
    Kind kind;
    u32 count;  // how often it was seen
    u64 address;
    u32 bytes;
    u32 site_count;
    Site sites[6];
    char text[200];
};

// Adds a finding and returns it to be completed; one that was seen before at these places is only counted: nullptr.
Finding* report(Kind kind, u64 pc, u64 other_pc = 0);
Site& add_site(Finding& finding, Role role, u64 pc, u32 block, u32 thread);
void describe(Finding& finding, const char* format, ...) __attribute__((format(printf, 2, 3)));

// The address of the caller's caller in the kernel, as an offset in this module that lies inside the call.
extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));
extern "C" const char _end[] __attribute__((visibility("hidden")));
inline u64 module_offset(const void* return_address) {
    return u64(static_cast<const char*>(return_address) - __ehdr_start) - 1;
}
#define SIMT_CALLER ::simt::module_offset(__builtin_return_address(0))

// ---- memory (memory.cpp) ----

// Who touched a byte: in which interval between barriers, which thread at which time of its warp, from where.
struct Record {
    u32 epoch;
    u32 who;  // thread | clock of the warp << 10
    u32 pc;
};

struct Cell {
    Record write;
    Record read[2];
};
struct Atomics {
    Record last[2];
};

// Address space with shadows at fixed distances: no table is searched on an access.
struct Region {
    char* base;
    u64 bytes;
    u16* states;  // one for each 4 bytes, see below
    Cell* cells;  // one for each 4 bytes
    Cell* byte_cells;
    Atomics* atomics;  // one for each 4 bytes
};
// Bits 0-3: the byte may be touched; bits 4-7: it was written.
constexpr u16 SPLIT = 1 << 8;     // the word's bytes have cells of their own
constexpr u16 PENDING = 1 << 9;   // a cp.async into it is under way
constexpr u16 ATOMIC = 1 << 10;   // atomics have touched it
constexpr u16 WHOLE = 0xff;

Region region_reserve(u64 bytes);
void region_release(Region& region);
void region_open(Region& region, u64 offset, u64 bytes);
void region_close(Region& region, u64 offset, u64 bytes);
void region_written(Region& region, u64 offset, u64 bytes);

bool in_shared(const void* address);
// An instruction was given an address of the wrong kind of memory.
[[noreturn]] void wrong_space(Kind kind, const void* address, u32 bytes, u64 pc, const char* text);

constexpr int POISON = 0xff;  // a NaN in every float format

// ---- threads (schedule.cpp) ----

struct Copy {
    char* shared;
    const char* global;
    u32 bytes;
    bool valid;
    u64 pc;
};

struct Thread {
    void* stack_pointer;  // of its fiber, while it is suspended
    u32 fiber;
    uint3 index;
    u64 pc;               // where it waits
    const char* waits;    // for what; nullptr: it does not
    bool started, exited, fenced;
    std::vector<Copy> copies;   // issued and not yet waited for, oldest first
    std::vector<u32> groups;    // how many copies each committed group holds, oldest first
};

// What a lane brings to a collective operation and takes away from it.
struct Post {
    u32 mask;
    u32 operation, variant;
    u64 value;
    int argument;
    const char* row;
    u32 a[4], b[2];
    float c[4];
    u64 result;
    u32 fragment[4];
    float d[4];
};

struct Warp {
    u32 exists, ready, posted;
    u32 clock;     // counts the times that all lanes met
    bool uniform;  // all lanes that wait have come to `meeting`
    u64 meeting;
    bool partial;  // since then some, but not all, have met: lane_clock and known are in use
    u32 lane_clock[32];
    u32 known[32][32];  // known[i][j]: what lane j did before this clock, lane i comes after
    Post posts[32];
};

enum class Order : u32 { Ascending, Descending, Random };

struct Launch {  // mirrored in src/library.rs
    u32 kernel;
    u32 grid[3], block[3];
    Order thread_order, block_order;
    u32 late_copies;
    u64 seed;
    u64 dynamic_shared;
    u64 time_limit;  // milliseconds
    void** arguments;
    // Pairs of places at which threads of one block met in one __syncthreads. Different lines make it a finding, and
    // only the Rust side knows lines.
    u32 barrier_pairs;
    u64 barrier_pcs[32];
};

struct Device {
    Region memory;
};

// The block that runs, and all around it.
struct State {
    Launch* launch;
    const Kernel* kernel;
    u64 launch_serial, block_serial;
    u64 static_shared;  // bytes of the SHARED arrays that this launch has come upon
    u64 random;

    u32 block;  // linear
    u32 thread_count, warp_count;
    u32 ready_warps;
    u32 exited;
    u32 current;  // thread
    u32 fiber;    // the fiber that runs
    bool stopped;  // no further block is to run

    u32 at_barrier;
    int barrier_kind, barrier_sum, barrier_result;
    u64 barrier_pc;

    // Epochs are numbered through the life of the program.
    u32 epoch, block_epoch, launch_epoch;
    u32 who;  // of the current thread, now

    Thread threads[MAX_THREADS];
    Warp warps[MAX_WARPS];
};
extern State state;
extern Device* device;  // of the launch; an empty one before the first

inline Thread& current_thread() { return state.threads[state.current]; }
inline Warp& current_warp() { return state.warps[state.current / 32]; }
inline u32 random_below(u32 bound) {
    state.random ^= state.random << 13, state.random ^= state.random >> 7, state.random ^= state.random << 17;
    return u32((state.random >> 32) * bound >> 32);
}
inline u32 lane_clock(const Warp& warp, u32 lane) { return warp.partial ? warp.lane_clock[lane] : warp.clock; }

// Lets others run until somebody marks the current thread ready.
void suspend(const char* waits, u64 pc);
inline void make_ready(u32 warp, u32 lanes) {
    state.warps[warp].ready |= lanes;
    state.ready_warps |= 1u << warp;
}
void start_block(u32 block);
void run_block();
// Gives up the block that runs: nothing of it is executed any more.
[[noreturn]] void abandon();

bool on_stacks(const void* address, bool& own);
char* current_stack_top();

// ---- cp.async (async.cpp) ----

void forget_copies(Thread& thread);
const Copy* pending_copy(const char* address, u32& thread);

// ---- faults (faults.cpp) ----

struct FaultScope {
    explicit FaultScope(u64 time_limit);
    ~FaultScope();
};

// ---- detection (shadow.cpp); all empty without it ----

enum class Access : u32 { Read, Write, Atomic };
// Checks an access of the current thread and notes it.
void touch(const void* address, u32 bytes, Access access, u64 pc, u32 alignment);
void note_copy(char* shared, u32 bytes, u64 pc, bool pending);
// Two places of __syncthreads at which threads of one block met.
void note_barriers(u64 pc, u64 other_pc);
void note_fence(bool release, const void* address);
void forget_fences();
void block_begins(u32 block);
u32 block_of(u32 epoch);

// ---- the Rust side's calls into this module ----
#define SIMT_EXPORT extern "C" __attribute__((visibility("default")))

}  // namespace simt
