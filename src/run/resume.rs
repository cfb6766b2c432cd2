//! What a stage goes on from after an epoch: the trainer's state as the store keeps it, and back.

use std::collections::BTreeMap;

use crate::checkpoint::Array;
use crate::selector::learn::{Layout, Progress, State};
use crate::spec::FreezeSet;
use crate::store::Continuation;

/// What the trainer goes on from, as it is kept on disk beside the weights.
pub fn continuation_of(progress: Progress, (layout, frozen): (&Layout, &FreezeSet)) -> Continuation {
    let State { parameters: _, first, second, steps } = progress.state;
    let array = |values: Vec<f32>| {
        let values = layout.pack(frozen, values);
        Array { shape: vec![values.len()], values }
    };
    Continuation {
        epoch: progress.epoch,
        tensors: BTreeMap::from([("first".to_owned(), array(first)), ("second".to_owned(), array(second))]),
        numbers: BTreeMap::from([
            ("steps".to_owned(), steps),
            ("beta".to_owned(), progress.beta.to_bits()),
            ("best_val_loss".to_owned(), progress.best_val_loss.to_bits()),
            ("stale_epochs".to_owned(), u64::from(progress.stale_epochs)),
        ]),
    }
}

/// [`continuation_of`] read back; `parameters` are those of the epoch's checkpoint.
///
/// # Errors
/// What is missing or does not fit, in words.
pub fn progress_of(
    mut continuation: Continuation,
    (layout, frozen): (&Layout, &FreezeSet),
    parameters: Vec<f32>,
) -> Result<Progress, String> {
    let strange = || "its moments are not those of the weights beside it".to_owned();
    let mut moments = |name: &str| layout.unpack(frozen, continuation.take(name)?).ok_or_else(strange);
    let (first, second) = (moments("first")?, moments("second")?);
    let steps = continuation.number("steps")?;
    Ok(Progress {
        epoch: continuation.epoch,
        state: State { parameters, first, second, steps },
        beta: f64::from_bits(continuation.number("beta")?),
        best_val_loss: f64::from_bits(continuation.number("best_val_loss")?),
        stale_epochs: continuation.number("stale_epochs")? as u32,
    })
}
