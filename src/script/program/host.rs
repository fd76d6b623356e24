//! What a script reaches outside itself, and what it is given.

use serde_json::Value as Json;

use crate::engine::view::UserStatistics;

/// The program around a script. The daemon implements it for its own scripts, the command line over the HTTP API. `Err` ends the
/// script with those words; what is merely refused is an answer.
pub trait Host: Send + Sync {
    /// Sends a text and waits, at most 10 s, for what Twilio says: true when it was accepted.
    ///
    /// # Errors
    /// When nobody can be asked to send.
    fn send_message(&self, number: &str, message: &str) -> Result<bool, String>;

    /// The user with this id; the number as the script's role may see it.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn user(&self, id: i64) -> Result<Option<UserStatistics>, String>;

    /// The tag at `path`; `None` when there is none.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn tag(&self, path: &str) -> Result<Option<TagReading>, String>;

    /// The alarm at `path`, in the form of the HTTP API; `None` when there is none.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn alarm(&self, path: &str) -> Result<Option<Json>, String>;

    /// Writes a tag through the one write path; the name of the StatusCode that came back.
    ///
    /// # Errors
    /// When nobody can be asked to write.
    fn write(&self, path: &str, value: Json) -> Result<String, String>;

    /// A line that the script prints; bounded in length and number already.
    fn print(&self, line: &str);

    /// Why the script must end now, if it must: its time is over, or the program stops. Asked often.
    fn over(&self) -> Option<String>;
}

/// A tag as scripts see it.
#[derive(Clone, Debug, PartialEq)]
pub struct TagReading {
    /// Null when the quality is Bad.
    pub value: Json,
    /// The name of the StatusCode.
    pub quality: String,
    /// ISO 8601, UTC.
    pub time: String,
}

/// Where a script runs, which says what stands in its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A step of a pipeline.
    Pipeline,
    /// A voice profile.
    Voice,
    /// `annunciator script`.
    Command,
}

impl Use {
    /// The names in scope beside `system`.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Pipeline => &["alarm"],
            Self::Voice => &["callAction", "params", "response"],
            Self::Command => &[],
        }
    }
}

/// What a script is given for one run.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// `alarm`: the alarm that the pipeline is about, in the form of the HTTP API; null when it is gone.
    Alarm(Json),
    /// `callAction`, `params` and `response`.
    Call {
        /// The webhook's action.
        action: String,
        /// The webhook's parameters; of a repeated one the first counts.
        params: Vec<(String, String)>,
        /// The TwiML that the default handling gives.
        response: String,
    },
    /// Nothing.
    Nothing,
}

/// What became of a script that ended well.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The value of its last expression; null for what JSON does not know.
    pub value: Json,
    /// What `response` then was, for a voice script.
    pub response: Option<String>,
}
