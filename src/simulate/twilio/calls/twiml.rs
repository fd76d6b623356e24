//! TwiML for voice (Twilio, "TwiML for Programmable Voice"): from a document's text to its verbs, with the numbers of Twilio's
//! debugger for what is wrong with it.
//!
//! Verbs that are not here, and attributes that no verb has, are left out with a warning, as Twilio does.

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesStart, Event},
};

/// Elements in a document, and how deep they may stand.
const MAX_ELEMENTS: usize = 1000;
const MAX_DEPTH: usize = 16;
/// Longest pause or timeout, s.
const MAX_SECONDS: u32 = 600;

/// What Twilio's debugger shows: number and words.
pub(super) type Problem = (u32, String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// How often, 0 for ever.
    Say {
        text: String,
        times: u32,
    },
    /// Seconds.
    Pause(u32),
    Gather(Gather),
    Redirect(Target),
    Hangup,
    /// Ends the call as well; only an inbound call can be rejected before it is answered.
    Reject,
}

/// Where a verb goes on; `None` is the document itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: Option<String>,
    pub(super) by_get: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gather {
    pub(super) action: Target,
    pub(super) keys: Option<usize>,
    pub(super) finish: Option<char>,
    /// Seconds.
    pub(super) timeout: u32,
    pub(super) on_empty: bool,
    /// Speech and pauses.
    pub(super) prompt: Vec<Verb>,
}

/// Reads a document: its verbs and the warnings about it.
pub(super) fn read(text: &str) -> Result<(Vec<Verb>, Vec<Problem>), Problem> {
    let root = tree(text)?;
    if root.name != "Response" {
        return Err((12102, format!("the root element is {}, not Response", root.name)));
    }
    let mut warnings = Vec::new();
    let verbs = root.children.iter().filter_map(|element| verb(element, &mut warnings)).collect();
    Ok((verbs, warnings))
}

fn verb(element: &Element, warnings: &mut Vec<Problem>) -> Option<Verb> {
    let known: &[&str] = match element.name.as_str() {
        "Say" => &["voice", "language", "loop"],
        "Pause" => &["length"],
        "Gather" => &[
            "action",
            "method",
            "input",
            "numDigits",
            "finishOnKey",
            "timeout",
            "actionOnEmptyResult",
            "language",
            "hints",
            "speechTimeout",
            "speechModel",
            "enhanced",
            "profanityFilter",
            "bargeIn",
            "partialResultCallback",
            "partialResultCallbackMethod",
            "maxSpeechTime",
            "dtmfDetection",
            "debug",
        ],
        "Redirect" => &["method"],
        "Reject" => &["reason"],
        _ => &[],
    };
    for (key, _) in element.attributes.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        warnings.push((12200, format!("{} has no attribute {key}", element.name)));
    }
    let target = |url: Option<&str>| Target {
        url: url.filter(|url| !url.is_empty()).map(str::to_owned),
        by_get: element.attribute("method").is_some_and(|method| method.eq_ignore_ascii_case("GET")),
    };
    let number = |key, default: u32| element.attribute(key).and_then(|text| text.parse().ok()).unwrap_or(default);
    match element.name.as_str() {
        "Say" => Some(Verb::Say { text: element.words(), times: number("loop", 1) }),
        "Pause" => Some(Verb::Pause(number("length", 1).min(MAX_SECONDS))),
        "Gather" => {
            let prompt = element.children.iter().filter(|child| matches!(child.name.as_str(), "Say" | "Pause"));
            let prompt: Vec<Verb> = prompt.filter_map(|child| verb(child, warnings)).collect();
            if prompt.len() < element.children.len() {
                warnings.push((12200, "only Say and Pause are understood in Gather".into()));
            }
            Some(Verb::Gather(Gather {
                action: target(element.attribute("action")),
                keys: element.attribute("numDigits").and_then(|text| text.parse().ok()).filter(|keys| *keys > 0),
                finish: element.attribute("finishOnKey").map_or(Some('#'), |key| key.chars().next()),
                timeout: number("timeout", 5).min(MAX_SECONDS),
                on_empty: element.attribute("actionOnEmptyResult") == Some("true"),
                prompt,
            }))
        }
        "Redirect" => Some(Verb::Redirect(target(Some(&element.words())))),
        "Hangup" => Some(Verb::Hangup),
        "Reject" => Some(Verb::Reject),
        other => {
            warnings.push((12200, format!("the verb {other} is not understood")));
            None
        }
    }
}

