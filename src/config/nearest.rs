//! Suggests the names that were most likely meant: by a typing mistake, or by a part or an abbreviation of their words.

/// More names than that are no help.
const MOST: usize = 5;

/// Distance between two names; there are no hints beyond about one mistake in three letters.
pub(super) type Distance = usize;

/// The candidates that are nearest to `text`, in their order: several where they are equally near, none where none is near.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    closest(candidates, |candidate| name_distance(text, candidate))
}

/// The end of a message: `; the nearest is …`, or nothing if there is none.
pub fn nearest_hint<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match &names[..] {
        [] => String::new(),
        [one] => format!("; the nearest is {one}"),
        [all @ .., last] => format!("; the nearest are {} and {last}", all.join(", ")),
    }
}

/// The candidates with the least distance, if there are not too many.
pub(super) fn closest<T>(candidates: impl IntoIterator<Item = T>, distance: impl Fn(&T) -> Option<Distance>) -> Vec<T> {
    let near = candidates.into_iter().filter_map(|candidate| Some((distance(&candidate)?, candidate)));
    let near: Vec<(Distance, T)> = near.collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    let near = near.into_iter().filter(|(distance, _)| Some(*distance) == least);
    let nearest: Vec<T> = near.map(|(_, candidate)| candidate).collect();
    if nearest.len() > MOST { Vec::new() } else { nearest }
}

/// Of a setting: a right name in a wrong section is nearer than another name that happens to look alike as a whole.
pub(super) fn key_distance(text: &str, section: &str, name: &str) -> Option<Distance> {
    let Some((typed_section, typed_name)) = text.split_once('.') else { return name_distance(text, name) };
    let in_section = match name_distance(typed_section, section) {
        Some(0) => 0,
        Some(_) => 1,
        None => 2,
    };
    let by_name = name_distance(typed_name, name).map(|distance| distance + in_section);
    // `generator.lr` for `optimizer.generator_lr`.
    let by_words = parts(&words(typed_name), &words(name))
        .and_then(|_| parts(&words(text), &words(&format!("{section}.{name}"))))
        .map(|distance| distance + usize::from(in_section > 0));
    by_name.into_iter().chain(by_words).min()
}

fn name_distance(text: &str, name: &str) -> Option<Distance> {
    let (typed, known) = (words(text), words(name));
    let slips = slips(&typed.concat(), &known.concat());
    slips.into_iter().chain(parts(&typed, &known)).min()
}

/// The words of a name in small letters: `beta_step` and `beta-step` have two, `LearningRate` as well.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_small) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("one at least").extend(c.to_lowercase());
        }
        was_small = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Letters put in, taken out, changed or swapped, where they are at most a third of the word.
fn slips(typed: &str, known: &str) -> Option<Distance> {
    let distance = strsim::osa_distance(typed, known);
    (distance <= (typed.chars().count() / 3).min(3)).then_some(distance)
}

/// By words: each that was typed begins a word of the name, or is the initials of it (`learning_rate` for `lr`); or each of
/// the name was typed, and more (`batch_size` for `batch`).
fn parts(typed: &[String], known: &[String]) -> Option<Distance> {
    // One letter says something beside another word alone.
    let least = if typed.len() > 1 { 1 } else { 3 };
    let begins = |typed: &String, known: &String| known == typed || (typed.len() >= least && known.starts_with(typed));
    let initials: String = typed.iter().filter_map(|word| word.chars().next()).collect();
    let all_begin = |typed: &[String]| {
        let mut left: Vec<&String> = known.iter().collect();
        !typed.is_empty()
            && typed.iter().all(|word| {
                let place = left.iter().position(|known| begins(word, known));
                place.map(|place| left.remove(place)).is_some()
            })
    };
    if all_begin(typed) || (typed.len() > 1 && known.contains(&initials)) {
        return Some(1);
    }
    let named = !known.is_empty() && known.iter().all(|word| word.len() > 2 && typed.contains(word));
    named.then_some(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{Key, nearest_keys};
    use crate::config::{PRESETS, SECTIONS};

    fn keys_near(text: &str) -> Vec<String> {
        nearest_keys(text).iter().map(Key::dotted).collect()
    }

    #[test]
    fn the_nearest_keys_are_those_that_were_meant() {
        let both_rates = &["optimizer.discriminator_lr", "optimizer.generator_lr"][..];
        for (typed, meant) in [
            ("train.bacth", &["train.batch"][..]),
            ("trian.batch", &["train.batch"]),
            ("Train.Batch", &["train.batch"]),
            ("betastep", &["bottleneck.beta_step"]),
            ("beta-step", &["bottleneck.beta_step"]),
            ("train.beta_step", &["bottleneck.beta_step"]),
            ("optimizer.beta", &["optimizer.beta1", "optimizer.beta2"]),
            ("generator.chanels", &["generator.channels"]),
            ("generatr_lr", &["optimizer.generator_lr"]),
            ("gen_lr", &["optimizer.generator_lr"]),
            ("g_lr", &["optimizer.generator_lr"]),
            ("lr_d", &["optimizer.discriminator_lr"]),
            ("generator.lr", &["optimizer.generator_lr"]),
            ("disc.lr", &["optimizer.discriminator_lr"]),
            ("optim.gen_lr", &["optimizer.generator_lr"]),
            ("lr", both_rates),
            ("optimizer.lr", both_rates),
            ("learning_rate", both_rates),
            ("learningRate", both_rates),
            ("optimizer.learning_rate", both_rates),
            ("batch_size", &["train.batch"]),
            ("num_epochs", &["train.epochs"]),
            ("train.n_epochs", &["train.epochs"]),
            ("latent_dim", &["generator.latent"]),
            ("kl", &["bottleneck.kl_mix", "bottleneck.kl_reduction", "bottleneck.target_kl"]),
            ("penalty.weight", &["objective.penalty_weight"]),
            ("instance", &["objective.instance_noise", "objective.instance_noise_steps"]),
        ] {
            assert_eq!(keys_near(typed), meant, "{typed}");
        }
        let far = ["momentum", "train.workers", "x", "", ".", "optimizer.", "nets.dropout", "β"];
        for typed in far {
            assert_eq!(keys_near(typed), [""; 0], "{typed}");
        }
    }

    #[test]
    fn names_of_other_kinds() {
        let presets = |text| nearest(text, PRESETS.iter().map(|(name, _)| *name));
        assert_eq!(presets("vgan-mnst"), ["vgan-mnist"]);
        assert_eq!(presets("mnist"), ["vgan-mnist", "gan-mnist"]);
        assert_eq!(presets("resnet"), ["vgan-cifar10-resnet"]);
        assert_eq!(presets("VGAN_MNIST"), ["vgan-mnist"]);
        assert_eq!(presets("wide"), ["wide-2", "wide-4", "wide-8"]);
        assert_eq!(presets("stylegan2"), [""; 0]);
        let sections = |text| nearest(text, SECTIONS.iter().map(|section| section.name));
        assert_eq!(sections("optim"), ["optimizer"]);
        assert_eq!(sections("optimiser"), ["optimizer"]);
        assert_eq!(sections("logging"), [""; 0]);
    }

    #[test]
    fn a_hint_names_one_or_all() {
        assert_eq!(nearest_hint([]), "");
        assert_eq!(nearest_hint(["a"]), "; the nearest is `a`");
        assert_eq!(nearest_hint(["a", "b", "c"]), "; the nearest are `a`, `b` and `c`");
    }
}
