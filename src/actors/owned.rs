//! A task that ends with its owner. What an actor began and did not see the end of must not go on behind the back
//! of the one who takes its place.

use tokio::task::AbortHandle;

/// A task; dropping this aborts it.
#[derive(Debug)]
pub struct OwnedTask(AbortHandle);

impl OwnedTask {
    /// Starts it.
    pub fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
