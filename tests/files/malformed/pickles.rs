//! Hostile and malformed files of `torch.save`: nothing is executed.

use vgan_cuda::exchange::Weights;
use vgan_cuda::exchange::archive::pack;

use super::*;
use crate::weights::fixture;

/// An archive as `torch.save` lays it out.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    pack(files.iter().map(|(name, content)| Ok(((*name).to_string(), content.to_vec())))).unwrap()
}

/// An archive of this pickle, with a storage `0` of four f32.
pub(crate) fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    archive(&[("x/data.pkl", pickle), ("x/byteorder", b"little"), ("x/data/0", &[0; 16])])
}

/// A word of a pickle, as BINUNICODE.
pub(crate) fn word(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A whole number, as BININT.
pub(crate) fn whole(number: i32) -> Vec<u8> {
    [b"J", &number.to_le_bytes()[..]].concat()
}

pub(crate) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

pub(crate) fn numbers(numbers: &[i32]) -> Vec<u8> {
    tuple(&numbers.iter().map(|&number| whole(number)).collect::<Vec<_>>())
}

pub(crate) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub(crate) fn storage(class: &str, key: &str, len: i32) -> Vec<u8> {
    let id = [word("storage"), global("torch", class), word(key), word("cpu"), whole(len)];
    [tuple(&id), b"Q".to_vec()].concat()
}

/// `_rebuild_tensor_v2` of these arguments.
pub(crate) fn rebuilt(arguments: &[Vec<u8>]) -> Vec<u8> {
    [global("torch._utils", "_rebuild_tensor_v2"), tuple(arguments), b"R".to_vec()].concat()
}

/// A tensor of the storage `0` of four f32.
pub(crate) fn tensor(offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    rebuilt(&[storage("FloatStorage", "0", 4), whole(offset), numbers(shape), numbers(strides)])
}

/// `{name: value}`, whole.
pub(crate) fn dict(name: &str, value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}".to_vec(), word(name), value.to_vec(), b"s.".to_vec()].concat()
}

#[test]
fn the_file_that_the_cases_are_made_of_is_good() {
    for good in [
        with_pickle(&dict("w", &tensor(0, &[2, 2], &[2, 1]))),
        with_pickle(&dict("w", &tensor(1, &[3], &[1]))),
        with_pickle(&dict("w", &tensor(4, &[0], &[1]))),
        archive(&[("data.pkl", &dict("w", &tensor(0, &[4], &[1]))), ("data/0", &[0; 16])]),
    ] {
        Weights::decode(Path::new("w.pt"), &good).unwrap();
    }
}

