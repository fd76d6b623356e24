//! Tag files from what other programs export. Each format is one folder; the command line does the files and the printing.

pub mod ignition;
