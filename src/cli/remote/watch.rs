//! `--watch`: the same list again whenever it changes, until somebody interrupts. A connection that is lost is made again.

use std::{io::Write as _, time::Duration};

use console::Term;
use serde_json::Value;

use super::{AlarmsArgs, TagsArgs, alarm_table, tag_table};
use crate::cli::{
    client::{Client, Events},
    output::{Output, OutputArgs},
};

/// Between two tries to reach the daemon again.
const AGAIN: Duration = Duration::from_secs(2);
/// Changes within this time are shown at once.
const TOGETHER: Duration = Duration::from_millis(200);
/// Tags of one stream, see `serve::api::stream`.
const MAX_TAGS: usize = 1000;

/// Alarms, until interrupted.
///
/// # Errors
/// When the first list cannot be had.
pub(super) async fn alarms(client: &Client, args: &AlarmsArgs, output: OutputArgs) -> Result<String, String> {
    let events = client.events("alarms", &[]).await?;
    follow(client, output, events, "alarms", &[], alarm_table, async || args.list(client).await).await
}

/// Tags, until interrupted.
///
/// # Errors
/// When the first list cannot be had.
pub(super) async fn tags(client: &Client, args: &TagsArgs, output: OutputArgs) -> Result<String, String> {
    let limited =
        TagsArgs { prefix: args.prefix.clone(), limit: Some(args.limit.unwrap_or(MAX_TAGS).min(MAX_TAGS)), ..args.clone() };
    let list = limited.list(client).await?;
    let paths: Vec<String> =
        list["tags"].as_array().into_iter().flatten().filter_map(|tag| tag["path"].as_str()).map(str::to_owned).collect();
    if paths.is_empty() {
        return Err(format!("there is no tag whose path begins with {:?}", args.prefix));
    }
    let events = client.events("tags", &paths).await?;
    follow(client, output, events, "tags", &paths, tag_table, async || limited.list(client).await).await
}

async fn follow(
    client: &Client,
    output: OutputArgs,
    mut events: Events,
    topic: &str,
    tags: &[String],
    table: impl Fn(&Value) -> String,
    list: impl AsyncFn() -> Result<Value, String>,
) -> Result<String, String> {
    // The stream was opened first, so that nothing happens between the list and it.
    show(output, &list().await?, &table)?;
    loop {
        let lost = match changed(&mut events, topic).await {
            Ok(()) => match list().await {
                Ok(list) => {
                    show(output, &list, &table)?;
                    continue;
                }
                Err(lost) => lost,
            },
            Err(lost) => lost,
        };
        eprintln!("annunciator: {lost}; trying again");
        events = loop {
            tokio::time::sleep(AGAIN).await;
            if let (Ok(events), Ok(list)) = (client.events(topic, tags).await, list().await) {
                show(output, &list, &table)?;
                break events;
            }
        };
    }
}

/// Resolves when the list is no longer what was shown. What follows at once belongs to it.
async fn changed(events: &mut Events, topic: &str) -> Result<(), String> {
    loop {
        let (name, _) = events.next().await?;
        if name == "logout" {
            return Err("the daemon ended the session".to_owned());
        }
        if name == topic || name == "reload" {
            break;
        }
    }
    let rest = async { while events.next().await.is_ok() {} };
    _ = tokio::time::timeout(TOGETHER, rest).await;
    Ok(())
}

/// On a terminal in the place of what was shown before; elsewhere after it. As JSON a line each time.
fn show(output: OutputArgs, list: &Value, table: impl Fn(&Value) -> String) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let written = match output.output {
        Output::Json => writeln!(out, "{list}"),
        Output::Text => {
            let terminal = Term::stdout();
            if terminal.is_term() {
                // A terminal that cannot be cleared shows one list after the other.
                _ = terminal.clear_screen();
            }
            writeln!(out, "{}\n{}", crate::cli::output::local_time(&crate::clock::now().to_string().into()), table(list))
        }
    };
    written.and_then(|()| out.flush()).map_err(|error| format!("failed to write: {error}"))
}
