//! Where a provider is: a URL of `https`, `http` or `file`.

use std::{fmt, path::PathBuf, str::FromStr};

use hyper::http::Uri;

/// Where something is asked for, or read. `Display` and `Debug` show neither query nor anything secret.
#[derive(Clone, Eq, PartialEq)]
pub struct Location(Kind);

#[derive(Clone, Eq, PartialEq)]
pub(super) enum Kind {
    Http(Http),
    File(PathBuf),
}

#[derive(Clone, Eq, PartialEq)]
pub(super) struct Http {
    pub(super) is_secure: bool,
    /// An IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As the URL has it: what the header `Host` says.
    pub(super) authority: String,
    /// From the first `/` on, with the query.
    pub(super) target: String,
}

/// Why a text is no location. Says nothing of what stands there but the scheme.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LocationError {
    /// It is no URL.
    NoUrl,
    /// It is of a scheme that is not known.
    Scheme(String),
    /// It names a user or a password, which are not sent.
    User,
    /// A file is to have a whole path, and to be on this machine.
    File,
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUrl => f.write_str("it is no URL, as `https://host/path`"),
            Self::Scheme(scheme) => write!(
                f,
                "there is no scheme `{}`; there are `https`, `http` and `file`",
                scheme.chars().take(32).collect::<String>().escape_debug()
            ),
            Self::User => f.write_str("a user in a URL is not sent; take out what stands before the `@`"),
            Self::File => f.write_str("a file is named by its whole path, as `file:///etc/keys.json`"),
        }
    }
}

impl std::error::Error for LocationError {}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').ok_or(LocationError::NoUrl)?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            "file" => return file(rest).map(|path| Self(Kind::File(path))).ok_or(LocationError::File),
            _ if text.contains("://") => return Err(LocationError::Scheme(scheme.to_owned())),
            _ => return Err(LocationError::NoUrl),
        };
        let uri: Uri = text.parse().map_err(|_| LocationError::NoUrl)?;
        let authority = uri.authority().ok_or(LocationError::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(LocationError::User);
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A port that is no number is no URL either, though the parser lets it pass.
        let has_port = authority.as_str().len() > authority.host().len();
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(LocationError::NoUrl);
        }
        Ok(Self(Kind::Http(Http {
            is_secure,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })))
    }
}

/// The path of `///path`, `//localhost/path` or `/path`, in which `%20` and its like stand for what they say.
fn file(rest: &str) -> Option<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.split_at_checked(2)).flatten();
        let byte = escaped.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    let path = String::from_utf8(bytes).ok()?;
    // `/C:/keys.json` is how a URL names a drive.
    let is_drive = cfg!(windows) && path.as_bytes().get(2) == Some(&b':');
    Some(PathBuf::from(if is_drive { path.trim_start_matches('/') } else { &path }))
}

impl Location {
    pub(super) fn kind(&self) -> &Kind {
        &self.0
    }

    /// Whether it is a file of this machine.
    pub fn is_file(&self) -> bool {
        matches!(self.0, Kind::File(_))
    }

    /// Whether TLS is between here and there.
    pub fn is_secure(&self) -> bool {
        matches!(self.0, Kind::Http(Http { is_secure: true, .. }))
    }

    /// Whether nobody can read on the way: there is TLS, or no way.
    pub fn is_private(&self) -> bool {
        match &self.0 {
            Kind::File(_) => true,
            Kind::Http(http) => {
                let loopback = http.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
                http.is_secure || loopback || http.host.eq_ignore_ascii_case("localhost")
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => write!(f, "file://{}", path.display()),
            Kind::Http(http) => {
                let scheme = if http.is_secure { "https" } else { "http" };
                let path = http.target.split('?').next().unwrap_or_default();
                write!(f, "{scheme}://{}{path}", http.authority)
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> Http {
        match text.parse::<Location>().unwrap().0 {
            Kind::Http(http) => http,
            Kind::File(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn urls_say_whom_to_ask_for_what() {
        let found = http("https://id.example/realms/a/certs?x=y");
        assert_eq!((found.is_secure, found.host.as_str(), found.port), (true, "id.example", 443));
        assert_eq!(found.target, "/realms/a/certs?x=y");
        let found = http(" HTTP://[::1]:8080 ");
        assert_eq!((found.is_secure, found.host.as_str(), found.port), (false, "::1", 8080));
        assert_eq!((found.authority.as_str(), found.target.as_str()), ("[::1]:8080", "/"));
    }

    #[test]
    fn files_are_named_by_whole_paths() {
        let path = |text: &str| match text.parse::<Location>()?.0 {
            Kind::File(path) => Ok(path),
            Kind::Http(_) => panic!("{text} is a file"),
        };
        assert_eq!(path("file:///etc/a%20b%zz.json"), Ok(PathBuf::from("/etc/a b%zz.json")));
        assert_eq!(path("file://localhost/etc/a"), Ok(PathBuf::from("/etc/a")));
        assert_eq!(path("file:/etc/a"), Ok(PathBuf::from("/etc/a")));
        assert_eq!(path("file://elsewhere/etc/a"), Err(LocationError::File));
        assert_eq!(path("file:a"), Err(LocationError::File));
    }

    #[test]
    fn what_is_no_url_is_refused_and_nothing_secret_is_shown() {
        let wrong = [
            ("", LocationError::NoUrl),
            ("localhost:8080/x", LocationError::NoUrl),
            ("ftp://a/b", LocationError::Scheme("ftp".into())),
            ("https://", LocationError::NoUrl),
            ("https:///x", LocationError::NoUrl),
            ("https://a:b/x", LocationError::NoUrl),
            ("https://a b/x", LocationError::NoUrl),
            ("https://me:hunter2@a/x", LocationError::User),
        ];
        for (text, error) in wrong {
            assert_eq!(text.parse::<Location>(), Err(error), "{text}");
        }
        let shown: Location = "https://a/x?key=hunter2".parse().unwrap();
        assert_eq!(format!("{shown} {shown:?}"), "https://a/x Location(https://a/x)");
    }

    #[test]
    fn what_travels_in_the_open_is_known() {
        let private = |text: &str| text.parse::<Location>().unwrap().is_private();
        for text in ["https://a/", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]/", "file:///a"] {
            assert!(private(text), "{text}");
        }
        assert!(!private("http://localhost.example/") && !private("http://10.0.0.1/"));
    }
}
