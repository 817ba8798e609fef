// The list of what was found in a launch.
#include <cstdarg>
#include <cstdio>

#include "runtime.h"

namespace simt {

Finding* findings;  // the caller's array
u32 finding_count, finding_capacity;

Finding* report(Kind kind, u64 pc, u64 other_pc) {
    for (u32 i = 0; i < finding_count; ++i) {
        Finding& seen = findings[i];
        if (seen.kind != kind) continue;
        const u64 first = seen.site_count > 0 ? seen.sites[0].pc : 0;
        const u64 second = seen.site_count > 1 ? seen.sites[1].pc : 0;
        if (first == pc && (other_pc == 0 || second == other_pc)) {
            ++seen.count;
            return nullptr;
        }
    }
    if (finding_count == finding_capacity) return nullptr;
    Finding& finding = findings[finding_count++];
    std::memset(&finding, 0, sizeof finding);
    finding.kind = kind;
    finding.count = 1;
    return &finding;
}

Site& add_site(Finding& finding, Role role, u64 pc, u32 block, u32 thread) {
    constexpr u32 most = sizeof finding.sites / sizeof finding.sites[0];
    Site& site = finding.sites[finding.site_count < most ? finding.site_count++ : most - 1];
    std::memset(&site, 0, sizeof site);
    site.pc = pc;
    site.role = role;
    site.block = block;
    if (thread < MAX_THREADS) site.threads[thread / 32] |= 1u << thread % 32;
    return site;
}

void describe(Finding& finding, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(finding.text, sizeof finding.text, format, arguments);
    va_end(arguments);
}

}  // namespace simt

using namespace simt;

static void finding_here(Kind kind, u64 pc, Role role, const char* text) {
    if (Finding* finding = report(kind, pc)) {
        add_site(*finding, role, pc, state.block, state.current);
        describe(*finding, "%s", text);
    }
}

// objcopy points the C library's assert here.
extern "C" [[noreturn]] void simt_assert_failed(const char* expression, const char*, unsigned, const char*) {
    finding_here(Kind::AssertFailed, SIMT_CALLER, Role::Waits, expression);
    abandon();
}

extern "C" [[noreturn]] void simt_trap() {
    finding_here(Kind::Trap, SIMT_CALLER, Role::Waits, "");
    abandon();
}
