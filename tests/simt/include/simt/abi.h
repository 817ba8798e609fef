// What kernels, runtime and the Rust side agree on. src/library.rs mirrors these structs and compares their sizes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

// A kernel as its file registers it, before any launch.
struct Kernel {
    const char* name;
    const char* parameters;  // as written in the source
    const char* file;
    std::uint32_t line;
    std::uint32_t max_threads;  // 0: no bound of its own
    std::uint32_t parameter_count;
    const std::uint32_t* parameter_sizes;
    void (*call)(void (*body)(), void** arguments);
    void (*body)();
    Kernel* next;
};

// A SHARED array. It keeps its address while the process lives and is poisoned when a block first comes upon it.
struct Slot {
    std::uint32_t bytes;
    std::uint32_t alignment;
    const char* name;
    std::uint64_t block;   // serial of the block that it was last made ready for
    std::uint64_t launch;  // serial of the launch that last counted its bytes
    char* address;
};

}  // namespace simt
