//! The chart itself: two panels side by side, and below them what the lines mean and where it was measured.

use super::axis::{Axis, label};
use super::data::Measured;
use super::svg::{Anchor, Picture};
use crate::report::table::thousands;

/// Of the whole picture, but for its last lines.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 400.0;
/// Where the panels' plots begin, and their size.
const LEFTS: [f64; 2] = [70.0, 550.0];
const TOP: f64 = 40.0;
const PLOT_WIDTH: f64 = 380.0;
const PLOT_HEIGHT: f64 = 270.0;
/// So many labels have room.
const TICKS_ACROSS: usize = 6;
const TICKS_UP: usize = 11;
const LINE_HEIGHT: f64 = 16.0;
const LEGEND_WIDTH: f64 = 120.0;
const DASHED: &str = r#"stroke-dasharray="4 4""#;

/// One plot.
struct Panel<'a> {
    left: f64,
    title: &'a str,
    x_name: &'a str,
    y_name: &'a str,
    x: Axis,
    y: Axis,
}

/// Draws it.
pub(super) fn chart(measured: &Measured) -> String {
    let mut picture = Picture::default();
    let node_counts = measured.node_counts();
    let times: Vec<_> = node_counts.iter().map(|nodes| measured.times(*nodes)).collect();
    times_panel(&mut picture, &times);
    let costs: Vec<_> = node_counts.iter().map(|nodes| measured.costs(*nodes)).collect();
    costs_panel(&mut picture, &costs);
    let mut x = LEFTS[0];
    let y = TOP + PLOT_HEIGHT + 66.0;
    for (series, nodes) in node_counts.iter().enumerate() {
        picture.path(&[(x, y - 4.0), (x + 24.0, y - 4.0)], series);
        picture.mark((x + 12.0, y - 4.0), series);
        picture.text(x + 30.0, y, Anchor::Start, &format!("{} nodes", thousands((*nodes).into())));
        x += LEGEND_WIDTH;
    }
    picture.line((x, y - 4.0), (x + 24.0, y - 4.0), DASHED);
    picture.text(x + 30.0, y, Anchor::Start, "in proportion to tasks");
    let mut y = HEIGHT;
    for machine in &measured.machines {
        picture.text(LEFTS[0], y, Anchor::Start, machine);
        y += LINE_HEIGHT;
    }
    picture.finish(WIDTH, y, "Time until all tasks run, and what 10,000 more cost")
}

/// How time grows with tasks.
fn times_panel(picture: &mut Picture, lines: &[Vec<(f64, f64)>]) {
    let points = || lines.iter().flatten();
    let panel = Panel {
        left: LEFTS[0],
        title: "Create → all RUNNING",
        x_name: "tasks",
        y_name: "seconds",
        x: Axis::log(points().map(|point| point.0)),
        y: Axis::log(points().map(|point| point.1)),
    };
    panel.frame(picture);
    for (series, line) in lines.iter().enumerate() {
        panel.line(picture, line, series);
    }
    let largest = points().copied().max_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    if let Some(largest) = largest {
        panel.proportional(picture, largest);
    }
    for (series, line) in lines.iter().enumerate() {
        panel.marks(picture, line, series);
    }
}

/// That what runs already makes more no dearer.
fn costs_panel(picture: &mut Picture, lines: &[Vec<(f64, f64)>]) {
    let points = || lines.iter().flatten();
    let panel = Panel {
        left: LEFTS[1],
        title: "Cost of 10,000 more tasks",
        x_name: "tasks that run already",
        y_name: "CPU seconds of all processes",
        x: Axis::log(points().map(|point| point.0)),
        y: Axis::linear(points().map(|point| point.1)),
    };
    panel.frame(picture);
    for (series, line) in lines.iter().enumerate() {
        panel.line(picture, &middles(line), series);
        panel.marks(picture, line, series);
    }
}

/// The middle one of the points that lie above each other.
fn middles(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.chunk_by(|one, other| one.0 == other.0).map(|above| above[above.len() / 2]).collect()
}

