//! A small deterministic SVG writer: lines with intervals, heat maps, bars. The same input gives the same
//! bytes; colours are classes, so that a page can restyle them for dark screens and for print.

use std::fmt::Write;

use maud::html;

/// A figure that is complete in itself.
#[derive(Clone, Debug)]
pub struct Figure {
    /// For file names and anchors.
    pub id: String,
    pub title: String,
    /// The `<svg>` element of a page, which has [`page_style`].
    pub svg: String,
    /// The `<svg>` element of a file of its own, with a legend.
    paper: String,
    /// The two axes that a heat map is over.
    pub axes: Option<[String; 2]>,
    /// The freeze setting that it is of, if of one.
    pub setting: Option<String>,
}

/// `text` within an element or the value of an attribute.
pub(super) fn html_escape(text: &str) -> String {
    html! { (text) }.into_string()
}

/// Rules that figures have on pages and on paper.
const STYLE: &str = include_str!("assets/figure.css");

/// Colours on white, by the name of the custom property that a page may change.
const LIGHT: [(&str, &str); 13] = [
    ("ink", "#1c2430"),
    ("soft", "#5b6676"),
    ("line", "#dde2e9"),
    ("back", "#ffffff"),
    ("hot", "#2563a8"),
    ("c0", "#2563a8"),
    ("c1", "#c2541b"),
    ("c2", "#2c8a4b"),
    ("c3", "#8a3ea8"),
    ("c4", "#a8812a"),
    ("c5", "#b03060"),
    ("c6", "#2a8f96"),
    ("c7", "#5a5f6b"),
];

/// Style of the figures of a page: the light colours as custom properties, and the rules that use them.
pub fn page_style() -> String {
    let colours: Vec<String> = LIGHT.iter().map(|(name, colour)| format!("--{name}:{colour}")).collect();
    format!(":root{{{}}}\n{STYLE}", colours.join(";"))
}

/// Style of a file of its own. Programs that put figures into papers know no custom properties.
fn paper_style() -> String {
    LIGHT
        .iter()
        .fold(STYLE.to_owned(), |style, (name, colour)| style.replace(&format!("var(--{name})"), colour))
}

impl Figure {
    /// A figure that is the same on a page and on paper.
    pub(super) fn same(id: &str, title: &str, svg: String) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            paper: svg.clone(),
            svg,
            axes: None,
            setting: None,
        }
    }

    /// The figure as a file of its own, on white.
    pub fn standalone(&self) -> String {
        let open = self.paper.find('>').map_or(0, |end| end + 1);
        let (head, body) = self.paper.split_at(open);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}<style>{}</style><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>{body}\n",
            head.replace("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" "),
            paper_style()
        )
    }
}

/// `(x, y, interval)`
pub type Mark = (f64, f64, Option<(f64, f64)>);

/// One line of a [`LineChart`].
pub struct Series {
    pub name: String,
    /// The row whose answers a mark leads to.
    pub row: String,
    /// Classes of the group: `s0`..`s7` give colours, `ref` is a reference, `off` is hidden.
    pub classes: String,
    /// Visible at first.
    pub shown: bool,
    /// Number of the point, for switching it on and off; a reference has none.
    pub point: Option<usize>,
    pub values: Vec<Mark>,
}

/// Lines over a common x axis.
pub struct LineChart {
    pub id: String,
    /// It is on the first screen too.
    pub first: bool,
    pub title: String,
    pub x_label: String,
    pub series: Vec<Series>,
    /// Labelled positions of the x axis.
    pub ticks: Vec<(f64, String)>,
    /// What a mark says besides its series and its value: a word before the position, a remark at the end.
    pub unit: String,
    pub about: String,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 42.0;
/// Height of a line of a legend.
const ENTRY: f64 = 17.0;
/// Width of a character of a tick or legend, about.
const LETTER: f64 = 7.0;

impl LineChart {
    /// Draws what is visible at first; `None` without a finite value. The page draws other series when they are asked
    /// for.
    pub fn draw(&self) -> Option<Figure> {
        let shown: Vec<&Series> = self.series.iter().filter(|series| series.shown).collect();
        let svg = self.chart(&shown, &[])?;
        let legend: Vec<&Series> = shown.iter().copied().filter(|series| series.point.is_some()).collect();
        let paper = self.chart(&shown, &legend)?;
        Some(Figure { id: self.id.clone(), title: self.title.clone(), svg, paper, axes: None, setting: None })
    }

