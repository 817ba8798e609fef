//! Results of collectives: NCCL user guide, "Collective Operations" and "In-place Operations".

use crate::child::on_devices;
use crate::nccl::{DOUBLE, FLOAT, SUM, UINT8, nccl, new_id, on_ranks};

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

on_devices! {
    fn an_all_reduce_sums_on_every_rank() {
        let results = on_ranks(3, |rank, ours| {
            let value = rank as f32 + 1.0;
            let (from, to) = (ours.memory(&floats(&[value, 10.0 * value])), ours.memory(&[0; 8]));
            assert_eq!(ours.all_reduce(from, to, 2, FLOAT), 0);
            let wide = ours.memory(&doubles(&[0.1 * f64::from(value)]));
            assert_eq!(ours.all_reduce(wide, wide, 1, DOUBLE), 0);
            let bytes = ours.memory(&[1 << rank; 5]);
            assert_eq!(ours.all_reduce(bytes, bytes, 5, UINT8), 0);
            [ours.fetch(to, 8), ours.fetch(wide, 8), ours.fetch(bytes, 5), ours.fetch(from, 8)]
        });
        for (rank, result) in results.iter().enumerate() {
            let value = rank as f32 + 1.0;
            let wide = doubles(&[0.1 + 0.2 + 0.1 * 3.0]);
            assert_eq!(*result, [floats(&[6.0, 60.0]), wide, vec![7; 5], floats(&[value, 10.0 * value])], "{rank}");
        }
    }
}

on_devices! {
    fn the_others_move_blocks() {
        let results = on_ranks(2, |rank, ours| {
            let stream = ours.stream as usize;
            let own = ours.memory(&[10 * (rank as u8 + 1), rank as u8]);
            let whole = ours.memory(&[0; 4]);
            assert_eq!(nccl!(ncclAllGather(
                own => u64, whole => u64, 2 => usize, UINT8 => u32, ours.comm => usize, stream => usize
            )), 0);
            // In place: each rank's part lies where it will be in the whole.
            let in_place = ours.memory(&[rank as u8 + 1; 2]);
            let part = in_place + rank as u64;
            assert_eq!(nccl!(ncclAllGather(
                part => u64, in_place => u64, 1 => usize, UINT8 => u32, ours.comm => usize, stream => usize
            )), 0);
            let parts = ours.memory(&floats(&[1.0, 2.0, 3.0, 4.0]));
            let sum = ours.memory(&[0; 8]);
            assert_eq!(nccl!(ncclReduceScatter(
                parts => u64, sum => u64, 2 => usize, FLOAT => u32, SUM => u32, ours.comm => usize, stream => usize
            )), 0);
            let told = ours.memory(&[rank as u8 + 7; 3]);
            assert_eq!(nccl!(ncclBroadcast(
                told => u64, told => u64, 3 => usize, UINT8 => u32, 1 => i32, ours.comm => usize, stream => usize
            )), 0);
            [ours.fetch(whole, 4), ours.fetch(in_place, 2), ours.fetch(sum, 8), ours.fetch(told, 3)]
        });
        let same = |sum: &[f32]| [vec![10, 0, 20, 1], vec![1, 2], floats(sum), vec![8; 3]];
        assert_eq!(results, [same(&[2.0, 4.0]), same(&[6.0, 8.0])]);
    }
}

on_devices! {
    fn a_communicator_knows_its_place_and_ends() {
        on_ranks(2, |rank, ours| {
            let (mut count, mut device, mut number) = (0, 9, 9);
            assert_eq!(nccl!(ncclCommCount(ours.comm => usize, &raw mut count => *mut i32)), 0);
            assert_eq!(nccl!(ncclCommCuDevice(ours.comm => usize, &raw mut device => *mut i32)), 0);
            assert_eq!(nccl!(ncclCommUserRank(ours.comm => usize, &raw mut number => *mut i32)), 0);
            assert_eq!((count, device, number), (2, rank as i32, rank as i32));
            assert_eq!(nccl!(ncclCommDestroy(ours.comm => usize)), 0);
            assert_eq!(nccl!(ncclCommDestroy(ours.comm => usize)), 4);
        });
        // The last one has taken the meeting's folder away.
        let folder = std::env::var("NCCL_STANDIN_FOLDER").expect("a folder");
        let left = std::fs::read_dir(folder).expect("a folder").flatten();
        assert_eq!(left.filter(|entry| entry.file_name().to_string_lossy().starts_with("nccl-standin")).count(), 0);
    }
}

on_devices! {
    fn the_version_is_told(NCCL_STANDIN_VERSION = "2.19.3") {
        let mut version = 0;
        assert_eq!(nccl!(ncclGetVersion(&raw mut version => *mut i32)), 0);
        assert_eq!(version, 21_903);
        assert_eq!(nccl!(ncclGetVersion(std::ptr::null_mut() => *mut i32)), 4);
        assert_ne!(new_id().0, new_id().0);
    }
}
