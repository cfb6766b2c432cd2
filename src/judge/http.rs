//! One request over HTTP, and what can go wrong with it. A key never leaves this file but in the header it belongs in.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::fault::{Fault, FaultKind};

/// Longest response that is read.
const LONGEST: u64 = 8 << 20;
/// Longest time that a server may ask to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A key. It cannot be printed.
#[derive(Clone)]
pub struct Secret {
    key: String,
    /// The variable that should hold it; for messages.
    variable: String,
}

impl Secret {
    /// The key `text`.
    pub fn new(text: &str) -> Self {
        Self { key: text.trim().to_owned(), variable: String::new() }
    }

    /// The key in an environment variable. That there is none is told to whoever asks a question: what has been
    /// answered needs no key.
    pub fn of_variable(name: &str) -> Self {
        Self { variable: name.to_owned(), ..Self::new(&std::env::var(name).unwrap_or_default()) }
    }

    /// `text` without the key, should it be in there.
    fn redact(&self, text: &str) -> String {
        if self.key.is_empty() { text.to_owned() } else { text.replace(&self.key, "***") }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Posts to one address over connections that it keeps.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    address: String,
    key: Option<Secret>,
}

impl Client {
    /// For `address`, with `connections` at most at a time. Certificates are those of `authorities`, the contents of a
    /// PEM file, where there is one, else the public ones.
    ///
    /// # Errors
    /// `authorities` without a certificate.
    pub fn new(
        address: &str,
        timeout: Duration,
        connections: usize,
        key: Option<Secret>,
        authorities: Option<&[u8]>,
    ) -> Result<Self, String> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = authorities {
            let found: Vec<Certificate<'static>> = parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if found.is_empty() {
                return Err("no certificate is in it".to_owned());
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&found));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .user_agent(concat!("sweep/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self { agent, address: address.to_owned(), key })
    }

    /// Posts `body`, which is JSON; returns the body of a successful response.
    ///
    /// # Errors
    /// Everything else.
    pub fn post(&self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        self.try_post(body).map_err(|fault| Fault { message: self.redact(&fault.message), ..fault })
    }

    fn redact(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.redact(text))
    }

    fn try_post(&self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut request = self.agent.post(&self.address).header("content-type", "application/json");
        if let Some(key) = &self.key {
            if key.key.is_empty() {
                let text = format!(
                    "there is no environment variable `{0}`, which is to hold the API key\nhint: `export {0}=...` before the run; keys are never read from files",
                    key.variable
                );
                return Err(Fault::new(FaultKind::Denied, text));
            }
            request = request.header("authorization", format!("Bearer {}", key.key));
        }
        let mut response = request.send(body).map_err(|error| self.fault_of(&error))?;
        let status = response.status().as_u16();
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let wait = header("retry-after").and_then(|text| wait_of(&text));
        let read = response.body_mut().with_config().limit(LONGEST).read_to_vec();
        if (200..300).contains(&status) {
            let bytes = read.map_err(|error| self.fault_of(&error))?;
            return Ok(self.without_key(bytes));
        }
        let text = read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Err(status_fault(status, &text, wait))
    }

    /// A server that repeats the key does not get it into an answer.
    fn without_key(&self, bytes: Vec<u8>) -> Vec<u8> {
        let holds = |key: &Secret| {
            let key = key.key.as_bytes();
            !key.is_empty() && bytes.windows(key.len()).any(|window| window == key)
        };
        match &self.key {
            Some(key) if holds(key) => key.redact(&String::from_utf8_lossy(&bytes)).into_bytes(),
            _ => bytes,
        }
    }

    fn fault_of(&self, error: &ureq::Error) -> Fault {
        let at = &self.address;
        match error {
            ureq::Error::Timeout(_) => Fault::new(
                FaultKind::Timeout,
                format!("no answer from `{at}` within `eval.endpoint.timeout`"),
            ),
            ureq::Error::BodyExceedsLimit(_) => {
                let text = format!("the response has more than {} MiB", LONGEST >> 20);
                Fault::new(FaultKind::TooLarge, text)
            }
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => self.certificate(&error.to_string()),
            ureq::Error::Io(io) if io.kind() == ErrorKind::TimedOut => Fault::new(
                FaultKind::Timeout,
                format!("no answer from `{at}` within `eval.endpoint.timeout`"),
            ),
            ureq::Error::Io(io)
                if io.get_ref().is_some_and(|inner| inner.to_string().contains("certificate")) =>
            {
                self.certificate(&io.to_string())
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => Fault::new(
                FaultKind::Denied,
                format!(
                    "`{at}` cannot be asked: {error}\nhint: see `eval.endpoint.url`, and the proxy variables"
                ),
            ),
            other => Fault::new(FaultKind::Connection, format!("`{at}`: {other}")),
        }
    }

    fn certificate(&self, cause: &str) -> Fault {
        let text = format!(
            "`{}`: no trusted connection: {cause}\nhint: for an authority of your own, `SSL_CERT_FILE` names its certificate (PEM)",
            self.address
        );
        Fault::new(FaultKind::Certificate, text)
    }
}

fn status_fault(status: u16, text: &str, wait: Option<Duration>) -> Fault {
    let (kind, hint) = match status {
        429 | 503 => (FaultKind::Busy, ""),
        408 => (FaultKind::Timeout, ""),
        500.. => (FaultKind::Server, ""),
        401 | 403 => {
            (FaultKind::Denied, "\nhint: `eval.endpoint.key_env` names the variable that holds the key")
        }
        404 => (
            FaultKind::Denied,
            "\nhint: `eval.endpoint.url` ends where `/completions` would follow, mostly in `/v1`",
        ),
        300..=399 => (
            FaultKind::Denied,
            "\nhint: the server sends elsewhere; name that address in `eval.endpoint.url`",
        ),
        _ => (FaultKind::Refused, ""),
    };
    let said = beginning(text.trim());
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Fault { wait, ..Fault::new(kind, format!("HTTP status {status}{said}{hint}")) }
}

/// As much of a text as fits into a message.
pub fn beginning(text: &str) -> String {
    const SHOWN: usize = 200;
    let short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() { short + "..." } else { short }
}

/// `Retry-After`: seconds, or the time of day when to come back.
fn wait_of(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse::<u64>().ok().map(Duration::from_secs);
    let wait = seconds.or_else(|| {
        let then = http_date(text.trim())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Duration::from_secs(then).saturating_sub(now))
    })?;
    Some(wait.min(LONGEST_WAIT))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.strip_suffix(" GMT")?.split([' ', ':']);
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64;
    let mut number = || words.next()?.parse::<u64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970-03-01 of years that begin in March, as in Howard Hinnant's `days_from_civil`.
    let (shifted, moved) = (if month < 2 { year - 1 } else { year }, (month + 10) % 12);
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (153 * moved + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_times_of_day() {
        assert_eq!(wait_of("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait_of("100000"), Some(LONGEST_WAIT));
        assert_eq!(wait_of("soon"), None);
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(wait_of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn keys_are_not_printed() {
        let key = Secret::new(" sk-planted\n");
        assert_eq!(format!("{key:?}"), "***");
        assert_eq!(key.redact("bad key sk-planted given"), "bad key *** given");
    }
}