    /// The chart of `series`, with those of `legend` named below it.
    fn chart(&self, series: &[&Series], legend: &[&Series]) -> Option<String> {
        let values = || series.iter().flat_map(|series| &series.values);
        let ys = values().flat_map(|(_, y, interval)| {
            let (low, high) = interval.unwrap_or((*y, *y));
            [*y, low, high]
        });
        let y = Scale::around(ys)?;
        let x = Scale::exact(values().map(|(x, _, _)| *x))?;
        // References have no entry in the legend: their names stand where their lines end.
        let references = series.iter().filter(|series| series.point.is_none());
        let right = references.map(|series| LETTER * letters(&series.name) + 10.0).fold(RIGHT, f64::max);
        let mut svg = open("figure chart", WIDTH, HEIGHT + ENTRY * legend.len() as f64 + 4.0, &self.title);
        let place_x = |value: f64| LEFT + x.share(value) * (WIDTH - LEFT - right);
        let place_y = |value: f64| HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM);
        for tick in y.ticks() {
            let at = place_y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                WIDTH - right
            );
            text(&mut svg, "tick", LEFT - 6.0, at + 4.0, "end", &short(tick));
        }
        for (value, label) in self.ticks.iter().filter(|(value, _)| (x.low..=x.high).contains(value)) {
            text(&mut svg, "tick", place_x(*value), HEIGHT - BOTTOM + 16.0, "middle", label);
        }
        text(&mut svg, "title", LEFT, 18.0, "start", &self.title);
        text(&mut svg, "label", (LEFT + WIDTH - right) / 2.0, HEIGHT - 8.0, "middle", &self.x_label);
        for series in series {
            series.draw(&mut svg, &place_x, &place_y, &|mark| self.tip(series, mark));
        }
        for (place, series) in legend.iter().enumerate() {
            series.draw_entry(&mut svg, HEIGHT + ENTRY * (place as f64 + 0.5));
        }
        svg += "</svg>";
        Some(svg)
    }

    /// What the mark of `series` says: `kl0.15-frozen, demonstrations 2: 56.1 [49.3, 62.9]; 200 queries`.
    fn tip(&self, series: &Series, (x, y, interval): &Mark) -> String {
        let label = self.ticks.iter().min_by(|(a, _), (b, _)| (a - x).abs().total_cmp(&(b - x).abs()));
        let label = label.map_or("", |(_, label)| label);
        let ends =
            interval.map_or_else(String::new, |(low, high)| format!(" [{}, {}]", short(low), short(high)));
        format!("{}, {}{label}: {}{ends}{}", series.name, self.unit, short(*y), self.about)
    }
}

