//! What tests of handlers share: a broker at work in a directory, without sockets. A request is written and read
//! again in the version that it is sent in, and so is its answer: what a version cannot carry fails the test.

use std::{net::SocketAddr, path::Path, sync::Arc};

use ottla_protocol::{
    api::Api,
    wire::{Wire, decode, encode},
};

use tokio::time::Instant;

use super::{Context, RequestContext};
use crate::{
    authentication::{Listening, Principal, Session},
    authorization::Authorizer,
    config::BrokerConfig,
    controller::testing::{Directories, started, values},
    coordinator::runtime::Coordinator,
    metrics::Metrics,
    quota::{Mutations, Quotas, meter::Windows},
    replica::{Replicas, fetch_session::FetchSessions},
};

/// A broker without sockets.
pub(super) struct Broker {
    pub(super) cx: Context,
    pub(super) directories: Arc<Directories>,
    /// Who asks.
    pub(super) user: Principal,
}

impl Broker {
    /// Started with `properties` over what lies in `log_dir`.
    pub(super) async fn start(log_dir: &Path, properties: &str) -> Self {
        let (controller, directories) = started(log_dir, properties).await;
        let config = Arc::new(BrokerConfig::from_values(&values(properties)));
        // The APIs tested so do not come near records.
        let replicas = Arc::new(Replicas::new(Vec::new(), Arc::default()));
        let coordinator = Coordinator::new(
            Arc::clone(&controller.image),
            Arc::clone(&replicas),
            Arc::clone(&config),
            Arc::clone(controller.handle.configs()),
            Vec::new(),
        );
        let windows = Windows::new(config.quota_window_num, config.quota_window_size_seconds);
        let cx = Context {
            quotas: Quotas::new(Arc::clone(&controller.image), windows, windows, Instant::now()),
            image: controller.image,
            controller: controller.handle,
            replicas,
            coordinator,
            fetch_sessions: FetchSessions::new(0),
            authorizer: Authorizer::new(&config).unwrap().map(Arc::new),
            metrics: Arc::new(Metrics::new(1)),
            config,
        };
        Self { cx, directories, user: Principal::ANONYMOUS }
    }

    /// A request in `version`, as it comes over the wire, and its context.
    pub(super) fn request<R: Api>(&self, version: i16, request: &R) -> (R, RequestContext) {
        (sent(request, version), self.context(version))
    }

    /// The context of a request in `version`, from [`Self::user`].
    pub(super) fn context(&self, version: i16) -> RequestContext {
        RequestContext {
            version,
            client_id: None,
            local: SocketAddr::from(([10, 0, 0, 7], 9092)),
            peer: SocketAddr::from(([10, 0, 0, 8], 50_000)),
            session: Arc::new(Session {
                listening: Arc::new(Listening::plaintext("PLAINTEXT")),
                principal: self.user.clone(),
            }),
            quotas: self.cx.quotas.held(self.user.name(), "", Instant::now()),
        }
    }
}

/// What the other side reads of a message.
pub(super) fn sent<M: Wire>(message: &M, version: i16) -> M {
    decode(encode(message, version).unwrap(), version).unwrap()
}

/// Sends a request to its handler and gives the answer, as the client reads it.
macro_rules! ask {
    ($broker:expr, $version:expr, $request:expr) => {{
        let (request, rq) = $broker.request($version, &$request);
        let answer = super::handle(request, &rq, &$broker.cx).await;
        $crate::handlers::testing::sent(&answer, $version)
    }};
}
pub(super) use ask;

/// Creates topics of one partition each.
pub(super) async fn make_topics(broker: &Broker, names: &[&str]) {
    let names = names.iter().map(|&name| name.into()).collect();
    let made = broker.cx.controller.auto_create(names, Mutations::default()).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}
