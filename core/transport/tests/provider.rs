//! A provider is asked by TLS only if it is who it must be; whatever else answers, in whatever way, costs little and ends in time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod certificates;

use std::{future::Future, sync::Arc, time::Duration};

use certificates::{authority, certificate, shows, trusting};
use ottla_transport::{
    provider::{ANSWER_BYTES_MAX, Failure, Location, Patience, ProviderError, Request, ask},
    tls::{ClientAuth, TlsAcceptor, TlsConnector, TlsSettings},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

const QUICK: Patience = Patience { connect: Duration::from_millis(500), read: Duration::from_millis(500) };
const PATIENT: Patience = Patience { connect: Duration::from_secs(10), read: Duration::from_secs(10) };

fn at(url: &str) -> Location {
    url.parse().unwrap()
}

/// Whoever connects first is dealt with so; gives the port.
async fn once<F: Future<Output = ()> + Send + 'static>(
    deal: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { deal(listener.accept().await.unwrap().0).await });
    port
}

/// A server that reads a request's head and says this.
async fn says(answer: impl Into<Vec<u8>>) -> u16 {
    let answer = answer.into();
    once(|mut stream| async move {
        let mut lines = BufReader::new(&mut stream).lines();
        while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
        // Who is refused for its length hears no more at some point.
        let _ = stream.write_all(&answer).await;
    })
    .await
}

async fn get(port: u16, patience: Patience) -> Result<String, ProviderError> {
    let location = at(&format!("http://127.0.0.1:{port}/keys?secret=hunter2"));
    let content = ask(Request::get(&location), None, patience).await?.content(&location)?;
    Ok(String::from_utf8(content.to_vec()).unwrap())
}

