//! Why a configuration was refused: always one line that names file, key, value and the fix.

use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: there is no such file; name another with --config", file.display())]
    Missing { file: PathBuf },
    #[error("{}: cannot read the configuration", file.display())]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line}: not TOML: {problem}", file.display())]
    Syntax {
        file: PathBuf,
        line: usize,
        problem: String,
    },
    #[error("{}: {key} = {value}: there is no such key; {fix}", file.display())]
    UnknownKey {
        file: PathBuf,
        key: String,
        value: String,
        fix: String,
    },
    #[error("{}: {key} is missing; {fix}", file.display())]
    MissingKey {
        file: PathBuf,
        key: String,
        fix: &'static str,
    },
    #[error("{}: {key} = {value}: {fix}", file.display())]
    Value {
        file: PathBuf,
        key: String,
        value: String,
        fix: String,
    },
}
