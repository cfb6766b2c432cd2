//! `sweep ckpt verify`: what tables claim, and what a results directory claims, against what the files contain.

use std::path::{Path, PathBuf};

use super::table::columns;
use crate::checkpoint::{self, Verdict};
use crate::cli::output;
use crate::store;

/// Checks claims about checkpoints; every disagreement is a row
///
/// CLAIMS is a .toml ([[claim]] tables), .md (any table with a path column) or .csv file with columns like path,
/// kl_beta, epoch, phase, lr, freeze, seed; or a results directory, whose hashes, parents and configurations are
/// checked. Exit code 1 when something disagrees.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Claims file (.toml, .md, .csv) or results directory
    #[arg(value_name = "CLAIMS")]
    claims: PathBuf,
    /// A JSON object with `checked` and `disagreements`
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<u8> {
    let verdict = if args.claims.is_dir() {
        store::audit(&args.claims)?
    } else {
        let claims = checkpoint::read_claims(&args.claims)?;
        checkpoint::check(&claims, args.claims.parent().unwrap_or(Path::new("")))
    };
    if args.json {
        output::result(&format!("{:#}\n", serde_json::json!(verdict)));
    } else {
        report(&verdict);
    }
    Ok(u8::from(!verdict.disagreements.is_empty()))
}

fn report(verdict: &Verdict) {
    let rows: Vec<Vec<String>> = verdict
        .disagreements
        .iter()
        .map(|row| {
            vec![row.path.display().to_string(), row.key.clone(), row.claimed.clone(), row.found.clone()]
        })
        .collect();
    if !rows.is_empty() {
        output::result(&columns(&["path", "key", "claimed", "found"], &rows));
    }
    if verdict.counted_from_zero > 0 {
        output::note(&format!(
            "note: claims that count epochs from 0, as PyTorch files do: {} (everywhere else the first epoch is 1)",
            verdict.counted_from_zero
        ));
    }
    if !verdict.ignored.is_empty() {
        let columns: Vec<String> = verdict.ignored.iter().map(|column| format!("`{column}`")).collect();
        output::note(&format!("note: not about checkpoints, not checked: {}", columns.join(", ")));
    }
    output::note(&format!("statements checked: {}, disagreements: {}", verdict.checked, rows.len()));
}
