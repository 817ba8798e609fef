//! Arrays of NumPy (`.npy`).

use vgan_cuda::exchange::npy;

use super::*;

const GOOD: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";

/// A file of version 1 with this header and data.
pub(crate) fn file(text: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), data].concat()
}

pub(crate) fn good() -> Vec<u8> {
    file(GOOD, &[0; 16])
}

pub(crate) fn all() -> Vec<Case> {
    let npy = file;
    let with = |text: &str| npy(text, &[0; 16]);
    let good = GOOD;
    let whole = || with(good);
    let dict = "{'descr'";
    let of = |descr: &str, order: &str, shape: &str| {
        with(&format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"))
    };
    let f4 = "'<f4'";
    let mut all = cases(vec![
        ("nothing", vec![], "which begins with"),
        ("another file", b"hello".to_vec(), "which begins with"),
        ("a magic alone", b"\x93NUMPY".to_vec(), "version 1, 2 or 3"),
        ("version 9", [b"\x93NUMPY\x09\x00\x01\x00".to_vec(), good.into()].concat(), "version 1, 2 or 3"),
        ("a header beyond the end", b"\x93NUMPY\x01\x00\xff\xff{}".to_vec(), "a header in the file"),
        ("a header of 4 GiB", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec(), "a header in the file"),
        ("no dict", with("[1, 2]"), "{'descr'"),
        ("no shape", with("{'descr': '<f4', 'fortran_order': False, }"), "{'descr'"),
        ("shape twice", with("{'descr': '<f4', 'shape': (4,), 'shape': (4,), 'fortran_order': False}"), "{'descr'"),
        ("another key", with("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}"), "{'descr'"),
        ("a size below 0", with("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,), }"), "{'descr'"),
        ("an expression", with("{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os'),), }"), "{'descr'"),
        ("big-endian", with(&good.replace("<f4", ">f4")), "found '>f4'"),
        ("objects", with(&good.replace("<f4", "|O")), "found '|O'"),
        ("complex", with(&good.replace("<f4", "<c8")), "found '<c8'"),
        ("whole numbers", with(&good.replace("<f4", "<i4")), "an array of f32 or f64, found one of i32"),
        ("too few", npy(good, &[0; 15]), "found 15 bytes"),
        ("too many", npy(good, &[0; 17]), "found 17 bytes"),
        ("an overflow", with(&good.replace("(2, 2)", "(4294967296, 4294967296, 4)")), "found 16 bytes"),
        ("33 dimensions", with(&good.replace("(2, 2)", &format!("({})", "1, ".repeat(33)))), "{'descr'"),
        ("version 0", super::with(whole(), 6, 0), "version 1, 2 or 3"),
        ("version 4", super::with(whole(), 6, 4), "version 1, 2 or 3"),
        ("version 255", super::with(whole(), 6, 255), "version 1, 2 or 3"),
        ("the first byte of the magic", super::with(whole(), 0, 0x92), "which begins with"),
        ("the last byte of the magic", super::with(whole(), 5, b'X'), "which begins with"),
        ("the magic in lower case", over(whole(), 1, b"numpy"), "which begins with"),
        ("a byte before it", plus(vec![0], &whole()), "which begins with"),
        ("an archive", b"PK\x03\x04\x14\x00".to_vec(), "which begins with"),
        ("a pickle", b"\x80\x04]\x94.".to_vec(), "which begins with"),
        ("a header of nothing", npy("", &[0; 16]), dict),
        ("a header of spaces", with("          "), dict),
        ("a header that is no text", [b"\x93NUMPY\x01\x00\x02\x00", &[0xff, 0xfe][..]].concat(), "no text"),
        (
            "a header of 70,000 bytes",
            {
                let text = good.to_string() + &" ".repeat(70_000 - good.len());
                [b"\x93NUMPY\x02\x00", &70_000_u32.to_le_bytes()[..], text.as_bytes(), &[0; 16]].concat()
            },
            "a header in the file",
        ),
        ("a header one byte short", over(whole(), 8, &(good.len() as u16 - 1).to_le_bytes()), dict),
        ("a header that takes an element", over(whole(), 8, &(good.len() as u16 + 1).to_le_bytes()), dict),
        ("version 2 with the length of version 1", super::with(whole(), 6, 2), "a header in the file"),
        ("no descr", with("{'fortran_order': False, 'shape': (4,), }"), dict),
        ("no order", with("{'descr': '<f4', 'shape': (4,), }"), dict),
        ("descr twice", with("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (4,)}"), dict),
        ("order twice", with("{'descr': '<f4', 'fortran_order': False, 'fortran_order': True, 'shape': (4,)}"), dict),
        ("no braces", with("'descr': '<f4', 'fortran_order': False, 'shape': (4,)"), dict),
        ("an open brace", with("{'descr': '<f4', 'fortran_order': False, 'shape': (4,),"), dict),
        ("an open bracket", of(f4, "False", "(4,"), dict),
        ("an open quotation mark", of("'<f4", "False", "(4,)"), dict),
        ("keys without marks", with("{descr: '<f4', fortran_order: False, shape: (4,)}"), dict),
        ("no commas", with("{'descr': '<f4' 'fortran_order': False 'shape': (4,)}"), dict),
        ("no colons", with("{'descr' '<f4', 'fortran_order' False, 'shape' (4,)}"), dict),
        ("two commas", of(f4, "False,", "(4,)"), dict),
        ("text behind the dict", with(&format!("{good}x")), dict),
        ("the order in lower case", of(f4, "false", "(4,)"), dict),
        ("the order as a number", of(f4, "0", "(4,)"), dict),
        ("the order as text", of(f4, "'False'", "(4,)"), dict),
        ("a shape that is a list", of(f4, "False", "[4]"), dict),
        ("a shape that is a number", of(f4, "False", "4"), dict),
        ("a shape of text", of(f4, "False", "('4',)"), dict),
        ("a shape with a fraction", of(f4, "False", "(4.0,)"), dict),
        ("a shape with a hole", of(f4, "False", "(2,,2)"), dict),
        ("a shape beyond 64 bits", of(f4, "False", "(18446744073709551616,)"), dict),
        ("a shape in hexadecimal", of(f4, "False", "(0x4,)"), dict),
        ("a shape of shapes", of(f4, "False", "((2, 2),)"), dict),
        ("a type that is a number", of("4", "False", "(4,)"), dict),
        ("fields", of("[('a', '<f4')]", "False", "(4,)"), dict),
        ("a type without a name", of("''", "False", "(4,)"), "found ''"),
        ("a type with an escape", of("'\u{1b}[2J'", "False", "(4,)"), "\\u{1b}[2J"),
        ("a type without an end", of(&format!("'{}'", "f".repeat(60_000)), "False", "(4,)"), "found 'ffff"),
        ("16 bytes a number", of("'<f16'", "False", "(1,)"), "found '<f16'"),
        ("text as a type", of("'<U4'", "False", "(1,)"), "found '<U4'"),
        ("times", of("'<M8[ns]'", "False", "(2,)"), "found '<M8[ns]'"),
        ("3 bytes a number", of("'<f3'", "False", "(4,)"), "found '<f3'"),
        ("truth values", of("'|b1'", "False", "(16,)"), "found one of bool"),
        ("bytes", of("'|u1'", "False", "(16,)"), "found one of u8"),
        ("a scalar of 16 bytes", of(f4, "False", "()"), "found 16 bytes"),
        ("an empty array with data", of(f4, "False", "(0, 5)"), "found 16 bytes"),
        ("an overflow before a 0", of(f4, "False", "(9223372036854775807, 9, 0)"), "found 16 bytes"),
        ("an overflow of bytes", of("'<f8'", "False", "(2305843009213693952,)"), "found 16 bytes"),
        ("a negative overflow", of(f4, "False", "(-9223372036854775808,)"), dict),
        ("a thousand dimensions", of(f4, "False", &format!("({}4)", "1,".repeat(1000))), dict),
    ]);
    for length in [5, 7, 8, 9, 10, 20, 9 + good.len(), 10 + good.len(), 22 + good.len()] {
        all.push((format!("cut at {length}"), cut(whole(), length), "expected ").into());
    }
    table(".npy", all)
}

#[test]
fn malformed_arrays_are_refused() {
    npy::decode(Path::new("z.npy"), &good()).unwrap();
    refuses(all(), "z.npy", npy::decode);
}

/// Sizes that overflow when they are taken in another order than the one that is checked: nothing is there, whatever they are.
#[test]
fn an_empty_array_in_fortran_order_has_any_other_sizes() {
    for shape in ["(0, 9223372036854775807, 9)", "(0, 4294967296, 4294967296)"] {
        let text = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}, }}");
        assert!(npy::decode(Path::new("z.npy"), &file(&text, &[])).unwrap().values.is_empty());
    }
}
