//! Mutation testing of src/: ops, nn, train, data and run.
//!
//! All mutants are compiled into one copy of the repository, each behind a switch that a variable of the environment sets, so that a
//! mutant costs the run of a few tests and no build. `README.md` says how it is used.

mod choose;
mod collect;
mod site;
#[allow(dead_code, reason = "it is compiled in the changed copy; here it is tested")]
mod switch;
mod table;
mod tests;
mod tree;
#[cfg(test)]
mod unit;

use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs};

use site::Site;
use tree::{Binary, Places};

/// What can go wrong is said and ends the program.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HELP: &str = "\
cargo run --release -- plan [SEED] [MUTANTS OF A ROOM]   chooses mutants, and writes the copy in target/mutation/tree
cargo run --release -- build                             builds the copy's tests
cargo run --release -- reach [SECONDS] [WORD]            runs each test once and notes the mutants that it reaches
cargo run --release -- judge [SECONDS] [WORD]            runs tests with each mutant until one fails, for so many seconds each
cargo run --release -- forget WORD                       forgets what tests with this word in their names did, for tests that were changed
cargo run --release -- table                             prints what it came to";

/// Runs `work` on all items by two workers, and stops both at the first error.
pub fn shared<T: Sync>(items: &[T], work: impl Fn(usize, &T) -> Outcome<()> + Sync) -> Outcome<()> {
    let next = Mutex::new(items.iter());
    let worker = |number: usize| -> Outcome<()> {
        loop {
            let Some(item) = next.lock().expect("no panic").next() else { return Ok(()) };
            if let Err(error) = work(number, item) {
                *next.lock().expect("no panic") = [].iter();
                return Err(error);
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| worker(1));
        let own = worker(0);
        own.and(other.join().expect("no panic"))
    })
}

fn plan(places: &Places, seed: u64, wanted: usize) -> Outcome<()> {
    let sites = tree::all_sites(&places.root)?;
    let per_room = |room: &str| sites.values().flatten().filter(|site| site.room() == room).count();
    for room in tree::ROOMS {
        println!("src/{room}: {} places", per_room(room));
    }
    // Twice as many as are wanted: some don't compile.
    let candidates = choose::candidates(seed, 2 * wanted, &sites);
    let compiling = tree::checked(places, candidates)?;
    let mut chosen: Vec<Site> = Vec::new();
    for room in tree::ROOMS {
        chosen.extend(compiling.iter().filter(|site| site.room() == room).take(wanted).cloned());
    }
    chosen.sort_by(|a, b| (&a.file, a.start, a.end).cmp(&(&b.file, b.start, b.end)));
    let chosen = tree::checked(places, chosen)?;
    println!("{} mutants", chosen.len());
    Ok(fs::write(places.folder.join("mutants.json"), serde_json::to_vec_pretty(&chosen)?)?)
}

fn main() -> Outcome<()> {
    let places = Places::new()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let number = |at: usize, usual: u64| argument(at).map_or(Ok(usual), str::parse::<u64>);
    let mutants =
        || -> Outcome<Vec<Site>> { Ok(serde_json::from_slice(&fs::read(places.folder.join("mutants.json"))?)?) };
    let binaries =
        || -> Outcome<Vec<Binary>> { Ok(serde_json::from_slice(&fs::read(places.folder.join("binaries.json"))?)?) };
    // What tests look at the tree itself, and would see it changed, is not run.
    let judging =
        || -> Outcome<Vec<Binary>> { Ok(binaries()?.into_iter().filter(|binary| binary.name != "house").collect()) };
    match argument(0) {
        Some("plan") => plan(&places, number(1, 1)?, usize::try_from(number(2, 60)?)?),
        Some("build") => {
            tree::write(&places, &mutants()?)?;
            tree::build(&places).map(|binaries| println!("{} test binaries", binaries.len()))
        }
        Some("reach") => {
            let keys: Vec<String> = mutants()?.iter().map(Site::key).collect();
            tests::reach(
                &places,
                &judging()?,
                &keys,
                Duration::from_secs(number(1, 120)?),
                argument(2).unwrap_or_default(),
            )
        }
        Some("judge") => {
            let most = Duration::from_secs(number(1, 60)?);
            tests::judge(&places, &judging()?, &mutants()?, most, argument(2).unwrap_or_default())
        }
        Some("forget") => tests::forget(&places, argument(1).ok_or("forget: which tests?")?),
        Some("table") => {
            print!("{}", table::table(&places, &mutants()?));
            Ok(())
        }
        _ => {
            println!("{HELP}");
            Ok(())
        }
    }
}
