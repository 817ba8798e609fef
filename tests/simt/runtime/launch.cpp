// A launch from its checks to its last block, and the table of kernels.
#include <algorithm>
#include <cstdio>
#include <mutex>

#include "runtime.h"

namespace simt {
extern Finding* findings;
extern u32 finding_count, finding_capacity;
extern Region shared_region;
char* dynamic_shared();
const Slot* slot_near(const char* address);
bool prepare_stacks();
bool open_dynamic_shared(u64 bytes);
static Kernel* kernels;
}  // namespace simt
extern "C" simt::u32 simt_indices[12] __attribute__((visibility("hidden")));

using namespace simt;

extern "C" void simt_register(Kernel* kernel) {
    kernel->next = kernels;
    kernels = kernel;
}

static void launch_finding(Kind kind, const char* format, u64 value, u64 most) {
    if (Finding* finding = report(kind, value)) {
        add_site(*finding, Role::Launches, 0, 0, NONE);
        describe(*finding, format, (unsigned long long)value, (unsigned long long)most);
    }
}

static bool within_limits(const Launch& launch, const Kernel& kernel) {
    const u32 before = finding_count;
    auto check = [](u64 value, u64 most, const char* format) {
        if (value > most) launch_finding(Kind::BlockLimit, format, value, most);
    };
    check(launch.block[0], MAX_THREADS, "the block is %llu threads wide, a GPU takes at most %llu");
    check(launch.block[1], MAX_THREADS, "the block is %llu threads high, a GPU takes at most %llu");
    if (finding_count != before) return false;  // and the product may not fit any number
    const u64 threads = u64(launch.block[0]) * launch.block[1] * launch.block[2];
    check(threads, MAX_THREADS, "the block has %llu threads, a GPU takes at most %llu");
    check(launch.block[2], 64, "the block is %llu threads deep, a GPU takes at most %llu");
    check(launch.grid[0], 0x7fffffff, "the grid is %llu blocks wide, a GPU takes at most %llu");
    check(launch.grid[1], 65535, "the grid is %llu blocks high, a GPU takes at most %llu");
    check(launch.grid[2], 65535, "the grid is %llu blocks deep, a GPU takes at most %llu");
    if (kernel.max_threads) check(threads, kernel.max_threads, "the block has %llu threads, the kernel declares at most %llu");
    if (finding_count != before) return false;
    const u64 blocks = u64(launch.grid[0]) * launch.grid[1] * launch.grid[2];
    if (threads == 0 || blocks == 0) launch_finding(Kind::BlockLimit, "grid or block has no threads", 0, 0);
    check(blocks, 0x7fffffff, "the grid has %llu blocks, the emulator takes at most %llu");
    if (launch.dynamic_shared > 227 << 10)
        launch_finding(Kind::SharedLimit, "%llu bytes of dynamic shared memory, a GPU gives at most %llu", launch.dynamic_shared, 227 << 10);
    return finding_count == before;
}

static void prepare(const Launch& launch) {
    state.thread_count = launch.block[0] * launch.block[1] * launch.block[2];
    state.warp_count = (state.thread_count + 31) / 32;
    for (u32 t = 0; t < state.thread_count; ++t)
        state.threads[t].index = {t % launch.block[0], t / launch.block[0] % launch.block[1], t / launch.block[0] / launch.block[1]};
    for (u32 w = 0; w < state.warp_count; ++w) {
        const u32 lanes = std::min(32u, state.thread_count - w * 32);
        state.warps[w].exists = u32((1ull << lanes) - 1);
    }
    for (int i = 0; i < 3; ++i) simt_indices[6 + i] = launch.block[i], simt_indices[9 + i] = launch.grid[i];
}

// Where in shared memory findings are: "array offset bytes", taken apart in src/emulator.rs.
static void name_shared() {
    for (u32 i = 0; i < finding_count; ++i) {
        Finding& finding = findings[i];
        const char* address = reinterpret_cast<const char*>(finding.address);
        if (finding.text[0] || u64(address - shared_region.base) >= shared_region.bytes) continue;
        const Slot* slot = slot_near(address);
        const char* start = slot ? slot->address : dynamic_shared();
        describe(finding, "%s %lld %llu", slot ? slot->name : "dynamic", (long long)(address - start),
                 (unsigned long long)(slot ? slot->bytes : state.launch->dynamic_shared));
    }
}

static void run_blocks(const Launch& launch) {
    const u32 blocks = launch.grid[0] * launch.grid[1] * launch.grid[2];
    std::vector<u32> shuffled;
    if (launch.block_order == Order::Random) {
        for (u32 b = 0; b < blocks; ++b) shuffled.push_back(b);
        for (u32 b = blocks; b > 1; --b) std::swap(shuffled[b - 1], shuffled[random_below(b)]);
    }
    for (u32 b = 0; b < blocks && finding_count < finding_capacity && !state.stopped; ++b) {
        start_block(!shuffled.empty() ? shuffled[b] : launch.block_order == Order::Descending ? blocks - 1 - b : b);
        if (launch.dynamic_shared) open_dynamic_shared(launch.dynamic_shared);
        run_block();
    }
}

SIMT_EXPORT const Kernel* simt_kernels() { return kernels; }

SIMT_EXPORT u64 simt_struct_size(u32 which) {
    return which == 0 ? sizeof(Kernel) : which == 1 ? sizeof(Launch) : which == 2 ? sizeof(Site) : sizeof(Finding);
}

// Runs a kernel and writes what was found; returns how many findings there are.
SIMT_EXPORT u32 simt_launch(Device* device, const Kernel* kernel, Launch* launch, Finding* found, u32 capacity) {
    static std::mutex one_at_a_time;
    const std::lock_guard<std::mutex> lock(one_at_a_time);
    findings = found, finding_count = 0, finding_capacity = capacity;
    if (!within_limits(*launch, *kernel)) return finding_count;
    if (!prepare_stacks() || !open_dynamic_shared(launch->dynamic_shared)) {
        launch_finding(Kind::Fault, "the system gives no address space for stacks and shared memory", 0, 0);
        return finding_count;
    }
    simt::device = device, state.kernel = kernel, state.launch = launch;
    ++state.launch_serial;
    state.static_shared = 0;
    state.stopped = false;
    state.random = launch->seed * 0x9e3779b97f4a7c15 + 0x632be59bd9b4e019;
    if (state.random == 0) state.random = 1;
    state.launch_epoch = ++state.epoch;
    forget_fences();
    prepare(*launch);
    const FaultScope scope(launch->time_limit);
    run_blocks(*launch);
    name_shared();
    return finding_count;
}
