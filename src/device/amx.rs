//! Intel's tile registers (AMX): 8 registers of 16 rows of 64 bytes, and one instruction that multiplies two of them.
//!
//! By inline assembly: the intrinsics are not stable yet.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::tiles::Lines;

/// True where processor and system let this process use the registers. Linux gives them to a process that asks
/// (Documentation/arch/x86/xstate.rst).
pub(super) fn usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        // CPUID leaf 7: bit 22 of EDX is AMX-BF16, bit 24 AMX-TILE (Intel SDM, CPUID).
        let features = __cpuid_count(7, 0).edx;
        cfg!(target_os = "linux") && features >> 22 & 1 == 1 && features >> 24 & 1 == 1 && granted()
    })
}

/// Asks Linux for the registers, for all threads.
fn granted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let answer: isize;
    // SAFETY: the call takes two numbers, touches no memory of this process, and changes no register but those named.
    #[expect(unsafe_code)]
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// The layout of all registers: palette 1, 16 rows of 64 bytes each (Intel SDM, LDTILECFG).
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut register = 0;
    while register < 8 {
        bytes[16 + 2 * register] = 64;
        bytes[48 + register] = 16;
        register += 1;
    }
    Configuration(bytes)
};

/// The registers of the calling thread, configured. They are released when this goes: a thread that holds them makes each
/// of its switches dearer.
#[derive(Debug)]
pub(super) struct Registers(PhantomData<*const ()>);

impl Registers {
    /// Takes the registers.
    ///
    /// # Panics
    /// If they are not [`usable`].
    pub(super) fn configure() -> Registers {
        assert!(usable(), "tile registers that this process may not use");
        // SAFETY: the process may use the registers, and the configuration is one that the instruction takes.
        #[expect(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly));
        }
        Registers(PhantomData)
    }

    /// 32 × 32 sums of products, from two halves of 16 rows and two of 16 columns:
    ///
    /// ```text
    ///              columns 0    columns 1        tmm6, tmm7
    /// rows 0       tmm0         tmm1             tmm4
    /// rows 1       tmm2         tmm3             tmm5
    /// ```
    ///
    /// `steps` says where the tiles of each step begin, in words.
    ///
    /// # Safety
    /// Each step's tiles lie inside the lines; `place` has 32 rows of 32 numbers, `stride` apart, which are the caller's.
    #[expect(unsafe_code)]
    pub(super) unsafe fn multiply(
        &self,
        accumulate: bool,
        rows: [Lines<'_>; 2],
        columns: [Lines<'_>; 2],
        steps: &[[usize; 2]],
        place: *mut f32,
        stride: usize,
    ) {
        let [upper, lower] = rows.map(|lines| lines.words.as_ptr());
        let [left, right] = columns.map(|lines| lines.words.as_ptr());
        // SAFETY: the caller promises what the loads and stores reach. The registers are configured for as long as `self` lives,
        // and nothing else uses them between the first instruction and the last.
        unsafe {
            asm!(
                "test {at}, {at}",
                "jz 3f",
                "lea {at}, [{place} + 8*{stride}]",
                "lea {at}, [{at} + 8*{stride}]",
                "tileloadd tmm0, [{place} + {stride}]",
                "tileloadd tmm1, [{place} + {stride} + 64]",
                "tileloadd tmm2, [{at} + {stride}]",
                "tileloadd tmm3, [{at} + {stride} + 64]",
                "jmp 4f",
                "3:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "4:",
                "cmp {step}, {end}",
                "je 5f",
                "2:",
                "mov {at}, [{step}]",
                "lea {at}, [{upper} + 4*{at}]",
                "tileloadd tmm4, [{at} + {row}]",
                "mov {at}, [{step} + 8]",
                "lea {at}, [{left} + 4*{at}]",
                "tileloadd tmm6, [{at} + {column}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "mov {at}, [{step} + 8]",
                "lea {at}, [{right} + 4*{at}]",
                "tileloadd tmm7, [{at} + {column}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "mov {at}, [{step}]",
                "lea {at}, [{lower} + 4*{at}]",
                "tileloadd tmm5, [{at} + {row}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {step}, 16",
                "cmp {step}, {end}",
                "jne 2b",
                "5:",
                "lea {at}, [{place} + 8*{stride}]",
                "lea {at}, [{at} + 8*{stride}]",
                "tilestored [{place} + {stride}], tmm0",
                "tilestored [{place} + {stride} + 64], tmm1",
                "tilestored [{at} + {stride}], tmm2",
                "tilestored [{at} + {stride} + 64], tmm3",
                upper = in(reg) upper,
                lower = in(reg) lower,
                left = in(reg) left,
                right = in(reg) right,
                row = in(reg) 4 * rows[0].stride,
                column = in(reg) 4 * columns[0].stride,
                place = in(reg) place,
                stride = in(reg) 4 * stride,
                step = inout(reg) steps.as_ptr() => _,
                end = in(reg) steps.as_ptr().add(steps.len()),
                at = inout(reg) usize::from(accumulate) => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the process may use the registers; nobody needs their content.
        #[expect(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nostack, nomem));
        }
    }
}
