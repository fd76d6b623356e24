//! `script`: runs a Rhai script against a running daemon. The script runs in this process; what it asks of the program goes over the
//! HTTP API, with the rights of the credentials.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Failure,
    client::{Answer, Client, Connect, Credentials},
    output::{Output, OutputArgs, harmless},
    rendered,
};
use crate::{
    config::problems::{Place, Problem, Problems, Severity, SourceText},
    engine::view::UserStatistics,
    script::{
        Program,
        program::{Ended, Given, Host, RunError, STACK, ScriptError, TagReading, Use},
    },
};

/// The longest run.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a Rhai script against a running daemon
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "The script prints to standard output; with --output json only its value is printed there.\ndocs/scripts.md lists what a script can do.\n\nExamples:\n  annunciator script config/scripts/statistics.rhai\n  annunciator script check.rhai --output json"
)]
pub(super) struct ScriptArgs {
    /// The script
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn script(args: &ScriptArgs, url: Option<&str>, who: Credentials) -> Result<String, Failure> {
    let name = args.file.display();
    let source = std::fs::read_to_string(&args.file).map_err(|error| format!("failed to read {name}: {error}"))?;
    let program = Program::compile(&source, Use::Command).map_err(|errors| {
        let mut problems = Problems::default();
        for error in errors {
            problems.push(problem(error));
        }
        shown(problems, &args.file, &source)
    })?;
    let host = Remote {
        client: Arc::new(Client::new(&args.connect, url, who)?),
        runtime: Handle::current(),
        deadline: Instant::now() + LIMIT,
        quiet: args.output.output == Output::Json,
    };
    match run(program, host).await? {
        Ok(ended) => Ok(args.output.print(&ended.value, |_| String::new())),
        Err(error) => {
            let mut problems = Problems::default();
            let span = error.span(&source).unwrap_or(0..0);
            problems.push(problem(ScriptError { message: error.message, span, help: String::new() }));
            Err(shown(problems, &args.file, &source))
        }
    }
}

async fn run(program: Program, host: Remote) -> Result<Result<Ended, RunError>, String> {
    let (sender, ended) = oneshot::channel();
    let work = move || _ = sender.send(program.run(Arc::new(host), Given::Nothing));
    let thread = thread::Builder::new().name("script".to_owned()).stack_size(STACK).spawn(work);
    thread.map_err(|error| format!("failed to start a thread: {error}"))?;
    ended.await.map_err(|_| "the script crashed".to_owned())
}

fn problem(error: ScriptError) -> Problem {
    let place = Some(Place { file: 0, span: error.span });
    Problem { severity: Severity::Error, place, message: error.message, help: error.help, second: None }
}

/// As `check` shows what is wrong with a configuration; but a script's error is no bad configuration.
fn shown(mut problems: Problems, file: &Path, source: &str) -> Failure {
    problems.files.insert(0, SourceText { name: file.display().to_string().into(), text: source.into() });
    Failure::Shown(rendered(&problems))
}

/// A daemon as a script sees it from here.
struct Remote {
    client: Arc<Client>,
    runtime: Handle,
    deadline: Instant,
    /// Standard output is for the value alone.
    quiet: bool,
}

impl Remote {
    fn ask(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: Option<Json>) -> Result<Answer, String> {
        let client = Arc::clone(&self.client);
        let segments = path.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
        let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        let (sender, answer) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // The script may have given up.
            _ = sender.send(client.answer(method, &segments, &query, body.as_ref()).await);
        });
        let left = self.deadline.saturating_duration_since(Instant::now());
        let answer = answer.recv_timeout(left).map_err(|_| too_long())??;
        if matches!(answer.status, StatusCode::UNAUTHORIZED) {
            return Err(format!("{} (set ANNUNCIATOR_USER and ANNUNCIATOR_PASSWORD, or ANNUNCIATOR_TOKEN)", answer.detail()));
        }
        Ok(answer)
    }

    /// What was found; `None` when there is nothing there.
    fn find(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Option<Json>, String> {
        let answer = self.ask(Method::GET, path, query, None)?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(answer.body)),
            _ => Err(answer.detail()),
        }
    }
}

fn too_long() -> String {
    format!("it took longer than {} s", LIMIT.as_secs())
}

impl Host for Remote {
    fn send_message(&self, number: &str, message: &str) -> Result<bool, String> {
        let body = json!({ "number": number, "message": message, "fire_and_forget": false });
        let answer = self.ask(Method::POST, &["send"], &[], Some(body))?;
        match answer.status {
            StatusCode::FORBIDDEN => Err(answer.detail()),
            status => Ok(status.is_success() && answer.body["error_status"] == false),
        }
    }

    fn user(&self, id: i64) -> Result<Option<UserStatistics>, String> {
        let found = self.find(&["users", &id.to_string()], &[])?;
        found
            .map(|user| serde_json::from_value(user).map_err(|error| format!("the daemon's answer is strange: {error}")))
            .transpose()
    }

    fn tag(&self, path: &str) -> Result<Option<TagReading>, String> {
        let segments: Vec<&str> = std::iter::once("tags").chain(path.split('/')).collect();
        Ok(self.find(&segments, &[])?.map(|tag| {
            let text = |key: &str| tag[key].as_str().unwrap_or_default().to_owned();
            let quality = text("status");
            let value = if quality.starts_with("Bad") { Json::Null } else { tag["value"].clone() };
            TagReading { value, quality, time: text("source_time") }
        }))
    }

    fn alarm(&self, path: &str) -> Result<Option<Json>, String> {
        let Some(mut list) = self.find(&["alarms"], &[("prefix", path)])? else { return Ok(None) };
        let alarms = list["alarms"].as_array_mut().map(std::mem::take).unwrap_or_default();
        Ok(alarms.into_iter().find(|alarm| alarm["path"] == path))
    }

    fn write(&self, path: &str, value: Json) -> Result<String, String> {
        let segments: Vec<&str> = std::iter::once("tags").chain(path.split('/')).collect();
        let answer = self.ask(Method::PUT, &segments, &[], Some(json!({ "value": value })))?;
        let name = |key: &str| answer.body[key].as_str().map(str::to_owned);
        match answer.status {
            status if status.is_success() => Ok(name("status").unwrap_or_else(|| "Good".to_owned())),
            StatusCode::NOT_FOUND => Ok("BadNodeIdUnknown".to_owned()),
            StatusCode::FORBIDDEN => Ok(name("status_code").unwrap_or_else(|| "BadUserAccessDenied".to_owned())),
            _ => name("status_code").ok_or_else(|| answer.detail()),
        }
    }

    fn print(&self, line: &str) {
        let line = harmless(line);
        // Nobody may be reading any more.
        _ = if self.quiet { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
    }

    fn over(&self) -> Option<String> {
        (Instant::now() >= self.deadline).then(too_long)
    }
}
