//! Data sets in formats that are not read: what each is called, and what to pass instead.

use std::path::{Path, PathBuf};

use super::format::{Content, Kind, kind_of};

/// The format of a file, with advice.
type Named = (&'static str, &'static str);

const SAVE: &str = "save its images as PNG files in a folder, and pass that folder";
const UNPACK: &str = "unpack it, and pass the folder that it makes";
const UNPACK_FIRST: &str = "unpack it first";
const SAVE_FRAMES: &str = "save its frames as PNG files in a folder, and pass that folder";
const CIFAR_10: Named = (
    "CIFAR-10's version for Python",
    "only the binary version is read: get it with `vgan-cuda dataset fetch cifar10`, and pass --data data/cifar10",
);
const CIFAR_100: Named = (
    "CIFAR-100",
    "of the CIFAR data sets CIFAR-10 alone is read: save the images as PNG files in a folder, and pass that folder",
);
const NUMPY: Named = ("a NumPy array", SAVE);
const PYTORCH: Named = ("a file of PyTorch", SAVE);
const PICKLE: Named = ("a Python pickle", SAVE);
const ZIP: Named = ("a zip archive", UNPACK);
const STL_10: Named = ("STL-10's binary version", SAVE);
const SVHN: Named = ("SVHN's version for MATLAB", SAVE);
const LIST: Named =
    ("a text file", "pass the folder of the images; for a list of files make a folder of links to them");

/// Ends of names, `.gz` left out.
const ENDS: [(&str, Named); 31] = [
    ("_32x32.mat", SVHN),
    (".mat", ("a MATLAB file", SAVE)),
    (".npz", NUMPY),
    (".npy", NUMPY),
    (".h5", ("an HDF5 file", SAVE)),
    (".hdf5", ("an HDF5 file", SAVE)),
    (".parquet", ("a Parquet table", SAVE)),
    (".arrow", ("an Arrow table", SAVE)),
    (".feather", ("an Arrow table", SAVE)),
    (".tfrecord", ("a TFRecord file", SAVE)),
    (".tfrecords", ("a TFRecord file", SAVE)),
    (".lmdb", ("an LMDB database", SAVE)),
    ("data.mdb", ("an LMDB database", SAVE)),
    (".mdb", ("a database", SAVE)),
    (".rec", ("a RecordIO file", SAVE)),
    (".pt", PYTORCH),
    (".pth", PYTORCH),
    (".pkl", PICKLE),
    (".pickle", PICKLE),
    (".zip", ZIP),
    (".tar", ("a tar archive", UNPACK)),
    (".tgz", ("a tar archive", UNPACK)),
    (".7z", ("a 7z archive", UNPACK)),
    (".rar", ("a RAR archive", UNPACK)),
    (".bz2", ("a bzip2 file", UNPACK_FIRST)),
    (".xz", ("an xz file", UNPACK_FIRST)),
    (".zst", ("a zstd file", UNPACK_FIRST)),
    (".mp4", ("a video", SAVE_FRAMES)),
    (".avi", ("a video", SAVE_FRAMES)),
    (".csv", ("a table of text", SAVE)),
    (".tsv", ("a table of text", SAVE)),
];

/// A file that a name gives away.
pub(crate) fn by_name(path: &Path) -> Option<Named> {
    let lower =
        |name: Option<&std::ffi::OsStr>| name.map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = lower(path.file_name());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let folder = lower(path.parent().and_then(Path::file_name));
    let batch =
        |name: &str| name.strip_prefix("data_batch_").is_some_and(|end| end.bytes().all(|b| b.is_ascii_digit()));
    if batch(name) || matches!(name, "test_batch" | "batches.meta") || name.starts_with("cifar-10-python") {
        return Some(CIFAR_10);
    }
    if name.starts_with("cifar-100-")
        || matches!(name, "fine_label_names.txt" | "coarse_label_names.txt")
        || (folder.starts_with("cifar-100") && matches!(name, "train" | "test" | "meta" | "train.bin" | "test.bin"))
    {
        return Some(CIFAR_100);
    }
    if matches!(name, "train_x.bin" | "test_x.bin" | "unlabeled_x.bin") || name.starts_with("stl10_binary") {
        return Some(STL_10);
    }
    // Shards: x.tfrecord-00000-of-00004.
    let name = if name.contains(".tfrecord") { ".tfrecord" } else { name };
    ENDS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, named)| *named)
}

/// A file that its name or its first bytes give away; the name says more where it can.
pub(crate) fn by_content(path: &Path, head: &[u8]) -> Option<Named> {
    let of_content = |kind: Kind| {
        let advice = match kind.content {
            Content::Archive => UNPACK,
            Content::Compressed => UNPACK_FIRST,
            Content::Arrays => SAVE,
            Content::Video => SAVE_FRAMES,
            Content::Picture | Content::Convertible | Content::Failure | Content::Pointer => return None,
        };
        Some((kind.name, advice))
    };
    by_name(path).or_else(|| kind_of(head).and_then(of_content)).or_else(|| is_text(head).then_some(LIST))
}

