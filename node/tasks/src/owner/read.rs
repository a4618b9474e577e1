//! What peers see and change for whomever they ask: a client, or a task that runs there.

use bytes::Bytes;
use grapevine_core::ids::NodeName;
use serde_json::Value;

use super::super::behalf::Behalf;
use super::super::id::Id;
use super::super::question::fitting;
use super::super::rights::refused;
use super::super::store::{FileRecord, Note, StoreError, TaskQuery};
use super::super::task::{CheckedText, Task};
use super::TaskOwner;

impl TaskOwner {
    pub(super) async fn task(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        id: &Id,
    ) -> Result<Option<Task>, StoreError> {
        let reader = self.reader(peer, behalf).await?;
        reader.task(self.hub.store().get(id).await?)
    }

    /// Tasks of a client, without their payloads and outputs.
    pub(super) async fn list(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        query: TaskQuery,
    ) -> Result<Vec<Task>, StoreError> {
        let reader = self.client(peer, behalf).await?;
        let service = query.service.as_ref();
        let key = match &reader.services {
            Some(services) if service.is_some_and(|service| services.contains(service)) => None,
            Some(_) => return refused("the key lists tasks of its own services alone"),
            None if reader.key.is_none() && !reader.is_open => {
                return refused(format!("{} lists tasks by key", self.hub.node()));
            }
            None => reader.key.clone(),
        };
        let Some(region) = reader.region else {
            return Ok(Vec::new());
        };
        let query = TaskQuery {
            key,
            region: Some(CheckedText(region)),
            ..query
        };
        let mut tasks = self.hub.store().list(&query).await?;
        for task in &mut tasks {
            task.new.payload = Value::Null;
            task.output = None;
        }
        Ok(tasks)
    }

    pub(super) async fn notes(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        id: &Id,
        from: u64,
    ) -> Result<Vec<Note>, StoreError> {
        if self.task(peer, behalf, id).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut notes = self.hub.store().notes(id, from).await?;
        notes.truncate(fitting(&notes, |note| note.content.len()));
        Ok(notes)
    }

    pub(super) async fn cancel(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        id: &Id,
    ) -> Result<Option<Task>, StoreError> {
        let reader = self.client(peer, behalf).await?;
        let store = self.hub.store();
        match reader.task(store.get(id).await?)? {
            Some(_) => self.hub.cancel(store, id).await,
            None => Ok(None),
        }
    }

    pub(super) async fn requeue(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        id: &Id,
    ) -> Result<Option<Task>, StoreError> {
        let reader = self.client(peer, behalf).await?;
        let store = self.hub.store();
        match reader.task(store.get(id).await?)? {
            Some(_) => store.requeue(id).await,
            None => Ok(None),
        }
    }

    pub(super) async fn file(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        id: &Id,
    ) -> Result<Option<FileRecord>, StoreError> {
        let reader = self.reader(peer, behalf).await?;
        reader.file(self.hub.store().file(id).await?)
    }

    pub(super) async fn piece(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        file: &Id,
        number: u32,
    ) -> Result<Option<Bytes>, StoreError> {
        match self.file(peer, behalf, file).await? {
            Some(_) => self.hub.store().piece(file, number).await,
            None => Ok(None),
        }
    }

    pub(super) async fn delete_file(
        &self,
        peer: &NodeName,
        behalf: &Behalf,
        id: &Id,
    ) -> Result<bool, StoreError> {
        let reader = self.client(peer, behalf).await?;
        let store = self.hub.store();
        match reader.file(store.file(id).await?)? {
            Some(_) => store.delete_file(id).await,
            None => Ok(false),
        }
    }
}
