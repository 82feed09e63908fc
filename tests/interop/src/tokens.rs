//! Who gives out tokens of OAuth 2, for tests: a key that signs them, and a provider on a real socket that does as it is told.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ottla_transport::tls::{ClientAuth, Source, TlsAcceptor, TlsSettings};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};

/// Largest request that is read, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// The name that a key has unless it is given one.
const KEY_ID: &str = "of-the-test";

/// Signs tokens (ES256).
pub struct Issuer {
    key: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
}

impl Issuer {
    /// One with a key of its own, whom nobody knows yet.
    ///
    /// # Errors
    ///
    /// If no key can be made.
    pub fn new() -> anyhow::Result<Self> {
        Self::named(KEY_ID)
    }

    /// One whose key has this name.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn named(key_id: &str) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let made = made.map_err(|_| anyhow!("no key can be made"))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        let key = key.map_err(|error| anyhow!("the key is of no use: {error}"))?;
        Ok(Self { key, key_id: key_id.to_owned(), random })
    }

    /// The public key as a set of keys, which a broker is given.
    pub fn jwks(&self) -> String {
        // Uncompressed: a byte that says so, then both coordinates.
        let (x, y) = self.key.public_key().as_ref().get(1..).unwrap_or_default().split_at(32);
        let key = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        json!({ "keys": [key] }).to_string()
    }

    /// A token of these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.key_id });
        let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.key.sign(&self.random, message.as_bytes()).expect("a key that was made signs");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token of `subject` that is good for so long from now on, for those who want the audience `kafka`.
    pub fn token(&self, subject: &str, life: Duration) -> String {
        let now = now_s();
        self.sign(&json!({
            "sub": subject, "iss": "https://issuer.test", "aud": "kafka", "scope": "kafka",
            "iat": now, "exp": now + life.as_secs(),
        }))
    }

    /// One that was good, and is no more.
    pub fn expired_token(&self, subject: &str) -> String {
        let now = now_s();
        self.sign(&json!({
            "sub": subject, "iss": "https://issuer.test", "aud": "kafka", "scope": "kafka",
            "iat": now - 7_200, "exp": now - 3_600,
        }))
    }
}

fn now_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a token says by the calendar when it ends")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// What a provider was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// The header of that name.
    pub authorization: Option<String>,
    /// What was sent.
    pub body: String,
}

/// What a provider says.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP's status.
    pub status: u16,
    /// JSON.
    pub body: String,
}

impl Reply {
    /// A token.
    pub fn token(token: &str) -> Self {
        Self { status: 200, body: json!({ "access_token": token, "token_type": "Bearer" }).to_string() }
    }

    /// A refusal (RFC 6749, section 5.2).
    pub fn error(status: u16, code: &str, description: &str) -> Self {
        Self { status, body: json!({ "error": code, "error_description": description }).to_string() }
    }
}

type Answer = Box<dyn Fn(&Asked) -> Reply + Send>;

/// A provider on loopback, gone when dropped.
pub struct Provider {
    url: String,
    shared: Arc<Shared>,
    /// Dropping it stops the thread.
    _stop: oneshot::Sender<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<Asked>>,
}

impl Provider {
    /// One that answers so, by TLS if it has a certificate: a PEM file with its key.
    ///
    /// # Errors
    ///
    /// If it cannot listen, or the certificate is of no use.
    pub fn start(
        certificate: Option<PathBuf>,
        answer: impl Fn(&Asked) -> Reply + Send + 'static,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/token", listener.local_addr()?.port());
        let acceptor = certificate.map(|path| {
            let settings = TlsSettings { certificates: Some(Source::File(path)), ..TlsSettings::default() };
            TlsAcceptor::new(settings, ClientAuth::None)
        });
        let acceptor = acceptor.transpose()?.map(Arc::new);
        let shared = Arc::new(Shared { answer: Mutex::new(Box::new(answer)), asked: Mutex::new(Vec::new()) });
        let serving = Arc::clone(&shared);
        let (stop, stopped) = oneshot::channel();
        let accept = async move {
            let listener = TcpListener::from_std(listener).expect("the runtime has I/O");
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, &shared).await,
                        Some(acceptor) => serve(acceptor.accept(stream).await?, &shared).await,
                    }
                });
            }
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { url, shared, _stop: stop })
    }

    /// Its token endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked until now.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: impl Fn(&Asked) -> Reply + Send + 'static) {
        *lock(&self.shared.answer) = Box::new(answer);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> anyhow::Result<()> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        anyhow::ensure!(
            read.len() < REQUEST_BYTES_MAX && stream.read_buf(&mut read).await? > 0,
            "it broke off"
        );
    };
    let text = String::from_utf8(read.get(..head).unwrap_or_default().to_vec())?;
    let header = |name: &str| {
        let mut headers = text.lines().filter_map(|line| line.split_once(':'));
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").map_or(Ok(0), |length| length.parse())?;
    while read.len() < (head + length).min(REQUEST_BYTES_MAX) {
        anyhow::ensure!(stream.read_buf(&mut read).await? > 0, "it broke off");
    }
    let asked = Asked {
        line: text.lines().next().context("it has no line")?.to_owned(),
        authorization: header("authorization"),
        body: String::from_utf8(read.get(head..).unwrap_or_default().to_vec())?,
    };
    let Reply { status, body } = lock(&shared.answer)(&asked);
    lock(&shared.asked).push(asked);
    let answer = format!(
        "HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}
