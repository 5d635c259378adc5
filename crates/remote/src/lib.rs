//! Files and folders in object stores: `s3://`, `minio://` and `gs://` addresses, as Kubeflow's launcher
//! reads and writes them (`backend/src/v2/objectstore/object_store.go`): an address is one object, or all
//! objects below it.
//!
//! Calls block, and stop when they are told to. Deliberately absent: versions of objects, signed
//! addresses, any cache, `oci://`.

mod address;
mod credentials;
mod error;
mod transfer;

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;

pub use address::{Address, Scheme};
pub use credentials::Access;
pub use error::RemoteError;

/// Object stores, and how they are reached.
pub struct Remote {
    runtime: tokio::runtime::Runtime,
    settings: BTreeMap<String, Access>,
    open: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({:?})", self.settings.keys())
    }
}

impl Remote {
    /// Stores with settings of their own, by `scheme://bucket`; all others are reached with what the
    /// environment says (`AWS_*`, `~/.aws`, Google's application default credentials).
    ///
    /// # Errors
    /// Where no event loop can be had.
    pub fn new(settings: BTreeMap<String, Access>) -> Result<Remote, RemoteError> {
        // Whoever was first has installed one, and any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| RemoteError::Local { path: "an event loop".into(), source: e })?;
        Ok(Remote { runtime, settings, open: Mutex::default() })
    }

    fn store(&self, address: &Address) -> Result<Arc<dyn ObjectStore>, RemoteError> {
        let name = address.bucket_uri();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&name) {
            return Ok(Arc::clone(store));
        }
        let access = self.settings.get(&name).cloned().unwrap_or_default();
        let store = credentials::open(address, &access)?;
        open.insert(name, Arc::clone(&store));
        Ok(store)
    }

    /// Brings what is at an address to a path where nothing is: a file, or a folder of all that is below
    /// it. Gives the bytes; none if nothing is there. `stop` is the end of a pipe that becomes readable
    /// when the work is to end.
    ///
    /// # Errors
    /// [`RemoteError`]; what was brought so far is at the path with `.part` behind its name.
    pub fn fetch(
        &self,
        uri: &str,
        path: &Path,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Option<u64>, RemoteError> {
        let address = Address::parse(uri)?;
        let store = self.store(&address)?;
        self.runtime.block_on(async {
            transfer::until(stop, transfer::fetch(&*store, &address, path)).await
        })
    }

    /// Stores a file, or all files of a folder, at an address. Gives the bytes.
    ///
    /// # Errors
    /// [`RemoteError`]; objects that are stored already stay.
    pub fn keep(
        &self,
        path: &Path,
        uri: &str,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<u64, RemoteError> {
        let address = Address::parse(uri)?;
        let store = self.store(&address)?;
        self.runtime
            .block_on(async { transfer::until(stop, transfer::keep(&store, &address, path)).await })
    }

    /// Whether anything is at an address.
    ///
    /// # Errors
    /// [`RemoteError`]
    pub fn has(&self, uri: &str) -> Result<bool, RemoteError> {
        let address = Address::parse(uri)?;
        let store = self.store(&address)?;
        self.runtime.block_on(transfer::until(None, transfer::has(&*store, &address)))
    }
}
