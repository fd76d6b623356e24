//! Figures as files for other programs.

use std::{fs::File, path::Path};

use polars::prelude::{Column, CsvWriter, DataFrame, ParquetWriter, PolarsResult, SerWriter};

use super::{Kpis, kpi::Delay, statistics::users_frame};
use crate::engine::view::UserStatistics;

/// Rows to be written to a file.
pub struct Rows(DataFrame);

impl Rows {
    /// One row a user, the columns of `UserStatistics`.
    ///
    /// # Errors
    /// When polars fails, which it does for lack of memory only.
    pub fn of_users(users: &[UserStatistics]) -> PolarsResult<Self> {
        Ok(Self(users_frame(users)?))
    }

    /// All figures of a span in one long table: `Section` (as in the JSON), `Name` of what a row is about, `Measure`, `Value`, `Unit`,
    /// and for figures with a target `Target`, `Source` and `Met`.
    ///
    /// # Errors
    /// When polars fails, which it does for lack of memory only.
    pub fn of_kpis(kpis: &Kpis) -> PolarsResult<Self> {
        let mut table = Long::default();
        table.figures(kpis);
        table.load(kpis);
        table.alarms(kpis);
        table.response(kpis);
        table.people(kpis);
        table.finish().map(Self)
    }

    /// Writes them as CSV (RFC 4180, a header line, UTF-8) to `file`, replacing it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_csv(&mut self, file: &Path) -> PolarsResult<()> {
        let out = File::create(file)?;
        super::apart(|| CsvWriter::new(out).include_header(true).finish(&mut self.0))
    }

    /// Writes them as Parquet to `file`, replacing it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_parquet(&mut self, file: &Path) -> PolarsResult<()> {
        let out = File::create(file)?;
        super::apart(|| ParquetWriter::new(out).finish(&mut self.0).map(drop))
    }
}

/// The long table while it is filled, column by column.
#[derive(Default)]
struct Long {
    section: Vec<&'static str>,
    name: Vec<String>,
    measure: Vec<&'static str>,
    value: Vec<Option<f64>>,
    unit: Vec<Option<&'static str>>,
    target: Vec<Option<&'static str>>,
    source: Vec<Option<&'static str>>,
    met: Vec<Option<bool>>,
}

#[allow(clippy::cast_precision_loss)]
impl Long {
    fn row(&mut self, section: &'static str, name: &str, measure: &'static str, value: Option<f64>, unit: &'static str) {
        self.section.push(section);
        self.name.push(name.to_owned());
        self.measure.push(measure);
        self.value.push(value);
        self.unit.push(Some(unit).filter(|unit| !unit.is_empty()));
        self.target.push(None);
        self.source.push(None);
        self.met.push(None);
    }

    fn count(&mut self, section: &'static str, name: &str, measure: &'static str, count: i64) {
        self.row(section, name, measure, Some(count as f64), "");
    }

    fn delay(&mut self, section: &'static str, name: &str, delay: &Delay) {
        self.count(section, name, "count", delay.count);
        self.row(section, name, "median", delay.median_seconds, "s");
        self.row(section, name, "p90", delay.p90_seconds, "s");
    }

    fn figures(&mut self, kpis: &Kpis) {
        for figure in &kpis.figures {
            self.row("figures", figure.key, "value", figure.value, figure.unit);
            if let (Some(target), Some(source), Some(met)) = (self.target.last_mut(), self.source.last_mut(), self.met.last_mut())
            {
                *target = Some(figure.target).filter(|target| !target.is_empty());
                *source = Some(figure.source).filter(|source| !source.is_empty());
                *met = figure.met;
            }
        }
    }

    fn load(&mut self, kpis: &Kpis) {
        self.count("alarms", "all", "activations", kpis.alarms.activations);
        self.count("alarms", "all", "silenced", kpis.alarms.silenced);
        for band in &kpis.alarms.bands {
            self.count("bands", band.name, "intervals", band.intervals);
            self.row("bands", band.name, "share", Some(band.percent), "%");
        }
        for day in &kpis.alarms.days {
            let name = day.day.to_string();
            for (measure, count) in ["diagnostic", "low", "medium", "high", "critical"].into_iter().zip(day.by_priority) {
                self.count("days", &name, measure, count);
            }
            self.count("days", &name, "standing", day.standing);
        }
        for flood in &kpis.floods.list {
            let name = flood.start.to_string();
            self.count("floods", &name, "activations", flood.activations);
            self.count("floods", &name, "peak_per_10_minutes", flood.peak_per_10_minutes);
            self.row("floods", &name, "length", Some(flood.end.since(flood.start).as_secs_f64()), "s");
        }
        for share in &kpis.priorities {
            self.count("priorities", share.priority.name(), "activations", share.activations);
            self.row("priorities", share.priority.name(), "share", Some(share.share), "%");
        }
    }

