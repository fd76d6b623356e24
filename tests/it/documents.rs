//! What the documentation tells people to type, and the service that it tells them to install.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{port::free_port, program::finish};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of a page that are marked as `sh`, in their order.
fn commands(page: &str) -> String {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_tutorial_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut script = commands("docs/tutorial.md");
    // Ports that are free here, whoever uses those of the page.
    for port in ["5020", "8090", "8088", "8089", "4840"] {
        script = script.replace(port, &free_port().to_string());
    }
    for (command, port) in [("modbus-plc", "tcp://127.0.0.1:"), ("twilio --inbound-url", "base_url = \"http://127.0.0.1:")] {
        let port: String = script.split_once(port).unwrap().1.chars().take_while(char::is_ascii_digit).collect();
        let name = command.split(' ').next().unwrap();
        script = script.replace(&format!("simulate {name}"), &format!("simulate {name} --listen 127.0.0.1:{port}"));
    }
    // Whatever happens, nothing goes on running; and what waits for something does not wait for ever.
    let script = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}\ntrap - EXIT\nwait\n");
    let binary = Path::new(env!("CARGO_BIN_EXE_annunciator")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("timeout");
    command.args(["120", "bash", "-c", &script]).current_dir(folder.path()).env("PATH", path).stdin(Stdio::null());
    for name in ["RUST_LOG", "ANNUNCIATOR_URL", "ANNUNCIATOR_TOKEN", "ANNUNCIATOR_CONFIG", "ANNUNCIATOR_TAGS", "ANNUNCIATOR_DATA"]
    {
        command.env_remove(name);
    }
    let output = finish(&mut command);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for expected in [
        "no errors: 1 sources, 2 tags, 1 alarms, 1 users, 1 pipelines",
        "alice",
        "ActiveUnacked",
        "CRITICAL Plant/Line1/TankTrip/Alarms/Trip: Tank level high high, stop the feed",
        "The PLC took it",
        "ClearAcked",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert!(output.status.success(), "{text}");
}

#[test]
fn the_service_can_be_installed_and_is_closed() {
    let has_tool =
        Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !has_tool {
        println!("skipped: there is no systemd-analyze");
        return;
    }
    let unit = fs::read_to_string(root().join("dist/annunciator.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("annunciator.service");
    // The program and its manual are not installed here.
    let here = unit
        .replace("/usr/local/bin/annunciator", env!("CARGO_BIN_EXE_annunciator"))
        .replace("man:annunciator(1)", "https://example.com");
    fs::write(&path, here).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // Other units of this machine may have faults of their own.
    assert!(!said.lines().any(|line| line.contains("annunciator")), "{said}");
    let security = Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&security.stdout);
    let exposure = said.lines().find_map(|line| line.split_once("service: ")?.1.split(' ').next()?.parse::<f64>().ok());
    if let Some(exposure) = exposure {
        assert!(exposure <= 2.0, "{said}");
    }
}

/// Every page is found from the index, and every link leads somewhere.
#[test]
fn the_index_names_every_page_and_links_lead_somewhere() {
    let docs = root().join("docs");
    let index = fs::read_to_string(docs.join("README.md")).unwrap();
    let mut pages = vec![root().join("README.md")];
    for entry in fs::read_dir(&docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name == "README.md" || index.contains(&format!("({name})")), "docs/README.md does not name {name}");
            pages.push(path);
        }
    }
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                assert!(page.parent().unwrap().join(file).exists(), "{}: {link}", page.display());
            }
        }
    }
}
