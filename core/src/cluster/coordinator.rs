//! The brokers that keep groups: which one keeps which (KIP-699), and questions that go there.
//!
//! A coordinator moves when its broker goes; a new one first reads what it is to keep. Both pass, so a group whose
//! coordinator says that it is not, or not yet, is looked up and asked again.

use std::collections::BTreeMap;

use ottla_protocol::{
    api::Api,
    messages::{FindCoordinatorRequest, FindCoordinatorResponse},
    types::{BrokerId, GroupId},
};
use tokio::time::{Instant, sleep};

use super::{Cluster, Purpose, retry::Failures};
use crate::error::{Error, ErrorKind, Result};

/// `key_type` of FindCoordinator for groups.
const KEY_TYPE_GROUP: i8 = 0;

/// A question about groups that their coordinators answer.
pub(crate) trait AboutGroups {
    /// What is sent.
    type Request: Api;
    /// What is learnt of one group.
    type Outcome;
    /// The newest version that is asked in; newer ones name topics by ids, which a tool may not know.
    const VERSION_MAX: i16 = i16::MAX;
    /// The first version that can name several groups.
    const SEVERAL_FROM: i16 = 0;

    /// The question in this version, about one group or, from [`Self::SEVERAL_FROM`], several.
    fn request(&self, groups: &[GroupId], version: i16) -> Self::Request;

    /// What a coordinator said of each of the groups.
    fn outcomes(
        &self,
        groups: &[GroupId],
        response: <Self::Request as Api>::Response,
        coordinator: BrokerId,
    ) -> Vec<(GroupId, Result<Self::Outcome>)>;
}

/// Asks about each group its coordinator; what may pass is tried again until `deadline`. The outcomes are in the order
/// of `groups`.
pub(crate) async fn ask_coordinators<Q: AboutGroups>(
    cluster: &Cluster,
    question: &Q,
    groups: &[GroupId],
    deadline: Instant,
) -> Vec<(GroupId, Result<Q::Outcome>)> {
    let mut pending: BTreeMap<GroupId, Option<Error>> =
        groups.iter().map(|group| (group.clone(), None)).collect();
    let mut done: BTreeMap<GroupId, Result<Q::Outcome>> = BTreeMap::new();
    let mut failures = Failures::default();
    loop {
        for (group, result) in ask_once(cluster, question, pending.keys().cloned().collect(), deadline).await
        {
            match result {
                Err(error) if error.is_retriable() => {
                    pending.entry(group).and_modify(|last| *last = Some(error));
                }
                result => {
                    if pending.remove(&group).is_some() {
                        done.insert(group, result);
                    }
                }
            }
        }
        if pending.is_empty() {
            break;
        }
        let wait = failures.record(&cluster.backoff(), &mut fastrand::Rng::new());
        if Instant::now() + wait >= deadline {
            break;
        }
        cluster.request_refresh();
        sleep(wait).await;
    }
    for (group, last) in pending {
        done.insert(group, Err(last.unwrap_or_else(left_out)));
    }
    let mut take = |group: &GroupId| {
        let named_twice = || Err(Error::new(ErrorKind::InvalidArgument, format!("`{group}` is named twice")));
        (group.clone(), done.remove(group).unwrap_or_else(named_twice))
    };
    groups.iter().map(&mut take).collect()
}

/// Which broker keeps the group, known to the metadata when this returns; one attempt.
pub(crate) async fn find_coordinator(
    cluster: &Cluster,
    group: GroupId,
    deadline: Instant,
) -> Result<BrokerId> {
    let found = find_coordinators(cluster, vec![group], deadline).await.pop();
    let broker = found.map_or_else(|| Err(left_out()), |(_, found)| found)?;
    wait_until_known(cluster, broker, deadline).await?;
    Ok(broker)
}

