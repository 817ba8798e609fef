// Address space of buffers and of shared memory, with its shadows.
#include <sys/mman.h>

#include "runtime.h"

namespace simt {

static char* reserve(u64 bytes, int protection) {
    void* address = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? nullptr : static_cast<char*>(address);
}

// All virtual: pages come into being where they are touched. base is null where the system refuses.
Region region_reserve(u64 bytes) {
    Region region = {reserve(bytes, PROT_NONE), bytes, nullptr, nullptr, nullptr, nullptr};
    if (SIMT_DETECT && region.base) {
        region.states = reinterpret_cast<u16*>(reserve(bytes / 4 * sizeof(u16), PROT_READ | PROT_WRITE));
        region.cells = reinterpret_cast<Cell*>(reserve(bytes / 4 * sizeof(Cell), PROT_READ | PROT_WRITE));
        region.byte_cells = reinterpret_cast<Cell*>(reserve(bytes * sizeof(Cell), PROT_READ | PROT_WRITE));
        region.atomics = reinterpret_cast<Atomics*>(reserve(bytes / 4 * sizeof(Atomics), PROT_READ | PROT_WRITE));
        if (!region.atomics || !region.states || !region.cells || !region.byte_cells) region_release(region);
    }
    return region;
}

void region_release(Region& region) {
    if (region.base) munmap(region.base, region.bytes);
    if (region.states) munmap(region.states, region.bytes / 4 * sizeof(u16));
    if (region.cells) munmap(region.cells, region.bytes / 4 * sizeof(Cell));
    if (region.byte_cells) munmap(region.byte_cells, region.bytes * sizeof(Cell));
    if (region.atomics) munmap(region.atomics, region.bytes / 4 * sizeof(Atomics));
    region = {};
}

// Bytes may be touched from now on and hold nothing. Offset is a multiple of 4.
void region_open(Region& region, u64 offset, u64 bytes) {
    std::memset(region.base + offset, POISON, bytes);
    if (!SIMT_DETECT) return;
    const u64 first = offset / 4, whole = bytes / 4;
    for (u64 word = 0; word < whole; ++word) region.states[first + word] = 0xf;
    if (bytes % 4) region.states[first + whole] = u16((1 << bytes % 4) - 1);
}

void region_close(Region& region, u64 offset, u64 bytes) {
    if (SIMT_DETECT) std::memset(region.states + offset / 4, 0, (bytes + 3) / 4 * sizeof(u16));
}

void region_written(Region& region, u64 offset, u64 bytes) {
    if (!SIMT_DETECT) return;
    for (u64 byte = offset; byte < offset + bytes;) {
        if (byte % 4 == 0 && offset + bytes - byte >= 4) {
            region.states[byte / 4] |= 0xf0;
            byte += 4;
        } else {
            region.states[byte / 4] |= u16(0x10 << byte % 4);
            ++byte;
        }
    }
}

// ---- shared memory ----

// Dynamic shared memory lies at the start; a SHARED array gets a place, for good, when a thread first comes upon it.
constexpr u64 SHARED_BYTES = 64 << 20;
constexpr u64 FIRST_SLOT = 1 << 20;
constexpr u64 ALIGNMENT = 16;  // what SHARED and DYNAMIC_SHARED promise: nothing lies at a multiple of more
constexpr u64 GAP = 1024;  // no index that is off by a row leads from one array into the next
constexpr u64 MOST_STATIC = 48 << 10, MOST_DYNAMIC = 227 << 10;
Region shared_region;
static u64 next_slot = FIRST_SLOT;

static bool ready_shared() {
    if (!shared_region.base) {
        shared_region = region_reserve(SHARED_BYTES);
        if (shared_region.base) mprotect(shared_region.base, SHARED_BYTES, PROT_READ | PROT_WRITE);
    }
    return shared_region.base != nullptr;
}

bool open_dynamic_shared(u64 bytes) {
    if (!ready_shared()) return false;
    static u64 before = 0;
    if (before > bytes) region_close(shared_region, ALIGNMENT + (bytes & ~u64(3)), before - (bytes & ~u64(3)));
    before = bytes;
    region_open(shared_region, ALIGNMENT, bytes);
    return true;
}

char* dynamic_shared() { return shared_region.base + ALIGNMENT; }

static void enter_slot(Slot& slot, u64 pc) {
    if (!slot.address) {
        const u64 alignment = slot.alignment > ALIGNMENT ? slot.alignment : ALIGNMENT;
        const u64 place = ((next_slot + 2 * alignment - 1) & ~(2 * alignment - 1)) + alignment;
        if (place + slot.bytes + GAP > SHARED_BYTES) {
            if (Finding* finding = report(Kind::SharedLimit, pc)) {
                add_site(*finding, Role::Declares, pc, state.block, state.current);
                describe(*finding, "the program declares more shared arrays than the emulator has room for");
            }
            abandon();
        }
        slot.address = shared_region.base + place;
        next_slot = place + slot.bytes + GAP;
    }
    slot.block = state.block_serial;
    region_open(shared_region, u64(slot.address - shared_region.base), slot.bytes);
    if (slot.launch == state.launch_serial) return;
    slot.launch = state.launch_serial;
    state.static_shared += slot.bytes;
    const u64 total = state.static_shared + state.launch->dynamic_shared;
    if (state.static_shared <= MOST_STATIC && total <= MOST_DYNAMIC) return;
    if (Finding* finding = report(Kind::SharedLimit, pc)) {
        add_site(*finding, Role::Declares, pc, state.block, state.current);
        describe(*finding, "with %s there are %llu bytes of static shared memory (at most %llu), %llu in all (at most %llu)",
                 slot.name, (unsigned long long)state.static_shared, (unsigned long long)MOST_STATIC,
                 (unsigned long long)total, (unsigned long long)MOST_DYNAMIC);
    }
}

bool in_shared(const void* address) {
    return u64(static_cast<const char*>(address) - shared_region.base) < shared_region.bytes;
}

[[noreturn]] void wrong_space(Kind kind, const void* address, u32 bytes, u64 pc, const char* text) {
    if (Finding* finding = report(kind, pc)) {
        add_site(*finding, Role::Waits, pc, state.block, state.current);
        finding->bytes = bytes;
        describe(*finding, "%s (address %p)", text, address);
    }
    abandon();
}

// The name of the SHARED array that holds an address, or lies nearest before it.
static std::vector<Slot*> slots;

const Slot* slot_near(const char* address) {
    const Slot* nearest = nullptr;
    for (const Slot* slot : slots)
        if (slot->address <= address && (!nearest || slot->address > nearest->address)) nearest = slot;
    return nearest;
}

}  // namespace simt