/// Pickles; each is put into an archive.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let call = |module: &str, name: &str, arguments: &[Vec<u8>]| {
        [b"\x80\x02".to_vec(), global(module, name), tuple(arguments), b"R.".to_vec()].concat()
    };
    let stack_global =
        [b"\x80\x04\x8c\x05posix\x8c\x06system\x93".to_vec(), tuple(&[word("id")]), b"R.".to_vec()].concat();
    let deep = |open: &[u8], count: usize| [b"\x80\x02".to_vec(), open.repeat(count), b".".to_vec()].concat();
    let dict_in_dict: Vec<u8> = {
        let opened = [b"}".to_vec(), word("a")].concat().repeat(50);
        [b"\x80\x02".to_vec(), opened, tensor(0, &[4], &[1]), b"s".repeat(50), b".".to_vec()].concat()
    };
    let own_child = [b"\x80\x02}q\x00".to_vec(), word("a"), b"h\x00s.".to_vec()].concat();
    // Each dict holds the one before it ten times over: 10^30 names.
    let billion = {
        let mut pickle = [b"\x80\x02}".to_vec(), word("w"), tensor(0, &[4], &[1]), b"sq\x00".to_vec()].concat();
        for level in 0..30_u8 {
            pickle.push(b'}');
            for key in 0..10 {
                pickle.extend([word(&key.to_string()), vec![b'h', level, b's']].concat());
            }
            pickle.extend([b'q', level + 1]);
        }
        [pickle, b".".to_vec()].concat()
    };
    // A few kilobytes that stand for 100,000 names of 490 bytes: a dict of 400 numbers, 250 times in a dict of a long name.
    let long_names = {
        let numbers: Vec<u8> = (0..400).flat_map(|key| [whole(key), b"N".to_vec()].concat()).collect();
        let again: Vec<u8> = (0..250).flat_map(|key| [whole(key), b"h\x00".to_vec()].concat()).collect();
        let inner = [b"}(".to_vec(), numbers, b"uq\x000".to_vec()].concat();
        [b"\x80\x02".to_vec(), inner, b"}".to_vec(), word(&"n".repeat(490)), b"}(".to_vec(), again, b"us.".to_vec()]
            .concat()
    };
    let again_and_again = {
        let shared = [b"\x80\x02}(".to_vec(), word("w"), tensor(0, &[4], &[1]), b"q\x00".to_vec()].concat();
        let more: Vec<u8> = (0..100).flat_map(|i| [word(&format!("w{i}")), b"h\x00".to_vec()].concat()).collect();
        [shared, more, b"u.".to_vec()].concat()
    };
    vec![
        ("os.system", call("os", "system", &[word("touch /tmp/x")]), "`os.system`"),
        ("posix.system of protocol 4", stack_global, "`posix.system`"),
        ("builtins.eval", call("builtins", "eval", &[word("1")]), "`builtins.eval`"),
        ("builtins.getattr", call("__builtin__", "getattr", &[]), "`__builtin__.getattr`"),
        ("subprocess", call("subprocess", "Popen", &[]), "`subprocess.Popen`"),
        ("torch.load again", call("torch", "load", &[]), "`torch.load`"),
        ("torch.hub", call("torch.hub", "load", &[]), "`torch.hub.load`"),
        ("a dotted name", call("torch._utils", "_rebuild_tensor_v2.__globals__", &[]), "__globals__"),
        ("an escape in a name", call("a\u{1b}[2J", "b", &[]), "a\\u{1b}[2J"),
        ("a type that is called", call("torch", "FloatStorage", &[whole(9)]), "Storage(F32) with 1 arguments"),
        (
            "OrderedDict of arguments",
            call("collections", "OrderedDict", &[b"]".to_vec()]),
            "OrderedDict with 1 arguments",
        ),
        ("INST", b"\x80\x02(ios\nsystem\n.".to_vec(), "opcode 0x69 (INST"),
        ("OBJ", b"\x80\x02(cos\nsystem\no.".to_vec(), "`os.system`"),
        ("NEWOBJ", [global("collections", "OrderedDict"), b")\x81.".to_vec()].concat(), "opcode 0x81 (NEWOBJ"),
        ("EXT1", b"\x80\x02\x82\x01.".to_vec(), "opcode 0x82 (EXT)"),
        ("PERSID of text", b"P0\n.".to_vec(), "opcode 0x50 (PERSID)"),
        ("bytes", b"\x80\x03C\x01a.".to_vec(), "opcode 0x43 (bytes)"),
        ("a long of 2^31 bytes", b"\x80\x02\x8b\xff\xff\xff\x7f.".to_vec(), "opcode 0x8b (LONG4)"),
        ("state of a number", b"\x80\x02K\x01}b.".to_vec(), "state of a number"),
        ("state of a list", b"\x80\x02]}b.".to_vec(), "state of a list"),
        (
            "tuples in tuples",
            [b"\x80\x02".to_vec(), b"(".repeat(100), b"t".repeat(100), b".".to_vec()].concat(),
            "a dict of tensors, found a tuple",
        ),
        (
            "a million tuples in each other",
            [b"\x80\x02)".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat(),
            "a dict of tensors",
        ),
        ("two million values", deep(b"N", 2_000_000), "at most 1048576 values"),
        ("two million marks", deep(b"(", 2_000_000), "a value on the stack"),
        ("fifty dicts in each other", dict_in_dict, "at most 32 deep"),
        ("a dict in itself", own_child, "at most 32 deep"),
        ("long names without number", long_names, "at most 131072 names of 16777216 bytes in all"),
        ("10^30 names", billion, "share storages a few times"),
        ("one storage a hundred times", again_and_again, "share storages a few times"),
        ("a memo that was never filled", b"\x80\x02h\x07.".to_vec(), "number 7, which was not"),
        ("a memo of 32 bits", b"\x80\x02j\xff\xff\xff\xff.".to_vec(), "number 4294967295"),
        ("an empty stack", b"\x80\x02.".to_vec(), "a value on the stack"),
        ("a pop of nothing", b"\x80\x020.".to_vec(), "a value on the stack"),
        ("a value below the mark", b"\x80\x02}(K\x01s.".to_vec(), "a value on the stack"),
        ("no mark", b"\x80\x02}u.".to_vec(), "a mark on the stack"),
        ("a key without a value", b"\x80\x02}(K\x01u.".to_vec(), "a value for each key"),
        ("items of a number", b"\x80\x02K\x01K\x02K\x03s.".to_vec(), "a dict to set items of"),
        ("an item of a dict's", b"\x80\x02}K\x02a.".to_vec(), "a list to append to"),
        (
            "a list as a key",
            [b"\x80\x02}]".to_vec(), tensor(0, &[4], &[1]), b"s.".to_vec()].concat(),
            "words or numbers",
        ),
        ("no pickle", b"Hello".to_vec(), "opcode 0x48"),
        ("nothing", vec![], "its end at 0"),
        ("protocol 0", b"\x80\x00}.".to_vec(), "found protocol 0"),
        ("protocol 9", b"\x80\x09}.".to_vec(), "found protocol 9"),
        ("no STOP", b"\x80\x02}".to_vec(), "a pickle that ends with STOP"),
        ("text beyond the end", b"\x80\x02X\xff\xff\xff\xffab.".to_vec(), "4294967295 bytes"),
        (
            "text of 2^64 - 1",
            [b"\x80\x04\x8d".to_vec(), vec![0xff; 8], b"a.".to_vec()].concat(),
            "18446744073709551615 bytes",
        ),
        ("text that is none", b"\x80\x02X\x01\x00\x00\x00\xff.".to_vec(), "text in UTF-8"),
        ("a name without an end", [b"\x80\x02c".to_vec(), vec![b'a'; 5000]].concat(), "a name in UTF-8 on a line"),
        ("a number of 9 bytes", b"\x80\x02\x8a\x09123456789.".to_vec(), "found one of 9 bytes"),
        ("a list", b"\x80\x02].".to_vec(), "a dict of tensors"),
        ("an empty dict", b"\x80\x02}.".to_vec(), "tensors of weights, found nothing"),
        ("numbers alone", dict("lr", b"K\x01"), "`lr`, a number, and no weights"),
        ("an empty name", dict("", &tensor(0, &[4], &[1])), "names of 1 to 500 bytes"),
        ("a name with an escape", dict("\u{1b}[2J", &tensor(0, &[4], &[1])), "\\u{1b}[2J"),
        ("an endless name", dict(&"n".repeat(501), &tensor(0, &[4], &[1])), "words or numbers"),
        (
            "a name twice",
            [
                b"\x80\x02}(".to_vec(),
                word("w"),
                tensor(0, &[4], &[1]),
                word("w"),
                tensor(0, &[4], &[1]),
                b"u.".to_vec(),
            ]
            .concat(),
            "the name `w` twice",
        ),
    ]
}

