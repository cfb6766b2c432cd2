//! A small deterministic SVG writer: lines with intervals, heat maps, bars. The same input gives the same
//! bytes; colours are classes, so that a page can restyle them for dark screens and for print.

use std::fmt::Write;

use super::render::html_escape;

/// A figure that is complete in itself.
#[derive(Clone, Debug)]
pub struct Figure {
    /// For file names and anchors.
    pub id: String,
    pub title: String,
    /// The `<svg>` element.
    pub svg: String,
}

/// Style of figures outside a page.
pub const STYLE: &str = include_str!("html_assets/figure.css");

impl Figure {
    /// The figure as a file of its own.
    pub fn standalone(&self) -> String {
        let open = self.svg.find('>').map_or(0, |end| end + 1);
        let (head, body) = self.svg.split_at(open);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}<style>{STYLE}</style>{body}\n",
            head.replace("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ")
        )
    }
}

/// One line of a [`LineChart`].
pub struct Series {
    pub name: String,
    /// Classes of the group: `s0`..`s7` give colours, `ref` is a reference, `off` is hidden.
    pub classes: String,
    /// Number of the point, for switching it on and off.
    pub point: Option<usize>,
    /// `(x, y, interval)`
    pub values: Vec<(f64, f64, Option<(f64, f64)>)>,
}

/// Lines over a common x axis.
pub struct LineChart {
    pub id: String,
    pub title: String,
    pub x_label: String,
    pub series: Vec<Series>,
    /// Labelled positions of the x axis.
    pub ticks: Vec<(f64, String)>,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 42.0;

impl LineChart {
    /// Draws the chart; `None` without a finite value.
    pub fn draw(&self) -> Option<Figure> {
        let values = || self.series.iter().flat_map(|series| &series.values);
        let ys = values().flat_map(|(_, y, interval)| {
            let (low, high) = interval.unwrap_or((*y, *y));
            [*y, low, high]
        });
        let y = Scale::around(ys)?;
        let x = Scale::exact(values().map(|(x, _, _)| *x))?;
        let mut svg = open(WIDTH, HEIGHT, &self.title);
        let place_x = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - RIGHT);
        let place_y = |value: f64| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
        for tick in y.ticks() {
            let at = place_y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        for (value, label) in &self.ticks {
            text(&mut svg, "tick", place_x(*value), HEIGHT - BOTTOM + 16.0, "middle", label);
        }
        text(&mut svg, "title", LEFT, 18.0, "start", &self.title);
        text(&mut svg, "label", (LEFT + WIDTH) / 2.0, HEIGHT - 8.0, "middle", &self.x_label);
        for series in &self.series {
            series.draw(&mut svg, &place_x, &place_y);
        }
        svg += "</svg>";
        Some(Figure { id: self.id.clone(), title: self.title.clone(), svg })
    }
}

impl Series {
    fn draw(&self, svg: &mut String, place_x: &dyn Fn(f64) -> f64, place_y: &dyn Fn(f64) -> f64) {
        let point = self.point.map_or_else(String::new, |point| format!(" data-point=\"{point}\""));
        let _ = write!(
            svg,
            "<g class=\"series {}\"{point}><title>{}</title>",
            self.classes,
            html_escape(&self.name)
        );
        let finite = || self.values.iter().filter(|(_, y, _)| y.is_finite());
        let corners: Vec<String> =
            finite().map(|(x, y, _)| format!("{:.1},{:.1}", place_x(*x), place_y(*y))).collect();
        let _ = write!(svg, "<polyline points=\"{}\"/>", corners.join(" "));
        for (x, y, interval) in finite() {
            if let Some((low, high)) = interval {
                let at = place_x(*x);
                let _ = write!(
                    svg,
                    "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                    place_y(*low),
                    place_y(*high)
                );
            }
            let _ = write!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"/>", place_x(*x), place_y(*y));
        }
        *svg += "</g>";
    }
}

/// A value per cell of a grid.
pub struct HeatMap {
    pub id: String,
    pub title: String,
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// `[row][column]`
    pub values: Vec<Vec<Option<f64>>>,
    /// Writes the value of a cell.
    pub format: fn(f64) -> String,
    /// Colours run over this range; over the values where absent.
    pub range: Option<(f64, f64)>,
    /// Width of a cell.
    pub cell: f64,
}

