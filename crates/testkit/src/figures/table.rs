//! Figures as lines of a table, and as JSON.

use serde_json::{Value, json};

use super::{Figure, Target};

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// A figure, as it should be or short of it.
    Measured(Figure),
    /// Nothing was measured, on purpose.
    LeftOut {
        /// What of.
        name: &'static str,
        /// Why not.
        why: String,
    },
    /// Nothing could be measured.
    Failed {
        /// What of.
        name: &'static str,
        /// What happened, and what to do.
        why: String,
    },
}

impl Row {
    /// In one word.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Measured(figure) if figure.is_met() => "ok",
            Self::Measured(_) => "short",
            Self::LeftOut { .. } => "left out",
            Self::Failed { .. } => "failed",
        }
    }
}

/// What stands above the lines of [`line()`].
pub fn heading() -> String {
    columns(["", "figure", "floor", "ratio", "target", ""])
}

/// The row as a line of text.
pub fn line(row: &Row) -> String {
    match row {
        Row::Measured(figure) => columns([
            &figure.name,
            &format!("{} {}", digits(figure.value), figure.unit),
            &figure.floor.map_or_else(String::new, digits),
            &figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            &target(figure),
            row.verdict(),
        ]),
        Row::LeftOut { name, why } | Row::Failed { name, why } => {
            format!("{name:<48}{}: {why}", row.verdict())
        }
    }
}

/// Six columns.
fn columns([name, figure, floor, ratio, target, verdict]: [&str; 6]) -> String {
    let line = format!("{name:<48}{figure:>14}{floor:>10}{ratio:>8}{target:>14}  {verdict}");
    line.trim_end().to_owned()
}

fn target(figure: &Figure) -> String {
    let (sign, limit) = match figure.target {
        Target::AtMost(limit) => ('≤', limit),
        Target::AtLeast(limit) => ('≥', limit),
    };
    let unit = if figure.ratio.is_some() { "" } else { figure.unit };
    format!("{sign} {limit} {unit}").trim_end().to_owned()
}

/// With about three digits that say something.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The row for a program to read.
pub fn json(row: &Row) -> Value {
    match row {
        Row::Measured(figure) => json!({
            "name": figure.name,
            "unit": figure.unit,
            "figure": figure.value,
            "floor": figure.floor,
            "ratio": figure.ratio,
            "target": figure.target,
            "verdict": row.verdict(),
        }),
        Row::LeftOut { name, why } | Row::Failed { name, why } => {
            json!({ "name": name, "verdict": row.verdict(), "why": why })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Paired;

    fn row(value: f64, floor: f64) -> Row {
        let rounds = Paired::from_iter([(value, floor)]);
        Row::Measured(Figure::paired("blocks", "ns/B", &rounds, Target::AtMost(1.5)))
    }

    #[test]
    fn a_line_has_figure_floor_ratio_target_and_verdict() {
        let words = |row| line(&row).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(row(1.5, 1.0)), "blocks 1.50 ns/B 1.00 1.50 ≤ 1.5 ok");
        assert_eq!(words(row(25.04, 10.0)), "blocks 25.0 ns/B 10.0 2.50 ≤ 1.5 short");
        let plain = Figure::plain("memory", "MB", 123.4, Target::AtMost(9.0));
        assert_eq!(words(Row::Measured(plain)), "memory 123 MB ≤ 9 MB short");
    }

    #[test]
    fn the_columns_are_below_their_headings() {
        let heading = heading();
        let end = |text: &str, word| text.find(word).map(|at| text[..at].chars().count());
        let line = line(&row(1.25, 2.5));
        assert_eq!(end(&heading, "ratio").unwrap() + 5, end(&line, "0.50").unwrap() + 4);
    }

    #[test]
    fn json_holds_what_the_line_says() {
        let expected = json!({
            "name": "blocks", "unit": "ns/B", "figure": 3.0, "floor": 2.0, "ratio": 1.5,
            "target": { "at_most": 1.5 }, "verdict": "ok",
        });
        assert_eq!(json(&row(3.0, 2.0)), expected);
        let failed = Row::Failed { name: "download", why: "no node".to_owned() };
        assert_eq!(json(&failed)["verdict"], "failed");
        assert_eq!(json(&failed)["why"], "no node");
    }
}