#[tokio::test]
async fn a_question_and_its_answer_are_what_http_says() {
    let (heard, hears) = oneshot::channel();
    let port = once(|mut stream| async move {
        let mut asked = vec![0; 4096];
        let mut length = 0;
        while !asked[..length].ends_with(b"a=b&c=d") {
            length += stream.read(&mut asked[length..]).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n")
            .await
            .unwrap();
        heard.send(String::from_utf8(asked[..length].to_vec()).unwrap()).unwrap();
    })
    .await;
    let location = at(&format!("http://localhost:{port}/token?x=y"));
    let request = Request::post_form(&location, "a=b&c=d").with_header("authorization", "Basic eDp5");
    let answer = ask(request, None, PATIENT).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (400, &b"no!"[..]));
    let asked = hears.await.unwrap().to_lowercase();
    assert!(asked.starts_with("post /token?x=y http/1.1\r\n"), "{asked}");
    for header in [
        &format!("host: localhost:{port}"),
        "authorization: basic edp5",
        "content-length: 7",
        "content-type: application/x-www-form-urlencoded",
    ] {
        assert!(asked.contains(&format!("\r\n{header}\r\n")), "{header} is not in {asked}");
    }
    let error = answer.content(&location).unwrap_err();
    assert_eq!(error.to_string(), format!("`http://localhost:{port}/token` answered HTTP 400"));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_by_what_it_is() {
    let refused = |answer: Vec<u8>| async { get(says(answer).await, PATIENT).await.unwrap_err() };
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_BYTES_MAX}\r\n\r\n");
    let largest = [whole.as_bytes(), &vec![b'x'; ANSWER_BYTES_MAX]].concat();
    assert_eq!(get(says(largest).await, PATIENT).await.unwrap().len(), ANSWER_BYTES_MAX);
    // One that says its length, and one that does not.
    let said = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nx", ANSWER_BYTES_MAX + 1);
    let unsaid = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'x'; 8 * ANSWER_BYTES_MAX]].concat();
    for answer in [said.into_bytes(), unsaid] {
        let error = refused(answer).await;
        assert!(matches!(error.failure(), Failure::TooLarge | Failure::Broken(_)), "{error:?}");
    }
    let head = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; ANSWER_BYTES_MAX]].concat();
    for broken in [
        head,
        b"220 mail.example ESMTP\r\n".to_vec(),
        Vec::new(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec(),
    ] {
        let error = refused(broken).await;
        assert!(matches!(error.failure(), Failure::Broken(_)) && error.is_retriable(), "{error:?}");
        assert!(error.to_string().contains("/keys` broke off, or does not speak HTTP"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    for (status, words, is_retriable) in [
        ("302 Found\r\nLocation: http://127.0.0.1:1/", "leads elsewhere (HTTP 302)", false),
        ("401 Unauthorized", "refuses (HTTP 401)", false),
        ("404 Not Found", "nothing that the provider knows", false),
        ("503 Busy", "answered HTTP 503", true),
    ] {
        let error = refused(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes()).await;
        assert!(error.to_string().contains(words) && error.is_retriable() == is_retriable, "{error}");
    }
}

#[tokio::test]
async fn nobody_is_waited_for_without_an_end() {
    let silent = once(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = get(silent.await, QUICK).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::ReadTimeout(_)) && error.is_retriable(), "{error}");
    // A byte now and then makes it no better.
    let slow = once(|mut stream| async move {
        let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        while written.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            written = stream.write_all(b"x").await;
        }
    });
    let error = get(slow.await, QUICK).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::ReadTimeout(_)), "{error}");
    // Nor does one that shakes no hands.
    let silent = once(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let location = at(&format!("https://localhost:{}/keys", silent.await));
    let tls = TlsConnector::new(trusting(&authority(), TlsSettings::default())).unwrap();
    let error = ask(Request::get(&location), Some(&tls), QUICK).await.map(drop).unwrap_err();
    assert!(matches!(error.failure(), Failure::ConnectTimeout(_)), "{error}");
    // And one that is not there is known at once.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = get(gone, PATIENT).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::NotConnected(_)), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

/// Serves one question by TLS; gives its port.
async fn by_tls(server: Arc<TlsAcceptor>) -> u16 {
    once(|stream| async move {
        let Ok(mut stream) = server.accept(stream).await else { return };
        let mut lines = BufReader::new(&mut stream).lines();
        while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkeys").await.unwrap();
        // As many servers do, it ends without a word of TLS.
    })
    .await
}

/// Does not even listen.
async fn talks_http(mut stream: TcpStream) {
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn a_provider_is_asked_by_tls_only_if_it_is_trusted_and_of_that_name() {
    let ours = authority();
    let server = |authority: &certificates::Authority, host| {
        let certificate = shows(&certificate(authority, "provider", &[host]));
        Arc::new(TlsAcceptor::new(certificate, ClientAuth::None).unwrap())
    };
    let tls = TlsConnector::new(trusting(&ours, TlsSettings::default())).unwrap();
    let ask_at = async |port: u16, tls: Option<&TlsConnector>| {
        let location = at(&format!("https://localhost:{port}/keys"));
        ask(Request::get(&location), tls, PATIENT).await.and_then(|answer| answer.content(&location))
    };
    let answer = ask_at(by_tls(server(&ours, "localhost")).await, Some(&tls)).await.unwrap();
    assert_eq!(&answer[..], b"keys");
    for (port, words) in [
        (by_tls(server(&authority(), "localhost")).await, "`ssl.truststore.location`"),
        (by_tls(server(&ours, "elsewhere.example")).await, "not of `localhost` but of `elsewhere.example`"),
        (once(talks_http).await, "what came is no TLS"),
    ] {
        let error = ask_at(port, Some(&tls)).await.unwrap_err();
        assert!(matches!(error.failure(), Failure::Tls(_)) && !error.is_retriable(), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = ask_at(by_tls(server(&ours, "localhost")).await, None).await.unwrap_err();
    assert!(matches!(error.failure(), Failure::NoTls), "{error}");
}

#[tokio::test]
async fn a_file_is_read_if_it_is_there_and_not_too_long() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys of mine.json");
    let location = at(&format!("file://{}", file.display()).replace(' ', "%20"));
    let read = async || ask(Request::get(&location), None, PATIENT).await.map(|answer| answer.body);
    let error = read().await.unwrap_err();
    assert!(
        matches!(error.failure(), Failure::File(_)) && error.to_string().contains("cannot be read"),
        "{error}"
    );
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(&read().await.unwrap()[..], b"{}");
    std::fs::write(&file, vec![b'x'; ANSWER_BYTES_MAX + 1]).unwrap();
    assert!(matches!(read().await.unwrap_err().failure(), Failure::TooLarge));
    // Nor is a pipe waited for to which nobody writes; nor is a directory read.
    let pipe = directory.path().join("pipe");
    let is_made =
        std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success());
    for path in is_made.then_some(pipe.as_path()).into_iter().chain([directory.path()]) {
        let location = at(&format!("file://{}", path.display()));
        let error = ask(Request::get(&location), None, PATIENT).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("it is no file"), "{error}");
    }
}
