//! Reading a report: its elements, its data, its pictures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "link", "img"];

/// The tags of a page, after a check that each element is closed by its own name. What stands in scripts and styles is passed over as
/// a browser does.
pub(super) fn tags(page: &str) -> Vec<String> {
    let (mut open, mut tags, mut rest) = (Vec::<String>::new(), Vec::new(), page);
    assert!(rest.starts_with("<!DOCTYPE html>"), "{}", &page[..40]);
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').expect("a tag that ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap_or_default().to_string();
        if tag.starts_with('!') {
            assert!(tag == "!DOCTYPE html", "a comment: {tag}");
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_deref(), Some(name.as_str()), "closed by its own name");
        } else if !VOID.contains(&name.as_str()) {
            if ["script", "style"].contains(&name.as_str()) {
                let close = format!("</{name}");
                rest = &rest[rest.find(&close).expect("an end")..];
            }
            open.push(name);
        }
        tags.push(tag.to_string());
    }
    assert!(open.is_empty(), "left open: {open:?}");
    tags
}

/// The text of the element that begins with this tag.
pub(super) fn element<'a>(page: &'a str, tag: &str) -> &'a str {
    let from = page.find(tag).unwrap_or_else(|| panic!("no {tag}")) + tag.len();
    let name = tag.trim_start_matches('<').split([' ', '>']).next().expect("a name");
    &page[from..from + page[from..].find(&format!("</{name}>")).expect("an end")]
}

/// The data of a page, after a check of the page: it is whole, needs nothing from elsewhere, and lets nothing run but its own
/// script.
pub(super) fn data(page: &str) -> Value {
    let tags = tags(page);
    let count = |name: &str| tags.iter().filter(|tag| tag.split(' ').next() == Some(name)).count();
    assert_eq!(
        [count("script"), count("style"), count("html"), count("body"), count("title"), count("main")],
        [2, 1, 1, 1, 1, 1]
    );
    assert!(
        !tags.iter().any(|tag| tag.contains("src=") || tag.contains("onerror") || tag.contains("onclick=")),
        "{tags:?}"
    );
    for link in tags.iter().filter(|tag| tag.contains("href=")) {
        assert!(link.contains("href=\"data:,\""), "{link}");
    }
    let script = element(page, "<script>");
    let style = element(page, "<style>");
    for (text, directive) in [(script, "script-src"), (style, "style-src")] {
        let hash = STANDARD.encode(Sha256::digest(text.as_bytes()));
        assert!(page.contains(&format!("{directive} 'sha256-{hash}'")), "{directive} of another text");
    }
    assert!(page.contains("default-src 'none'"));
    let outside = script.matches("://").count();
    assert_eq!(outside, script.matches("http://www.w3.org/2000/svg").count(), "the name of a format, and no address");
    assert!(!style.contains("url(") && !style.contains("@import"));
    let json = element(page, "<script type=\"application/json\" id=\"data\">");
    assert!(!json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "nothing that could end the element");
    serde_json::from_str(json).expect("JSON")
}

/// The PNG in a data URI.
pub(super) fn png_of(uri: &Value) -> Vec<u8> {
    let text = uri.as_str().expect("a text").strip_prefix("data:image/png;base64,").expect("a data URI");
    STANDARD.decode(text).expect("base64")
}

/// `[height, width, channels]` and the pixels of a PNG of 8 bits.
pub(super) fn decoded(png: &[u8]) -> ([usize; 3], Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("a whole picture");
    ([info.height as usize, info.width as usize, info.color_type.samples()], pixels)
}
