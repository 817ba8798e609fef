//! Launches, memory and errors of the host's calls.

use simt::{Emulator, Options, Program, Sources};

fn program() -> Program {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels/basic.cu");
    Program::compile(&Sources { files: vec![file.into()], ..Sources::default() }).expect("the kernels compile")
}

#[test]
fn smoke() {
    let program = program();
    for detection in [false, true] {
        let emulator = Emulator::new(&program, Options { detection, ..Options::default() }).expect("an emulator");
        let n = 1000;
        let x = emulator.alloc(4 * n).unwrap();
        let bytes: Vec<u8> = (0..n).flat_map(|i| (i as f32).to_ne_bytes()).collect();
        emulator.upload(&bytes, x).unwrap();
        emulator
            .launch("scale", [4, 1, 1], [256, 1, 1], 0, &[&x.to_ne_bytes(), &2f32.to_ne_bytes(), &(n as i32).to_ne_bytes()])
            .unwrap();
        let mut back = vec![0; 4 * n];
        emulator.download(x, &mut back).unwrap();
        for (i, value) in back.chunks(4).enumerate() {
            assert_eq!(f32::from_ne_bytes(value.try_into().unwrap()), 2.0 * i as f32);
        }
        let out = emulator.alloc(4 * 512).unwrap();
        emulator.launch("reverse", [1, 1, 1], [256, 1, 1], 0, &[&x.to_ne_bytes(), &out.to_ne_bytes()]).unwrap();
        let result = emulator.launch("reverse", [1, 1, 1], [257, 1, 1], 0, &[&x.to_ne_bytes(), &out.to_ne_bytes()]);
        println!("{}", result.unwrap_err());
        let result = emulator.launch("reverse_unsynchronised", [1, 1, 1], [256, 1, 1], 0, &[&x.to_ne_bytes(), &out.to_ne_bytes()]);
        println!("{result:?}");
        if let Err(report) = result { println!("{report}"); }
    }
}
