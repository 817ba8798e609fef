//! Safetensors files, as the weights of a checkpoint.

use std::fs;

use sha2::{Digest, Sha256};
use vgan_cuda::run::{checkpoint, tensors};

use super::state::{refused, valid};
use super::*;

/// A safetensors file from the text of its header and the bytes of its data.
pub(crate) fn safetensors(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Puts `bytes` in the place of `model.safetensors`, with a state that vouches for them.
fn replace_model(folder: &Path, bytes: &[u8]) {
    let state = folder.join("state.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let sha256: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    json["files"]["model.safetensors"] = serde_json::json!({"bytes": bytes.len(), "sha256": sha256});
    fs::write(state, json.to_string()).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

/// The bytes of four values: 1, 2, 3 and `last`.
fn values(last: f32) -> Vec<u8> {
    [1.0, 2.0, 3.0, last].iter().flat_map(|v: &f32| v.to_le_bytes()).collect()
}

const GOOD: &str = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;

pub(crate) fn all() -> Vec<Case> {
    let one = |info: &str| safetensors(format!("{{\"a\":{info}}}"), &values(4.0));
    let with = |header: &str| safetensors(header, &values(4.0));
    let good = GOOD;
    let last = |value: f32| safetensors(good, &values(value));
    let length = |length: u64| [&length.to_le_bytes(), &with(good)[8..]].concat();
    let two = |a: &str, b: &str| {
        let info = |offsets: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
        with(&format!(r#"{{"a":{},"b":{}}}"#, info(a), info(b)))
    };
    let nested = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let mut all = cases(vec![
        ("empty file", vec![], "found 0 bytes in all"),
        ("seven bytes", vec![1; 7], "8 bytes of header length"),
        ("length alone", vec![0; 8], "EOF while parsing"),
        ("length beyond the end", length(1000), "a header length of at most 71 at offset 0, found 1000"),
        ("length of 2^64 - 1", length(u64::MAX), "found 18446744073709551615"),
        ("length of 2^63", length(1 << 63), "a header length of at most"),
        ("length one short", length(good.len() as u64 - 1), "a JSON object of tensors, found EOF"),
        ("length one long", length(good.len() as u64 + 1), "found trailing characters"),
        ("length of 0", length(0), "EOF while parsing"),
        ("big-endian length", [&(good.len() as u64).to_be_bytes(), &with(good)[8..]].concat(), "at offset 0"),
        (
            "no UTF-8",
            with("{\"\u{e9}\":1}").iter().map(|&b| if b == 0xc3 { 0xff } else { b }).collect(),
            "at offset 10",
        ),
        ("no JSON", with("not JSON"), "found expected ident at line 1 column 2"),
        ("an array", with("[1,2]"), "an object of tensors"),
        ("a pickle", b"PK\x03\x04\x00\x00\x00\x00 archive/data.pkl".to_vec(), "a header length of at most"),
        ("deeply nested", with(&nested), "a JSON object of tensors"),
        ("cut within the header", with(good)[..30].to_vec(), "a header length of at most 22"),
        ("cut within the data", with(good)[..with(good).len() - 1].to_vec(), "15 bytes of data"),
        ("a byte after the end", [with(good), vec![0]].concat(), "17 bytes of data"),
        ("no tensors, but data", with("{}"), "16 bytes of data"),
        ("the same name twice", with(&format!("{},{}", &good[..good.len() - 1], &good[1..])), "the name `a` twice"),
        ("metadata twice", with(r#"{"__metadata__":{},"__metadata__":{}}"#), "the name `__metadata__` twice"),
        ("metadata with a number", with(r#"{"__metadata__":{"format":1}}"#), "expected a string"),
        ("metadata that is none", with(r#"{"__metadata__":[]}"#), "invalid type: sequence"),
        ("a tensor that is null", with(r#"{"a":null}"#), "invalid type: null"),
        ("no dtype", one(r#"{"shape":[4],"data_offsets":[0,16]}"#), "missing field `dtype`"),
        ("no shape", one(r#"{"dtype":"F32","data_offsets":[0,16]}"#), "missing field `shape`"),
        ("no offsets", one(r#"{"dtype":"F32","shape":[4]}"#), "missing field `data_offsets`"),
        ("dtype twice", one(r#"{"dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]}"#), "duplicate field"),
        ("shape twice", one(r#"{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}"#), "duplicate field"),
        ("a field of its own", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1}"#), "unknown field `x`"),
        (
            "another dtype",
            one(r#"{"dtype":"F64","shape":[2],"data_offsets":[0,16]}"#),
            "dtype F32 for tensor `a`, found F64",
        ),
        (
            "no such dtype",
            one(r#"{"dtype":"f32","shape":[4],"data_offsets":[0,16]}"#),
            "dtype F32 for tensor `a`, found f32",
        ),
        ("a dtype that is a number", one(r#"{"dtype":32,"shape":[4],"data_offsets":[0,16]}"#), "invalid type: integer"),
        (
            "a negative dimension",
            one(r#"{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}"#),
            "invalid value: integer `-4`",
        ),
        (
            "a fractional dimension",
            one(r#"{"dtype":"F32","shape":[4.0],"data_offsets":[0,16]}"#),
            "floating point `4.0`",
        ),
        (
            "a shape too small",
            one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,16]}"#),
            "12 bytes for tensor `a` of shape [3]",
        ),
        ("a shape too large", one(r#"{"dtype":"F32","shape":[5],"data_offsets":[0,16]}"#), "20 bytes for tensor `a`"),
        (
            "a shape that overflows",
            one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}"#),
            "more bytes than there are for tensor `a`",
        ),
        (
            "a shape that overflows in bytes",
            one(r#"{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}"#),
            "more bytes than there are for tensor `a`",
        ),
        ("offsets reversed", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[16,0]}"#), "data_offsets [16, 0]"),
        ("one offset", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0]}"#), "invalid length 1"),
        ("three offsets", one(r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16,16]}"#), "trailing characters"),
        ("offsets beyond the end", one(r#"{"dtype":"F32","shape":[8],"data_offsets":[0,32]}"#), "at 32 of its data"),
        ("offsets after a hole", one(r#"{"dtype":"F32","shape":[3],"data_offsets":[4,16]}"#), "one after the other"),
        ("overlapping tensors", two("[0,8]", "[4,12]"), "one after the other"),
        ("tensors in one place", two("[0,8]", "[0,8]"), "one after the other"),
        ("a hole between tensors", two("[0,8]", "[12,20]"), "one after the other"),
        ("NaN", last(f32::NAN), "finite values in tensor `a`, found NaN at index 3"),
        ("a NaN with a payload", last(f32::from_bits(0xffc0_1234)), "found NaN at index 3"),
        ("infinity", last(f32::INFINITY), "found inf at index 3"),
        ("minus infinity", last(f32::NEG_INFINITY), "found -inf at index 3"),
        ("a dtype of another program", one(r#"{"dtype":"FLOAT","shape":[4],"data_offsets":[0,16]}"#), "found FLOAT"),
        (
            "an escape as a dtype",
            one("{\"dtype\":\"\\u001b[2J\",\"shape\":[4],\"data_offsets\":[0,16]}"),
            "dtype F32 for tensor `a`",
        ),
        (
            "an escape in a name",
            with("{\"\\u001b[2J\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}"),
            "dtype F32",
        ),
        ("an escape in a field", one("{\"dtype\":\"F32\",\"\\u001b[2J\":1}"), "unknown field"),
        (
            "a dtype without an end",
            one(&format!("{{\"dtype\":\"{}\",\"shape\":[4],\"data_offsets\":[0,16]}}", "F".repeat(100_000))),
            "dtype F32",
        ),
        (
            "a name without an end",
            with(&format!(
                "{{\"{}\":{{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}}}",
                "n".repeat(100_000)
            )),
            "dtype F32",
        ),
        ("a field without an end", one(&format!("{{\"{}\":1}}", "x".repeat(100_000))), "unknown field"),
        (
            "a shape without an end",
            one(&format!("{{\"dtype\":\"F32\",\"shape\":[{}1],\"data_offsets\":[0,16]}}", "1,".repeat(50_000))),
            "4 bytes for tensor `a`",
        ),
        ("a shape of text", one(r#"{"dtype":"F32","shape":["4"],"data_offsets":[0,16]}"#), "invalid type: string"),
        (
            "a shape that is a number",
            one(r#"{"dtype":"F32","shape":4,"data_offsets":[0,16]}"#),
            "invalid type: integer",
        ),
        (
            "a shape beyond 64 bits",
            one(r#"{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,16]}"#),
            "invalid type",
        ),
        (
            "offsets below 0",
            one(r#"{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}"#),
            "invalid value: integer `-16`",
        ),
        (
            "offsets of 2^64 - 1",
            one(r#"{"dtype":"F32","shape":[4],"data_offsets":[18446744073709551599,18446744073709551615]}"#),
            "of its data",
        ),
        ("a header of spaces", with(&" ".repeat(64)), "EOF while parsing"),
        ("a header in zeros", safetensors([0; 64], &values(4.0)), "expected value at line 1 column 1"),
    ]);
    // Where a download may end: within the length, the header, and each value.
    let whole = with(good);
    for length in [1, 4, 9, 8 + good.len() / 2, 8 + good.len(), 8 + good.len() + 4, 8 + good.len() + 12] {
        all.push((format!("cut at {length}"), cut(whole.clone(), length), "expected ").into());
    }
    table("safetensors", all)
}

#[test]
fn malformed_safetensors_are_refused() {
    let (_keep, folder) = valid();
    replace_model(&folder, &safetensors(GOOD, &values(4.0)));
    assert_eq!(checkpoint::load(&folder).unwrap().model[0].values, [1.0, 2.0, 3.0, 4.0]);
    refuses(all(), "x.safetensors", tensors::decode);
    // The same in a checkpoint, whose state vouches for the bytes.
    for Case { name, bytes, says } in all() {
        replace_model(&folder, &bytes);
        refused(&name, &folder, "model.safetensors", &says);
    }
}
