//! The per-point files as bytes: what [`super::SweepResults::read`] reads back.

use super::{EpochMetrics, QueryScore, Unanswered};

/// `metrics.csv`: one row per epoch, columns named as the fields of [`EpochMetrics`], empty where a figure
/// does not apply, floats with all digits.
pub fn metrics_csv(epochs: &[EpochMetrics]) -> Vec<u8> {
    const HEADER: [&str; 15] = [
        "phase",
        "epoch",
        "train_loss",
        "ppo_loss",
        "kl",
        "mean_ratio",
        "advantage_mean",
        "advantage_std",
        "advantage_max",
        "beta",
        "val_loss",
        "temperature",
        "grad_norm",
        "seconds",
        "clipped_share",
    ];
    let impossible = "writing to memory does not fail";
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    // The header is there even without an epoch, as programs that read it expect.
    writer.write_record(HEADER).expect(impossible);
    for epoch in epochs {
        writer.serialize(epoch).expect(impossible);
    }
    writer.into_inner().expect(impossible)
}

/// `selections.jsonl`: one line per query and shot.
pub fn selections_jsonl<'a>(scores: impl IntoIterator<Item = &'a QueryScore>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for score in scores {
        serde_json::to_writer(&mut bytes, score).expect("writing to memory does not fail");
        bytes.push(b'\n');
    }
    bytes
}

/// The lines of `selections.jsonl` that have no score.
pub fn unanswered_jsonl(lines: &[Unanswered]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line).expect("writing to memory does not fail");
        bytes.push(b'\n');
    }
    bytes
}

/// One row of `scores.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanScore {
    pub shot: usize,
    /// The sweep file's `samples`; `None` = all.
    pub samples: Option<usize>,
    /// Queries behind the mean.
    pub queries: usize,
    pub mean: f64,
}

/// The mean score per sample count and shot of one point's `scores` (by shot, in file order).
pub fn mean_scores(
    scores: &std::collections::BTreeMap<usize, Vec<QueryScore>>,
    samples: &[Option<usize>],
) -> Vec<MeanScore> {
    let mut rows = Vec::new();
    for &count in samples {
        for (&shot, lines) in scores {
            let lines = &lines[..count.map_or(lines.len(), |count| count.min(lines.len()))];
            if !lines.is_empty() {
                let mean = lines.iter().map(|line| line.score.get()).sum::<f64>() / lines.len() as f64;
                rows.push(MeanScore { shot, samples: count, queries: lines.len(), mean });
            }
        }
    }
    rows
}

/// `scores.csv`: `shot`, `samples` (a count or `all`), `queries`, `mean`.
pub fn scores_csv(rows: &[MeanScore]) -> Vec<u8> {
    let mut text = String::from("shot,samples,queries,mean\n");
    for row in rows {
        let samples = row.samples.map_or_else(|| "all".to_owned(), |count| count.to_string());
        text += &format!("{},{samples},{},{}\n", row.shot, row.queries, row.mean);
    }
    text.into_bytes()
}
