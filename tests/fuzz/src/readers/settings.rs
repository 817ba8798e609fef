//! Settings: configuration files, experiments, and `--set`.

use vgan_cuda::config::{
    Override, apply, preset, read_experiment, read_named, to_toml, validate, validate_for_images, validate_for_ranks,
};
use vgan_cuda::run::ImageShape;

use super::{file, orderly, orderly_as};

const USAGE: i32 = 2;

/// A file of settings or of an experiment. Settings that are read and hold can be written, and are then read as the same.
pub(crate) fn config(bytes: &[u8]) {
    let path = file("config", "x.toml", bytes);
    let base = preset("quick").expect("a preset");
    if let Some((settings, name)) = orderly(read_named(&path, &base))
        && validate(&settings).is_ok()
    {
        let text = to_toml(&settings, name.as_deref().unwrap_or("quick")).expect("settings that hold can be written");
        let again = file("config", "y.toml", text.as_bytes());
        assert_eq!(orderly(read_named(&again, &base)).map(|(settings, _)| settings), Some(settings));
    }
    // Of its settings as a whole it is a mistake of usage.
    if let Err(error) = read_experiment(&path, &[]) {
        let code = error.exit_code();
        assert!(matches!(code, USAGE | 3), "{error}");
        orderly_as::<()>(Err(error), code);
    }
}

/// Each line is the value of a `--set`.
pub(crate) fn overrides(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read: Vec<Override> = text.lines().filter_map(|line| orderly_as(Override::parse(line), USAGE)).collect();
    let Some(settings) = orderly_as(apply(&preset("quick").expect("a preset"), &read), USAGE) else { return };
    if orderly_as(validate(&settings), USAGE).is_some() {
        for image in [ImageShape { h: 28, w: 28, c: 1 }, ImageShape { h: 32, w: 32, c: 3 }] {
            orderly_as(validate_for_images(&settings, image), USAGE);
        }
        orderly_as(validate_for_ranks(&settings, 3), USAGE);
        to_toml(&settings, "quick").expect("settings that hold can be written");
    }
}
