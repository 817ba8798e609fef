//! The data sets that `dataset fetch` can download: a new one is an entry of [`DATASETS`], and nothing else.

/// A file to download, known in advance to the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteFile<'a> {
    /// Its name, both below the mirror's address and on disk.
    pub name: &'a str,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in lower-case hexadecimal digits.
    pub sha256: &'a str,
}

/// A data set that can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dataset {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its content, for people.
    pub meaning: &'static str,
    /// The preset that it is trained with at first.
    pub preset: &'static str,
    /// Addresses of folders that hold the files, the first choice first.
    pub mirrors: &'static [&'static str],
    /// The files.
    pub files: &'static [RemoteFile<'static>],
}

/// Every data set that `fetch` knows: the command line, its help and completion, and the tests read this list. Lengths and SHA-256 are those that TensorFlow Datasets pins in
/// `tensorflow_datasets/url_checksums/{mnist,fashion_mnist,cifar10}.txt`.
pub const DATASETS: &[Dataset] = &[
    Dataset {
        name: "mnist",
        meaning: "Handwritten digits: 60,000 images of 28×28, grey",
        preset: "vgan-mnist",
        mirrors: &[
            "https://storage.googleapis.com/cvdf-datasets/mnist",
            "https://ossci-datasets.s3.amazonaws.com/mnist",
        ],
        files: &[
            RemoteFile {
                name: "train-images-idx3-ubyte.gz",
                bytes: 9_912_422,
                sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            },
            RemoteFile {
                name: "train-labels-idx1-ubyte.gz",
                bytes: 28_881,
                sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            },
            RemoteFile {
                name: "t10k-images-idx3-ubyte.gz",
                bytes: 1_648_877,
                sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            },
            RemoteFile {
                name: "t10k-labels-idx1-ubyte.gz",
                bytes: 4_542,
                sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            },
        ],
    },
    Dataset {
        name: "fashion-mnist",
        meaning: "Clothes: 60,000 images of 28×28, grey",
        preset: "vgan-mnist",
        mirrors: &[
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ],
        files: &[
            RemoteFile {
                name: "train-images-idx3-ubyte.gz",
                bytes: 26_421_880,
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            },
            RemoteFile {
                name: "train-labels-idx1-ubyte.gz",
                bytes: 29_515,
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            },
            RemoteFile {
                name: "t10k-images-idx3-ubyte.gz",
                bytes: 4_422_102,
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            },
            RemoteFile {
                name: "t10k-labels-idx1-ubyte.gz",
                bytes: 5_148,
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            },
        ],
    },
    Dataset {
        name: "cifar10",
        meaning: "Ten kinds of things: 50,000 images of 32×32, colour",
        preset: "vgan-cifar10",
        mirrors: &[
            "https://www.cs.toronto.edu/~kriz",
            "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets",
        ],
        files: &[RemoteFile {
            name: "cifar-10-binary.tar.gz",
            bytes: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        }],
    },
];

/// The data set of this name.
pub fn dataset(name: &str) -> Option<&'static Dataset> {
    DATASETS.iter().find(|dataset| dataset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Properties that a typing mistake would break, for future entries too.
    #[test]
    fn every_entry_is_complete() {
        for (number, Dataset { name, meaning, mirrors, files, .. }) in DATASETS.iter().enumerate() {
            assert!(!DATASETS[..number].iter().any(|other| other.name == *name), "{name} twice");
            assert!(!name.is_empty() && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-')), "{name}");
            assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{name}: a line of help");
            assert!(!mirrors.is_empty() && mirrors.iter().all(|mirror| !mirror.ends_with('/')), "{name}: mirrors");
            for RemoteFile { name: file, bytes, sha256 } in *files {
                let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
                assert!(*bytes > 0 && sha256.len() == 64 && sha256.chars().all(is_hex), "{name}: {file}");
            }
        }
    }
}
