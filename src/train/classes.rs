//! The classes of a run: which the data set has, and which a sample is of.

use crate::config::Settings;
use crate::data::{Images, Labels};
use crate::run::checkpoint::sha256;
use crate::run::state::Classes;
use crate::{Error, Result};

/// Bytes that the names of all classes may have together.
const MOST_NAMED: usize = 1 << 18;

/// The settings with the number of classes that the images have, where the nets are told the class of an image; all others as they are.
///
/// # Errors
/// [`Error::BadData`] where images have no classes, or not as many as `nets.classes` says.
pub fn with_classes(settings: &Settings, images: &Images) -> Result<Settings> {
    let mut settings = settings.clone();
    if !settings.nets.is_conditional() {
        return Ok(settings);
    }
    let found = labels(&settings, images)?.names.len();
    if settings.nets.classes != 0 && settings.nets.classes != found {
        let expected = format!("images of {} classes, as nets.classes says", settings.nets.classes);
        let error = Error::bad_data(&settings.data.source, expected, format!("{found} classes"));
        return Err(error.with_hint(
            "name other images with --data, or start a new run with --set nets.classes=0, which takes theirs",
        ));
    }
    let named = labels(&settings, images)?.names.iter().map(String::len).sum::<usize>();
    if named > MOST_NAMED {
        let expected =
            format!("classes whose names have at most {MOST_NAMED} bytes together, which a checkpoint keeps");
        return Err(Error::bad_data(&settings.data.source, expected, format!("{named} bytes")));
    }
    settings.nets.classes = found;
    Ok(settings)
}

/// The classes of the images.
fn labels<'a>(settings: &Settings, images: &'a Images) -> Result<&'a Labels> {
    images.labels.as_ref().ok_or_else(|| {
        let expected = format!("images with classes, which nets.conditional = {} needs", settings.nets.conditional.word());
        Error::bad_data(&settings.data.source, expected, "images without").with_hint(
            "put the pictures of each class into a folder of its own, or MNIST's file of labels beside its images (docs/data.md, \
             \"Classes\"), or train without classes: --set nets.conditional=none",
        )
    })
}

/// The class of each image, where the nets are told; `None` elsewhere.
///
/// # Errors
/// Those of [`with_classes`].
pub(super) fn numbers_of(settings: &Settings, images: &Images) -> Result<Option<Vec<u32>>> {
    let is_conditional = settings.nets.is_conditional();
    let labels = is_conditional.then(|| labels(settings, images)).transpose()?;
    Ok(labels.map(|labels| labels.classes.iter().copied().map(u32::from).collect()))
}

/// The classes as a checkpoint of conditional nets keeps them; `None` where the images have none.
pub(super) fn identity(images: &Images) -> Option<Classes> {
    let labels = images.labels.as_ref()?;
    Some(Classes { names: labels.names.clone(), sha256: sha256(bytemuck::cast_slice(&labels.classes)) })
}

/// The number of the class that a user asks for, by its name or else by its number.
///
/// # Errors
/// [`Error::Usage`] with the classes that there are.
pub fn class_of(names: &[String], asked: &str) -> Result<u32> {
    let named = names.iter().position(|name| name == asked);
    let number = || asked.parse().ok().filter(|&number: &usize| number < names.len());
    if let Some(class) = named.or_else(number) {
        return Ok(u32::try_from(class).unwrap_or_default());
    }
    const MOST: usize = 20;
    let more = if names.len() > MOST { ", …" } else { "" };
    let listed: Vec<&str> = names.iter().take(MOST).map(String::as_str).collect();
    Err(Error::Usage(format!(
        "--class: expected the name of a class of this generator or its number from 0 to {}, found `{asked}`: its classes are {}{more}",
        names.len().saturating_sub(1),
        listed.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, apply, preset};

    #[test]
    fn a_class_goes_by_its_name_and_else_by_its_number() {
        let names = ["cat", "7", "dog"].map(String::from);
        assert_eq!(
            [class_of(&names, "dog").unwrap(), class_of(&names, "7").unwrap(), class_of(&names, "2").unwrap()],
            [2, 1, 2]
        );
        for wrong in ["3", "-1", "Cat", ""] {
            let error = class_of(&names, wrong).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("cat, 7, dog"), "{error}");
        }
    }

    #[test]
    fn classes_come_from_the_images() {
        let set = |words: &[&str]| {
            let words: Vec<Override> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
            apply(&preset("quick").unwrap(), &words).unwrap()
        };
        let labels = Labels { names: ["a", "b"].map(String::from).into(), classes: vec![1, 0, 1] };
        let with = Images { count: 3, labels: Some(labels), ..Images::default() };
        let without = Images { labels: None, ..with.clone() };
        assert_eq!(with_classes(&set(&[]), &without).unwrap(), set(&[]));
        assert!(numbers_of(&set(&[]), &with).unwrap().is_none() && identity(&without).is_none());
        let conditional = set(&["conditional=projection"]);
        assert_eq!(with_classes(&conditional, &with).unwrap().nets.classes, 2);
        assert_eq!(numbers_of(&conditional, &with).unwrap(), Some(vec![1, 0, 1]));
        let error = with_classes(&conditional, &without).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("nets.conditional=none"), "{error}");
        let three = set(&["conditional=projection", "nets.classes=3"]);
        let error = with_classes(&three, &with).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("2 classes"), "{error}");
    }
}
