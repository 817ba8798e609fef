// cp.async. A copy is performed where it is issued, or, in late mode, where the thread waits for it: the earliest and
// the latest moment that the hardware may choose.
#include "runtime.h"

namespace simt {

static void perform(const Copy& copy) {
    if (copy.valid) {
        std::memcpy(copy.shared, copy.global, copy.bytes);
    } else {
        std::memset(copy.shared, 0, copy.bytes);
    }
}

// At the end of a thread: copies that it never waited for may never arrive.
void forget_copies(Thread& thread) {
    thread.copies.clear();
    thread.groups.clear();
}

// The copy under way whose target holds an address, and the thread that issued it.
const Copy* pending_copy(const char* address, u32& thread) {
    for (thread = 0; thread < state.thread_count; ++thread)
        for (const Copy& copy : state.threads[thread].copies)
            if (address >= copy.shared && address < copy.shared + copy.bytes) return &copy;
    return nullptr;
}

}  // namespace simt

using namespace simt;

extern "C" void simt_copy_async(void* shared, const void* global, int bytes, bool valid) {
    const u64 pc = SIMT_CALLER;
    if (!in_shared(shared)) wrong_space(Kind::OutOfBoundsShared, shared, u32(bytes), pc, "cp.async into what is not shared memory");
    if (valid && in_shared(global))
        wrong_space(Kind::OutOfBoundsGlobal, global, u32(bytes), pc, "cp.async from what is not global memory");
    if (valid) touch(global, u32(bytes), Access::Read, pc, u32(bytes));
    touch(shared, u32(bytes), Access::Write, pc, u32(bytes));
    note_copy(static_cast<char*>(shared), u32(bytes), pc, true);
    Thread& thread = current_thread();
    thread.copies.push_back({static_cast<char*>(shared), static_cast<const char*>(global), u32(bytes), valid, pc});
    if (!state.launch->late_copies) perform(thread.copies.back());
}

extern "C" void simt_copy_commit() {
    Thread& thread = current_thread();
    u32 committed = 0;
    for (u32 group : thread.groups) committed += group;
    thread.groups.push_back(u32(thread.copies.size()) - committed);
}

// Completes all committed groups but the youngest `groups`.
extern "C" void simt_copy_wait(int groups) {
    Thread& thread = current_thread();
    const std::size_t stay = std::size_t(groups);
    if (thread.groups.size() <= stay) return;
    const std::size_t done = thread.groups.size() - stay;
    u32 copies = 0;
    for (std::size_t g = 0; g < done; ++g) copies += thread.groups[g];
    for (u32 c = 0; c < copies; ++c) {
        const Copy& copy = thread.copies[c];
        if (state.launch->late_copies) perform(copy);
        note_copy(copy.shared, copy.bytes, copy.pc, false);
    }
    thread.copies.erase(thread.copies.begin(), thread.copies.begin() + copies);
    thread.groups.erase(thread.groups.begin(), thread.groups.begin() + std::ptrdiff_t(done));
}
