//! Values computed by scipy 1.17.1 and statsmodels 0.15.0, and the properties that a table relies on.

use super::*;

fn close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{found} is not {expected}");
}

#[test]
fn student_t_agrees_with_scipy() {
    // 2 * scipy.stats.t.sf(x, df)
    let golden = [
        (2.0, 2.0, 0.18350341907227397),
        (3.5, 7.3, 0.009343138528485555),
        (1.2, 114.0, 0.23262720703930329),
        (6.0, 40.0, 4.7264551327881806e-07),
        (0.01, 1.0, 0.993634014470186),
    ];
    for (t, df, expected) in golden {
        close(student_t_two_sided(t, df), expected, 1e-11);
    }
    // scipy.stats.t.ppf(0.975, df)
    let golden = [
        (1.0, 12.706204736174694),
        (2.0, 4.302652729749462),
        (2.7, 3.3921483831737507),
        (114.0, 1.9809922979758567),
    ];
    for (df, expected) in golden {
        close(student_t_quantile(0.95, df), expected, 1e-9);
    }
}

#[test]
fn normal_quantile_agrees_with_scipy() {
    let golden = [
        (1e-6, -4.753424308822899),
        (0.001, -3.090232306167813),
        (0.025, -1.9599639845400545),
        (0.8, 0.8416212335729143),
        (0.9999, 3.719016485455709),
    ];
    for (share, expected) in golden {
        close(normal_quantile(share), expected, 2e-9);
    }
}

#[test]
fn mcnemar_agrees_with_statsmodels() {
    // statsmodels.stats.contingency_tables.mcnemar([[0, b], [c, 0]], exact=True).pvalue
    let golden =
        [(10, 0, 0.001953125), (12, 5, 0.143463134765625), (3, 3, 1.0), (40, 21, 0.0204147137996349)];
    for (better, worse, expected) in golden {
        close(mcnemar(better, worse), expected, 1e-12);
    }
}

#[test]
fn sign_flip_agrees_with_scipys_exact_permutation_test() {
    // scipy.stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=inf).pvalue
    let quarters = [0.5, -0.25, 0.75, 1.0, 0.0, 0.25, -0.5, 0.25, 0.25, 1.0];
    close(sign_flip(&quarters), 0.1015625, 1e-12);
    let token_f1 =
        [1.0 / 3.0, -0.8, 0.4, 2.0 / 3.0, 0.2857142857, -1.0 / 3.0, 0.5, 0.8, 1.0, 0.5, -0.25, 0.6];
    close(sign_flip(&token_f1), 0.06640625, 0.01);
}

#[test]
fn sign_flip_of_equal_rows_is_one() {
    assert_eq!(sign_flip(&[0.0; 20]), 1.0);
    assert_eq!(sign_flip(&[]), 1.0);
    assert_eq!(sign_flip(&[0.5, -0.5]), 1.0);
}

#[test]
fn sign_flip_resolves_the_far_tail() {
    close(sign_flip(&[1.0; 100]), 2.0_f64.powi(-99), 1e-12);
}

#[test]
fn holm_agrees_with_statsmodels() {
    // multipletests([...], method="holm")[1]
    let found = holm(&[0.01, 0.04, 0.03, 0.005, 0.6, 0.04]);
    for (found, expected) in found.iter().zip([0.05, 0.12, 0.12, 0.03, 0.6, 0.12]) {
        close(*found, expected, 1e-12);
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn bootstrap_interval_agrees_with_scipy() {
    // scipy.stats.bootstrap((x,), np.mean, n_resamples=400000, method="percentile"): 0.43652, 0.55217
    let values: Vec<f64> = (0..115).map(|i| f64::from(i * 37 % 11) / 10.0).collect();
    let Interval { low, high } = Bootstrap::new(115, 10_000, 1).intervals(&[values])[0];
    assert!((low - 0.43652).abs() < 0.0025, "{low}");
    assert!((high - 0.55217).abs() < 0.0025, "{high}");
}

#[test]
fn a_column_depends_neither_on_its_neighbours_nor_on_the_block() {
    let columns: Vec<Vec<f64>> = (0..600_u32)
        .map(|column| (0..37_u32).map(|query| f64::from((query * 7 + column * 13) % 17) / 17.0).collect())
        .collect();
    let bootstrap = Bootstrap::new(37, 500, 3);
    let together = bootstrap.intervals(&columns);
    for index in [0, 255, 256, 599] {
        assert_eq!(bootstrap.intervals(&columns[index..=index])[0], together[index]);
    }
}

#[test]
fn several_seeds_widen_the_interval_when_they_disagree() {
    let base: Vec<f64> = (0..200_u32).map(|query| f64::from(query * 7 % 10) / 10.0 - 0.45).collect();
    let shifted = |shift: f64| base.iter().map(|value| value + shift).collect::<Vec<f64>>();
    let alike = [shifted(0.1), shifted(0.1), shifted(0.1)];
    let apart = [shifted(0.0), shifted(0.1), shifted(0.2)];
    let bootstrap = Bootstrap::new(200, 2_000, 5);
    let width = |values: &[Vec<f64>]| {
        let test = crossed_test(values).expect("there are seeds");
        let interval = bootstrap.hierarchical(values, test.stretch).expect("there are seeds");
        (interval.high - interval.low, test.p_value)
    };
    let (narrow, sure) = width(&alike);
    let (wide, unsure) = width(&apart);
    assert!(wide > 2.0 * narrow, "{wide} against {narrow}");
    assert!(sure < 1e-4 && unsure > 0.01, "{sure}, {unsure}");
}

#[test]
fn needed_queries_follow_the_textbook_formula() {
    // 200 queries, standard error 2.5 points, difference 2.5 points, one comparison: ((1.96 + 0.8416) / 1)^2 * 200
    assert_eq!(more_units(0.025, 0.025, 200, 1), Some(1570 - 200));
    assert_eq!(more_units(0.0, 0.025, 200, 1), None);
    assert_eq!(more_units(0.5, 0.025, 200, 1), Some(0));
}
