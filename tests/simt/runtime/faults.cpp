// A kernel that makes the processor trap (an address outside all buffers, a division by zero) or that does not end
// becomes a finding.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "runtime.h"

extern "C" {
__attribute__((visibility("hidden"))) void simt_runtime_end();
extern const char etext[] __attribute__((visibility("hidden")));
}

namespace simt {

static constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGURG};
static struct sigaction previous[64];
static std::atomic<bool> running;
static pthread_t running_thread;
static int fault_signal;

// ---- time ----

// Ignored by default, so that it does no harm where it comes too late.
static constexpr int TIME_IS_UP = SIGURG;
static std::mutex watch;
static std::chrono::steady_clock::time_point deadline;

// Interrupts a launch that runs for too long, again and again until it is met in a kernel's own code.
static void watch_launches() {
    for (;;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        const std::lock_guard<std::mutex> lock(watch);
        if (running.load() && std::chrono::steady_clock::now() > deadline) pthread_kill(running_thread, TIME_IS_UP);
    }
}

static bool in_kernel(u64 pc) { return pc > reinterpret_cast<u64>(&simt_runtime_end) && pc < reinterpret_cast<u64>(etext); }

// ---- signals ----

static u64 fault_address, fault_pc;

[[noreturn]] static void land() {
    bool own;
    const bool access = fault_signal == SIGSEGV || fault_signal == SIGBUS;
    const bool stack = access && on_stacks(reinterpret_cast<const void*>(fault_address), own);
    const Kind kind = fault_signal == TIME_IS_UP ? Kind::TimeLimit : access && !stack ? Kind::OutOfBoundsGlobal : Kind::Fault;
    if (Finding* finding = report(kind, fault_pc)) {
        add_site(*finding, Role::Waits, fault_pc, state.block, state.current);
        finding->address = kind == Kind::OutOfBoundsGlobal ? fault_address : 0;
        if (kind == Kind::TimeLimit)
            describe(*finding, "the launch runs for more than %llu ms", (unsigned long long)state.launch->time_limit);
        else
            describe(*finding, "%s", stack ? "the stack overflows: too much local memory or recursion"
                                     : fault_signal == SIGFPE ? "integer division by zero or overflow"
                                     : fault_signal == SIGILL ? "an instruction that cannot be executed" : "");
    }
    state.stopped = kind == Kind::TimeLimit;
    abandon();
}

// The fiber's frames are given up: it goes on at the top of its stack, in land.
static void handler(int signal, siginfo_t* info, void* context) {
    if (running.load() && pthread_equal(running_thread, pthread_self())) {
        auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
        const u64 pc = u64(machine.gregs[REG_RIP]);
#else
        const u64 pc = machine.pc;
#endif
        // In the runtime a list may be half changed: the next signal will do.
        if (signal == TIME_IS_UP && !in_kernel(pc)) return;
        fault_signal = signal;
        fault_address = reinterpret_cast<u64>(info->si_addr);
        const u64 top = reinterpret_cast<u64>(current_stack_top()) & ~u64(15);
#if defined(__x86_64__)
        machine.gregs[REG_RSP] = greg_t(top - 8);
        machine.gregs[REG_RIP] = greg_t(reinterpret_cast<u64>(&land));
        machine.gregs[REG_EFL] &= ~greg_t(0x400);  // strings are copied upwards
#else
        machine.sp = top;
        machine.pc = reinterpret_cast<u64>(&land);
#endif
        const u64 base = reinterpret_cast<u64>(__ehdr_start);
        fault_pc = pc >= base && pc < reinterpret_cast<u64>(_end) ? pc - base : 0;
        return;
    }
    // Not ours: whoever was here before decides, or the default does when the instruction traps again.
    const struct sigaction& old = previous[signal];
    if (old.sa_flags & SA_SIGINFO) {
        old.sa_sigaction(signal, info, context);
    } else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) {
        old.sa_handler(signal);
    } else if (signal != TIME_IS_UP) {
        sigaction(signal, &old, nullptr);
    }
}

static void catch_faults_once() {
    static bool done = false;
    if (done) return;
    done = true;
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    for (int signal : SIGNALS) sigaction(signal, &action, &previous[signal]);
    std::thread(watch_launches).detach();
}

// The handler needs a stack of its own, since a fiber's may have overflowed. Rust gives its threads one; others get ours.
static char own_signal_stack[64 << 10];
static stack_t stack_before;

FaultScope::FaultScope(u64 time_limit) {
    catch_faults_once();
    stack_t stack = {};
    stack.ss_sp = own_signal_stack;
    stack.ss_size = sizeof own_signal_stack;
    sigaltstack(&stack, &stack_before);
    const std::lock_guard<std::mutex> lock(watch);
    deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(time_limit);
    running_thread = pthread_self();
    running.store(true);
}

FaultScope::~FaultScope() {
    {
        const std::lock_guard<std::mutex> lock(watch);
        running.store(false);
    }
    sigaltstack(&stack_before, nullptr);
}

}  // namespace simt
