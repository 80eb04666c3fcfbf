//! Why a collector does not start.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::auth::authority::AuthorityError;
use crate::auth::login::LoginError;
use crate::auth::tls::TlsError;
use crate::feed::RoutingError;
use crate::notify::channel::OpenError;
use crate::store::StoreError;

/// Why the collector does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of the data cannot be made.
    #[error("cannot create data_dir {}; make it writable for this user or name another one", path.display())]
    DataDir {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another collector runs in this folder: two would apply the same reports.
    #[error("another collector runs in data_dir {}; stop it, or name another folder", path.display())]
    Taken {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: fs::TryLockError,
    },
    /// The CA cannot be used.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The store cannot be opened.
    #[error("the store in {} cannot be opened", path.display())]
    Store {
        /// In which folder.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The login cannot be read.
    #[error("the login cannot be read")]
    Login(#[from] LoginError),
    /// Other machines could reach the dashboard without a login.
    #[error(
        "dashboard.listen = {listen} can be reached by other machines and no login is set; run `firstmile-collector passwd`"
    )]
    LoginMissing {
        /// Where it would listen.
        listen: SocketAddr,
    },
    /// A channel of notifications cannot be opened.
    #[error("[notify.channels.{name}] cannot be used")]
    Channel {
        /// Its name.
        name: String,
        /// Why.
        source: OpenError,
    },
    /// A table cannot be read.
    #[error("{key} = {} cannot be used; name a file of that kind", path.display())]
    Table {
        /// Which key of the configuration.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The rules of routing cannot be used.
    #[error("routing.rules = {} cannot be used", path.display())]
    Routing {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: RoutingError,
    },
    /// An address cannot be listened on.
    #[error("{key} = {address} cannot be listened on; is another collector running?")]
    Listen {
        /// Which key of the configuration.
        key: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl StartError {
    /// Whether the configuration has to be changed first (exit code 2).
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::LoginMissing { .. }
            | Self::Channel { .. }
            | Self::Table { .. }
            | Self::Routing { .. }
            | Self::Tls(_) => true,
            Self::DataDir { .. }
            | Self::Taken { .. }
            | Self::Authority(_)
            | Self::Store { .. }
            | Self::Login(_)
            | Self::Listen { .. } => false,
        }
    }
}