impl Panel<'_> {
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.left + self.x.place(x) * PLOT_WIDTH, TOP + PLOT_HEIGHT - self.y.place(y) * PLOT_HEIGHT)
    }

    fn frame(&self, picture: &mut Picture) {
        let (left, right, bottom) = (self.left, self.left + PLOT_WIDTH, TOP + PLOT_HEIGHT);
        let middle = left + PLOT_WIDTH / 2.0;
        picture.text(middle, TOP - 16.0, Anchor::Middle, self.title);
        for tick in self.x.ticks(TICKS_ACROSS) {
            let x = left + self.x.place(tick) * PLOT_WIDTH;
            picture.line((x, TOP), (x, bottom), r#"stroke-opacity="0.25""#);
            picture.text(x, bottom + 18.0, Anchor::Middle, &label(tick));
        }
        for tick in self.y.ticks(TICKS_UP) {
            let y = bottom - self.y.place(tick) * PLOT_HEIGHT;
            picture.line((left, y), (right, y), r#"stroke-opacity="0.25""#);
            picture.text(left - 8.0, y + 4.0, Anchor::End, &label(tick));
        }
        picture.line((left, TOP), (left, bottom), r#"stroke-width="1""#);
        picture.line((left, bottom), (right, bottom), r#"stroke-width="1""#);
        picture.text(middle, bottom + 38.0, Anchor::Middle, self.x_name);
        picture.text_upwards(left - 48.0, TOP + PLOT_HEIGHT / 2.0, self.y_name);
    }

    fn line(&self, picture: &mut Picture, points: &[(f64, f64)], series: usize) {
        let places: Vec<_> = points.iter().map(|point| self.place(*point)).collect();
        picture.path(&places, series);
    }

    fn marks(&self, picture: &mut Picture, points: &[(f64, f64)], series: usize) {
        points.iter().for_each(|point| picture.mark(self.place(*point), series));
    }

    /// What time in proportion to tasks would be, back from this point.
    fn proportional(&self, picture: &mut Picture, (x, y): (f64, f64)) {
        let (Axis::Log { least: least_x, .. }, Axis::Log { least: least_y, .. }) = (self.x, self.y) else { return };
        let from_x = least_x.max(x * least_y / y);
        let (from, to) = (self.place((from_x, y * from_x / x)), self.place((x, y)));
        picture.line(from, to, DASHED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three cells of one result and one of another.
    fn measured() -> Measured {
        let cell = |nodes: u32, tasks: u32, seconds: f64, first: f64, last: f64| {
            format!(
                r#"{{"nodes": {nodes}, "tasks": {tasks}, "create_to_all_running_s": {seconds},
                "at_first": {{"beside": 200, "cpu_s": {first}}},
                "with_all": {{"beside": {}, "cpu_s": {last}}}, "failed": null"#,
                tasks + 10_400
            )
        };
        let machine = |commit| {
            format!(r#""machine": {{"cpu": "A & B", "cores": 2, "date": "2026-11-28", "commit": "{commit}"}}"#)
        };
        let grid =
            [cell(100, 10_000, 1.2, 2.0, 2.1), cell(100, 100_000, 8.5, 2.2, 2.0), cell(5_000, 100_000, 9.5, 2.6, 2.5)];
        let one = cell(5_000, 1_000_000, 91.3, 2.7, 3.0);
        let mut measured = Measured::default();
        for text in [
            format!(r#"{{"cells": [{}}}], {}}}"#, grid.join("}, "), machine("abc1234")),
            format!("{one}, {}}}", machine("def5678")),
        ] {
            measured.add(&serde_json::from_str(&text).unwrap());
        }
        measured
    }

    #[test]
    fn the_chart_is_this_text() {
        insta::assert_snapshot!(chart(&measured()));
    }

    #[test]
    fn of_points_above_each_other_the_line_goes_through_the_middle_one() {
        assert_eq!(middles(&[(1.0, 2.0), (1.0, 3.0), (1.0, 9.0), (4.0, 5.0)]), [(1.0, 3.0), (4.0, 5.0)]);
    }
}
