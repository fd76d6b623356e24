//! `report`: figures from the store, also while a daemon runs.

mod tables;

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{
    output::{OutputArgs, cell, table},
    remote::user_table,
};
use crate::{
    clock,
    config::StoreSettings,
    daemon::figures,
    engine::{
        plan::Plan,
        record::{StateKind, StateRow},
    },
    report::{self, KnownUser, Kpis, Rows, user_statistics},
    store::{LedgerQuery, Store},
    tag::Timestamp,
};

/// The span of a report that names none: thirty days, in hours.
const DEFAULT_HOURS: i64 = 30 * 24;

/// Alarm-management figures (ISA-18.2, EEMUA 191) and notification statistics, from what the daemon recorded
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  annunciator report                                       the last 30 days\n  annunciator report --last 24h --output json\n  annunciator report --from 2026-11-01 --to 2026-12-01 --html november.html --parquet november.parquet\n  annunciator report --users --from 2026-11-01 --csv november.csv\n\nThe store is read where it lies (--data), also while a daemon writes to it. docs/reports.md explains every figure."
)]
pub struct ReportArgs {
    /// Only messages and calls per user, as in the tag UserStatistics
    #[arg(long)]
    pub users: bool,
    /// Not before this date (00:00 UTC) or RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// Before this date (00:00 UTC) or RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// Instead of --from: the last 24h, 30d, 12w …
    #[arg(long, value_name = "SPAN", value_parser = last, conflicts_with = "from")]
    pub last: Option<jiff::SignedDuration>,
    /// Writes the figures as CSV too
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Writes the figures as Parquet too
    #[arg(long, value_name = "FILE")]
    pub parquet: Option<PathBuf>,
    /// Writes a page with charts: one file, to be printed or mailed
    #[arg(long, value_name = "FILE", conflicts_with = "users")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// The program's answer to `report`: reads the store of `settings` under `data`, takes names and numbers from `plan`.
///
/// # Errors
/// What went wrong and what to do about it.
pub async fn report(args: &ReportArgs, plan: &Plan, settings: &StoreSettings, data: &Path) -> Result<String, String> {
    let store = Store::open_read_only(settings, data).await?;
    let result = if args.users { users(args, plan, &store).await } else { alarms(args, plan, &store).await };
    store.close().await;
    result
}

async fn users(args: &ReportArgs, plan: &Plan, store: &Store) -> Result<String, String> {
    let state = store.load().await.map_err(|error| format!("failed to read the store: {error}"))?;
    let from = args.from.or_else(|| args.last.map(|last| back(args.to.unwrap_or_else(clock::now), last)));
    let query = LedgerQuery { from, to: args.to };
    let ledger = store.ledger(query).await.map_err(|error| format!("failed to read the ledger: {error}"))?;
    let failed = |error| format!("failed to compute the statistics: {error}");
    let statistics = user_statistics(&ledger, &known_users(plan, &state)).map_err(failed)?;
    write_files(args, Rows::of_users(&statistics.users).map_err(failed)?)?;
    Ok(args.output.print(&json!(statistics), |statistics| {
        let sums = [("Users", "totals"), ("Other", "other")].map(|(title, key)| sum_row(title, &statistics[key]));
        let header = ["Sum", "Messages received", "sent", "Calls received", "sent", "Call minutes received", "sent"];
        format!("{}{}", user_table(&statistics["users"]), table(&header, sums))
    }))
}

async fn alarms(args: &ReportArgs, plan: &Plan, store: &Store) -> Result<String, String> {
    let kpis = figures_of(args, store).await?;
    if let Some(file) = &args.html {
        let page = report::page(&kpis, &plan.site, clock::now()).map_err(|error| format!("failed to make the page: {error}"))?;
        std::fs::write(file, page).map_err(|error| format!("failed to write {}: {error}", file.display()))?;
    }
    write_files(args, Rows::of_kpis(&kpis).map_err(|error| format!("failed to gather the figures: {error}"))?)?;
    Ok(args.output.print(&json!(kpis), |_| tables::tables(&kpis)))
}

async fn figures_of(args: &ReportArgs, store: &Store) -> Result<Kpis, String> {
    let to = args.to.unwrap_or_else(clock::now);
    let last = args.last.unwrap_or_else(|| jiff::SignedDuration::from_hours(DEFAULT_HOURS));
    let from = args.from.unwrap_or_else(|| back(to, last));
    if from >= to {
        return Err(format!("the span is empty: --from {from} is not before --to {to}"));
    }
    // On a terminal only; a pipe sees nothing of it.
    let bar = ProgressBar::new(1000).with_message("reading");
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let progress = |done: f64| bar.set_position((done * 1000.0) as u64);
    let read = figures::read(store, from, to, progress).await;
    let (recorded, span) = read.map_err(|error| format!("failed to read the store: {error}"))?;
    bar.set_message("computing");
    let kpis = report::kpis(&recorded, &span).map_err(|error| format!("failed to compute the figures: {error}"));
    bar.finish_and_clear();
    kpis
}

fn write_files(args: &ReportArgs, mut rows: Rows) -> Result<(), String> {
    if let Some(file) = &args.csv {
        rows.write_csv(file).map_err(|error| format!("failed to write {}: {error}", file.display()))?;
    }
    if let Some(file) = &args.parquet {
        rows.write_parquet(file).map_err(|error| format!("failed to write {}: {error}", file.display()))?;
    }
    Ok(())
}

fn back(to: Timestamp, last: jiff::SignedDuration) -> Timestamp {
    to - last.unsigned_abs()
}

/// A positive span of days, hours … A day has 24 hours, a week seven of them.
fn last(text: &str) -> Result<jiff::SignedDuration, String> {
    let wrong = || "write it like 24h, 30d or 12w".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if duration.is_positive() { Ok(duration) } else { Err(wrong()) }
}

fn sum_row(title: &str, figures: &Value) -> Vec<String> {
    let keys =
        ["messages_received", "messages_sent", "calls_received", "calls_sent", "call_minutes_received", "call_minutes_sent"];
    std::iter::once(title.to_owned()).chain(keys.iter().map(|key| cell(&figures[key]))).collect()
}

/// Everybody who ever had an id: the store knows the ids, the configuration the numbers; removed users have none any more.
#[must_use]
pub fn known_users(plan: &Plan, state: &[StateRow]) -> Vec<KnownUser> {
    let ids = state.iter().filter(|row| row.kind == StateKind::User);
    let number = |name: &str| plan.users.get(name).and_then(|user| user.contacts.first());
    ids.filter_map(|row| Some((row.key.as_str(), row.value.as_i64()?)))
        .map(|(name, id)| KnownUser {
            id,
            name: name.to_owned(),
            number: number(name).map(|contact| contact.number.clone()).unwrap_or_default(),
        })
        .collect()
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.into());
    }
    let date: jiff::civil::Date = text.parse().map_err(|_| "write it like 2026-11-20 or 2026-11-20T18:00:00Z".to_owned())?;
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
    Ok(midnight.timestamp().into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;

    use super::*;
    use crate::engine::{
        plan::{Channel, Contact, Priority, Role, UserDef},
        record::{Direction, LedgerEntry, Record, Stored},
    };

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        report: ReportArgs,
    }

    fn args(line: &str) -> ReportArgs {
        Line::try_parse_from(std::iter::once("report").chain(line.split_whitespace())).unwrap().report
    }

    fn sent(sid: &str, user: Option<&str>, when: &str) -> Record {
        Record::Ledger(LedgerEntry {
            time: time(when).unwrap(),
            sid: sid.into(),
            direction: Direction::Sent,
            channel: Channel::Sms,
            user: user.map(Into::into),
            number: "+12223334444".into(),
            segments: 1,
            minutes: 0,
            row: None,
        })
    }

    fn id(name: &str, id: i64) -> Record {
        Record::State { kind: StateKind::User, key: name.into(), value: Some(Stored::of(&id)) }
    }

    #[tokio::test]
    async fn users_are_reported_from_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let url = "sqlite:annunciator.db";
        let store = Store::open(url, folder.path()).await.unwrap();
        let records = [
            id("alice", 0),
            id("left", 7),
            sent("SM1", Some("alice"), "2026-10-31T23:59:59Z"),
            sent("SM2", Some("alice"), "2026-11-01"),
            sent("SM2", Some("alice"), "2026-11-01"),
            sent("SM3", Some("left"), "2026-11-02"),
            sent("SM4", None, "2026-11-03"),
        ];
        store.commit(&records).await.unwrap();
        let contact = Contact { channel: Channel::Sms, number: "+12223334444".into(), min_priority: Priority::Diagnostic };
        let alice =
            UserDef { name: "alice".into(), id: Some(0), contacts: vec![contact], role: Role::Operator, ..UserDef::default() };
        let plan = Plan { users: [("alice".to_owned(), Arc::new(alice))].into(), ..Plan::default() };
        let run = async |line: &str| report(&args(line), &plan, &StoreSettings::default(), folder.path()).await;

        let json: Value = serde_json::from_str(&run("--users --output json").await.unwrap()).unwrap();
        assert_eq!(json["totals"]["messages_sent"], 3);
        assert_eq!(json["other"]["messages_sent"], 1);
        assert_eq!(json["users"][0]["messages_sent"], 2);
        assert_eq!((&json["users"][1]["id"], &json["users"][1]["phone_number"]), (&json!(7), &json!("")));

        let csv = folder.path().join("november.csv");
        let text = run(&format!("--users --from 2026-11-01 --csv {}", csv.display())).await.unwrap();
        assert!(text.contains("alice") && text.contains("Other"), "{text}");
        let written = std::fs::read_to_string(&csv).unwrap();
        assert_eq!(written.lines().nth(1), Some("0,alice,+12223334444,0,1,0,0,0,0"));

        let parquet = folder.path().join("november.parquet");
        run(&format!("--users --parquet {}", parquet.display())).await.unwrap();
        assert!(parquet.exists());
        assert!(Line::try_parse_from(["report", "--last", "30d", "--from", "2026-11-01"]).is_err());
        assert!(Line::try_parse_from(["report", "--last", "-1h"]).is_err());
        let error = run("--users --parquet /proc/none/users.parquet").await.unwrap_err();
        assert!(error.starts_with("failed to write /proc/none/users.parquet"), "{error}");
        let error = report(&args("--users"), &plan, &StoreSettings::default(), &folder.path().join("none")).await.unwrap_err();
        assert!(error.starts_with("there is no store at"), "{error}");
    }

    /// A journal, audit log and ledger of an hour: an alarm that was told, reached and acknowledged, one that stands since before, a
    /// silenced one, and what is not to be counted.
    fn an_hour() -> Vec<Record> {
        use crate::engine::{
            io::Via,
            record::{AuditEntry, AuditKind, JournalEntry, JournalKind, SILENCED},
        };
        let at = |minute: u64| time("2026-11-02").unwrap() + std::time::Duration::from_secs(minute * 60);
        let journal = |minute, event: u128, kind, user: &str, via, text: &str| {
            let names = ["Plant/Old/Alarms/High", "Plant/A/Alarms/High", "Plant/B/Alarms/High", "Plant/C/Alarms/High"];
            let alarm = names[usize::try_from(event).unwrap()];
            Record::Journal(JournalEntry {
                time: at(minute),
                alarm: alarm.into(),
                event: Some(uuid::Uuid::from_u128(event)),
                kind,
                priority: Priority::High,
                value: "true".into(),
                user: user.into(),
                via,
                text: text.into(),
                data: std::collections::BTreeMap::new(),
            })
        };
        let audit = |minute, kind, result: &str, events: &[u128]| {
            Record::Audit(AuditEntry {
                time: at(minute),
                kind,
                user: "anna".into(),
                via: Via::System,
                subject: "+12223334444".into(),
                text: String::new(),
                result: result.into(),
                events: events.iter().copied().map(uuid::Uuid::from_u128).collect(),
                sid: None,
            })
        };
        vec![
            journal(0, 0, JournalKind::Raised, "", None, ""),
            journal(0, 1, JournalKind::Raised, "", None, ""),
            journal(1, 1, JournalKind::Cleared, "", None, ""),
            journal(60, 1, JournalKind::Raised, "", None, ""),
            audit(61, AuditKind::MessageSent, "accepted", &[1, 3]),
            audit(61, AuditKind::MessageSent, "accepted", &[]),
            audit(62, AuditKind::MessageNotSent, "cooldown", &[1]),
            journal(63, 1, JournalKind::Reached, "anna", Some(Via::Text), ""),
            journal(63, 1, JournalKind::PipelineStep, "", None, "a step"),
            journal(64, 1, JournalKind::Acknowledged, "an\u{1f}na\n", Some(Via::OpcUa), ""),
            journal(70, 2, JournalKind::Raised, "", None, SILENCED),
            journal(80, 3, JournalKind::Raised, "", None, ""),
            journal(81, 3, JournalKind::Acknowledged, "PLC", Some(Via::Plc), ""),
            journal(120, 1, JournalKind::Cleared, "", None, ""),
        ]
    }

    #[tokio::test]
    async fn alarms_are_reported_from_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let url = "sqlite:annunciator.db";
        let store = Store::open(url, folder.path()).await.unwrap();
        let empty = report(&args("--output json"), &Plan::default(), &StoreSettings::default(), folder.path()).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&empty).unwrap()["alarms"]["activations"], 0);
        store.commit(&an_hour()).await.unwrap();
        store
            .commit(&[sent("SM1", Some("anna"), "2026-11-02T01:01:00Z"), sent("SM2", None, "2026-11-02T01:01:01Z")])
            .await
            .unwrap();
        let plan = Plan { site: "Works".into(), ..Plan::default() };
        let run = async |line: &str| report(&args(line), &plan, &StoreSettings::default(), folder.path()).await;

        let span = "--from 2026-11-02T01:00:00Z --to 2026-11-02T02:00:00Z";
        let json: Value = serde_json::from_str(&run(&format!("{span} --output json")).await.unwrap()).unwrap();
        assert_eq!((&json["alarms"]["activations"], &json["alarms"]["silenced"]), (&json!(2), &json!(1)));
        assert_eq!((&json["standing"]["at_end"], &json["standing"]["peak"]), (&json!(3), &json!(3)), "one stands since before");
        assert_eq!(json["acknowledgement"]["by_person"][0]["person"], "an na ");
        assert_eq!(json["acknowledgement"]["all"]["median_seconds"], 240.0);
        assert_eq!(json["acknowledgement"]["unacknowledged"], 1);
        assert_eq!((&json["reached"]["all"]["median_seconds"], &json["reached"]["never"]), (&json!(120.0), &json!(1)));
        assert_eq!(json["people"][0]["person"], "anna");
        assert_eq!((&json["people"][1]["person"], &json["people"][1]["segments_sent"]), (&json!(""), &json!(1)));
        assert_eq!(json["not_sent"], json!([{ "reason": "cooldown", "messages": 1 }]));

        // A span that begins before anything was recorded begins with the first record.
        let json: Value = serde_json::from_str(&run("--to 2026-11-02T02:00:00Z --output json").await.unwrap()).unwrap();
        assert_eq!(json["from"], "2026-11-02T00:00:00Z");
        assert_eq!(json["alarms"]["activations"], 4);

        let (csv, html) = (folder.path().join("hour.csv"), folder.path().join("hour.html"));
        let text = run(&format!("{span} --csv {} --html {}", csv.display(), html.display())).await.unwrap();
        for shown in ["Alarms per 10 minutes, average", "Plant/A/Alarms/High", "(no user)", "cooldown", "not met"] {
            assert!(text.contains(shown), "{shown} is missing in\n{text}");
        }
        let written = std::fs::read_to_string(&csv).unwrap();
        assert_eq!(written.lines().next(), Some("Section,Name,Measure,Value,Unit,Target,Source,Met"));
        assert!(written.contains("\nfigures,per_day,value,48.0,,\"about 150, at most 300\",ISA-18.2,true\n"), "{written}");
        assert!(written.contains("\npriorities,high,share,100.0,%,,,\n"), "{written}");
        assert!(std::fs::read_to_string(&html).unwrap().contains("Alarm report – Works"));
        let error = run("--from 2026-11-03 --to 2026-11-02").await.unwrap_err();
        assert!(error.starts_with("the span is empty"), "{error}");
        store.close().await;
    }
}
