//! Third-party peers: a Python environment and a Node folder, made on first use beside the build's other output.
//!
//! A test that finds no peer prints that it was skipped and returns; with `ANNUNCIATOR_REQUIRE_PEERS=1` a missing peer is a
//! failure. Several test processes may start at once: a file lock lets one of them install and the others wait.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

const REQUIREMENTS: &str = include_str!("../peers/requirements.txt");
const OPEN62541: &str = include_str!("../peers/requirements-open62541.txt");
const API_REQUIREMENTS: &str = include_str!("../peers/requirements-api.txt");
const REPORT_REQUIREMENTS: &str = include_str!("../peers/requirements-report.txt");
const PACKAGE: &str = include_str!("../peers/package.json");

/// The Python interpreter that has every package of `tests/it/peers/requirements.txt`; `None` (said on stdout) without one.
pub fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(|| available("python peers", install("venv", REQUIREMENTS, "requirements.txt"))).clone()
}

/// The Python interpreter that has open62541's client. It is compiled, so not to be had for every machine, and apart from the others.
pub fn open62541() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(|| available("open62541's client", install("open62541", OPEN62541, "requirements-open62541.txt"))).clone()
}

/// Schemathesis, in an environment of its own: it brings many packages; `None` (said on stdout) without one.
pub fn schemathesis() -> Option<PathBuf> {
    static TOOL: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = || install("schemathesis", API_REQUIREMENTS, "requirements-api.txt");
    let python = TOOL.get_or_init(|| available("schemathesis", install())).clone()?;
    Some(python.with_file_name("schemathesis"))
}

/// The Python interpreter that has pyarrow, which is large and wanted by one test.
pub fn python_for_reports() -> Option<PathBuf> {
    available("pyarrow", install("venv-report", REPORT_REQUIREMENTS, "requirements-report.txt"))
}

/// A command-line tool that a Python package brings.
pub fn python_tool(name: &str) -> Option<PathBuf> {
    Some(python()?.with_file_name(name))
}

/// The folder whose `node_modules` holds the packages of `tests/it/peers/package.json`: the working directory for `node`.
pub fn node_modules() -> Option<PathBuf> {
    static NODE: OnceLock<Option<PathBuf>> = OnceLock::new();
    NODE.get_or_init(|| available("node peers", install_node())).clone()
}

/// Debian's headless Chromium, which `.ci/run` installs.
pub fn chromium() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join("chromium")).find(|path| path.is_file());
    available("chromium", found.ok_or_else(|| io::Error::other("there is no chromium in PATH: apt-get install chromium")))
}

/// A script of ours under `tests/it/peers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers").join(name)
}

fn available(what: &str, installed: io::Result<PathBuf>) -> Option<PathBuf> {
    match installed {
        Ok(path) => Some(path),
        Err(error) if env::var_os("ANNUNCIATOR_REQUIRE_PEERS").is_some_and(|value| value == "1") => {
            panic!("{what} are required but failed to install: {error}")
        }
        Err(error) => {
            println!("skipped: {what} failed to install: {error}");
            None
        }
    }
}

fn install(name: &str, wanted: &str, requirements: &str) -> io::Result<PathBuf> {
    let venv = root()?.join(name);
    let python = venv.join("bin/python");
    once(&venv, wanted, || {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(&python).args(pip).arg(script(requirements)))
    })?;
    Ok(python)
}

fn install_node() -> io::Result<PathBuf> {
    let folder = root()?.join("node");
    once(&folder, PACKAGE, || {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("package.json"), PACKAGE)?;
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder))
    })?;
    Ok(folder)
}

fn root() -> io::Result<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let root = env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from).join("peers");
    fs::create_dir_all(&root)?;
    Ok(root)
}

/// Runs `install` unless it has succeeded before for the same `wanted` text.
fn once(folder: &Path, wanted: &str, install: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let stamp = folder.join("installed.txt");
    let installed = || fs::read_to_string(&stamp).is_ok_and(|text| text == wanted);
    if installed() {
        return Ok(());
    }
    let lock = fs::File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    if installed() {
        return Ok(());
    }
    install()?;
    fs::write(&stamp, wanted)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| io::Error::other(format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}