#[derive(Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    /// Its own and its children's.
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn open(tag: &BytesStart) -> Result<Self, String> {
        let mut element = Self { name: tag.name().as_ref().to_owned(), ..Self::default() };
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
            element.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        Ok(element)
    }

    fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Its text with single spaces.
    fn words(&self) -> String {
        self.text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn tree(text: &str) -> Result<Element, Problem> {
    let broken = |why: &dyn std::fmt::Display| (12100, format!("document parse failure: {why}"));
    let mut reader = Reader::from_str(text);
    // The first holds the document: its root and what stands around it.
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        let mut close = false;
        match reader.read_event().map_err(|error| broken(&error))? {
            Event::Start(tag) => open.push(Element::open(&tag).map_err(|error| broken(&error))?),
            Event::Empty(tag) => {
                open.push(Element::open(&tag).map_err(|error| broken(&error))?);
                close = true;
            }
            Event::End(_) => close = true,
            Event::Text(text) => add_text(&mut open, &text.xml10_content()),
            Event::CData(text) => add_text(&mut open, &text.xml10_content()),
            Event::GeneralRef(reference) => {
                let letter = reference.resolve_char_ref().map_err(|error| broken(&error))?;
                let name = reference.into_inner();
                match (letter, resolve_predefined_entity(&name)) {
                    (Some(letter), _) => add_text(&mut open, letter.encode_utf8(&mut [0; 4])),
                    (None, Some(text)) => add_text(&mut open, text),
                    (None, None) => return Err(broken(&format!("unknown entity &{name};"))),
                }
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
        elements += usize::from(close);
        if open.len() > MAX_DEPTH || elements > MAX_ELEMENTS {
            return Err(broken(&"too many elements"));
        }
        if close
            && let Some(element) = open.pop()
            && let Some(parent) = open.last_mut()
        {
            parent.text.push_str(&element.text);
            parent.children.push(element);
        }
    }
    match open.as_mut_slice() {
        [document] if document.children.len() == 1 && document.text.trim() == document.children[0].text.trim() => {
            Ok(document.children.remove(0))
        }
        _ => Err(broken(&"it is not one element")),
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document, its verbs or the error, and the warnings.
    type Row = (&'static str, Result<Vec<Verb>, u32>, Vec<u32>);

    #[test]
    fn documents_as_twilio_reads_them() {
        let say = |text: &str| Verb::Say { text: text.into(), times: 1 };
        let here = Target { url: None, by_get: false };
        let there = Target { url: Some("/a?b=1&c=2".into()), by_get: false };
        let gather = |action: &Target, prompt| Gather {
            action: action.clone(),
            keys: None,
            finish: Some('#'),
            timeout: 5,
            on_empty: false,
            prompt,
        };
        let full = Gather {
            keys: Some(4),
            finish: None,
            timeout: 10,
            on_empty: true,
            action: Target { by_get: true, ..there.clone() },
            prompt: vec![],
        };
        let rows: Vec<Row> = vec![
            ("<?xml version=\"1.0\"?><Response/>", Ok(vec![]), vec![]),
            (
                "<Response><Say>Tank &lt;1&gt; &#176;\n  <![CDATA[& on]]></Say></Response>",
                Ok(vec![say("Tank <1> ° & on")]),
                vec![],
            ),
            ("<Response><Say>a <break/><emphasis>b</emphasis></Say></Response>", Ok(vec![say("a b")]), vec![]),
            (
                "<Response><Pause/><Pause length=\"3\"/><Hangup/></Response>",
                Ok(vec![Verb::Pause(1), Verb::Pause(3), Verb::Hangup]),
                vec![],
            ),
            (
                "<Response><Gather><Say>PIN</Say></Gather></Response>",
                Ok(vec![Verb::Gather(gather(&here, vec![say("PIN")]))]),
                vec![],
            ),
            (
                "<Response><Gather action=\"/a?b=1&amp;c=2\" method=\"GET\" numDigits=\"4\" finishOnKey=\"\" timeout=\"10\" \
                 actionOnEmptyResult=\"true\"/></Response>",
                Ok(vec![Verb::Gather(full)]),
                vec![],
            ),
            ("<Response><Redirect> /a?b=1&amp;c=2 </Redirect></Response>", Ok(vec![Verb::Redirect(there)]), vec![]),
            ("<Response><Reject reason=\"busy\"/></Response>", Ok(vec![Verb::Reject]), vec![]),
            ("<Response><say>a</say><Say Voice=\"man\">b</Say></Response>", Ok(vec![say("b")]), vec![12200, 12200]),
            ("<response/>", Err(12102), vec![]),
            ("<Response><Say>a</Response>", Err(12100), vec![]),
            ("<Response>", Err(12100), vec![]),
            ("hello", Err(12100), vec![]),
            ("", Err(12100), vec![]),
            ("<Response/>x", Err(12100), vec![]),
            ("<Response><Say>&unknown;</Say></Response>", Err(12100), vec![]),
        ];
        for (text, expected, warned) in rows {
            match read(text) {
                Ok((verbs, warnings)) => {
                    assert_eq!(Ok(verbs), expected, "{text}");
                    assert_eq!(warnings.iter().map(|(code, _)| *code).collect::<Vec<_>>(), warned, "{text}");
                }
                Err((code, message)) => assert_eq!(expected, Err(code), "{text}: {message}"),
            }
        }
        let deep = format!("<Response>{}", "<Say>".repeat(MAX_DEPTH));
        assert_eq!(read(&deep).unwrap_err().0, 12100);
    }
}
