//! Flags of the commands that draw samples, on the latents and on the class.

use clap::Args;

use crate::config::{Prior, Settings};
use crate::error::{Error, Result};
use crate::train::classes::class_of;
use crate::train::sampler::{classes_in_turn, latent};

/// Truncation of the latents.
#[derive(Debug, Clone, Copy, PartialEq, Args)]
pub(super) struct TruncationArgs {
    /// Multiply the latents of a normal prior by PSI, from 0 to 2: below 1 samples are less varied, and often cleaner
    #[arg(long, value_name = "PSI", default_value = "1", value_parser = parse_psi)]
    pub(super) truncation: f64,
}

impl TruncationArgs {
    /// The latent vector of each seed, truncated, one after another.
    ///
    /// # Errors
    /// [`Error::Usage`] for a prior that can't be truncated.
    pub(super) fn latents(self, settings: &Settings, seeds: &[u64]) -> Result<Vec<Vec<f32>>> {
        let psi = self.truncation;
        if settings.generator.prior == Prior::Uniform && psi != 1.0 {
            return Err(Error::Usage(
                "--truncation: this generator was trained with a uniform prior, whose samples fill a cube evenly: there is no dense \
                 centre to pull them to. It takes a normal prior (`train --set generator.prior=normal`)"
                    .into(),
            ));
        }
        let scaled = |value: f32| (psi * f64::from(value)) as f32;
        Ok(seeds.iter().map(|&seed| latent(settings, seed).into_iter().map(scaled).collect()).collect())
    }
}

/// The class of the samples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
pub(super) struct ClassArgs {
    /// Class of all samples, by its name or its number from 0, of a generator that was trained with classes [default: the
    /// classes in turn, by seed]
    #[arg(long, value_name = "NAME|NUMBER")]
    pub(super) class: Option<String>,
}

impl ClassArgs {
    /// The class of the sample of each seed; nothing where the generator was trained without classes. `names` are those of its classes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a class that there is not.
    pub(super) fn classes(
        &self,
        settings: &Settings,
        names: &[String],
        seeds: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<u32>> {
        let Some(asked) = &self.class else { return Ok(classes_in_turn(settings, seeds)) };
        if names.is_empty() {
            return Err(Error::Usage(
                "--class: this generator was trained without classes: omit it, or train with classes (`train --set \
                 nets.conditional=projection`)"
                    .into(),
            ));
        }
        let class = class_of(names, asked)?;
        Ok(seeds.into_iter().map(|_| class).collect())
    }
}

fn parse_psi(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(psi) if (0.0..=2.0).contains(&psi) => Ok(psi),
        _ => Err("expected a number from 0 to 2".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_that_of_all_samples_and_else_they_come_in_turn() {
        let mut settings = Settings::default();
        let names = ["cat", "dog", "owl"].map(String::from);
        let asked = |class: &str| ClassArgs { class: Some(class.into()) };
        assert!(ClassArgs::default().classes(&settings, &[], [3, 4]).unwrap().is_empty());
        let error = asked("cat").classes(&settings, &[], [3, 4]).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("without classes"), "{error}");
        settings.nets.classes = 3;
        assert_eq!(ClassArgs::default().classes(&settings, &names, [3, 4, 9, 5]).unwrap(), [0, 1, 0, 2]);
        assert_eq!(asked("owl").classes(&settings, &names, [3, 4]).unwrap(), [2, 2]);
        assert_eq!(asked("1").classes(&settings, &names, [3]).unwrap(), [1]);
        assert_eq!(asked("3").classes(&settings, &names, [3]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn latents_are_scaled_for_a_normal_prior_alone() {
        let mut settings = Settings::default();
        settings.generator.prior = Prior::Normal;
        let with = |settings: &Settings, truncation| TruncationArgs { truncation }.latents(settings, &[3, 4]);
        let whole = with(&settings, 1.0).unwrap();
        assert_eq!(whole, [latent(&settings, 3), latent(&settings, 4)]);
        let half: Vec<Vec<f32>> = whole.iter().map(|z| z.iter().map(|value| value / 2.0).collect()).collect();
        assert_eq!(with(&settings, 0.5).unwrap(), half);
        assert!(with(&settings, 0.0).unwrap().concat().iter().all(|&value| value == 0.0));
        settings.generator.prior = Prior::Uniform;
        assert_eq!(with(&settings, 1.0).unwrap()[0], latent(&settings, 3));
        let error = with(&settings, 0.5).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("uniform prior"), "{error}");
        for wrong in ["-0.1", "2.1", "NaN", "inf", "x", ""] {
            assert!(parse_psi(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_psi("0.7"), Ok(0.7));
    }
}
