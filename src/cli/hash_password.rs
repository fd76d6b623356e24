//! `hash-password`: what stands in `password_hash` of a user or `hash` of a token.

use std::io::BufRead;

use console::Term;

use crate::serve::passwords;

/// Prints the argon2id hash of a password, for `password_hash` of a `[[user]]` and `hash` of a `[[token]]`
///
/// Asks for the password on a terminal without showing it; takes the first line of standard input otherwise.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
#[command(
    after_help = "Examples:\n  annunciator hash-password\n  head -c 24 /dev/urandom | base64 | tee token.txt | annunciator hash-password"
)]
pub struct HashPasswordArgs {}

/// The program's answer to `hash-password`.
///
/// # Errors
/// What went wrong and what to do about it.
pub fn hash_password(_: HashPasswordArgs) -> Result<String, String> {
    let terminal = Term::stderr();
    let password = if terminal.features().is_attended() && console::user_attended() {
        ask(&terminal)?
    } else {
        first_line(&mut std::io::stdin().lock())?
    };
    passwords::hash_password(&password).map(|hash| format!("{hash}\n"))
}

fn ask(terminal: &Term) -> Result<String, String> {
    let question = |text: &str| {
        terminal.write_str(text).and_then(|()| terminal.read_secure_line()).map_err(|error| format!("failed to ask: {error}"))
    };
    let password = question("Password: ")?;
    if password == question("Again: ")? { Ok(password) } else { Err("the two differ: try again".into()) }
}

fn first_line(input: &mut impl BufRead) -> Result<String, String> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| format!("failed to read the password: {error}"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for (input, expected) in [("secret\n", "secret"), (" a b \r\nnot this", " a b "), ("", "")] {
            assert_eq!(first_line(&mut input.as_bytes()).unwrap(), expected);
        }
    }
}
