//! What the columns of the tables mean, for those who see such a table for the first time.

use maud::{Markup, html};

use crate::report::columns::column_title;
use crate::report::matrix::Matrix;
use crate::report::words::{names, only_score};
use crate::spec::Columns;
use crate::text::capitalized;

/// The list, which opens.
pub fn meanings(matrix: &Matrix) -> Markup {
    let Columns { unit, noun, chosen, field, inputs: [one, several], .. } = names(&matrix.score_columns);
    let (title, score, asked) = match only_score(&matrix.score_columns) {
        Some(only) => {
            (column_title(only), format!("mean over the {several}, in percent"), several.to_owned())
        }
        None => (
            format!("{} n, average", capitalized(field)),
            format!("accuracy in percent with n {unit}, and the mean of these"),
            format!("{several} and {noun}s"),
        ),
    };
    let same = format!(
        "rows of a table with the same letter choose exactly the same {chosen}: they are one result, and one row that opens"
    );
    let changed = format!("share of {asked} whose selection differs from the baseline's");
    let interval = format!("of the average, by bootstrap over the {several} (and seeds)");
    let against = format!(
        "difference to the baseline in points, {one} by {one}; an interval that holds 0 means that it may be noise"
    );
    let meanings = [
        (title.as_str(), score.as_str()),
        ("95 % interval", &interval),
        ("vs baseline, its interval", &against),
        (
            "p (Holm)",
            "probability of a difference at least as large without any true one, corrected for the number of rows",
        ),
        ("same", &same),
        ("changed %", &changed),
        ("moved %", "relative change of all parameters in the last phase of training"),
        ("val_loss, KL", "of the last epoch; of a row that opens, from the lowest to the highest"),
        ("trainable", "parameters that were not frozen in the last phase"),
    ];
    html! {
        details {
            summary { "What the columns mean" }
            dl { "\n"
                @for (name, meaning) in meanings { dt { (name) } dd { (meaning) } "\n" }
            }
        } "\n"
    }
}
