//! Room for tests that measure time: a test that measures runs alone in its program.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static ROOM: RwLock<()> = RwLock::const_new(());

/// Lets other tests of this program run beside this one, but none that measures.
pub async fn beside_others() -> RwLockReadGuard<'static, ()> {
    ROOM.read().await
}

/// Waits until no other test of this program runs, and keeps them waiting.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    ROOM.write().await
}