    fn alarms(&mut self, kpis: &Kpis) {
        for actor in &kpis.bad_actors.list {
            self.count("bad_actors", &actor.alarm, "activations", actor.activations);
            self.row("bad_actors", &actor.alarm, "share", Some(actor.share), "%");
        }
        for alarm in &kpis.chattering {
            self.count("chattering", &alarm.alarm, "episodes", alarm.episodes);
            self.count("chattering", &alarm.alarm, "most_in_a_minute", alarm.most_in_a_minute);
        }
        for alarm in &kpis.fleeting.list {
            self.count("fleeting", &alarm.alarm, "events", alarm.events);
        }
        for alarm in &kpis.stale.list {
            let until = if alarm.until.is_null() { kpis.to } else { alarm.until };
            self.row("stale", &alarm.alarm, "active", Some(until.since(alarm.since).as_secs_f64()), "s");
        }
        self.count("standing", "all", "peak", kpis.standing.peak);
        self.count("standing", "all", "at_end", kpis.standing.at_end);
        self.row("standing", "all", "average", Some(kpis.standing.average), "");
    }

    fn response(&mut self, kpis: &Kpis) {
        self.delay("acknowledgement", "all", &kpis.acknowledgement.all);
        self.count("acknowledgement", "all", "unacknowledged", kpis.acknowledgement.unacknowledged);
        for row in &kpis.acknowledgement.by_priority {
            self.delay("acknowledgement_by_priority", row.priority.name(), &row.delay);
        }
        for row in &kpis.acknowledgement.by_person {
            self.delay("acknowledgement_by_person", &row.person, &row.delay);
        }
        self.delay("reached", "all", &kpis.reached.all);
        self.count("reached", "all", "never", kpis.reached.never);
    }

    fn people(&mut self, kpis: &Kpis) {
        for person in &kpis.people {
            let counts = [
                ("texts_sent", person.texts_sent),
                ("segments_sent", person.segments_sent),
                ("texts_received", person.texts_received),
                ("segments_received", person.segments_received),
                ("calls_sent", person.calls_sent),
                ("call_minutes_sent", person.call_minutes_sent),
                ("calls_received", person.calls_received),
                ("call_minutes_received", person.call_minutes_received),
            ];
            for (measure, count) in counts {
                self.count("people", &person.person, measure, count);
            }
        }
        for reason in &kpis.not_sent {
            self.count("not_sent", &reason.reason, "messages", reason.messages);
        }
    }

    fn finish(self) -> PolarsResult<DataFrame> {
        let mut frame = polars::df!["Section" => self.section, "Name" => self.name, "Measure" => self.measure]?;
        frame.with_column(Column::new("Value".into(), self.value))?;
        frame.with_column(Column::new("Unit".into(), self.unit))?;
        frame.with_column(Column::new("Target".into(), self.target))?;
        frame.with_column(Column::new("Source".into(), self.source))?;
        frame.with_column(Column::new("Met".into(), self.met))?;
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::{ParquetReader, SerReader};

    use super::*;

    fn users() -> Vec<UserStatistics> {
        let user = |id, username: &str| UserStatistics {
            id,
            username: username.into(),
            phone_number: "+12223334444".into(),
            messages_received: 1,
            messages_sent: 2,
            calls_received: 3,
            calls_sent: 4,
            call_minutes_received: 5,
            call_minutes_sent: 6,
        };
        vec![user(1, "alice"), user(2, "Bob, the \"2nd\"")]
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.csv");
        Rows::of_users(&users()).unwrap().write_csv(&file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let expected = "Id,Username,PhoneNumber,MessagesReceived,MessagesSent,CallsReceived,CallsSent,CallMinutesReceived,\
                        CallMinutesSent\n1,alice,+12223334444,1,2,3,4,5,6\n2,\"Bob, the \"\"2nd\"\"\",+12223334444,1,2,3,4,5,6\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn parquet_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.parquet");
        Rows::of_users(&users()).unwrap().write_parquet(&file).unwrap();
        let frame = ParquetReader::new(File::open(file).unwrap()).finish().unwrap();
        assert!(frame.equals(&users_frame(&users()).unwrap()), "{frame:?}");
        assert!(Rows::of_users(&users()).unwrap().write_csv(&folder.path().join("none/users.csv")).is_err());
    }
}
