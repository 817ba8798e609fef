//! The default streams: CUDA Driver API, "Stream synchronization behavior".

use std::ptr::null_mut;

use crate::child::on_driver;
use crate::cuda::{alloc, begin, blocking_stream, call, fetch, fill, free_stream, now, sys, wait};

const LEGACY: sys::CUstream = 1 as _;
const PER_THREAD: sys::CUstream = 2 as _;

on_driver! {
    fn the_legacy_stream_waits_for_blocking_streams() {
        begin();
        let (blocking, address) = (blocking_stream(), alloc(4));
        fill(address, 1, 4, blocking);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, null_mut());
        wait(null_mut());
        assert_eq!(bytes, [1; 4]);
    }
}

on_driver! {
    fn blocking_streams_wait_for_the_legacy_stream() {
        begin();
        let (blocking, address) = (blocking_stream(), alloc(4));
        fill(address, 1, 4, LEGACY);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, blocking);
        wait(blocking);
        assert_eq!(bytes, [1; 4]);
    }
}

on_driver! {
    fn free_streams_and_the_legacy_stream_do_not_wait_for_one_another() {
        begin();
        let (free, address) = (free_stream(), alloc(8));
        fill(address, 9, 8, free);
        wait(free);
        fill(address, 1, 4, free);
        assert_eq!(now(address, 4), [9; 4]);
        fill(address + 4, 2, 4, null_mut());
        let mut bytes = [0; 4];
        fetch(&mut bytes, address + 4, free);
        wait(free);
        assert_eq!(bytes, [9; 4]);
    }
}

on_driver! {
    /// The order is carried through: a first blocking stream, the legacy stream, a second blocking stream.
    fn two_blocking_streams_are_ordered_by_the_legacy_stream_between_them() {
        begin();
        let (one, other, address) = (blocking_stream(), blocking_stream(), alloc(8));
        fill(address, 1, 4, one);
        fill(address + 4, 2, 4, null_mut());
        let mut bytes = [0; 8];
        fetch(&mut bytes, address, other);
        wait(other);
        assert_eq!(bytes, [1, 1, 1, 1, 2, 2, 2, 2]);
    }
}

on_driver! {
    fn two_blocking_streams_alone_are_not_ordered() {
        begin();
        let (one, other, address) = (blocking_stream(), blocking_stream(), alloc(4));
        fill(address, 9, 4, one);
        wait(one);
        fill(address, 1, 4, one);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, other);
        wait(other);
        assert_eq!(bytes, [9; 4]);
    }
}

on_driver! {
    fn each_thread_has_a_default_stream_of_its_own() {
        let context = begin() as usize;
        let mut own = 0;
        assert_eq!(call!(cuStreamGetId(PER_THREAD, &mut own)), 0);
        let other = std::thread::spawn(move || {
            assert_eq!(call!(cuCtxSetCurrent(context as _)), 0);
            let mut id = 0;
            assert_eq!(call!(cuStreamGetId(PER_THREAD, &mut id)), 0);
            id
        });
        assert_ne!(own, other.join().expect("no panic"));
        let mut again = 0;
        assert_eq!(call!(cuStreamGetId(PER_THREAD, &mut again)), 0);
        assert_eq!(own, again);
        // It is a blocking one.
        let address = alloc(4);
        fill(address, 1, 4, PER_THREAD);
        assert_eq!(now(address, 4), [1; 4]);
    }
}

on_driver! {
    fn flags_and_priorities_are_told() {
        begin();
        let (mut stream, mut flags, mut priority) = (null_mut(), 9, 9);
        assert_eq!(call!(cuStreamCreateWithPriority(&mut stream, 1, -99)), 0);
        assert_eq!((call!(cuStreamGetFlags(stream, &mut flags)), flags), (0, 1));
        let (mut least, mut greatest) = (9, 9);
        assert_eq!(call!(cuCtxGetStreamPriorityRange(&mut least, &mut greatest)), 0);
        assert!(greatest < least);
        assert_eq!((call!(cuStreamGetPriority(stream, &mut priority)), priority), (0, greatest));
    }
}
