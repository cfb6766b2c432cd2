//! Data that a sweep file says how to make: made where they are missing, by `sweep run` and `sweep data build`.

use std::path::Path;

use crate::cli::output;
use crate::cli::progress::Progress;
use crate::experiment::Cancel;
pub use crate::selector::making::Making;
use crate::selector::making::{Allowed, Built, MakingError, Recipe};
use crate::spec::SweepSpec;
use crate::text::{plural, thousands};

/// What has become of a data set.
pub enum Supply {
    /// Nothing had to be done.
    There,
    Made,
    /// Somebody asked for the end before every question was answered.
    Stopped,
    /// Questions have no answer; said already.
    Unanswered,
}

/// Makes the data of `spec` where it says how and they are missing. Data that were made otherwise stay, with a word.
///
/// # Errors
/// Inputs that cannot be used.
pub fn supply(spec: &SweepSpec, cache: &Path, cancel: &Cancel) -> anyhow::Result<Supply> {
    let Some(recipe) = missing(spec)? else { return Ok(Supply::There) };
    output::note(&format!("{}: `{}` is missing and is made first", spec.name, recipe.trajectories.display()));
    make(&Making::open(recipe)?, cache, Allowed::default(), cancel)
}

/// The recipe of data that are to be made before `spec` can run. That data are there and were made otherwise is said.
///
/// # Errors
/// Files that cannot be read.
pub fn missing(spec: &SweepSpec) -> anyhow::Result<Option<Recipe>> {
    let Some(recipe) = Recipe::of(spec) else { return Ok(None) };
    match recipe.is_made() {
        Ok(true) => Ok(None),
        Ok(false) if recipe.is_there() => {
            output::note(&format!(
                "warning: `{}` or its evaluation file is not as [data.build] made it\nhint: `sweep data build` makes it whole",
                recipe.trajectories.display()
            ));
            Ok(None)
        }
        Ok(false) => Ok(Some(recipe)),
        Err(MakingError::Other { path, difference }) => {
            output::note(&format!(
                "warning: [data.build] no longer fits `{}`: {difference}\nhint: it is used as it is; `sweep data build --force` makes it anew",
                path.display()
            ));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks what is to be asked and writes the files.
///
/// # Errors
/// A cache or a file that cannot be used.
pub fn make(making: &Making, cache: &Path, allowed: Allowed, cancel: &Cancel) -> anyhow::Result<Supply> {
    let judge = making.judge(cache)?;
    let mut progress = Progress::new(cancel);
    output::note(&sizes(making));
    let built = making.build(&judge, allowed, &|| cancel.is_raised(), &mut |event| progress.show(event))?;
    if built.counts.left > 0 {
        return Ok(Supply::Stopped);
    }
    if !built.written {
        output::note(&format!(
            "error: {} without an answer, so nothing was written\nhint: the same command asks them again; `sweep data build --allow-missing` does without them",
            plural(built.counts.failed, "question")
        ));
        return Ok(Supply::Unanswered);
    }
    output::note(&summary(making, &built));
    Ok(if built.counts.failed > 0 { Supply::Unanswered } else { Supply::Made })
}

/// How many questions the data of `making` need, in words and numbers.
///
/// # Errors
/// A cache that cannot be read.
pub fn forecast(making: &Making, cache: &Path) -> anyhow::Result<(String, serde_json::Value)> {
    let judge = making.judge(cache)?;
    let gathering = making.gathering(&judge);
    let counts = gathering.counts();
    let [naive, distinct, cached, left] =
        [counts.naive, counts.distinct, counts.cached, counts.left].map(thousands);
    let mut text = format!(
        "{}\n{naive} questions, {distinct} of them distinct, {cached} answered before, {left} to ask (judge {})\n",
        sizes(making),
        judge.id()
    );
    for fault in &counts.faults {
        text += &format!("{fault}\n");
    }
    let [train, eval, support] = making.sizes();
    let json = serde_json::json!({
        "trajectories": making.recipe().trajectories, "train": train, "eval": eval, "support": support,
        "naive": counts.naive, "distinct": counts.distinct, "cached": counts.cached, "to_ask": counts.left,
    });
    Ok((text, json))
}

fn sizes(making: &Making) -> String {
    let [train, eval, support] = making.sizes().map(thousands);
    format!("{train} training queries, {eval} evaluation queries, {support} demonstrations")
}

fn summary(making: &Making, built: &Built) -> String {
    let recipe = making.recipe();
    let mut text = format!(
        "{}: {} training queries with {} sequences (judge {}: {} distinct questions, {} answered before, {} asked now)",
        recipe.trajectories.display(),
        thousands(built.queries),
        thousands(built.trajectories),
        built.judge,
        thousands(built.counts.distinct),
        thousands(built.counts.cached),
        thousands(built.counts.asked),
    );
    let reasons = built.left.reasons();
    if !reasons.is_empty() {
        let one = |(count, what): &(usize, &str)| format!("{} {what}", thousands(*count));
        text += &format!("\nleft out: {}", reasons.iter().map(one).collect::<Vec<_>>().join(", "));
    }
    if let Some(file) = &recipe.params.eval_file {
        text += &format!("\n{}: {} evaluation queries", file.display(), thousands(built.evaluated));
    }
    text
}
