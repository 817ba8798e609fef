// What instrumented kernels call before each access: the interface of gcc's -fsanitize=thread and, for the alignment
// of what a pointer points to, of -fsanitize=alignment. The sanitisers' own libraries are not linked.
#include "runtime.h"

#if SIMT_DETECT

using namespace simt;

#define SIMT_HOOKS(bytes)                                                                                        \
    extern "C" void __tsan_read##bytes(void* address) { touch_checked(address, bytes, Access::Read, SIMT_CALLER); }   \
    extern "C" void __tsan_write##bytes(void* address) { touch_checked(address, bytes, Access::Write, SIMT_CALLER); } \
    extern "C" void __tsan_unaligned_read##bytes(void* address) {                                                \
        touch_checked(address, bytes, Access::Read, SIMT_CALLER);                                                \
    }                                                                                                            \
    extern "C" void __tsan_unaligned_write##bytes(void* address) {                                               \
        touch_checked(address, bytes, Access::Write, SIMT_CALLER);                                               \
    }
SIMT_HOOKS(1)
SIMT_HOOKS(2)
SIMT_HOOKS(4)
SIMT_HOOKS(8)
SIMT_HOOKS(16)

extern "C" void __tsan_read_range(void* address, unsigned long bytes) {
    touch_checked(address, u32(bytes), Access::Read, SIMT_CALLER);
}
extern "C" void __tsan_write_range(void* address, unsigned long bytes) {
    touch_checked(address, u32(bytes), Access::Write, SIMT_CALLER);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}

// objcopy points a kernel's memcpy, memmove and memset here: gcc does not instrument them.
extern "C" void* simt_memmove(void* to, const void* from, unsigned long bytes) {
    const u64 pc = SIMT_CALLER;
    if (bytes) touch_checked(from, u32(bytes), Access::Read, pc), touch_checked(to, u32(bytes), Access::Write, pc);
    return std::memmove(to, from, bytes);
}
extern "C" void* simt_memcpy(void* to, const void* from, unsigned long bytes) {
    const u64 pc = SIMT_CALLER;
    if (bytes) touch_checked(from, u32(bytes), Access::Read, pc), touch_checked(to, u32(bytes), Access::Write, pc);
    return std::memcpy(to, from, bytes);
}
extern "C" void* simt_memset(void* to, int value, unsigned long bytes) {
    if (bytes) touch_checked(to, u32(bytes), Access::Write, SIMT_CALLER);
    return std::memset(to, value, bytes);
}

// What gcc passes along with a pointer whose alignment is wrong.
struct TypeMismatch {
    struct {
        const char* file;
        u32 line, column;
    } place;
    void* type;
    unsigned char log_alignment;
    unsigned char check;  // 0: load, 1: store, more: others
};

extern "C" void __ubsan_handle_type_mismatch_v1(TypeMismatch* mismatch, void* pointer) {
    const u32 alignment = 1u << mismatch->log_alignment;
    const u64 pc = SIMT_CALLER;
    // A null pointer: the access itself is the finding.
    if (reinterpret_cast<u64>(pointer) % alignment == 0) return;
    report_misaligned(pointer, alignment, mismatch->check == 1 ? Access::Write : Access::Read, pc);
}

#endif
