//! The mutator itself: what it changes, and what it leaves alone.

use std::collections::BTreeMap;

use crate::choose::candidates;
use crate::collect::collect;
use crate::site::{Kind, Site, changed};
use crate::switch;

const SOURCE: &str = r#"
const LIMIT: usize = 1 + 2;

/// A comment with 1 + 1.
fn sum(a: usize, b: usize) -> Result<()> {
    let mut total = a - b;
    if total <= 3 && a != 0 {
        total += 1;
    }
    let [x, y] = [0.5; 4];
    if let Some(z) = maybe && z { call(a, b)?; }
    println!("{}", 7 + 8);
    match a { 9 => {}, n if n > LIMIT => call(&a, &a), _ => {} }
    Ok(())
}

const fn never() -> usize { 5 + 6 }

fn é(flag: bool) -> bool { !flag }

fn nothing() -> Result<()> { Ok(()) }

#[cfg(test)]
mod tests {
    fn helper() -> usize { 1 + 1 }
}
"#;

fn sites() -> Vec<Site> {
    collect("src/nn/x.rs", SOURCE).expect("Rust")
}

#[test]
fn places_are_found_and_others_left_alone() {
    let found: Vec<(Kind, String, String)> =
        sites().into_iter().map(|site| (site.kind, site.before, site.after)).collect();
    let has = |kind: Kind, before: &str, after: &str| {
        assert!(found.contains(&(kind, before.to_owned(), after.to_owned())), "{before} => {after}: {found:#?}");
    };
    has(Kind::Arithmetic, "a - b", "a + b");
    has(Kind::Comparison, "total <= 3", "total < 3");
    has(Kind::Logic, "total <= 3 && a != 0", "total <= 3 || a != 0");
    has(Kind::Condition, "total <= 3 && a != 0", "!(total <= 3 && a != 0)");
    has(Kind::Condition, "n > LIMIT", "!(n > LIMIT)");
    has(Kind::Arithmetic, "total += 1", "total -= 1");
    has(Kind::Statement, "total += 1;", "");
    has(Kind::Statement, "call(a, b)?;", "");
    has(Kind::Arguments, "a, b", "b, a");
    has(Kind::Float, "0.5", "1.5");
    has(Kind::Sign, "!flag", "flag");
    has(Kind::Body, "fn sum", "return Ok(());");
    has(Kind::Body, "fn é", "return true;");
    // What returns at once as it is.
    assert!(!found.iter().any(|(_, before, _)| before == "fn nothing"), "{found:#?}");
    // Constants, const functions, lengths of arrays, patterns, macros, conditions that bind, equal arguments, tests.
    for text in ["1 + 2", "5 + 6", "4", "9", "7 + 8", "7", "maybe && z", "&a, &a", "1 + 1"] {
        assert!(
            !found.iter().any(|(_, before, _)| before.contains(text) && before.len() < text.len() + 2),
            "{text}: {found:#?}"
        );
    }
    assert!(!found.iter().any(|(_, before, _)| before.contains("let ")), "{found:#?}");
}

#[test]
fn a_changed_file_is_rust_and_has_both_sides() {
    let all = sites();
    for site in &all {
        let (text, places) = changed(SOURCE, &mut [(17, site)]);
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{error}: {}\n{text}", site.key()));
        assert!(text[places[0].1.clone()].contains("crate::mutants::is(17)"), "{}", site.key());
    }
    // Those of which none stands in another, at once.
    let files = BTreeMap::from([("src/nn/x.rs".to_owned(), all)]);
    let chosen = candidates(1, 100, &files);
    let mut numbered: Vec<(usize, &Site)> = (1..).zip(&chosen).collect();
    let (text, places) = changed(SOURCE, &mut numbered);
    syn::parse_file(&text).expect("Rust");
    assert_eq!(places.len(), chosen.len());
    assert!(chosen.len() > 5 && chosen.len() < files["src/nn/x.rs"].len(), "{}", chosen.len());
}

#[test]
fn rooms_and_files_take_turns_and_a_seed_is_a_choice() {
    let of = |file: &str| collect(file, SOURCE).expect("Rust");
    let names = ["src/nn/a.rs", "src/nn/b.rs", "src/ops/c.rs"];
    let files: BTreeMap<String, Vec<Site>> = names.iter().map(|name| ((*name).to_owned(), of(name))).collect();
    let keys = |seed| candidates(seed, 4, &files).iter().map(Site::key).collect::<Vec<_>>();
    assert_eq!(keys(1), keys(1));
    assert_ne!(keys(1), keys(2));
    for name in names {
        let expected = if name.contains("ops") { 4 } else { 2 };
        assert_eq!(keys(1).iter().filter(|key| key.starts_with(name)).count(), expected, "{name}");
    }
    // Another file is no reason for other mutants of this one.
    let alone = BTreeMap::from([(names[0].to_owned(), of(names[0]))]);
    let few: Vec<String> = candidates(1, 2, &alone).iter().map(Site::key).collect();
    assert!(few.iter().all(|key| keys(1).contains(key)), "{few:?}");
}

#[test]
fn no_mutant_is_on_without_the_variable() {
    assert!((1..100).all(|id| !switch::is(id)));
}
