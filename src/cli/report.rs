//! `report`: figures from the store, also while a daemon runs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    output::{OutputArgs, cell, table},
    remote::user_table,
};
use crate::{
    engine::{
        plan::Plan,
        record::{StateKind, StateRow},
    },
    report::{KnownUser, user_statistics, write_csv, write_parquet},
    store::{LedgerQuery, Store},
    tag::Timestamp,
};

/// Notification statistics from the ledger
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  annunciator report --users\n  annunciator report --users --from 2026-11-01 --to 2026-12-01 --csv november.csv\n  annunciator report --users --output json"
)]
pub struct ReportArgs {
    /// Messages and calls per user
    #[arg(long, required = true)]
    pub users: bool,
    /// Not before this date (00:00 UTC) or RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// Before this date (00:00 UTC) or RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// Writes the rows as CSV too
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Writes the rows as Parquet too
    #[arg(long, value_name = "FILE")]
    pub parquet: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// The program's answer to `report`: reads the store at `url` under `data`, takes names and numbers from `plan`.
///
/// # Errors
/// What went wrong and what to do about it.
pub async fn report(args: &ReportArgs, plan: &Plan, url: &str, data: &Path) -> Result<String, String> {
    let store = Store::open_read_only(url, data).await?;
    let state = store.load().await.map_err(|error| format!("failed to read the store: {error}"))?;
    let query = LedgerQuery { from: args.from, to: args.to };
    let ledger = store.ledger(query).await.map_err(|error| format!("failed to read the ledger: {error}"))?;
    store.close().await;
    let failed = |error| format!("failed to compute the statistics: {error}");
    let statistics = user_statistics(&ledger, &known_users(plan, &state)).map_err(failed)?;
    if let Some(file) = &args.csv {
        write_csv(&statistics.users, file).map_err(|error| format!("failed to write {}: {error}", file.display()))?;
    }
    if let Some(file) = &args.parquet {
        write_parquet(&statistics.users, file).map_err(|error| format!("failed to write {}: {error}", file.display()))?;
    }
    Ok(args.output.print(&json!(statistics), |statistics| {
        let sums = [("Users", "totals"), ("Other", "other")].map(|(title, key)| sum_row(title, &statistics[key]));
        let header = ["Sum", "Messages received", "sent", "Calls received", "sent", "Call minutes received", "sent"];
        format!("{}{}", user_table(&statistics["users"]), table(&header, sums))
    }))
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
        let run = async |line: &str| report(&args(line), &plan, url, folder.path()).await;

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
        let error = run("--users --parquet /proc/none/users.parquet").await.unwrap_err();
        assert!(error.starts_with("failed to write /proc/none/users.parquet"), "{error}");
        let error = report(&args("--users"), &plan, url, &folder.path().join("none")).await.unwrap_err();
        assert!(error.starts_with("there is no store at"), "{error}");
    }
}
