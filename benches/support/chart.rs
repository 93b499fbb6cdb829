//! A line chart as SVG, for `docs/`.

use std::fmt::Write;

/// A line of a chart: its name and its points.
pub(crate) type Line = (&'static str, Vec<(f64, f64)>);

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 30.0;
const COLOURS: [&str; 4] = ["#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad"];

/// A chart from zero to the greatest values.
pub(crate) fn growth(title: &str, (across, up): (&str, &str), lines: &[Line]) -> String {
    let most = |of: fn(&(f64, f64)) -> f64| {
        let values = lines.iter().flat_map(|(_, points)| points.iter().map(of));
        values.fold(0.0_f64, f64::max).max(1e-9)
    };
    let (x_most, y_most) = (most(|p| p.0), most(|p| p.1) * 1.05);
    let x = |value: f64| LEFT + value / x_most * (WIDTH - LEFT - 20.0);
    let y = |value: f64| HEIGHT - BOTTOM - value / y_most * (HEIGHT - BOTTOM - TOP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{title}</text>\n"
    );
    for part in 0..=4 {
        let value = y_most * f64::from(part) / 4.0;
        let at = y(value);
        writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>", WIDTH - 20.0, LEFT - 6.0, at + 4.0).unwrap();
        let value = x_most * f64::from(part) / 4.0;
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.0}</text>",
            x(value),
            HEIGHT - BOTTOM + 16.0
        )
        .unwrap();
    }
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{across}</text>",
        WIDTH / 2.0,
        HEIGHT - 8.0
    )
    .unwrap();
    writeln!(svg, "<text x=\"{:.1}\" y=\"18\" text-anchor=\"end\">{up}</text>", WIDTH - 20.0)
        .unwrap();
    for (number, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path: Vec<String> =
            points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            path.join(" ")
        )
        .unwrap();
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>",
            LEFT + 10.0,
            TOP + 14.0 + 15.0 * number as f64
        )
        .unwrap();
    }
    svg.push_str("</svg>\n");
    svg
}
