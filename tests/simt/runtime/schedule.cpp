// Fibers, and which thread runs next.
//
// A fiber is a stack. It takes threads that have not begun, one after another, and runs each to its end; a new fiber is
// needed only where a thread has to wait in the middle. So a block whose threads never wait runs on one stack,
// without a switch.
#include <sys/mman.h>

#include "runtime.h"

// simt_switch(save, load): pushes what a callee must keep, stores the stack pointer, takes up the other stack. It leaves by
// a return although the processor expects that elsewhere: a jump unsettles the returns of all callers (measured).
#if defined(__x86_64__)
asm(R"(
    .text
    .hidden simt_switch
    .globl simt_switch
    .type simt_switch, @function
simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size simt_switch, .-simt_switch
)");
constexpr int SAVED_WORDS = 6, ENTRY_WORD = 6, FRAME_WORDS = 8;
#elif defined(__aarch64__)
asm(R"(
    .text
    .hidden simt_switch
    .globl simt_switch
    .type simt_switch, %function
simt_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size simt_switch, .-simt_switch
)");
constexpr int SAVED_WORDS = 20, ENTRY_WORD = 11, FRAME_WORDS = 20;
#else
#error "simt knows how to switch stacks on x86-64 and aarch64"
#endif

extern "C" __attribute__((visibility("hidden"))) void simt_switch(void** save, void* load);

// What kernels see. They know threadIdx, blockIdx, blockDim and gridDim as constants (simt.h); here they are variables.
extern "C" {
__attribute__((visibility("hidden"))) simt::u32 simt_indices[12];
}
asm(R"(
    .hidden threadIdx
    .hidden blockIdx
    .hidden blockDim
    .hidden gridDim
    .globl threadIdx
    .globl blockIdx
    .globl blockDim
    .globl gridDim
    .set threadIdx, simt_indices
    .set blockIdx, simt_indices + 12
    .set blockDim, simt_indices + 24
    .set gridDim, simt_indices + 36
)");

