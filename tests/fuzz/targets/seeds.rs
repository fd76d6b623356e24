//! Writes what the targets begin with: `seeds FOLDER` makes FOLDER/decoder and FOLDER/dispatch.

#[path = "../../it/support/bytes.rs"]
#[allow(dead_code)]
mod bytes;
#[path = "../../it/support/requests.rs"]
mod requests;

use std::{env, fs, path::Path};

fn main() -> std::io::Result<()> {
    let folder = env::args().nth(1).expect("the folder of the corpora");
    let good = requests::good_requests(1, 1);
    for target in ["decoder", "dispatch"] {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        for (place, good) in good.iter().enumerate() {
            let first = u8::try_from(place).expect("few services") + 1;
            fs::write(folder.join(format!("{place:02}-{}", good.kind)), [&[first][..], &good.body].concat())?;
        }
    }
    Ok(())
}
