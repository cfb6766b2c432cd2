//! `sweep plan`

use std::path::PathBuf;

use serde_json::{Value, json};

use super::lab::FROZEN;
use super::lab::supply::{Making, forecast as forecast_data, missing};
use super::output;
use super::plan_text::{self, Planned};
use super::run::HowArgs;
use super::sweep_file::{SpecArgs, expand};
use crate::run::{Session, Speed, forecast, questions};
use crate::store::{Inventory, SweepDir, speed_samples};

/// Show what `sweep run` would do: stages, what is shared and already there, cohorts, time and memory
///
/// Reads and checks everything that a run reads. Writes nothing and trains nothing (but see --measure).
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Sweep files, or directories of them, in the order in which they would run
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Time a few real training steps of every kind, in memory, for the estimate
    #[arg(long)]
    measure: bool,
    /// One JSON object per sweep file and line
    #[arg(long, env = "SWEEP_JSON")]
    json: bool,
}

/// Prints the plans of all files.
///
/// # Errors
/// A sweep file or an input that cannot be used.
pub fn run(args: &PlanArgs) -> anyhow::Result<u8> {
    let files = expand(&args.files)?;
    let specs = files.iter().map(|file| args.spec.load(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut inventory: Option<Inventory> = None;
    for (spec, file) in specs.into_iter().zip(&files) {
        let options = args.how.options(file)?;
        let inventory = inventory.get_or_insert_with(|| Inventory::of(&options.root));
        if let Some(recipe) = missing(&spec)? {
            let (text, json) = forecast_data(&Making::open(recipe)?, &options.cache())?;
            if args.json {
                output::result(&format!("{}\n", json!({ "name": spec.name, "data_questions": json })));
            } else {
                let name = &spec.name;
                output::result(&format!(
                    "{name}: the data are made first\n{text}stages, steps and time are known once they are there\n"
                ));
            }
            continue;
        }
        let session = Session::load(spec, options.share)?;
        let speed = match args.measure {
            true => Speed::Measured,
            false => {
                let host = options.provenance.get("host").map_or("", String::as_str);
                Speed::Earlier(speed_samples(&options.root, host, &options.device.to_string()))
            }
        };
        let forecast = forecast(&session, &options, inventory, speed);
        let planned =
            Planned { session: &session, options: &options, forecast: &forecast, measured: args.measure };
        if args.json {
            output::result(&format!("{}\n", to_json(&planned)));
        } else {
            for warning in &session.spec.warnings {
                output::note(&format!("warning: {warning}"));
            }
            for leak in session.experiment().leaks().sentences() {
                output::note(&format!("warning: {leak}"));
            }
            output::result(&plan_text::text(&planned));
        }
        inventory.expect(&SweepDir::new(&options.root, &session.spec.name), &session.plan);
        // It goes with the process: to take a hundred thousand points apart one by one is a tenth of the whole time.
        std::mem::forget(session);
    }
    Ok(0)
}

/// What a judge will be asked; `null` where none is.
fn asking(planned: &Planned) -> Option<Value> {
    let asked = questions(planned.session, planned.options)?;
    Some(json!({
        "naive": asked.naive,
        "known": asked.known,
        "distinct": asked.distinct,
        "cached": asked.cached,
        "to_ask": asked.to_ask,
        "at_most": asked.at_most,
        "seconds": asked.seconds,
    }))
}

fn to_json(planned: &Planned) -> Value {
    let Planned { session, options, forecast, .. } = planned;
    let plan = &session.plan;
    let reused = forecast.held.iter().flatten().count();
    let taken_over = forecast.held.iter().flatten().filter(|held| held.from.is_some()).count();
    let mut points: Vec<Vec<Value>> = vec![Vec::new(); plan.stages.len()];
    for (point, planned) in session.spec.points.iter().zip(&plan.points) {
        points[planned.stage].push(json!({"name": point.name, "epoch": planned.epoch}));
    }
    let tree: Vec<Value> = plan
        .stages
        .iter()
        .zip(&forecast.held)
        .zip(points)
        .map(|((stage, held), points)| {
            json!({
                "stage": stage.key,
                "phase": plan.works[stage.work].traits.phase,
                "epochs": stage.epochs,
                "parent": stage.parent.map(|parent| &plan.stages[parent].key),
                "epochs_there": held.as_ref().map(|held| held.progress.epochs()),
                "from": held.as_ref().and_then(|held| held.from.as_ref()),
                "points": points,
            })
        })
        .collect();
    let cohorts: Vec<Value> = forecast
        .cohorts
        .iter()
        .map(|cohort| {
            json!({
                "phase": cohort.traits.phase,
                FROZEN: cohort.traits.frozen,
                "members": cohort.stages.len(),
                "steps": cohort.steps,
                "seconds": cohort.seconds,
            })
        })
        .collect();
    json!({
        "name": session.spec.name,
        "dir": options.root.join(&session.spec.name),
        "device": options.device.to_string(),
        "points": plan.points.len(),
        "points_there": forecast.points_there,
        "stages": plan.stages.len(),
        "steps": plan.steps,
        "steps_naive": plan.steps_naive,
        "steps_left": forecast.steps_left,
        "questions": asking(planned),
        "reused": reused,
        "taken_over": taken_over,
        "seconds": forecast.seconds(),
        "memory_bytes": forecast.memory,
        "disk_bytes": forecast.space.total(),
        "disk_bytes_to_write": forecast.space.to_write,
        "disk_bytes_free": forecast.space.free,
        "warnings": session.spec.warnings,
        "cohorts": cohorts,
        "tree": tree,
    })
}