impl Series {
    fn draw(
        &self,
        svg: &mut String,
        place_x: &dyn Fn(f64) -> f64,
        place_y: &dyn Fn(f64) -> f64,
        tip: &dyn Fn(&Mark) -> String,
    ) {
        let _ =
            write!(svg, "<g class=\"series {}\"><title>{}</title>", self.classes, html_escape(&self.name));
        let row = match (self.point, &self.row) {
            (Some(_), row) => format!(" data-row=\"{}\"", html_escape(row)),
            (None, _) => String::new(),
        };
        let finite = || self.values.iter().filter(|(_, y, _)| y.is_finite());
        let corners: Vec<String> =
            finite().map(|(x, y, _)| format!("{:.1},{:.1}", place_x(*x), place_y(*y))).collect();
        let _ = write!(svg, "<polyline points=\"{}\"/>", corners.join(" "));
        for mark @ (x, y, interval) in finite() {
            if let Some((low, high)) = interval {
                let at = place_x(*x);
                let _ = write!(
                    svg,
                    "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                    place_y(*low),
                    place_y(*high)
                );
            }
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"{row}><title>{}</title></circle>",
                place_x(*x),
                place_y(*y),
                html_escape(&tip(mark))
            );
        }
        if self.point.is_none()
            && let Some((x, y, _)) = finite().next_back()
        {
            text(svg, "label", place_x(*x) + 7.0, place_y(*y) + 4.0, "start", &self.name);
        }
        *svg += "</g>";
    }

    /// The series' entry in a legend, at height `y`.
    fn draw_entry(&self, svg: &mut String, y: f64) {
        let _ = write!(
            svg,
            "<g class=\"series {}\"><polyline points=\"{LEFT},{y:.1} {},{y:.1}\"/><circle cx=\"{}\" cy=\"{y:.1}\" r=\"2.6\"/></g>",
            self.classes,
            LEFT + 20.0,
            LEFT + 10.0
        );
        text(svg, "tick", LEFT + 28.0, y + 4.0, "start", &self.name);
    }
}

/// The length of a text in characters.
pub(super) fn letters(text: &str) -> f64 {
    text.chars().count() as f64
}

/// A value per cell of a grid.
pub struct HeatMap {
    pub id: String,
    pub title: String,
    /// The axes that run down and across, where the map is over two axes.
    pub axes: Option<[String; 2]>,
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
    /// Of the cell in a row and column: attributes that say what it leads to, and a remark after what it says.
    pub mark: Box<dyn Fn(usize, usize) -> (String, String)>,
}

/// Height of a cell.
const CELL: f64 = 26.0;

impl HeatMap {
    /// Draws the map; `None` without a value.
    pub fn draw(&self) -> Option<Figure> {
        let all = || self.values.iter().flatten().flatten().copied();
        let range = self.range.or_else(|| Some((all().reduce(f64::min)?, all().reduce(f64::max)?)))?;
        all().next()?;
        let longest = |texts: &[String]| texts.iter().map(|text| letters(text)).fold(0.0, f64::max);
        let corner = self.axes.as_ref().map_or(0.0, |[down, _]| letters(down));
        let left = LETTER * longest(&self.rows).max(corner) + 14.0;
        let turned = LETTER * longest(&self.columns) > self.cell;
        let top = if turned { 40.0 + 6.2 * longest(&self.columns) } else { 50.0 }
            + if self.axes.is_some() { 18.0 } else { 0.0 };
        let across = self.cell * self.columns.len() as f64;
        let name = self.axes.as_ref().map_or(0.0, |[_, across]| LETTER * letters(across));
        let width = (left + across.max(name) + 10.0).max(8.4 * letters(&self.title));
        let mut svg = open("figure", width, top + CELL * self.rows.len() as f64 + 8.0, &self.title);
        text(&mut svg, "title", 4.0, 18.0, "start", &self.title);
        if let Some([down, across]) = &self.axes {
            text(&mut svg, "axis", left - 8.0, top - 8.0, "end", down);
            text(&mut svg, "axis", left, 40.0, "start", across);
        }
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
                text(&mut svg, "tick", x - 1.0, top - 8.0, "middle", column);
            }
        }
        for (index, (row, values)) in self.rows.iter().zip(&self.values).enumerate() {
            let y = top + CELL * index as f64;
            text(&mut svg, "tick", left - 8.0, y + 17.0, "end", row);
            for (column, value) in values.iter().enumerate() {
                if let Some(value) = value {
                    let (attributes, about) = (self.mark)(index, column);
                    let _ = write!(
                        svg,
                        "<g{attributes}><title>{}{about}</title>",
                        html_escape(&self.tip(index, column, *value))
                    );
                    self.draw_cell(&mut svg, (left + self.cell * column as f64, y), *value, range);
                    svg += "</g>";
                }
            }
        }
        svg += "</svg>";
        Some(Figure { axes: self.axes.clone(), ..Figure::same(&self.id, &self.title, svg) })
    }

    /// `kl_beta 0.1, grpo_lr 5e-6: 55.85`
    fn tip(&self, row: usize, column: usize, value: f64) -> String {
        let (row, column) = (&self.rows[row], &self.columns[column]);
        let place = match &self.axes {
            Some([down, across]) => format!("{down} {row}, {across} {column}"),
            None => format!("{row}, {column}"),
        };
        format!("{place}: {}", (self.format)(value))
    }

    fn draw_cell(&self, svg: &mut String, (x, y): (f64, f64), value: f64, range: (f64, f64)) {
        let _ = write!(
            svg,
            "<rect class=\"cell\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill-opacity=\"{:.2}\"/>",
            self.cell - 2.0,
            CELL - 2.0,
            0.04 + 0.62 * shade(value, range)
        );
        text(svg, "value", x + self.cell / 2.0 - 1.0, y + 16.5, "middle", &(self.format)(value));
    }
}