namespace simt {

State state;
static Device nowhere;
Device* device = &nowhere;

// ---- stacks ----

constexpr u64 STACK_BYTES = 256 << 10;  // a page at its lower end is never mapped
constexpr u64 PAGE = 4096;
static char* stacks;
static void* main_stack_pointer;
static u32 free_fibers[MAX_THREADS + 1];
static u32 free_count, made_count;

bool prepare_stacks() {
    if (stacks) return true;
    void* address = mmap(nullptr, STACK_BYTES * (MAX_THREADS + 1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return false;
    stacks = static_cast<char*>(address);
    return true;
}

static u32 take_fiber() {
    if (free_count) return free_fibers[--free_count];
    char* stack = stacks + made_count * STACK_BYTES;
    mprotect(stack + PAGE, STACK_BYTES - PAGE, PROT_READ | PROT_WRITE);
    return made_count++;
}

// Tops are staggered, lest the same frame of every thread fall into the same few cache sets.
static char* stack_top(u32 fiber) { return stacks + (fiber + 1) * STACK_BYTES - fiber % 61 * 64 - 64; }

char* current_stack_top() { return stack_top(state.fiber); }

bool on_stacks(const void* address, bool& own) {
    const u64 offset = u64(static_cast<const char*>(address) - stacks);
    if (offset >= STACK_BYTES * (MAX_THREADS + 1)) return false;
    own = offset / STACK_BYTES == state.fiber;
    return true;
}

// ---- choice ----

static inline u32 lowest(u32 bits) { return u32(__builtin_ctz(bits)); }
static inline u32 highest(u32 bits) { return 31 - u32(__builtin_clz(bits)); }
static u32 any_of(u32 bits) {
    for (u32 skip = random_below(u32(__builtin_popcount(bits))); skip; --skip) bits &= bits - 1;
    return lowest(bits);
}

// Takes a ready thread; NONE where there is none.
static inline u32 pick() {
    if (!state.ready_warps) return NONE;
    const Order order = state.launch->thread_order;
    u32 warp, lane;
    if (order == Order::Ascending) {
        warp = lowest(state.ready_warps), lane = lowest(state.warps[warp].ready);
    } else if (order == Order::Descending) {
        warp = highest(state.ready_warps), lane = highest(state.warps[warp].ready);
    } else {
        warp = any_of(state.ready_warps), lane = any_of(state.warps[warp].ready);
    }
    u32& ready = state.warps[warp].ready;
    ready &= ~(1u << lane);
    if (!ready) state.ready_warps &= ~(1u << warp);
    return warp * 32 + lane;
}

static inline void become(u32 thread) {
    state.current = thread;
    const uint3 index = state.threads[thread].index;
    simt_indices[0] = index.x, simt_indices[1] = index.y, simt_indices[2] = index.z;
    if (SIMT_DETECT) state.who = thread | lane_clock(current_warp(), thread % 32) << 10;
}

// ---- a thread's life ----

static void report_deadlock();

[[noreturn]] static void run_threads() {
    const Kernel& kernel = *state.kernel;
    for (;;) {
        kernel.call(kernel.body, state.launch->arguments);
        Thread& done = current_thread();
        done.exited = true;
        if (!done.copies.empty() || !done.groups.empty()) forget_copies(done);
        ++state.exited;
        const u32 next = pick();
        if (next == NONE) {
            if (state.exited != state.thread_count) report_deadlock();
            free_fibers[free_count++] = state.fiber;
            abandon();
        }
        become(next);
        Thread& thread = current_thread();
        if (!thread.started) {
            thread.started = true;
            thread.fiber = state.fiber;
            continue;
        }
        free_fibers[free_count++] = state.fiber;
        state.fiber = thread.fiber;
        void* forgotten;
        simt_switch(&forgotten, thread.stack_pointer);
    }
}

static void* fresh_stack(u32 fiber) {
    auto** top = reinterpret_cast<void**>(stack_top(fiber)) - FRAME_WORDS;
    for (int i = 0; i < SAVED_WORDS; ++i) top[i] = nullptr;
    top[FRAME_WORDS - 1] = nullptr;  // where run_threads would return to
    top[ENTRY_WORD] = reinterpret_cast<void*>(&run_threads);
    return top;
}

static void* enter(u32 next) {
    become(next);
    Thread& thread = current_thread();
    if (!thread.started) {
        thread.started = true;
        thread.fiber = take_fiber();
        thread.stack_pointer = fresh_stack(thread.fiber);
    }
    state.fiber = thread.fiber;
    return thread.stack_pointer;
}

void suspend(const char* waits, u64 pc) {
    Thread& me = current_thread();
    me.waits = waits;
    me.pc = pc;
    const u32 mine = state.current;
    const u32 next = pick();
    if (next == NONE) {
        report_deadlock();
        abandon();
    }
    if (next == mine) {
        become(next);
    } else {
        void* load = enter(next);
        simt_switch(&me.stack_pointer, load);
    }
    me.waits = nullptr;
}

[[noreturn]] void abandon() {
    void* forgotten;
    simt_switch(&forgotten, main_stack_pointer);
    __builtin_unreachable();
}

// ---- a block ----

void start_block(u32 block) {
    state.block = block;
    ++state.block_serial;
    const u32* grid = state.launch->grid;
    simt_indices[3] = block % grid[0], simt_indices[4] = block / grid[0] % grid[1], simt_indices[5] = block / grid[0] / grid[1];
    state.exited = state.at_barrier = 0;
    state.barrier_sum = 0;
    state.ready_warps = u32((1ull << state.warp_count) - 1);
    for (u32 w = 0; w < state.warp_count; ++w) {
        Warp& warp = state.warps[w];
        warp.ready = warp.exists;
        warp.posted = 0;
        warp.clock = 1;
        warp.partial = false;
    }
    for (u32 t = 0; t < state.thread_count; ++t) {
        Thread& thread = state.threads[t];
        thread.started = thread.exited = thread.fenced = false;
        thread.waits = nullptr;
        if (!thread.copies.empty() || !thread.groups.empty()) forget_copies(thread);
    }
    if (free_count != made_count) {  // the block before was abandoned, its fibers with it
        free_count = 0;
        for (u32 fiber = made_count; fiber-- > 0;) free_fibers[free_count++] = fiber;
    }
    block_begins(block);
}

// Returns when all threads have exited or the block was abandoned.
void run_block() { simt_switch(&main_stack_pointer, enter(pick())); }

// ---- nobody can go on ----

static void report_deadlock() {
    bool barrier = false;
    u64 first_pc = 0;
    u32 first = 0;
    for (u32 t = 0; t < state.thread_count; ++t) {
        const Thread& thread = state.threads[t];
        if (thread.exited) continue;
        if (!first_pc) first_pc = thread.pc, first = t;
        if (std::strncmp(thread.waits, "__syncthreads", 13) == 0) {
            if (!barrier) first_pc = thread.pc;
            barrier = true;
        }
    }
    Finding* finding = report(barrier ? Kind::DivergentBarrier : Kind::DivergentCollective, first_pc);
    if (!finding) return;
    // The barrier's own site comes first: it is what the finding is about.
    for (int round = 0; round < 3; ++round) {
        for (u32 t = 0; t < state.thread_count; ++t) {
            const Thread& thread = state.threads[t];
            // Other warps have no part in what a warp waits for.
            if (!barrier && t / 32 != first / 32) continue;
            const int its_round = thread.exited ? 2 : thread.pc == first_pc ? 0 : 1;
            if (its_round != round) continue;
            const u64 pc = thread.exited ? 0 : thread.pc;
            const Role role = thread.exited ? Role::Exited : Role::Waits;
            Site* site = nullptr;
            for (u32 s = 0; s < finding->site_count; ++s)
                if (finding->sites[s].pc == pc && finding->sites[s].role == role) site = &finding->sites[s];
            if (!site) {
                site = &add_site(*finding, role, pc, state.block, t);
                if (!thread.exited) std::snprintf(site->text, sizeof site->text, "%s", thread.waits);
            }
            site->threads[t / 32] |= 1u << t % 32;
        }
    }
    // Which lanes a collective waits in vain for, by the mask of the first that waits.
    if (!barrier) {
        const Warp& warp = state.warps[first / 32];
        const u32 mask = warp.posts[first % 32].mask;
        u32 missing = mask & ~warp.exists;
        for (u32 lane = 0; lane < 32; ++lane) {
            const Post& post = warp.posts[lane];
            if ((mask & warp.exists) >> lane & 1 && (!(warp.posted >> lane & 1) || post.mask != mask)) missing |= 1u << lane;
        }
        describe(*finding, "warp %u: mask 0x%08x names lanes 0x%08x, which do not come%s", first / 32, mask, missing,
                 missing & ~warp.exists ? " (the block has no such threads)" : "");
    }
}

}  // namespace simt
