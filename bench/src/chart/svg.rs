//! SVG text. Colours are ones that can be read on white and on black.

use std::fmt::Write as _;

/// Text and lines of axes.
pub(super) const INK: &str = "#7a7a7a";
/// Series, in the order of their names: after Okabe and Ito's palette, which people who see few
/// colours can tell apart.
const COLOURS: [&str; 6] = ["#1f83c4", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9"];

/// Where a text is held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture that grows.
#[derive(Debug, Default)]
pub(super) struct Picture {
    body: String,
}

/// The colour of a series.
pub(super) fn colour(series: usize) -> &'static str {
    COLOURS[series % COLOURS.len()]
}

impl Picture {
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        self.turned_text(x, y, anchor, text, "");
    }

    /// Upwards, along an axis.
    pub(super) fn text_upwards(&mut self, x: f64, y: f64, text: &str) {
        self.turned_text(x, y, Anchor::Middle, text, &format!(r#" transform="rotate(-90 {x:.1} {y:.1})""#));
    }

    fn turned_text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str, turn: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.push(&format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}"{turn}>{text}</text>"#));
    }

    /// Of an axis or its grid.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(&format!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{INK}" {style}/>"#));
    }

    /// Through all these.
    pub(super) fn path(&mut self, points: &[(f64, f64)], series: usize) {
        let places: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (places, colour) = (places.join(" "), colour(series));
        self.push(&format!(r#"<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>"#));
    }

    /// A point of a series: each has a form of its own, beside its colour.
    pub(super) fn mark(&mut self, (x, y): (f64, f64), series: usize) {
        let fill = colour(series);
        let mark = match series % 4 {
            0 => format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{fill}"/>"#),
            1 => format!(r#"<rect x="{:.1}" y="{:.1}" width="8" height="8" fill="{fill}"/>"#, x - 4.0, y - 4.0),
            2 => polygon(&[(x, y - 5.0), (x + 5.0, y + 4.0), (x - 5.0, y + 4.0)], fill),
            _ => polygon(&[(x, y - 5.5), (x + 5.5, y), (x, y + 5.5), (x - 5.5, y)], fill),
        };
        self.push(&mark);
    }

    fn push(&mut self, element: &str) {
        self.body.push_str("  ");
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The whole file.
    pub(super) fn finish(self, width: f64, height: f64, title: &str) -> String {
        let (title, body) = (escape(title), self.body);
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img" font-family="system-ui, 'Helvetica Neue', Arial, sans-serif" font-size="12" fill="{INK}">"#
        );
        let _ = write!(text, "  <title>{title}</title>\n{body}</svg>\n");
        text
    }
}

fn polygon(points: &[(f64, f64)], fill: &str) -> String {
    let places: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!(r#"<polygon points="{}" fill="{fill}"/>"#, places.join(" "))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_svg_is_escaped() {
        let mut picture = Picture::default();
        picture.text(1.0, 2.0, Anchor::End, "a < b & c");
        let text = picture.finish(10.0, 20.0, "<title>");
        assert!(text.contains("a &lt; b &amp; c</text>") && text.contains("<title>&lt;title&gt;</title>"), "{text}");
    }
}