using namespace simt;

extern "C" void* simt_shared(Slot* slot) {
    if (slot->block != state.block_serial) {
        if (!slot->address) slots.push_back(slot);
        enter_slot(*slot, SIMT_CALLER);
    }
    return slot->address;
}

extern "C" void* simt_dynamic_shared() { return dynamic_shared(); }

extern "C" unsigned simt_shared_address(const void* address) {
    return unsigned(static_cast<const char*>(address) - shared_region.base);
}

// ---- buffers ----

SIMT_EXPORT Device* simt_device_new(u64 bytes) {
    Region memory = region_reserve(bytes);
    return memory.base ? new Device{memory} : nullptr;
}

SIMT_EXPORT void simt_device_free(Device* device) {
    region_release(device->memory);
    delete device;
}

SIMT_EXPORT u64 simt_device_base(const Device* device) { return reinterpret_cast<u64>(device->memory.base); }

// Pages for a buffer. start and length are multiples of the page; the buffer lies anywhere inside.
SIMT_EXPORT int simt_map(Device* device, u64 start, u64 length, u64 address, u64 bytes) {
    Region& memory = device->memory;
    if (mprotect(reinterpret_cast<void*>(start), length, PROT_READ | PROT_WRITE) != 0) return 1;
    region_open(memory, address - reinterpret_cast<u64>(memory.base), bytes);
    return 0;
}

SIMT_EXPORT void simt_unmap(Device* device, u64 start, u64 length, u64 address, u64 bytes) {
    Region& memory = device->memory;
    // A fresh mapping over the old one gives the pages back and forbids access in one step.
    mmap(reinterpret_cast<void*>(start), length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    region_close(memory, address - reinterpret_cast<u64>(memory.base), bytes);
}

SIMT_EXPORT void simt_written(Device* device, u64 address, u64 bytes) {
    region_written(device->memory, address - reinterpret_cast<u64>(device->memory.base), bytes);
}

// The copy of bytes that nobody wrote is still a copy of nothing.
SIMT_EXPORT void simt_copy(Device* device, u64 from, u64 to, u64 bytes) {
    std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    if (!SIMT_DETECT) return;
    Region& memory = device->memory;
    const u64 base = reinterpret_cast<u64>(memory.base);
    for (u64 i = 0; i < bytes; ++i) {
        const u64 source = from - base + i, target = to - base + i;
        const u16 written = memory.states[source / 4] >> (4 + source % 4) & 1;
        const u16 bit = u16(0x10 << target % 4);
        u16& cell = memory.states[target / 4];
        cell = u16(written ? cell | bit : cell & ~bit);
    }
}