/// One attempt at each of the groups.
async fn ask_once<Q: AboutGroups>(
    cluster: &Cluster,
    question: &Q,
    groups: Vec<GroupId>,
    deadline: Instant,
) -> Vec<(GroupId, Result<Q::Outcome>)> {
    let mut outcomes = Vec::with_capacity(groups.len());
    let mut by_broker: BTreeMap<BrokerId, Vec<GroupId>> = BTreeMap::new();
    for (group, coordinator) in find_coordinators(cluster, groups, deadline).await {
        match coordinator {
            Ok(broker) => by_broker.entry(broker).or_default().push(group),
            Err(error) => outcomes.push((group, Err(error))),
        }
    }
    for (broker, groups) in by_broker {
        match ask_coordinator(cluster, question, broker, &groups, deadline).await {
            Ok(of_them) => outcomes.extend(of_them),
            Err(error) => outcomes.extend(groups.into_iter().map(|group| (group, Err(error.clone())))),
        }
    }
    outcomes
}

/// Asks one coordinator about groups that it keeps.
async fn ask_coordinator<Q: AboutGroups>(
    cluster: &Cluster,
    question: &Q,
    broker: BrokerId,
    groups: &[GroupId],
    deadline: Instant,
) -> Result<Vec<(GroupId, Result<Q::Outcome>)>> {
    wait_until_known(cluster, broker, deadline).await?;
    let connection = cluster.connection(broker, Purpose::Ask).await?;
    let version = connection.version(Q::Request::KEY)?.min(Q::VERSION_MAX);
    let at_once = if version >= Q::SEVERAL_FROM { groups.len().max(1) } else { 1 };
    let mut outcomes = Vec::with_capacity(groups.len());
    for groups in groups.chunks(at_once) {
        let deadline = deadline.min(Instant::now() + cluster.config().request_timeout);
        let request = question.request(groups, version);
        let response = connection.call_version(&request, version, deadline)?.await?;
        outcomes.extend(question.outcomes(groups, response, broker));
    }
    Ok(outcomes)
}

/// Waits until the metadata knows where a broker listens that a look-up named.
async fn wait_until_known(cluster: &Cluster, broker: BrokerId, deadline: Instant) -> Result<()> {
    if cluster.snapshot().brokers.contains_key(&broker) {
        return Ok(());
    }
    cluster.request_refresh();
    let deadline = deadline.min(Instant::now() + cluster.config().request_timeout);
    let known = format!("broker {broker} to be known");
    cluster.wait_for(&known, deadline, |snapshot| snapshot.brokers.get(&broker).map(drop)).await
}

/// Which broker keeps each of the groups.
async fn find_coordinators(
    cluster: &Cluster,
    groups: Vec<GroupId>,
    deadline: Instant,
) -> Vec<(GroupId, Result<BrokerId>)> {
    let request = FindCoordinatorRequest {
        key_type: KEY_TYPE_GROUP,
        coordinator_keys: groups.iter().map(|group| group.0.clone()).collect(),
        ..Default::default()
    };
    match cluster.call_any(&request, deadline).await {
        Ok(response) => {
            let find = |group: GroupId| {
                let coordinator = found(&group, &response);
                (group, coordinator)
            };
            groups.into_iter().map(find).collect()
        }
        // A broker from before version 4 is asked about one at a time.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let mut results = Vec::with_capacity(groups.len());
            for group in groups {
                let request = FindCoordinatorRequest { key: group.0.clone(), ..Default::default() };
                let response = cluster.call_any(&request, deadline).await;
                let coordinator = response.and_then(|response| {
                    let message = response.error_message.as_deref();
                    let code = response.error_code.ok();
                    code.map_err(|code| Error::broker(code, message)).map(|()| response.node_id)
                });
                results.push((group, coordinator));
            }
            results
        }
        Err(error) => groups.into_iter().map(|group| (group, Err(error.clone()))).collect(),
    }
}

fn found(group: &GroupId, response: &FindCoordinatorResponse) -> Result<BrokerId> {
    let of_it = response.coordinators.iter().find(|coordinator| coordinator.key == group.0);
    let coordinator = of_it.ok_or_else(left_out)?;
    let message = coordinator.error_message.as_deref();
    coordinator.error_code.ok().map_err(|code| Error::broker(code, message))?;
    Ok(coordinator.node_id)
}

fn left_out() -> Error {
    Error::new(ErrorKind::Corrupt, "the broker's answer leaves the group out")
}
