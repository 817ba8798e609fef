// How a file exports kernels and declares shared memory. The nvcc side of these macros belongs to the project.
#pragma once

#pragma GCC visibility push(hidden)
extern "C" {
void simt_register(simt::Kernel* kernel);
void* simt_shared(simt::Slot* slot);
void* simt_dynamic_shared();
}
#pragma GCC visibility pop

namespace simt {

// Turns the launch's array of pointers into the arguments of a kernel.
template <class... Parameters>
struct Signature {
    static constexpr std::uint32_t sizes[sizeof...(Parameters) + 1] = {sizeof(Parameters)..., 0};

    template <std::size_t... Index>
    SIMT_UNCHECKED static void spread(void (*body)(Parameters...), void** arguments, std::index_sequence<Index...>) {
        (void)arguments;
        body(*static_cast<std::remove_reference_t<Parameters>*>(arguments[Index])...);
    }

    SIMT_UNCHECKED static void call(void (*body)(), void** arguments) {
        spread(reinterpret_cast<void (*)(Parameters...)>(body), arguments, std::index_sequence_for<Parameters...>());
    }
};

struct Registration {
    Kernel kernel;

    template <class... Parameters>
    SIMT_UNCHECKED Registration(const char* name, const char* parameters, const char* file, unsigned line, unsigned max_threads,
                 void (*body)(Parameters...))
        : kernel{name, parameters, file, line, max_threads, sizeof...(Parameters), Signature<Parameters...>::sizes,
                 &Signature<Parameters...>::call, reinterpret_cast<void (*)()>(body), nullptr} {
        simt_register(&kernel);
    }
};

}  // namespace simt

#define KERNEL_BOUNDED(max_threads, name, ...)                                                              \
    static void name(__VA_ARGS__);                                                                          \
    static ::simt::Registration simt_kernel_##name(#name, #__VA_ARGS__, __FILE__, __LINE__, max_threads, &name); \
    static void name(__VA_ARGS__)

#define KERNEL(name, ...) KERNEL_BOUNDED(0, name, __VA_ARGS__)

// A reference to an array that all threads of the block see, aligned to 16 bytes (or more, if its type is):
// SHARED(float, tile, [16][17]);
#define SHARED(type, name, dimensions)                                                                      \
    using simt_type_##name = type dimensions;                                                               \
    static ::simt::Slot simt_slot_##name = {sizeof(simt_type_##name), alignof(simt_type_##name), #name, 0, 0, nullptr}; \
    simt_type_##name& name = *static_cast<simt_type_##name*>(simt_shared(&simt_slot_##name))

// A pointer to the bytes of shared memory that the launch asked for, 16-byte aligned.
#define DYNAMIC_SHARED(type, name) \
    type* const name = static_cast<type*>(__builtin_assume_aligned(simt_dynamic_shared(), 16))