/// Tensors; each is put into a dict under the name `w`.
fn outside() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let outside = "inside its storage of 4 elements";
    vec![
        ("one too many", tensor(0, &[5], &[1]), outside),
        ("an offset too far", tensor(1, &[4], &[1]), outside),
        ("a stride too far", tensor(0, &[2, 2], &[3, 1]), outside),
        ("a scalar behind the end", tensor(4, &[], &[]), outside),
        ("2^62 elements", tensor(0, &[1 << 30, 1 << 30, 4], &[0, 0, 1]), outside),
        ("an overflow of sizes", tensor(0, &[i32::MAX; 4], &[1, 1, 1, 1]), outside),
        ("an overflow of strides", tensor(0, &[i32::MAX; 3], &[i32::MAX; 3]), outside),
        ("an element a million times", tensor(0, &[1_000_000], &[0]), outside),
        ("a negative size", tensor(0, &[-4], &[1]), "below 0"),
        ("a negative stride", tensor(3, &[4], &[-1]), "below 0"),
        ("a negative offset", tensor(-1, &[4], &[1]), "below 0"),
        ("fewer strides", tensor(0, &[2, 2], &[1]), "2 sizes and 1 strides"),
        ("seventeen dimensions", tensor(0, &[1; 17], &[1; 17]), "numbers that are none"),
        ("no arguments", rebuilt(&[]), "0 arguments"),
        ("no storage", rebuilt(&[whole(1), whole(0), numbers(&[4]), numbers(&[1])]), "found a number"),
        (
            "sizes that are words",
            rebuilt(&[storage("FloatStorage", "0", 4), whole(0), tuple(&[word("4")]), numbers(&[1])]),
            "numbers that are none",
        ),
        (
            "a storage of 5",
            rebuilt(&[storage("FloatStorage", "0", 5), whole(0), numbers(&[4]), numbers(&[1])]),
            "5 elements of f32",
        ),
        (
            "a storage of 3",
            rebuilt(&[storage("FloatStorage", "0", 3), whole(0), numbers(&[3]), numbers(&[1])]),
            "at most 12 bytes",
        ),
        (
            "a storage of another type",
            rebuilt(&[storage("HalfStorage", "0", 4), whole(0), numbers(&[4]), numbers(&[1])]),
            "at most 8 bytes",
        ),
        (
            "a storage below 0",
            rebuilt(&[storage("FloatStorage", "0", -4), whole(0), numbers(&[4]), numbers(&[1])]),
            "('storage', type",
        ),
        (
            "a storage that is not there",
            rebuilt(&[storage("FloatStorage", "1", 4), whole(0), numbers(&[4]), numbers(&[1])]),
            "`x/data/1`",
        ),
        (
            "a storage elsewhere",
            rebuilt(&[storage("FloatStorage", "../../data.pkl", 4), whole(0), numbers(&[4]), numbers(&[1])]),
            "../../data.pkl",
        ),
        ("an unknown storage", rebuilt(&[storage("ComplexFloatStorage", "0", 4)]), "`torch.ComplexFloatStorage`"),
        ("a persistent number", [whole(7), b"Q".to_vec()].concat(), "('storage', type, key, device, length)"),
        ("a persistent module", [tuple(&[word("module"), word("x")]), b"Q".to_vec()].concat(), "('storage', type"),
        (
            "a parameter of a number",
            [global("torch._utils", "_rebuild_parameter"), tuple(&[whole(1)]), b"R".to_vec()].concat(),
            "the tensor of a parameter",
        ),
    ]
}

