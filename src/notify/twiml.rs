//! TwiML for calls (Twilio, "TwiML for Programmable Voice"): from a document of the engine to the XML that Twilio executes.
//!
//! **Every text is escaped by the XML library and cleared of control characters**: an alarm's message may hold anything.
//! Deliberately absent: what is said (the engine's), recordings, speech input, SSML.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use quick_xml::{Writer, events::BytesText};

use crate::engine::io::{CallAction, CallDocument, Verb};

/// Longest TwiML in a request to the API, characters (Twilio, "Create a Call": Twiml).
pub const MAX_INLINE: usize = 4000;
/// Longest TwiML in an answer, characters: also of four bytes each they stay below Twilio's 64 kB (error 11750).
pub const MAX_ANSWER: usize = 16_000;
/// Longest text of one `Say`, characters (Twilio: 3,000 for Polly voices, which allow least); a longer one is spoken by several.
pub const MAX_SAY: usize = 3000;
/// Longest text of one `Say` once it is URL-encoded, bytes (Twilio, error 13521).
pub const MAX_SAY_ENCODED: usize = 4500;
/// Longest pause or wait for a key, s.
const MAX_WAIT: u64 = 120;
/// What a webhook's URL asks of Twilio: three further attempts after 5xx and timeouts (Twilio, "Webhooks: connection
/// overrides"). A fragment is never sent, and no part of what is signed.
pub const CALLBACK_RULES: &str = "#rc=3&rp=5xx,ct,rt";

/// What a caller hears when nothing can be stored.
pub const NOT_RECORDED: &str = "This cannot be recorded now. Nothing was acknowledged. Please try again in a minute, or acknowledge \
                                in another way. Goodbye.";

/// Where Twilio asks what to do next, or reports; `turn` is that of the document that asks.
#[must_use]
pub fn webhook(external_url: &str, action: CallAction, id: &str, turn: Option<u32>) -> String {
    let turn = turn.map_or_else(String::new, |turn| format!("?turn={turn}"));
    format!("{external_url}/main/system/twilio-voice/{}/{id}{turn}{CALLBACK_RULES}", action.name())
}

/// The document as TwiML of at most `most` characters; when it is longer, its texts are cut, the longest first. What is asked
/// goes to the webhooks under `external_url`; without one it is only said.
#[must_use]
pub fn render(document: &CallDocument, external_url: Option<&str>, most: usize) -> String {
    let renderer = Renderer { document, external_url };
    let whole = renderer.xml(usize::MAX);
    if whole.chars().count() <= most {
        return whole;
    }
    // The longest cut that fits, by halving: `fits` always does as far as texts can help, `too_long` never.
    let (mut fits, mut too_long) = (0, most);
    while too_long - fits > 1 {
        let middle = fits.midpoint(too_long);
        if renderer.xml(middle).chars().count() <= most {
            fits = middle;
        } else {
            too_long = middle;
        }
    }
    renderer.xml(fits)
}

struct Renderer<'a> {
    document: &'a CallDocument,
    external_url: Option<&'a str>,
}