/// Returns true if bytes are text: UTF-8, perhaps cut within a character, without control characters that no text has.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !c.is_whitespace())
}

/// Among files that are not read, the one that most likely is the data set, with what it is and what to do. Tables of text are more
/// often lists of labels than images, and come last.
pub(crate) fn among(files: &[PathBuf]) -> Option<(&PathBuf, &'static str, &'static str)> {
    let named = files.iter().filter_map(|path| by_name(path).map(|(what, advice)| (path, what, advice)));
    named.min_by_key(|(_, what, _)| (*what == "a table of text", *what != CIFAR_10.0 && *what != CIFAR_100.0))
}

/// The data set whose folder this is, by the names of the files in it; only of those whose layout is their own.
pub(crate) fn folder(files: &[PathBuf]) -> Option<&'static str> {
    let named = files.iter().filter_map(|path| by_name(path)).map(|(what, _)| what);
    named.into_iter().find(|what| [CIFAR_10.0, CIFAR_100.0, STL_10.0, SVHN.0].contains(what))
}

/// Describes an archive without CIFAR-10's files, by the names in it, with advice.
pub(crate) fn archive(names: &[String]) -> Option<(String, &'static str)> {
    let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
    if let Some(what) = folder(&paths) {
        let named = [CIFAR_10, CIFAR_100, STL_10, SVHN].into_iter().find(|named| named.0 == what)?;
        return Some((named.0.into(), named.1));
    }
    let pictures = paths.iter().filter(|path| super::format::claims(path)).count();
    let idx = names.iter().any(|name| super::idx::is_idx_images(name.rsplit('/').next().unwrap_or(name)));
    if pictures > 0 {
        return Some((crate::units::plural(pictures, "picture"), UNPACK));
    }
    idx.then(|| ("IDX files".into(), UNPACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_formats_away() {
        for (name, what) in [
            ("cifar-10-batches-py/data_batch_1", CIFAR_10.0),
            ("x/batches.meta", CIFAR_10.0),
            ("cifar-10-python.tar.gz", CIFAR_10.0),
            ("cifar-100-python/train", CIFAR_100.0),
            ("cifar-100-binary/test.bin", CIFAR_100.0),
            ("x/fine_label_names.txt", CIFAR_100.0),
            ("stl10/unlabeled_X.bin", STL_10.0),
            ("train_32x32.mat", SVHN.0),
            ("digits.MAT", "a MATLAB file"),
            ("mnist.npz", NUMPY.0),
            ("mnist.pkl.gz", PICKLE.0),
            ("MNIST/processed/training.pt", PYTORCH.0),
            ("a.tfrecord-00000-of-00004", "a TFRecord file"),
            ("lsun/data.mdb", "an LMDB database"),
            ("photos.zip", ZIP.0),
            ("photos.tar.gz", "a tar archive"),
            ("train.csv", "a table of text"),
        ] {
            assert_eq!(by_name(Path::new(name)).map(|named| named.0), Some(what), "{name}");
        }
        for name in ["train", "meta", "data_batch_1.bin", "data_batch_x", "README.md", "a.png", "x-idx3-ubyte"] {
            assert_eq!(by_name(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn names_in_an_archive_give_it_away() {
        let found = |names: &[&str]| archive(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(found(&["a/one.png", "a/notes.txt"]), Some(("1 picture".to_owned(), UNPACK)));
        assert_eq!(found(&["one.png", "two.jpg"]), Some(("2 pictures".to_owned(), UNPACK)));
        assert_eq!(found(&["MNIST/train-images-idx3-ubyte"]), Some(("IDX files".to_owned(), UNPACK)));
        assert_eq!(found(&["x/cifar-10-batches-py/data_batch_1"]).map(|(what, _)| what), Some(CIFAR_10.0.to_owned()));
        assert_eq!(found(&["notes.txt"]), None);
    }

    #[test]
    fn contents_give_formats_away() {
        for (name, head, what) in [
            ("x", &b"\x93NUMPY\x01"[..], NUMPY.0),
            ("data_batch_1", b"\x80\x02}q", CIFAR_10.0),
            ("x", b"\x80\x04\x95", PICKLE.0),
            ("x.npz", b"PK\x03\x04", NUMPY.0),
            ("x.pt", b"PK\x03\x04", PYTORCH.0),
            ("x", b"PK\x03\x04", ZIP.0),
            ("files.txt", b"a.png\nb.png\n", LIST.0),
            ("x", "a/été".as_bytes(), LIST.0),
            ("x", &"été".as_bytes()[..4], LIST.0),
            ("x", &[[0; 16].as_slice(), &[0xde, 0xc0, 0xef, 0xbe]].concat(), "an LMDB database"),
        ] {
            assert_eq!(by_content(Path::new(name), head).map(|named| named.0), Some(what), "{name}");
        }
        for head in [&b""[..], b"\x00\x01", b"\xff\xfe"] {
            assert_eq!(by_content(Path::new("x"), head), None);
        }
    }
}