fn archives() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let pickle = dict("w", &tensor(0, &[4], &[1]));
    let good = with_pickle(&pickle);
    let data: &[u8] = &[0; 16];
    let of = |values: &[u8]| archive(&[("x/data.pkl", &pickle), ("x/data/0", values)]);
    let single = |values: [f32; 4]| of(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    // Larger than f32 holds.
    let huge: Vec<u8> = [1e300_f64, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let double = rebuilt(&[storage("DoubleStorage", "0", 2), whole(0), numbers(&[2]), numbers(&[1])]);
    vec![
        ("an empty archive", archive(&[]), "tensors of weights, found nothing"),
        ("another archive", archive(&[("photo.png", b"x")]), "a zip archive with `photo.png`"),
        ("two pickles", archive(&[("a/data.pkl", &pickle), ("b/data.pkl", &pickle)]), "found 2 of them"),
        ("big-endian", archive(&[("x/data.pkl", &pickle), ("x/byteorder", b"big"), ("x/data/0", data)]), "found `big`"),
        ("TorchScript", archive(&[("x/data.pkl", &pickle), ("x/constants.pkl", b"")]), "a TorchScript archive"),
        ("cut in half", good[..good.len() / 2].to_vec(), "a zip archive that is whole"),
        ("without its directory", good[..good.len() - 60].to_vec(), "a zip archive that is whole"),
        ("the first bytes alone", b"PK\x03\x04".to_vec(), "a zip archive that is whole"),
        ("an array that is none", archive(&[("w.npy", b"x")]), "a .npy file"),
        ("NaN", single([0.0, f32::NAN, 0.0, 0.0]), "finite values, as f32, in tensor `w`"),
        ("infinity", single([0.0, 0.0, 0.0, f32::INFINITY]), "finite values, as f32, in tensor `w`"),
        ("1e300", archive(&[("x/data.pkl", &dict("w", &double)), ("x/data/0", &huge)]), "found inf at index 0"),
        ("a pickle of Python's", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}.".to_vec(), "a pickle on its own"),
        ("nothing", vec![], "0 bytes in all"),
        ("text", b"hello, this is no file of weights".to_vec(), "a header length of at most"),
    ]
}

/// The pickles, each with what the message must say; those that are alone in an archive.
pub(crate) fn pickles() -> Vec<Case> {
    let outside = outside().into_iter().map(|(name, value, says)| (name, dict("w", &value), says));
    cases(hostile().into_iter().chain(outside).collect())
}

pub(crate) fn all() -> Vec<Case> {
    let in_archive = pickles().into_iter().map(|case| Case {
        bytes: with_pickle(&case.bytes),
        name: format!("pickle: {}", case.name),
        ..case
    });
    table(".pt", in_archive.chain(cases(archives())).collect())
}

#[test]
fn malformed_files_of_pytorch_are_refused() {
    refuses(all(), "w.pt", Weights::decode);
}

#[test]
fn files_of_pytorch_that_are_not_read() {
    let read = |file| Weights::decode(Path::new(file), &std::fs::read(fixture(file)).unwrap());
    for (file, fragment) in [
        ("legacy.pt", "before 1.6, or of the old serialisation"),
        ("module.pt", "`torch.nn.modules.linear.Linear`"),
        ("namespace.pt", "`argparse.Namespace`"),
        ("complex.pt", "`torch.ComplexFloatStorage`"),
        ("script.pt", "a TorchScript archive"),
    ] {
        let case = Case::from((file, Vec::new(), fragment));
        assert_none(fault_of(read(file), Path::new(file), &case).into_iter().collect());
    }
}

/// An archive that unpacks to a thousand times its length, with a pickle that asks for all of it.
#[test]
fn a_bomb_is_not_unpacked() {
    use std::io::Write;
    let element = rebuilt(&[storage("FloatStorage", "0", 1 << 28), whole(0), numbers(&[1 << 28]), numbers(&[1])]);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("x/data.pkl", options.compression_method(zip::CompressionMethod::Stored)).unwrap();
    zip.write_all(&dict("w", &element)).unwrap();
    zip.start_file("x/data/0", options.compression_method(zip::CompressionMethod::Deflated)).unwrap();
    (0..100).for_each(|_| zip.write_all(&vec![0; 1 << 20]).unwrap());
    let bytes = zip.finish().unwrap().into_inner();
    assert!(bytes.len() < 200_000, "{}", bytes.len());
    refuses(cases(vec![("a bomb", bytes, "to have at most")]), "w.pt", Weights::decode);
}
