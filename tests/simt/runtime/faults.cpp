// A kernel that makes the processor trap (an address outside all buffers, a division by zero) becomes a finding.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>

#include "runtime.h"

namespace simt {

static constexpr int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction previous[64];
static std::atomic<bool> running;
static pthread_t running_thread;
static int fault_signal;
static u64 fault_address, fault_pc;

[[noreturn]] static void land() {
    const Kind kind = fault_signal == SIGSEGV || fault_signal == SIGBUS ? Kind::OutOfBoundsGlobal : Kind::Fault;
    bool own;
    const bool stack = on_stacks(reinterpret_cast<const void*>(fault_address), own);
    if (Finding* finding = report(stack ? Kind::Fault : kind, fault_pc)) {
        add_site(*finding, Role::Waits, fault_pc, state.block, state.current);
        finding->address = kind == Kind::Fault || stack ? 0 : fault_address;
        describe(*finding, "%s", stack ? "the stack overflows: too much local memory or recursion"
                                 : fault_signal == SIGFPE ? "integer division by zero or overflow"
                                 : fault_signal == SIGILL ? "an instruction that cannot be executed" : "");
    }
    abandon();
}

// The fiber's frames are given up: it goes on at the top of its stack, in land.
static void handler(int signal, siginfo_t* info, void* context) {
    if (running.load() && pthread_equal(running_thread, pthread_self())) {
        auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
        fault_signal = signal;
        fault_address = reinterpret_cast<u64>(info->si_addr);
        const u64 top = reinterpret_cast<u64>(current_stack_top()) & ~u64(15);
#if defined(__x86_64__)
        fault_pc = u64(machine.gregs[REG_RIP]);
        machine.gregs[REG_RSP] = greg_t(top - 8);
        machine.gregs[REG_RIP] = greg_t(reinterpret_cast<u64>(&land));
        machine.gregs[REG_EFL] &= ~greg_t(0x400);  // strings are copied upwards
#else
        fault_pc = machine.pc;
        machine.sp = top;
        machine.pc = reinterpret_cast<u64>(&land);
#endif
        const u64 base = reinterpret_cast<u64>(__ehdr_start);
        fault_pc = fault_pc >= base && fault_pc < reinterpret_cast<u64>(_end) ? fault_pc - base : 0;
        return;
    }
    // Not ours: whoever was here before decides, or the default does when the instruction traps again.
    const struct sigaction& old = previous[signal];
    if (old.sa_flags & SA_SIGINFO) {
        old.sa_sigaction(signal, info, context);
    } else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) {
        old.sa_handler(signal);
    } else {
        sigaction(signal, &old, nullptr);
    }
}

static void catch_faults_once() {
    static bool done = false;
    if (done) return;
    done = true;
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int signal : SIGNALS) sigaction(signal, &action, &previous[signal]);
}

// The handler needs a stack of its own, since a fiber's may have overflowed. Rust gives its threads one; others get ours.
static char own_signal_stack[64 << 10];
static stack_t stack_before;

FaultScope::FaultScope() {
    catch_faults_once();
    stack_t stack = {};
    stack.ss_sp = own_signal_stack;
    stack.ss_size = sizeof own_signal_stack;
    sigaltstack(&stack, &stack_before);
    running_thread = pthread_self();
    running.store(true);
}

FaultScope::~FaultScope() {
    running.store(false);
    sigaltstack(&stack_before, nullptr);
}

}  // namespace simt
