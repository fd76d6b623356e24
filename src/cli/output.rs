//! Tables for people, JSON for programs.

use std::io::IsTerminal;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
use serde_json::Value;

/// How data is printed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: nothing but one JSON value on standard output.
    Json,
}

/// `--output`, for every command that prints data.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

impl OutputArgs {
    /// `value` as JSON, or what `text` makes of it.
    pub fn print(self, value: &Value, text: impl FnOnce(&Value) -> String) -> String {
        match self.output {
            Output::Json => format!("{value:#}\n"),
            Output::Text => text(value),
        }
    }
}

/// What a row of a table is about, told by colour beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nobody has seen to it.
    Alarm,
    /// Somebody has.
    Seen,
    /// It has ended by itself.
    Over,
    /// Of no importance now.
    Faint,
}

/// A table with a header; fits the terminal's width where there is one.
pub fn table<R: IntoIterator<Item = String>>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    table_of(header, rows.into_iter().map(|row| (row, None)))
}

/// As [`table`], with a colour for each row where somebody can see it.
pub fn table_of<R: IntoIterator<Item = String>>(header: &[&str], rows: impl IntoIterator<Item = (R, Option<Tone>)>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    let colours = colours(&std::io::stdout());
    for (row, tone) in rows {
        let tone = tone.filter(|_| colours);
        table.add_row(row.into_iter().map(|cell| coloured(Cell::new(harmless(&cell)), tone)));
    }
    format!("{table}\n")
}

fn coloured(cell: Cell, tone: Option<Tone>) -> Cell {
    match tone {
        Some(Tone::Alarm) => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Some(Tone::Seen) => cell.fg(Color::Yellow),
        Some(Tone::Over) => cell.fg(Color::Cyan),
        Some(Tone::Faint) => cell.add_attribute(Attribute::Dim),
        None => cell,
    }
}

/// True when colours are wanted on `stream`: it is a terminal, and `NO_COLOR` is not set (https://no-color.org).
pub fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A text of JSON for a cell: nothing for null, texts without quotes.
#[must_use]
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A time of the API (RFC 3339) in this machine's zone, to the second; anything else as it is.
#[must_use]
pub fn local_time(value: &Value) -> String {
    let text = cell(value);
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => text,
    }
}

/// Values come from devices and phones: their control characters must not drive our terminal.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c }).collect()
}