/// Where `value` lies in `range`, 0 to 1; the middle where there is no range.
pub fn shade(value: f64, range: (f64, f64)) -> f64 {
    if range.1 > range.0 { ((value - range.0) / (range.1 - range.0)).clamp(0.0, 1.0) } else { 0.5 }
}

/// Widest bar: a single one is not to fill the figure.
const BAR: f64 = 80.0;

/// Labelled bars of counts.
pub fn bars(id: &str, title: &str, x_label: &str, counts: &[(String, usize)]) -> Option<Figure> {
    let most = counts.iter().map(|(_, count)| *count).max().filter(|most| *most > 0)?;
    let mut svg = open("figure chart", WIDTH, HEIGHT, title);
    text(&mut svg, "title", 4.0, 18.0, "start", title);
    text(&mut svg, "label", WIDTH / 2.0, HEIGHT - 8.0, "middle", x_label);
    let width = ((WIDTH - 20.0) / counts.len() as f64).min(BAR);
    let left = (WIDTH - width * counts.len() as f64) / 2.0;
    for (index, (label, count)) in counts.iter().enumerate() {
        let height = (HEIGHT - TOP - BOTTOM - 16.0) * *count as f64 / most as f64;
        let x = left + width * index as f64;
        let _ = write!(
            svg,
            "<g><title>{label}: {count}</title><rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            x + 2.0,
            HEIGHT - BOTTOM - height,
            (width - 4.0).max(1.0)
        );
        text(&mut svg, "tick", x + width / 2.0, HEIGHT - BOTTOM - height - 4.0, "middle", &count.to_string());
        text(&mut svg, "tick", x + width / 2.0, HEIGHT - BOTTOM + 16.0, "middle", label);
        svg += "</g>";
    }
    svg += "</svg>";
    Some(Figure::same(id, title, svg))
}

/// The head of an `<svg>` element.
pub(super) fn open(classes: &str, width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg class=\"{classes}\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{}\">",
        html_escape(title)
    )
}

pub(super) fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        html_escape(content)
    );
}

/// At most four significant digits, without an exponent where that is short.
pub fn short(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e5) {
        return format!("{value:.1e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The number that [`short`] shows, for a page's data.
pub fn rounded(value: f64) -> serde_json::Value {
    short(value).parse::<f64>().map_or(serde_json::Value::Null, serde_json::Value::from)
}

/// A linear axis.
pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
}

impl Scale {
    /// From the smallest to the largest value; `None` without a finite one.
    pub fn exact(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        (low <= high).then_some(Self { low, high })
    }

    /// With some air above and below.
    pub fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let Self { low, high } = Self::exact(values)?;
        let air = if high > low { 0.06 * (high - low) } else { 0.05 * high.abs().max(1e-3) };
        Some(Self { low: low - air, high: high + air })
    }

    pub fn share(&self, value: f64) -> f64 {
        if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 }
    }

    /// About five round numbers.
    pub fn ticks(&self) -> Vec<f64> {
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
