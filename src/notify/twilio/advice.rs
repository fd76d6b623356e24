//! Twilio's error codes in a sentence that says what to do (Twilio, "Error and Warning Dictionary").
//!
//! Codes are split and reworded now and then; an unknown one is treated as permanent and sends the reader to Twilio's page.

/// What to do about Twilio's error `code`, for a person who has the Twilio console and the configuration at hand. Codes of
/// synchronous answers and of delivery reports alike; 0 stands for a refusal without a code.
#[must_use]
pub const fn advice(code: u32) -> &'static str {
    match code {
        0 => "the answer carries no Twilio code: check base_url, and whether a proxy or firewall answers in Twilio's place",
        10001 | 20005 | 30002 => "the Twilio account is suspended or closed: sign in to the Twilio console and settle it there",
        20001 | 20004 | 21206 | 21208 | 21209 => {
            "Twilio did not understand the request: please report this as a fault of the program"
        }
        20003 => {
            "Twilio refuses the credentials: check account_sid and auth_token, or api_key and api_secret, of the Twilio profile"
        }
        20008 => "these are Twilio's test credentials, which can do very little: use the account's live SID and token",
        20010 => "the Twilio account may not do this: check the account's permissions in the Twilio console",
        20404 => "Twilio does not know this account or resource: check account_sid and base_url (region) of the Twilio profile",
        20429 => "too many requests at once: lower sms_per_second, or the other programs on this account",
        20500 | 20503 => "Twilio has a fault of its own: see status.twilio.com",
        21201 | 21604 => "no recipient was given: check the user's phone number",
        13223 | 13224 | 13226 | 21211 | 21217 | 21401 => {
            "this is not a valid phone number: check the user's number, with country code"
        }
        10004 => "too many calls of this account at once: Twilio's trial and unapproved accounts allow only a few",
        13225 | 21202 | 21216 => "Twilio blocks calls to this number (premium or high-risk): use another number for this user",
        13214 | 21210 => "the calling number is neither a Twilio number nor verified: check from of the Twilio profile",
        21212 | 21603 => "the sender is not valid: check from or messaging_service_sid of the Twilio profile",
        21213 => "no calling number was given: set from in the Twilio profile",
        21214 => "the number cannot be reached by phone: check the user's number",
        13227 | 21203 | 21215 => {
            "calls to this country are switched off: allow it under Voice, Geo permissions in the Twilio console"
        }
        21219 | 21608 => {
            "a trial account reaches verified numbers only: verify this number in the Twilio console or upgrade the account"
        }
        21220 => "the call has already ended: nothing needs to be done",
        21266 => "sender and recipient are the same number: check the user's number and from of the Twilio profile",
        21408 => "texts to this country are switched off: allow it under Messaging, Geo permissions in the Twilio console",
        21602 | 21619 => "the message is empty: give the alarm, the profile or the Twilio profile a message",
        21606 | 21659 | 21660 => "the sender is not a number of this account: check from of the Twilio profile",
        21205 | 21609 => {
            "Twilio does not accept the callback address: check external_url (a public host name without underscore)"
        }
        21610 => "the person has opted out by texting STOP: only they can undo it, by texting START to the sender's number",
        21611 => "too many messages wait at this sender: wait, or use a Messaging Service with more numbers",
        21612 => "this sender cannot reach this number: use another sender for this country, or voice",
        21614 | 21635 => "the number is not a mobile: give the user a mobile number for texts, or use voice",
        21617 => "the message is longer than 1,600 characters: shorten it or set length_limit",
        21620 => "Twilio cannot read the media address: please report this as a fault of the program",
        21624 | 90007 | 30045 => "Twilio does not accept validity_period: use 1 s to 36,000 s",
        21661 => "the sender cannot send texts: choose a number with SMS in the Twilio console",
        21703 | 21704 => "the Messaging Service has no number that can reach this recipient: add one in the Twilio console",
        21705 => "Twilio does not know this Messaging Service: check messaging_service_sid of the Twilio profile",
        30001 => "too many messages wait at Twilio: the text was dropped; add numbers to the Messaging Service",
        30003 => "the phone is switched off or out of reach",
        30004 => "the number blocks texts from this sender: ask the person to unblock it, or use voice",
        30005 => "the number is unknown or no longer in service: check the user's number",
        30006 => "the number is a landline, or its carrier cannot be reached: use a mobile number or voice",
        30007 | 30450 => "the text was taken for spam: reword the message, register the sender, or use voice",
        30008 => "the carrier gave no reason: if it goes on, ask Twilio's support with the message SID",
        30017 | 30410 => "the carrier is overloaded or did not answer in time",
        30019 => "the carrier finds the text too long: lower length_limit",
        30022 | 30023 | 30027 => {
            "the sender's daily or per-minute limit for US numbers is reached: register a campaign with a higher limit"
        }
        30024 | 30032 | 30034 | 30035 => {
            "the sender is not registered yet: complete its registration (A2P 10DLC or toll-free) in the Twilio console"
        }
        30036 => "the text waited too long at Twilio and was dropped: the information is old",
        30454 | 63038 => "the account's daily message limit is reached: upgrade the account or ask Twilio to raise it",
        14107 => "too many automatic replies between these two numbers: wait half a minute",
        _ => "look the code up at https://www.twilio.com/docs/errors",
    }
}

/// True when the account as a whole is refused, so that every further message will fail in the same way.
#[must_use]
pub const fn concerns_account(code: u32) -> bool {
    matches!(code, 10001 | 20003 | 20005 | 20008 | 20010 | 20404 | 30002 | 30454 | 63038)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of SPEC 8 and of the delivery reports that people meet.
    const KNOWN: [u32; 43] = [
        10001, 10004, 13214, 13223, 13224, 13225, 13227, 21202, 21205, 21210, 21214, 21216, 21217, 21219, 20003, 20005, 20008,
        20404, 20429, 20500, 21211, 21212, 21215, 21408, 21602, 21603, 21604, 21606, 21608, 21609, 21610, 21611, 21612, 21614,
        21617, 21703, 21705, 30003, 30005, 30006, 30007, 30036, 63038,
    ];

    #[test]
    fn known_codes_have_a_sentence_of_their_own() {
        for code in KNOWN {
            assert_ne!(advice(code), advice(99_999), "{code}");
        }
        assert!(advice(21610).contains("START") && advice(99_999).contains("twilio.com/docs/errors"));
    }

    #[test]
    fn the_account_is_told_from_the_recipient() {
        for (code, account) in
            [(20003, true), (20005, true), (10001, true), (20008, true), (63038, true), (21610, false), (21211, false)]
        {
            assert_eq!(concerns_account(code), account, "{code}");
        }
    }
}
