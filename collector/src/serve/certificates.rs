//! The certificates that the listeners show.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::info;

use super::error::StartError;
use crate::auth::authority::{Authority, ServerName};
use crate::auth::server_identity;
use crate::auth::tls::{self, Showing};
use crate::clock;
use crate::config::{Config, Dashboard, DashboardTls};

/// The certificate that the own listeners show, and what it takes to make it again.
pub(super) struct Certificates {
    authority: Arc<Authority>,
    folder: PathBuf,
    names: Vec<ServerName>,
    pub(super) showing: Arc<Showing>,
}

impl Certificates {
    pub(super) fn open(authority: Arc<Authority>, config: &Config) -> Result<Self, StartError> {
        let host = config.ingest.public_url.host_str().unwrap_or("localhost");
        let listening = [config.ingest.listen.ip(), config.dashboard.listen.ip()];
        let listening = listening
            .into_iter()
            .filter(|address| !address.is_unspecified());
        let extra = config.ingest.extra_names.iter().cloned();
        let extra: Vec<ServerName> = extra.chain(listening.map(ServerName::Address)).collect();
        let names = server_identity::server_names(host, &extra);
        let folder = config.ca_dir();
        let (identity, made) =
            server_identity::open(&authority, &folder, &names, clock::unix_ms())?;
        if made {
            info!(names = ?names, "server certificate made");
        }
        Ok(Self {
            showing: Showing::new(identity)?,
            authority,
            folder,
            names,
        })
    }

    /// Makes the certificate again if it nears its end.
    pub(super) fn refresh(&self) -> Result<(), StartError> {
        let (identity, made) =
            server_identity::open(&self.authority, &self.folder, &self.names, clock::unix_ms())?;
        if made {
            self.showing.exchange(identity)?;
            info!("server certificate renewed");
        }
        Ok(())
    }
}

/// TLS of the dashboard's listener, if it has any.
pub(super) fn dashboard_tls(
    dashboard: &Dashboard,
    showing: &Arc<Showing>,
) -> Result<Option<Arc<rustls::ServerConfig>>, StartError> {
    let showing = match &dashboard.tls {
        None => return Ok(None),
        Some(DashboardTls::OwnCa) => Arc::clone(showing),
        Some(DashboardTls::Files { certificate, key }) => {
            Showing::new(tls::read_identity(certificate, key)?)?
        }
    };
    Ok(Some(tls::dashboard_config(showing)?))
}
