//! Plots as SVG: lines over a logarithmic or a linear axis, bars, and a heat map. No more than the
//! report needs.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Colours that the colour-blind can tell apart (Okabe and Ito, 2008).
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// One line of a plot.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// What a plot shows.
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// How the horizontal axis runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Linear,
    Logarithmic,
}

/// Lines through points.
pub(super) fn lines(labels: &Labels<'_>, axis: Axis, all: &[Series]) -> String {
    let points = || all.iter().flat_map(|series| &series.points);
    let scaled = |x: f64| {
        if axis == Axis::Logarithmic {
            x.max(1e-9).log10()
        } else {
            x
        }
    };
    let least = points()
        .map(|(x, _)| scaled(*x))
        .fold(f64::INFINITY, f64::min);
    let most = points()
        .map(|(x, _)| scaled(*x))
        .fold(f64::NEG_INFINITY, f64::max);
    let top = points().map(|(_, y)| *y).fold(0.0, f64::max).max(1e-9) * 1.1;
    let span = (most - least).max(1e-9);
    let at_x = |x: f64| LEFT + (scaled(x) - least) / span * (WIDTH - LEFT - RIGHT);
    let at_y = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = frame(labels);
    grid(&mut svg, top, at_y);
    let mut ticks: Vec<f64> = points().map(|(x, _)| *x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let step = (ticks.len() / 8).max(1);
    for x in ticks.iter().step_by(step) {
        text(
            &mut svg,
            (at_x(*x), HEIGHT - BOTTOM + 18.0),
            "middle",
            &number(*x),
        );
    }
    for (index, series) in all.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> = (series.points.iter())
            .map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y)))
            .collect();
        push(
            &mut svg,
            format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            ),
        );
        legend(&mut svg, index, colour, &series.name);
    }
    close(svg)
}

/// Bars side by side, each with its name.
pub(super) fn bars(labels: &Labels<'_>, all: &[(String, f64)]) -> String {
    let top = all
        .iter()
        .map(|(_, value)| *value)
        .fold(0.0, f64::max)
        .max(1e-9)
        * 1.1;
    let at_y = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM);
    let width = (WIDTH - LEFT - RIGHT) / all.len().max(1) as f64;
    let mut svg = frame(labels);
    grid(&mut svg, top, at_y);
    for (index, (name, value)) in all.iter().enumerate() {
        let x = LEFT + width * index as f64;
        let (y, height) = (at_y(*value), at_y(0.0) - at_y(*value));
        push(
            &mut svg,
            format_args!(
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\"/>",
                x + width * 0.1,
                width * 0.8,
                COLOURS[0]
            ),
        );
        push(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" transform=\"rotate(-35 {:.1} {:.1})\" text-anchor=\"end\">{name}</text>",
                x + width / 2.0,
                HEIGHT - BOTTOM + 12.0,
                x + width / 2.0,
                HEIGHT - BOTTOM + 12.0
            ),
        );
    }
    close(svg)
}

/// Rows of cells, the fuller the darker.
pub(super) fn heat(labels: &Labels<'_>, rows: &[(String, Vec<u32>)]) -> String {
    let most = rows
        .iter()
        .flat_map(|(_, cells)| cells)
        .copied()
        .max()
        .unwrap_or(0)
        .max(1);
    let columns = rows
        .iter()
        .map(|(_, cells)| cells.len())
        .max()
        .unwrap_or(1)
        .max(1);
    let width = (WIDTH - LEFT - RIGHT) / columns as f64;
    let height = (HEIGHT - TOP - BOTTOM) / rows.len().max(1) as f64;
    let mut svg = frame(labels);
    for (row, (name, cells)) in rows.iter().enumerate() {
        let y = TOP + height * row as f64;
        for (column, count) in cells.iter().enumerate() {
            let x = LEFT + width * column as f64;
            let share = f64::from(*count) / f64::from(most);
            push(
                &mut svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"#0072b2\" fill-opacity=\"{share:.2}\"/>",
                    width + 0.2,
                    height + 0.2
                ),
            );
        }
        text(
            &mut svg,
            (WIDTH - RIGHT + 8.0, y + height / 2.0 + 4.0),
            "start",
            name,
        );
    }
    let darkest = format!("darkest: {most} per second");
    text(&mut svg, (LEFT, HEIGHT - BOTTOM + 18.0), "start", &darkest);
    close(svg)
}

fn frame(labels: &Labels<'_>) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, (LEFT, 22.0), "start", labels.title);
    text(
        &mut svg,
        ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0),
        "middle",
        labels.x,
    );
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    push(
        &mut svg,
        format_args!(
            "<text x=\"16\" y=\"{middle}\" transform=\"rotate(-90 16 {middle})\" text-anchor=\"middle\">{}</text>",
            labels.y
        ),
    );
    svg
}

fn grid(svg: &mut String, top: f64, at_y: impl Fn(f64) -> f64) {
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let y = at_y(value);
        push(
            svg,
            format_args!(
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>",
                WIDTH - RIGHT
            ),
        );
        text(svg, (LEFT - 6.0, y + 4.0), "end", &number(value));
    }
}

fn legend(svg: &mut String, index: usize, colour: &str, name: &str) {
    let y = TOP + 18.0 * index as f64 + 10.0;
    let x = WIDTH - RIGHT + 12.0;
    push(
        svg,
        format_args!(
            "<rect x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>",
            y - 5.0
        ),
    );
    text(svg, (x + 18.0, y), "start", name);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, content: &str) {
    push(
        svg,
        format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"),
    );
}

fn push(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(svg, "{line}");
}

fn close(mut svg: String) -> String {
    svg.push_str("</svg>\n");
    svg
}

fn number(value: f64) -> String {
    if value >= 1_000.0 {
        format!("{:.0}k", value / 1_000.0)
    } else if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plot_is_one_whole_document() {
        let labels = Labels {
            title: "t",
            x: "x",
            y: "y",
        };
        let series = Series {
            name: "one".into(),
            points: vec![(10.0, 1.0), (1_000.0, 3.0)],
        };
        let svg = lines(&labels, Axis::Logarithmic, &[series]);
        assert!(
            svg.starts_with("<svg") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let empty = heat(&labels, &[]);
        assert!(empty.ends_with("</svg>\n") && !empty.contains("NaN"));
    }
}
