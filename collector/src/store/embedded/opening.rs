//! How the store is opened.

use std::path::Path;
use std::sync::Arc;

use super::readers::Readers;
use super::writer::Writer;
use super::{Embedded, FILE_NAME, Retention, Samples, engine, schema};
use crate::store::StoreResult;

/// Opens the store in `dir`, with the default retention; makes and migrates it where needed. See [`open_with`].
///
/// # Errors
/// As [`open_with`].
pub async fn open(dir: &Path) -> StoreResult<Embedded> {
    open_with(dir, Retention::default()).await
}

/// Opens the store in `dir`, which must exist; makes and migrates it where needed. Several processes may have it open.
///
/// # Errors
/// [`StoreError::Engine`](crate::store::StoreError::Engine) if the file cannot be made, opened or migrated; [`StoreError::Damaged`](crate::store::StoreError::Damaged) if a later program wrote it.
pub async fn open_with(dir: &Path, retention: Retention) -> StoreResult<Embedded> {
    let path = dir.join(FILE_NAME);
    let samples = Arc::new(Samples::new(dir));
    let opened = tokio::task::spawn_blocking(move || {
        let mut connection = schema::open_writer(&path)?;
        schema::migrate(&mut connection, &path)?;
        Ok((connection, path))
    });
    let (connection, path) = opened.await.map_err(engine("open"))??;
    Ok(Embedded {
        writer: Writer::start(connection)?,
        readers: Readers::new(path),
        retention,
        samples,
        registered: Arc::default(),
    })
}
