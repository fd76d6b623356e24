//! `tags`, `alarms`, `ack`, `shelve`, `users`, `reload`: asking a running daemon.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    client::{Client, Connect, Credentials},
    output::{OutputArgs, Tone, cell, harmless, local_time, table_of},
};

mod watch;

/// Entries asked for at once.
const PAGE: usize = 5000;
/// The parameter that takes `next` of the page before.
const NEXT: &str = "cursor";

/// The commands that ask a running daemon.
#[derive(clap::Subcommand)]
pub(super) enum RemoteCommand {
    Tags(TagsArgs),
    Alarms(AlarmsArgs),
    Ack(AckArgs),
    Shelve(ShelveArgs),
    Drill(DrillArgs),
    Users(UsersArgs),
    Reload(ReloadArgs),
}

// No docstring: clap would show it instead of the commands' own.
#[derive(clap::Args, Clone)]
struct Ask {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connect: Connect,
}

/// Lists tags with their present values
#[derive(clap::Args, Clone)]
#[command(
    after_help = "Examples:\n  annunciator tags\n  annunciator tags Plant/Line1 --output json\n  annunciator tags Plant/Line1 --watch\n  annunciator tags --limit 20"
)]
pub(super) struct TagsArgs {
    /// Only paths that begin so
    #[arg(default_value = "")]
    prefix: String,
    /// At most this many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Shows them again whenever a value changes (the first 1000); with --output json, a line of JSON each time
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    ask: Ask,
}

/// Lists alarms with their present states
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  annunciator alarms --state active\n  annunciator alarms Plant/Line1 --priority high\n  annunciator alarms --state active --watch\n  annunciator alarms --state shelved,out_of_service --output json"
)]
pub(super) struct AlarmsArgs {
    /// Only paths that begin so
    #[arg(default_value = "")]
    prefix: String,
    /// Only these states: active, unacked, shelved, suppressed, out_of_service, ActiveUnacked, ActiveAcked, ClearUnacked, ClearAcked
    #[arg(long, value_name = "STATE,…")]
    state: Option<String>,
    /// Only this priority and above: diagnostic, low, medium, high, critical
    #[arg(long)]
    priority: Option<String>,
    /// Shows them again whenever one changes; with --output json, a line of JSON each time
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    ask: Ask,
}

/// Acknowledges an alarm, or just one alarm event
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  annunciator ack Plant/Line1/TankLevel/Alarms/HighHigh --note \"feed stopped\"\n  annunciator ack 0198b0f0-4c1e-7a53-9d0e-6a3c8a1f2b11"
)]
pub(super) struct AckArgs {
    /// Path of the alarm (`<tag path>/Alarms/<name>`), or the UUID of an alarm event
    #[arg(value_name = "ALARM|EVENT")]
    subject: String,
    /// For the journal
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    ask: Ask,
}

/// Starts a drill: people are told by the pipeline of [drill], and somebody must acknowledge in time
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  annunciator drill")]
pub(super) struct DrillArgs {
    #[command(flatten)]
    ask: Ask,
}

/// Silences an alarm for a limited time
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  annunciator shelve Plant/Line1/TankLevel/Alarms/HighHigh --for 30m --note \"cleaning\"\n  annunciator shelve Plant/Line1/TankLevel/Alarms/HighHigh --one-shot\n  annunciator shelve Plant/Line1/TankLevel/Alarms/HighHigh --end"
)]
pub(super) struct ShelveArgs {
    /// Path of the alarm (`<tag path>/Alarms/<name>`)
    alarm: String,
    /// How long, such as 90s, 30m, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = minutes, default_value = "15m", conflicts_with_all = ["one_shot", "end"])]
    minutes: f64,
    /// Until the alarm clears
    #[arg(long, conflicts_with = "end")]
    one_shot: bool,
    /// Ends the silence now
    #[arg(long)]
    end: bool,
    /// For the journal
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    ask: Ask,
}

/// Lists users with their messages and calls
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  annunciator users\n  annunciator users --output json")]
pub(super) struct UsersArgs {
    #[command(flatten)]
    ask: Ask,
}

/// Makes the daemon read its configuration and tags again
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  annunciator reload\n  annunciator check && annunciator reload")]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    ask: Ask,
}

