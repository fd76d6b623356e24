//! Whether what a script made is TwiML as far as that can be told without Twilio: well-formed XML whose root is `Response`.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

/// Checks `text`.
///
/// # Errors
/// Why it is none.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut reader = Reader::from_str(text);
    let (mut depth, mut roots) = (0_usize, 0_usize);
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(element) => {
                roots += usize::from(depth == 0);
                begin(&element, depth, roots)?;
                depth += 1;
            }
            Event::Empty(element) => {
                roots += usize::from(depth == 0);
                begin(&element, depth, roots)?;
            }
            // That it ends what began is the reader's to check.
            Event::End(_) => depth -= 1,
            Event::Text(text) if depth == 0 && !text.trim().is_empty() => {
                return Err("there is text outside the root".to_owned());
            }
            Event::CData(_) | Event::GeneralRef(_) if depth == 0 => return Err("there is text outside the root".to_owned()),
            Event::GeneralRef(reference) => {
                let known = matches!(&*reference, "amp" | "lt" | "gt" | "quot" | "apos");
                if !known && !matches!(reference.resolve_char_ref(), Ok(Some(_))) {
                    return Err(format!("there is no entity &{};", &*reference));
                }
            }
            Event::DocType(_) => return Err("a DOCTYPE has no place in it".to_owned()),
            Event::Eof if depth > 0 => return Err("an element does not end".to_owned()),
            Event::Eof if roots == 0 => return Err("there is no root".to_owned()),
            Event::Eof => return Ok(()),
            Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn begin(element: &BytesStart<'_>, depth: usize, roots: usize) -> Result<(), String> {
    if depth == 0 && (roots > 1 || element.name().as_ref() != "Response") {
        return Err("its one root must be <Response>".to_owned());
    }
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if attribute.value.contains('<') {
            return Err("an attribute holds `<`".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_is_twiml() {
        for good in [
            "<Response/>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Say voice='a'>5 &lt; 6 &#176;</Say><Hangup/></Response>\n",
            "<!-- x --><Response><![CDATA[ < ]]></Response>",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "hello",
            "<Say/>",
            "<Response>",
            "<Response></Say>",
            "<Response/><Response/>",
            "<Response/>x",
            "<Response><Say a=1/></Response>",
            "<Response><Say a='1' a='2'/></Response>",
            "<Response><Say a='<'/></Response>",
            "<Response>&nope;</Response>",
            "<Response>&</Response>",
            "<Response><Say></Response></Say>",
            "<!DOCTYPE a [<!ENTITY x 'y'>]><Response/>",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
