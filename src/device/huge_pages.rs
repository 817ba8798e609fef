//! Large pages of memory: a step walks through hundreds of megabytes, and the processor remembers where few pages are.

/// Bytes from which memory is worth it: two pages of 2 MiB.
#[cfg(target_os = "linux")]
const LEAST: usize = 4 << 20;

/// Asks the system for large pages for what a vector has room for and has not touched yet. It is advice: where the system does
/// not follow it, or knows none, nothing changes.
pub(super) fn huge_pages<E>(memory: &Vec<E>) {
    #[cfg(target_os = "linux")]
    {
        let page = rustix::param::page_size();
        let begin = memory.as_ptr() as usize;
        let (first, end) = (begin.next_multiple_of(page), begin + memory.capacity() * size_of::<E>());
        let bytes = end.saturating_sub(first) / page * page;
        if bytes < LEAST {
            return;
        }
        let first = memory.as_ptr().cast::<u8>().wrapping_add(first - begin).cast_mut().cast();
        // SAFETY: the range is whole pages within the vector's own memory, and the advice changes no content.
        #[expect(unsafe_code)]
        let _ = unsafe { rustix::mm::madvise(first, bytes, rustix::mm::Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