impl RemoteCommand {
    /// What standard output shall show. `default_url` is where the configuration puts the console.
    ///
    /// # Errors
    /// What went wrong and what to do about it; every problem of the configuration when a reload was refused.
    pub async fn run(&self, default_url: Option<&str>, who: Credentials) -> Result<String, String> {
        let Ask { output, connect } = match self {
            Self::Tags(TagsArgs { ask, .. })
            | Self::Alarms(AlarmsArgs { ask, .. })
            | Self::Ack(AckArgs { ask, .. })
            | Self::Shelve(ShelveArgs { ask, .. })
            | Self::Drill(DrillArgs { ask })
            | Self::Users(UsersArgs { ask })
            | Self::Reload(ReloadArgs { ask }) => ask,
        };
        let client = Client::new(connect, default_url, who)?;
        let done = |answer: Value| output.print(&answer, |answer| format!("{}\n", harmless(&cell(&answer["message"]))));
        match self {
            Self::Tags(args) if args.watch => watch::tags(&client, args, *output).await,
            Self::Alarms(args) if args.watch => watch::alarms(&client, args, *output).await,
            Self::Tags(args) => Ok(output.print(&args.list(&client).await?, tag_table)),
            Self::Alarms(args) => Ok(output.print(&args.list(&client).await?, alarm_table)),
            Self::Ack(args) => client.post("alarms/ack", &args.body()).await.map(done),
            Self::Shelve(args) => client.post("alarms/shelve", &args.body()).await.map(done),
            Self::Drill(_) => client.post("drill", &json!({})).await.map(done),
            Self::Users(_) => Ok(output.print(&client.get("users", &[]).await?, |list| user_table(&list["users"]))),
            Self::Reload(_) => client.post("reload", &Value::Null).await.map(done),
        }
    }
}

impl TagsArgs {
    async fn list(&self, client: &Client) -> Result<Value, String> {
        pages(client, "tags", vec![("prefix", self.prefix.clone())], self.limit.unwrap_or(usize::MAX)).await
    }
}

impl AlarmsArgs {
    async fn list(&self, client: &Client) -> Result<Value, String> {
        let mut query = vec![("prefix", self.prefix.clone())];
        query.extend(self.state.clone().map(|state| ("state", state)));
        query.extend(self.priority.clone().map(|priority| ("priority", priority)));
        pages(client, "alarms", query, usize::MAX).await
    }
}

impl AckArgs {
    fn body(&self) -> Value {
        let key = if Uuid::parse_str(&self.subject).is_ok() { "event" } else { "alarm" };
        json!({ key: self.subject, "note": self.note })
    }
}

impl ShelveArgs {
    fn body(&self) -> Value {
        let mut body = json!({ "alarm": self.alarm, "note": self.note });
        if self.one_shot {
            body["one_shot"] = true.into();
        } else {
            body["minutes"] = if self.end { 0.0 } else { self.minutes }.into();
        }
        body
    }
}

/// A list of the API, page by page, up to `limit` entries.
async fn pages(client: &Client, list: &str, query: Vec<(&str, String)>, limit: usize) -> Result<Value, String> {
    let mut entries: Vec<Value> = Vec::new();
    let mut next = None;
    while entries.len() < limit {
        let mut query = query.clone();
        query.push(("limit", PAGE.min(limit - entries.len()).to_string()));
        query.extend(next.take().map(|next| (NEXT, next)));
        let mut page = client.get(list, &query).await?;
        if let Some(found) = page[list].as_array_mut() {
            entries.append(found);
        }
        match page["next"].as_str() {
            Some(place) => next = Some(place.to_owned()),
            None => break,
        }
    }
    Ok(json!({ list: entries }))
}

fn tag_table(list: &Value) -> String {
    let rows = rows(&list["tags"], |tag| {
        let value = format!("{} {}", cell(&tag["value"]), cell(&tag["unit"]));
        let row = vec![cell(&tag["path"]), value.trim_end().to_owned(), cell(&tag["status"]), local_time(&tag["source_time"])];
        (row, cell(&tag["status"]).starts_with("Bad").then_some(Tone::Faint))
    });
    table_of(&["Tag", "Value", "Quality", "Source time"], rows)
}

