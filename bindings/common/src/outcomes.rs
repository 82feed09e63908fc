//! What becomes of records, told to functions: those of one partition in the order of the records.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    core::{Delivery, RecordMetadata, TopicName},
    error::{BindingError, Result},
};

/// Told what became of a record.
type Told = Box<dyn FnOnce(Result<RecordMetadata>) + Send>;
/// A partition of a topic.
type Partition = (TopicName, i32);
/// Records whose outcome is to be told, in their order.
type Queue = VecDeque<(Delivery, Told)>;

/// Those of a producer that are still to be told, by partition. A partition is there as long as a task tells them.
#[derive(Default)]
pub(crate) struct Outcomes(Mutex<HashMap<Partition, Queue>>);

impl Outcomes {
    /// Puts one behind those of its partition. With a partition, nobody tells them yet: [`Self::tell`] has to be called.
    pub(crate) fn put(&self, delivery: Delivery, told: Told) -> Option<Partition> {
        let partition = (delivery.topic().clone(), delivery.partition());
        match self.lock().entry(partition) {
            Entry::Occupied(mut queue) => {
                queue.get_mut().push_back((delivery, told));
                None
            }
            Entry::Vacant(place) => {
                let partition = place.key().clone();
                place.insert(VecDeque::from([(delivery, told)]));
                Some(partition)
            }
        }
    }

    /// Tells those of a partition, one after the other, until there are none.
    pub(crate) async fn tell(&self, partition: &Partition) {
        while let Some((delivery, told)) = self.next(partition) {
            told(delivery.await.map_err(Into::into));
        }
    }

    /// Tells all that are left of a partition that nobody can tell any more.
    pub(crate) fn fail(&self, partition: &Partition, error: &BindingError) {
        while let Some((_, told)) = self.next(partition) {
            told(Err(error.clone()));
        }
    }

    /// The next of a partition; without one, the partition goes.
    fn next(&self, partition: &Partition) -> Option<(Delivery, Told)> {
        let mut queues = self.lock();
        let next = queues.get_mut(partition).and_then(VecDeque::pop_front);
        if next.is_none() {
            queues.remove(partition);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Partition, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes").field("partitions", &self.lock().len()).finish_non_exhaustive()
    }
}