impl Renderer<'_> {
    /// With each text cut to `longest` characters.
    fn xml(&self, longest: usize) -> String {
        let mut writer = Writer::new(Vec::new());
        self.response(&mut writer, longest).expect("a vector takes what is written");
        String::from_utf8(writer.into_inner()).expect("only texts were written")
    }

    fn response(&self, writer: &mut Writer<Vec<u8>>, longest: usize) -> io::Result<()> {
        writer.get_mut().write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        let verbs = &self.document.verbs;
        if verbs.is_empty() {
            writer.create_element("Response").write_empty()?;
            return Ok(());
        }
        writer.create_element("Response").write_inner_content(|writer| {
            for (place, verb) in verbs.iter().enumerate() {
                self.verb(writer, verb, place + 1 == verbs.len(), longest)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn verb(&self, writer: &mut Writer<Vec<u8>>, verb: &Verb, last: bool, longest: usize) -> io::Result<()> {
        match verb {
            Verb::Say(text) => self.say(writer, text, longest)?,
            Verb::Pause(length) => {
                writer.create_element("Pause").with_attribute(("length", seconds(*length).as_str())).write_empty()?;
            }
            Verb::Gather { action, digits, timeout, say } => {
                let Some(url) = self.url(*action) else {
                    return say.iter().try_for_each(|text| self.say(writer, text, longest));
                };
                self.gather(writer, &url, *digits, *timeout, say, longest)?;
                if last {
                    // Whether a finish key alone makes a request is told differently by Twilio and by those who tried.
                    redirect(writer, &url)?;
                }
            }
            Verb::Redirect(action) => {
                if let Some(url) = self.url(*action) {
                    redirect(writer, &url)?;
                }
            }
            Verb::Hangup => _ = writer.create_element("Hangup").write_empty()?,
            Verb::Reject => _ = writer.create_element("Reject").write_empty()?,
        }
        Ok(())
    }

    fn gather(
        &self,
        writer: &mut Writer<Vec<u8>>,
        url: &str,
        digits: Option<u8>,
        timeout: Duration,
        say: &[String],
        longest: usize,
    ) -> io::Result<()> {
        let count = digits.map(|digits| digits.max(1).to_string());
        let end = count.as_deref().map_or(("finishOnKey", "#"), |count| ("numDigits", count));
        let attributes = [
            ("input", "dtmf"),
            ("action", url),
            ("method", "POST"),
            ("timeout", &seconds(timeout)),
            ("actionOnEmptyResult", "true"),
            end,
        ];
        let gather = writer.create_element("Gather").with_attributes(attributes);
        if say.iter().all(|text| clear(text).is_empty()) {
            gather.write_empty()?;
        } else {
            gather.write_inner_content(|writer| say.iter().try_for_each(|text| self.say(writer, text, longest)))?;
        }
        Ok(())
    }

    fn say(&self, writer: &mut Writer<Vec<u8>>, text: &str, longest: usize) -> io::Result<()> {
        let CallDocument { language, voice, .. } = self.document;
        for piece in pieces(cut(&clear(text), longest)) {
            let mut say = writer.create_element("Say").with_attribute(("language", language.as_str()));
            if let Some(voice) = voice {
                say = say.with_attribute(("voice", voice.as_str()));
            }
            say.write_text_content(BytesText::new(piece))?;
        }
        Ok(())
    }

    fn url(&self, action: CallAction) -> Option<String> {
        self.external_url.map(|base| webhook(base, action, &self.document.id, Some(self.document.turn)))
    }
}

fn redirect(writer: &mut Writer<Vec<u8>>, url: &str) -> io::Result<()> {
    writer.create_element("Redirect").with_attribute(("method", "POST")).write_text_content(BytesText::new(url))?;
    Ok(())
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> String {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    whole.clamp(1, MAX_WAIT).to_string()
}

/// Without what XML cannot hold, nor Twilio speak.
fn clear(text: &str) -> String {
    let letter = |letter: char| if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') { ' ' } else { letter };
    text.chars().map(letter).collect::<String>().trim().to_owned()
}

/// At most `longest` characters, at the end of a word where there is one.
fn cut(text: &str, longest: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(longest) else { return text };
    let head = &text[..end];
    head.rfind(' ').map_or(head, |space| &head[..space]).trim_end()
}

/// The text in parts that one `Say` may speak, parted at spaces.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let mut encoded = 0;
        let (mut end, mut space) = (rest.len(), None);
        for (count, (at, letter)) in rest.char_indices().enumerate() {
            // Of what is encoded, every byte becomes three.
            encoded += if letter.is_ascii_alphanumeric() { 1 } else { 3 * letter.len_utf8() };
            if count == MAX_SAY || encoded > MAX_SAY_ENCODED {
                end = space.unwrap_or(at);
                break;
            }
            if letter == ' ' {
                space = Some(at);
            }
        }
        let (piece, more) = rest.split_at(end);
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(verbs: Vec<Verb>) -> CallDocument {
        CallDocument {
            id: "7".into(),
            turn: 3,
            profile: None,
            language: "en-US".into(),
            voice: Some("Polly.Joanna".into()),
            verbs,
        }
    }

    fn body(verbs: Vec<Verb>) -> String {
        let xml = render(&document(verbs), Some("https://h"), MAX_ANSWER);
        xml.replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "")
    }

    #[test]
    fn verbs_become_elements() {
        let say = "<Say language=\"en-US\" voice=\"Polly.Joanna\">";
        let pin = "https://h/main/system/twilio-voice/pin/7?turn=3#rc=3&amp;rp=5xx,ct,rt";
        let second = Duration::from_secs(1);
        let gather = |digits| Verb::Gather {
            action: CallAction::Pin,
            digits,
            timeout: Duration::from_millis(9500),
            say: vec!["PIN?".into()],
        };
        let open = format!("<Gather input=\"dtmf\" action=\"{pin}\" method=\"POST\" timeout=\"10\" actionOnEmptyResult=\"true\"");
        let rows = [
            (vec![], "<Response/>".to_owned()),
            (vec![Verb::Reject], "<Response><Reject/></Response>".to_owned()),
            (
                vec![Verb::Say(" a<b>&\"c\"\u{7}]]> 🔥 ".into()), Verb::Pause(second), Verb::Hangup],
                format!("<Response>{say}a&lt;b&gt;&amp;&quot;c&quot; ]]&gt; 🔥</Say><Pause length=\"1\"/><Hangup/></Response>"),
            ),
            (vec![Verb::Say("\u{0}\n".into())], "<Response></Response>".to_owned()),
            (
                vec![gather(None), Verb::Hangup],
                format!("<Response>{open} finishOnKey=\"#\">{say}PIN?</Say></Gather><Hangup/></Response>"),
            ),
            (
                vec![gather(Some(1))],
                format!(
                    "<Response>{open} numDigits=\"1\">{say}PIN?</Say></Gather><Redirect method=\"POST\">{pin}</Redirect></Response>"
                ),
            ),
        ];
        for (verbs, expected) in rows {
            assert_eq!(body(verbs), expected);
        }
    }

    #[test]
    fn where_nothing_can_be_asked_it_is_only_said() {
        let gather = Verb::Gather { action: CallAction::Pin, digits: None, timeout: Duration::ZERO, say: vec!["PIN?".into()] };
        let document = CallDocument { voice: None, ..document(vec![gather, Verb::Redirect(CallAction::Menu)]) };
        let xml = render(&document, None, MAX_INLINE);
        assert!(xml.ends_with("<Response><Say language=\"en-US\">PIN?</Say></Response>"), "{xml}");
    }

    #[test]
    fn long_texts_are_parted_and_too_long_documents_cut() {
        let words = "word ".repeat(1000);
        let parted: Vec<&str> = pieces(words.trim()).collect();
        assert_eq!(parted.concat().replace(' ', ""), words.replace(' ', ""));
        assert!(parted.len() == 2 && parted.iter().all(|piece| piece.chars().count() <= MAX_SAY && piece.ends_with("word")));
        let greek = "ω".repeat(4000);
        let parted: Vec<&str> = pieces(&greek).collect();
        assert!(parted.iter().all(|piece| piece.chars().count() * 6 <= MAX_SAY_ENCODED) && parted.concat() == greek);
        assert_eq!(pieces("").count(), 0);

        for text in ["a<&> ".repeat(2000), "x".repeat(20_000)] {
            let verbs = vec![Verb::Say(text.clone()), Verb::Pause(Duration::from_secs(1)), Verb::Say(text), Verb::Hangup];
            let xml = render(&document(verbs), None, MAX_INLINE);
            let length = xml.chars().count();
            assert!(length <= MAX_INLINE && length > MAX_INLINE - 60, "{length}");
            assert!(xml.ends_with("<Hangup/></Response>"), "what is done stays");
        }
    }
}
