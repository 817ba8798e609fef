//! Archives of arrays (`.npz`): each field of a zip archive (APPNOTE 6.3.10, sections 4.3.7 to 4.3.16), and the arrays in it.

use vgan_cuda::exchange::Weights;
use vgan_cuda::exchange::npy::read_npz_f64;
use zip::write::SimpleFileOptions;

use super::*;
use crate::data_samples::write;

/// An archive of these files, stored.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    packed(files, zip::CompressionMethod::Stored)
}

fn packed(files: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The last place of a signature.
fn place(bytes: &[u8], signature: &[u8; 4]) -> usize {
    bytes.windows(4).rposition(|four| four == signature).unwrap()
}

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";

/// Two arrays of one name.
fn twice(array: &[u8]) -> Vec<u8> {
    let mut bytes = archive(&[("v.npy", array), ("w.npy", array)]);
    for at in [30, place(&bytes[..place(&bytes, ENTRY)], ENTRY) + 46] {
        assert_eq!(bytes[at], b'v');
        bytes[at] = b'w';
    }
    bytes
}

pub(crate) fn all() -> Vec<Case> {
    let array = super::npy::good();
    let whole = || archive(&[("w.npy", &array)]);
    let deflated = || packed(&[("w.npy", &array)], zip::CompressionMethod::Deflated);
    let end = whole().len();
    let at = |signature: &[u8; 4], offset: usize, part: &[u8]| over(whole(), place(&whole(), signature) + offset, part);
    let both =
        |local: usize, entry: usize, part: &[u8]| over(at(LOCAL, local, part), place(&whole(), ENTRY) + entry, part);
    let (of_file, of_archive) = ("the file `w.npy` in it", "a zip archive that is whole");
    let data = 30 + 5;
    let mut all = cases(vec![
        // The end of the directory.
        ("the end's signature", at(END, 0, b"QK\x05\x06"), of_archive),
        ("another disk", at(END, 4, &[1, 0]), "expected "),
        ("a directory on another disk", at(END, 6, &[9, 0]), "expected "),
        ("no entries, says the end", at(END, 8, &[0, 0, 0, 0]), "expected "),
        ("two entries, says the end", at(END, 8, &[2, 0, 2, 0]), of_archive),
        ("65,534 entries, says the end", at(END, 8, &[0xfe, 0xff, 0xfe, 0xff]), of_archive),
        ("a directory beyond the end", at(END, 16, &[0xfe, 0xff, 0xff, 0x7f]), of_archive),
        ("a directory in the data", at(END, 16, &[7, 0, 0, 0]), "expected "),
        ("a comment beyond the end", at(END, 20, &[0xff, 0xff]), of_archive),
        // The directory.
        ("an entry's signature", at(ENTRY, 0, b"QK\x01\x02"), of_archive),
        ("an entry's name beyond the end", at(ENTRY, 28, &[0xff, 0xff]), of_archive),
        ("an entry's extra field beyond the end", at(ENTRY, 30, &[0xff, 0xff]), of_archive),
        ("an entry's comment beyond the end", at(ENTRY, 32, &[0xff, 0xff]), of_archive),
        ("a file beyond the end", at(ENTRY, 42, &[0, 0, 0, 0x7f]), "expected "),
        ("a file within the directory", at(ENTRY, 42, &[40, 0, 0, 0]), "expected "),
        ("a file in zip64 without its field", at(ENTRY, 20, &[0xff; 8]), "expected "),
        ("a packed length beyond the end", at(ENTRY, 20, &[0, 0, 0, 0x70]), "expected "),
        ("a packed length of 0", at(ENTRY, 20, &[0; 4]), "expected "),
        ("a checksum of zeros", at(ENTRY, 16, &[0; 4]), of_file),
        ("a flipped checksum", at(ENTRY, 16, &[whole()[place(&whole(), ENTRY) + 16] ^ 1]), of_file),
        ("an encrypted file", both(6, 8, &[1, 0]), of_file),
        ("a strongly encrypted file", both(6, 8, &[0x41, 0]), of_file),
        ("method 1 (shrunk)", both(8, 10, &[1, 0]), of_file),
        ("method 6 (imploded)", both(8, 10, &[6, 0]), of_file),
        ("method 9 (deflate64)", both(8, 10, &[9, 0]), of_file),
        ("method 12 (bzip2)", both(8, 10, &[12, 0]), of_file),
        ("method 14 (LZMA)", both(8, 10, &[14, 0]), of_file),
        ("method 93 (Zstandard)", both(8, 10, &[93, 0]), of_file),
        ("method 99 (AES)", both(8, 10, &[99, 0]), "expected "),
        ("method 65535", both(8, 10, &[0xff, 0xff]), of_file),
        ("stored, called deflated", both(8, 10, &[8, 0]), of_file),
        (
            "deflated, called stored",
            {
                let bytes = deflated();
                over(over(bytes.clone(), 8, &[0, 0]), place(&bytes, ENTRY) + 10, &[0, 0])
            },
            of_file,
        ),
        ("a name with an escape", archive(&[("\u{1b}[2J", &array)]), "\\u{1b}[2J"),
        // The file's own header.
        ("a file's signature", at(LOCAL, 0, b"QK\x03\x04"), "expected "),
        ("a file's name beyond the end", at(LOCAL, 26, &[0xff, 0xff]), of_file),
        ("a file's extra field beyond the end", at(LOCAL, 28, &[0xff, 0xff]), of_file),
        ("a changed byte of the data", with(whole(), data + 80, 1), of_file),
        ("a changed byte of the magic", with(whole(), data, 0), of_file),
        ("a changed byte of deflated data", with(deflated(), data + 30, deflated()[data + 30] ^ 0x55), of_file),
        ("a deflated block of type 3", with(deflated(), data, 7), of_file),
        // The archive as a whole.
        ("an empty archive", archive(&[]), "tensors of weights, found nothing"),
        ("half an end", [&END[..], &[0; 9]].concat(), of_archive),
        ("a folder alone", archive(&[("w/", b"")]), "a zip archive with `w/`"),
        ("another file beside", archive(&[("w.npy", &array), ("readme.txt", b"x")]), "`readme.txt`"),
        ("an array under another name", archive(&[("w.dat", &array)]), "`w.dat`"),
        ("an array without a name", archive(&[(".npy", &array)]), "names of 1 to 500 bytes"),
        ("a name of 600 bytes", archive(&[(&format!("{}.npy", "n".repeat(600)), &array)]), "names of 1 to 500 bytes"),
        ("an archive in an archive", archive(&[("w.npy", &whole())]), "a .npy file"),
        (
            "NaN",
            archive(&[("w.npy", &over(array.clone(), array.len() - 4, &f32::NAN.to_le_bytes()))]),
            "found NaN at index 3",
        ),
        (
            "infinity",
            archive(&[("w.npy", &over(array.clone(), array.len() - 4, &f32::INFINITY.to_le_bytes()))]),
            "inf at index 3",
        ),
        (
            "whole numbers alone",
            archive(&[(
                "w.npy",
                &super::npy::file("{'descr': '<i4', 'fortran_order': False, 'shape': (4,), }", &[0; 16]),
            )]),
            "`w`",
        ),
        ("an array twice", twice(&array), "an archive with each file once, found 2 files of 1 names"),
        ("a bomb", packed(&[("w.npy", &vec![0; 80 << 20])], zip::CompressionMethod::Deflated), "to have at most"),
        (
            "a bomb in parts",
            {
                let part = vec![0; 30 << 20];
                let text = "{'descr': '|u1', 'fortran_order': False, 'shape': (31457280,), }";
                let array = super::npy::file(text, &part);
                packed(&[("a.npy", &array), ("b.npy", &array), ("c.npy", &array)], zip::CompressionMethod::Deflated)
            },
            "to have at most",
        ),
    ]);
    // Where a download may end.
    for length in
        [4, 29, 32, 36, 80, place(&whole(), ENTRY), place(&whole(), ENTRY) + 20, place(&whole(), END), end - 4]
    {
        all.push((format!("cut at {length}"), cut(whole(), length), of_archive).into());
    }
    // Every malformed array, in an archive.
    for Case { name, bytes, says } in super::npy::all() {
        if says != "found one of bool" && says != "found one of u8" && !says.contains("an array of f32 or f64") {
            all.push((format!("array: {name}"), archive(&[("w.npy", &bytes)]), says).into());
        }
    }
    table(".npz", all)
}

#[test]
fn malformed_archives_of_arrays_are_refused() {
    refuses(all(), "w.npz", Weights::decode);
}

/// As statistics for FID the same are refused, but for what the arrays are worth.
#[test]
fn malformed_statistics_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut complaints = Vec::new();
    for case in all() {
        let path = write(folder.path(), "x.npz", &case.bytes);
        let read = vgan_cuda::eval::statistics::read(&path);
        complaints.extend(fault_of(read, &path, &Case { says: "expected ".into(), ..case }));
    }
    assert_none(complaints);
    let path = write(folder.path(), "x.npz", b"no zip");
    assert!(read_npz_f64(&path).unwrap_err().to_string().contains("an .npz, a zip archive of arrays"));
}