fn alarm_table(list: &Value) -> String {
    let rows = rows(&list["alarms"], |alarm| {
        let row = vec![
            cell(&alarm["path"]),
            cell(&alarm["priority"]),
            alarm_state(alarm),
            local_time(&alarm["active_time"]),
            cell(&alarm["value"]),
            cell(&alarm["message"]),
            cell(&alarm["notification"]),
        ];
        (row, tone(alarm))
    });
    table_of(&["Alarm", "Priority", "State", "Active since", "Value", "Message", "Notification"], rows)
}

/// Beside the word, never instead of it: who sees no colours sees the state all the same.
fn tone(alarm: &Value) -> Option<Tone> {
    let silent = !alarm["shelved_until"].is_null() || alarm["suppressed"] == true || alarm["out_of_service"] == true;
    match alarm["state"].as_str() {
        _ if silent => Some(Tone::Faint),
        Some("ActiveUnacked") => Some(Tone::Alarm),
        Some("ActiveAcked") => Some(Tone::Seen),
        Some("ClearUnacked") => Some(Tone::Over),
        _ => None,
    }
}

/// A table of `UserStatistics` rows.
pub(super) fn user_table(users: &Value) -> String {
    const COLUMNS: [(&str, &str); 9] = [
        ("Id", "id"),
        ("User", "username"),
        ("Phone", "phone_number"),
        ("Messages received", "messages_received"),
        ("Messages sent", "messages_sent"),
        ("Calls received", "calls_received"),
        ("Calls sent", "calls_sent"),
        ("Call minutes received", "call_minutes_received"),
        ("Call minutes sent", "call_minutes_sent"),
    ];
    table_of(&COLUMNS.map(|(title, _)| title), rows(users, |user| (COLUMNS.map(|(_, key)| cell(&user[key])).to_vec(), None)))
}

fn rows(list: &Value, row: impl Fn(&Value) -> (Vec<String>, Option<Tone>)) -> Vec<(Vec<String>, Option<Tone>)> {
    list.as_array().into_iter().flatten().map(row).collect()
}

fn alarm_state(alarm: &Value) -> String {
    let mut words = vec![cell(&alarm["state"])];
    if alarm["latched"] == true {
        words.push("latched".into());
    }
    if !alarm["shelved_until"].is_null() {
        words.push(format!("shelved until {}", local_time(&alarm["shelved_until"])));
    }
    for (key, word) in [("suppressed", "suppressed"), ("out_of_service", "out of service"), ("chattering", "chattering")] {
        if alarm[key] == true {
            words.push(word.into());
        }
    }
    let by = cell(&alarm["ack_user"]);
    if alarm["state"] == "ActiveAcked" && !by.is_empty() {
        words.push(format!("by {by}"));
    }
    words.join(", ")
}