impl HeatMap {
    /// Draws the map; `None` without a value.
    pub fn draw(&self) -> Option<Figure> {
        let all = || self.values.iter().flatten().flatten().copied();
        let range = self.range.or_else(|| Some((all().reduce(f64::min)?, all().reduce(f64::max)?)))?;
        all().next()?;
        let longest = |texts: &[String]| texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
        let left = 7.0 * longest(&self.rows) as f64 + 14.0;
        let height = 26.0;
        let turned = 7.0 * longest(&self.columns) as f64 > self.cell;
        let top = if turned { 40.0 + 6.2 * longest(&self.columns) as f64 } else { 50.0 };
        let width = (left + self.cell * self.columns.len() as f64 + 10.0)
            .max(7.5 * self.title.chars().count() as f64);
        let mut svg = open(width, top + height * self.rows.len() as f64 + 8.0, &self.title);
        text(&mut svg, "title", 4.0, 18.0, "start", &self.title);
        for (index, column) in self.columns.iter().enumerate() {
            let x = left + self.cell * (index as f64 + 0.5);
            if turned {
                let _ = write!(
                    svg,
                    "<text class=\"tick\" transform=\"translate({:.1},{:.1}) rotate(-90)\">{}</text>",
                    x + 4.0,
                    top - 6.0,
                    html_escape(column)
                );
            } else {
                text(&mut svg, "tick", x, top - 8.0, "middle", column);
            }
        }
        for (index, (row, values)) in self.rows.iter().zip(&self.values).enumerate() {
            let y = top + height * index as f64;
            text(&mut svg, "tick", left - 8.0, y + 17.0, "end", row);
            for (column, value) in values.iter().enumerate() {
                self.draw_cell(&mut svg, left + self.cell * column as f64, y, height, *value, range);
            }
        }
        svg += "</svg>";
        Some(Figure { id: self.id.clone(), title: self.title.clone(), svg })
    }

    fn draw_cell(
        &self,
        svg: &mut String,
        x: f64,
        y: f64,
        height: f64,
        value: Option<f64>,
        range: (f64, f64),
    ) {
        let Some(value) = value else { return };
        let shade = shade(value, range);
        let _ = write!(
            svg,
            "<rect class=\"cell\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" style=\"--v:{shade:.2}\"/>",
            self.cell - 2.0,
            height - 2.0
        );
        text(svg, "value", x + self.cell / 2.0 - 1.0, y + 16.5, "middle", &(self.format)(value));
    }
}

/// Where `value` lies in `range`, 0 to 1; the middle where there is no range.
pub fn shade(value: f64, range: (f64, f64)) -> f64 {
    if range.1 > range.0 { ((value - range.0) / (range.1 - range.0)).clamp(0.0, 1.0) } else { 0.5 }
}

/// Labelled bars of counts.
pub fn bars(id: &str, title: &str, x_label: &str, counts: &[(String, usize)]) -> Option<Figure> {
    let most = counts.iter().map(|(_, count)| *count).max().filter(|most| *most > 0)?;
    let mut svg = open(WIDTH, HEIGHT, title);
    text(&mut svg, "title", 4.0, 18.0, "start", title);
    text(&mut svg, "label", WIDTH / 2.0, HEIGHT - 8.0, "middle", x_label);
    let width = (WIDTH - 20.0) / counts.len() as f64;
    for (index, (label, count)) in counts.iter().enumerate() {
        let height = (HEIGHT - TOP - BOTTOM - 16.0) * *count as f64 / most as f64;
        let x = 10.0 + width * index as f64;
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            x + 2.0,
            HEIGHT - BOTTOM - height,
            (width - 4.0).max(1.0)
        );
        text(&mut svg, "tick", x + width / 2.0, HEIGHT - BOTTOM - height - 4.0, "middle", &count.to_string());
        text(&mut svg, "tick", x + width / 2.0, HEIGHT - BOTTOM + 16.0, "middle", label);
    }
    svg += "</svg>";
    Some(Figure { id: id.to_owned(), title: title.to_owned(), svg })
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg class=\"figure\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{}\">",
        html_escape(title)
    )
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        html_escape(content)
    );
}

/// At most four significant digits, without an exponent where that is short.
fn short(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e5) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A linear axis.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// From the smallest to the largest value; `None` without a finite one.
    fn exact(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        (low <= high).then_some(Self { low, high })
    }

    /// With some air above and below.
    fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let Self { low, high } = Self::exact(values)?;
        let air = if high > low { 0.06 * (high - low) } else { 0.05 * high.abs().max(1e-3) };
        Some(Self { low: low - air, high: high + air })
    }

    fn share(&self, value: f64) -> f64 {
        if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 }
    }

    /// About five round numbers.
    fn ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / 5.0;
        let magnitude = 10.0_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * magnitude)
            .find(|step| *step >= raw)
            .unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last.min(first + 12)).map(|index| index as f64 * step).collect()
    }
}
