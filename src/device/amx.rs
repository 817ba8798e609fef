//! Intel's tile registers (AMX): 8 registers of 16 rows of 64 bytes, and one instruction that multiplies two of them.
//!
//! By inline assembly: the intrinsics are not stable yet.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::tiles::{SIDE, Tile};

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

    /// 32 × 32 sums of products, from two blocks of 16 rows and two of 16 columns: tile t of every list belongs to the same
    /// 32 steps along the depth. Rows lie line by line, columns by pairs of steps; words are pairs of bf16.
    ///
    /// ```text
    ///              columns 0    columns 1        tmm6, tmm7
    /// rows 0       tmm0         tmm1             tmm4
    /// rows 1       tmm2         tmm3             tmm5
    /// ```
    ///
    /// # Panics
    /// If the lists are empty or differ in length.
    pub(super) fn multiply(&self, rows: [&[Tile]; 2], columns: [&[Tile]; 2], sums: &mut [[f32; SIDE]; SIDE]) {
        let count = rows[0].len();
        assert!(count > 0 && [rows[1], columns[0], columns[1]].iter().all(|list| list.len() == count));
        let [upper, lower] = rows.map(<[Tile]>::as_ptr);
        let [left, right] = columns.map(<[Tile]>::as_ptr);
        let sums = sums.as_mut_ptr();
        // SAFETY: each list has `count` tiles of 1,024 bytes, which the loop walks; the sums are 32 rows of 128 bytes, of
        // which each store writes 16 rows of 64. The registers are configured for as long as `self` lives.
        #[expect(unsafe_code)]
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {row}]",
                "tileloadd tmm6, [{left} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {row}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {row}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 1024",
                "add {lower}, 1024",
                "add {left}, 1024",
                "add {right}, 1024",
                "dec {count}",
                "jnz 2b",
                "tilestored [{sums} + {sums_row}], tmm0",
                "tilestored [{sums} + {sums_row} + 64], tmm1",
                "tilestored [{below} + {sums_row}], tmm2",
                "tilestored [{below} + {sums_row} + 64], tmm3",
                upper = inout(reg) upper => _,
                lower = inout(reg) lower => _,
                left = inout(reg) left => _,
                right = inout(reg) right => _,
                row = in(reg) 64usize,
                sums_row = in(reg) 128usize,
                count = inout(reg) count => _,
                sums = in(reg) sums,
                below = in(reg) sums.add(16),
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
