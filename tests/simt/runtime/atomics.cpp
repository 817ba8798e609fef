// Atomics: a thread is never interrupted inside one, since threads switch only where they wait.
#include "runtime.h"

using namespace simt;

template <class U, class S>
static U apply(int operation, U old, U value, U compare) {
    switch (operation) {
        case ADD: return U(old + value);
        case EXCHANGE: return value;
        case COMPARE_AND_SWAP: return old == compare ? value : old;
        case AND: return old & value;
        case OR: return old | value;
        case XOR: return old ^ value;
        case MIN_SIGNED: return S(value) < S(old) ? value : old;
        case MAX_SIGNED: return S(value) > S(old) ? value : old;
        case MIN_UNSIGNED: return value < old ? value : old;
        default: return value > old ? value : old;
    }
}

extern "C" unsigned simt_atomic_32(int operation, unsigned* address, unsigned value, unsigned compare) {
    touch(address, 4, Access::Atomic, SIMT_CALLER, 4);
    note_fence(false, address);
    const unsigned old = *address;
    *address = apply<u32, std::int32_t>(operation, old, value, compare);
    return old;
}

extern "C" unsigned long long simt_atomic_64(int operation, unsigned long long* address, unsigned long long value,
                                             unsigned long long compare) {
    touch(address, 8, Access::Atomic, SIMT_CALLER, 8);
    note_fence(false, address);
    const u64 old = *address;
    *address = apply<u64, std::int64_t>(operation, old, value, compare);
    return old;
}

extern "C" double simt_float_atomic(void* address, double value, int bytes) {
    const u64 pc = SIMT_CALLER;
    touch(address, u32(bytes), Access::Atomic, pc, u32(bytes));
    if (Finding* finding = report(Kind::FloatAtomic, pc)) {
        add_site(*finding, Role::WritesAtomically, pc, state.block, state.current);
        finding->address = reinterpret_cast<u64>(address);
        finding->bytes = u32(bytes);
    }
    if (bytes == 4) {
        auto* sum = static_cast<float*>(address);
        const float old = *sum;
        *sum = old + float(value);
        return old;
    }
    auto* sum = static_cast<double*>(address);
    const double old = *sum;
    *sum = old + value;
    return old;
}

extern "C" void simt_fence() { note_fence(true, nullptr); }
