//! The per-point files as bytes: what [`super::SweepResults::read`] reads back.

use super::QueryScore;
use crate::figure::{EpochFigure, EpochMetrics};
use crate::finite::Finite;
use crate::spec::Columns;

/// `metrics.csv`: one row per epoch; columns `phase`, `epoch`, the figures that the epochs know in the order of
/// the experiment's `table`, then those that only a later version knows; empty where a figure does not apply, floats with all digits.
pub fn metrics_csv(table: &[EpochFigure], epochs: &[EpochMetrics]) -> Vec<u8> {
    let mut rows: Vec<&EpochMetrics> = epochs.iter().collect();
    rows.sort_by_key(|epoch| std::cmp::Reverse(epoch.figures().count()));
    let mut found: Vec<&str> = Vec::new();
    for (name, _) in rows.into_iter().flat_map(EpochMetrics::figures) {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    let known = table.iter().map(|figure| figure.name);
    // What an older version reported stays as it is, without the figures that came later.
    let mut columns: Vec<&str> = known.filter(|name| epochs.is_empty() || found.contains(name)).collect();
    found.retain(|name| !columns.contains(name));
    columns.extend(found);
    let mut writer = csv::Writer::from_writer(Vec::new());
    // The header is there even without an epoch, as programs that read it expect.
    writer.write_record(["phase", "epoch"].iter().chain(&columns)).expect(IMPOSSIBLE);
    for epoch in epochs {
        let figures = columns.iter().map(|name| epoch.get(name));
        writer.serialize((&epoch.phase, epoch.epoch, figures.collect::<Vec<_>>())).expect(IMPOSSIBLE);
    }
    writer.into_inner().expect(IMPOSSIBLE)
}

/// The rows of a `metrics.csv`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_metrics_csv(text: &str) -> Result<Vec<EpochMetrics>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().map_err(|cause| cause.to_string())?.clone();
    let row = |record: csv::StringRecord| {
        let mut metrics = EpochMetrics::default();
        for (name, cell) in columns.iter().zip(&record) {
            let wrong =
                || format!("line {}: {name} is `{cell}`", record.position().map_or(0, |at| at.line()));
            match name {
                "phase" => metrics.phase = cell.to_owned(),
                "epoch" => metrics.epoch = cell.parse().map_err(|_| wrong())?,
                _ if cell.is_empty() => metrics.set(name, None),
                _ => {
                    let value = cell.parse().ok().and_then(Finite::new).ok_or_else(wrong)?;
                    metrics.set(name, Some(value));
                }
            }
        }
        Ok(metrics)
    };
    reader.records().map(|record| row(record.map_err(|cause| cause.to_string())?)).collect()
}

const IMPOSSIBLE: &str = "writing to memory does not fail";

/// One row of `scores.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanScore {
    /// The number of the score column.
    pub column: usize,
    /// The sweep file's `samples`; `None` = all.
    pub samples: Option<usize>,
    /// Queries behind the mean.
    pub queries: usize,
    pub mean: f64,
}

/// The mean score per sample count and column of one point's `scores` (by column, in file order).
pub fn mean_scores(
    scores: &std::collections::BTreeMap<usize, Vec<QueryScore>>,
    samples: &[Option<usize>],
) -> Vec<MeanScore> {
    let mut rows = Vec::new();
    for &count in samples {
        for (&column, lines) in scores {
            let lines = &lines[..count.map_or(lines.len(), |count| count.min(lines.len()))];
            if !lines.is_empty() {
                let mean = lines.iter().map(|line| line.score.get()).sum::<f64>() / lines.len() as f64;
                rows.push(MeanScore { column, samples: count, queries: lines.len(), mean });
            }
        }
    }
    rows
}

/// `scores.csv`: the column's number as `names` call it, `samples` (a count or `all`), `queries`, `mean`.
pub fn scores_csv(rows: &[MeanScore], names: Columns) -> Vec<u8> {
    let mut text = format!("{},samples,queries,mean\n", names.field);
    for row in rows {
        let samples = row.samples.map_or_else(|| "all".to_owned(), |count| count.to_string());
        text += &format!("{},{samples},{},{}\n", row.column, row.queries, row.mean);
    }
    text.into_bytes()
}