fn minutes(text: &str) -> Result<f64, String> {
    let wanted = || format!("{text:?} is no duration: write it like 90s, 30m or 2h");
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wanted())?;
    let minutes = duration.as_secs_f64() / 60.0;
    if minutes > 0.0 { Ok(minutes) } else { Err(format!("{text:?} is not above zero: --end ends the silence")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::*;
    use crate::{
        engine::io::Command,
        serve::{api::tests::Bench, http},
        tag::{Sample, StatusCode, TagId, Timestamp},
    };

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: RemoteCommand,
    }

    /// A daemon's console over a gateway that answers by rule.
    struct Daemon {
        bench: Bench,
        url: String,
        _stop: DropGuard,
    }

    async fn daemon() -> Daemon {
        let bench = Bench::new().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        tokio::spawn(http::serve(listener, bench.router.clone(), http::Limits::default(), None, stop.clone()));
        Daemon { bench, url, _stop: stop.drop_guard() }
    }

    fn user(name: &str) -> Credentials {
        Credentials::User { name: name.into(), password: "secret".into() }
    }

    async fn run(line: &str, url: Option<&str>, who: Credentials) -> Result<String, String> {
        let words = std::iter::once("annunciator").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.command.run(url, who).await
    }

    #[tokio::test]
    async fn lists_are_tables_for_people_and_json_for_programs() {
        let daemon = daemon().await;
        let url = Some(daemon.url.as_str());
        let sample = Sample {
            tag: TagId(0),
            value: crate::tag::Value::string("\u{1b}[2Jx"),
            status: StatusCode::GOOD,
            source_time: Timestamp::NULL,
        };
        daemon.bench.plant.table.write(&[sample]);
        let text = run("tags", url, user("viewer")).await.unwrap();
        assert!(text.contains("Pump/Speed") && text.contains("BadWaitingForInitialData"), "{text}");
        assert!(text.contains("\u{FFFD}[2Jx") && !text.contains('\u{1b}'), "{text}");
        let json: Value =
            serde_json::from_str(&run("tags Tank --limit 1 --output json", url, user("viewer")).await.unwrap()).unwrap();
        assert_eq!(json["tags"].as_array().map(Vec::len), Some(1));
        assert_eq!(json["tags"][0]["path"], "Tank/A B/Ü");

        let text = run("alarms --state out_of_service", url, user("viewer")).await.unwrap();
        assert!(text.contains("ActiveUnacked, out of service") && !text.contains("Tank/Alarms/High"), "{text}");
        let text = run("users", url, Credentials::Token("scada:secret".into())).await.unwrap();
        assert!(text.contains("alice") && text.contains("+1•••4444") && text.contains("Messages sent"), "{text}");
    }

    #[tokio::test]
    async fn commands_say_what_they_did() {
        let daemon = daemon().await;
        let url = Some(daemon.url.as_str());
        let ask = async |line: &str| run(line, url, user("operator")).await.unwrap();
        assert_eq!(ask("ack Tank/Alarms/High --note seen").await, "done\n");
        assert_eq!(ask("ack 00000000-0000-0000-0000-000000000000").await, "done\n");
        assert_eq!(ask("shelve Tank/Alarms/High --for 90s").await, "done\n");
        assert_eq!(ask("shelve Tank/Alarms/High").await, "done\n");
        assert_eq!(ask("shelve Tank/Alarms/High --end").await, "done\n");
        assert_eq!(
            ask("shelve Tank/Alarms/High --one-shot --output json").await,
            "{\n  \"message\": \"done\",\n  \"status\": \"Good\"\n}\n"
        );
        let alarm: Arc<str> = "Tank/Alarms/High".into();
        let shelve = |minutes| Command::Shelve { alarm: alarm.clone(), minutes, note: String::new() };
        let expected = [
            Command::Acknowledge { alarm: alarm.clone(), note: "seen".into() },
            Command::AcknowledgeEvent { alarm: None, event: Uuid::nil(), note: String::new() },
            shelve(1.5),
            shelve(15.0),
            shelve(0.0),
            Command::ShelveOneShot { alarm: alarm.clone(), note: String::new() },
        ];
        let asked: Vec<_> = daemon.bench.plant.asked.lock().unwrap().iter().map(|(_, command)| command.clone()).collect();
        assert_eq!(asked, expected);
    }

    #[tokio::test]
    async fn failures_say_what_to_do() {
        let daemon = daemon().await;
        let url = Some(daemon.url.as_str());
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        for (line, url, who, expected) in [
            ("tags", None, user("viewer"), "give its address with --url"),
            ("tags --url ftp://x", url, user("viewer"), "it must be like http://127.0.0.1:8089"),
            ("tags", Some(nobody.as_str()), user("viewer"), "is `annunciator run` up"),
            ("tags", url, Credentials::None, "set ANNUNCIATOR_USER and ANNUNCIATOR_PASSWORD, or ANNUNCIATOR_TOKEN"),
            ("tags", url, user("nobody"), "user name or password is wrong"),
            ("ack Tank/Alarms/High", url, user("viewer"), "this needs role operator, \"viewer\" has role viewer"),
            ("ack none", url, user("operator"), "there is no alarm of that path"),
            ("alarms --state x", url, user("viewer"), "unknown variant `x`, expected one of `ClearAcked`"),
            ("reload", url, user("engineer"), "error: unknown roster `operatrs`"),
            ("shelve x --for 0m", url, user("operator"), "is not above zero"),
            ("shelve x --for soon", url, user("operator"), "is no duration"),
            ("shelve x --end --one-shot", url, user("operator"), "cannot be used with"),
        ] {
            let error = run(line, url, who).await.unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
