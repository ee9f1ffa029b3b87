//! Pages of an application on the admin address.

use std::borrow::Cow;
use std::fmt::{self, Debug};

use crate::engines::Engine;

/// A page that an agent serves over HTTP next to its metrics; see [`Agent::page`](crate::Agent::page).
///
/// Pages are called one after the other on one thread, on which metrics and health are served too. A request whose Host is a name
/// with dots does not reach them, which prevents DNS rebinding: a website could otherwise read the pages through an operator's browser.
pub trait Page: Debug + Send + Sync + 'static {
    /// Answers a GET request.
    fn get(&self, request: &PageRequest<'_>) -> PageAnswer;

    /// Returns the reason why this sender may not send POST requests; by default nobody may. It is asked before the body is read.
    ///
    /// # Errors
    /// The answer to the request.
    fn authorize(&self, _sender: &PostSender<'_>) -> Result<(), PageAnswer> {
        Err(PageAnswer::refused(PageStatus::MethodNotAllowed, "only GET and HEAD are allowed"))
    }

    /// Answers a POST request of an [authorized](Self::authorize) sender, which may change something. It may wait for a disk, because
    /// it is called on a thread of its own, one request after the other.
    ///
    /// The body is JSON of at most 1 MiB. A request that a browser sends for a page of another site does not reach this.
    fn post(&self, _request: &PagePost<'_>) -> PageAnswer {
        PageAnswer::refused(PageStatus::MethodNotAllowed, "only GET and HEAD are allowed")
    }
}

/// The sender of a POST request for a [`Page`].
#[derive(Clone, Copy, Debug)]
pub struct PostSender<'r> {
    pub(crate) transport: Transport,
    pub(crate) bearer: Option<&'r str>,
}

impl<'r> PostSender<'r> {
    /// Returns the kind of socket that it is connected to.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns the token in the header `Authorization: Bearer TOKEN`, if there is one.
    pub const fn bearer(&self) -> Option<&'r str> {
        self.bearer
    }
}

/// A POST request for a [`Page`].
#[derive(Clone, Copy, Debug)]
pub struct PagePost<'r> {
    pub(crate) query: &'r str,
    pub(crate) body: &'r [u8],
}

impl<'r> PagePost<'r> {
    /// Returns the text after `?` in the URL, percent-encoded; it may be anything.
    pub const fn query(&self) -> &'r str {
        self.query
    }

    /// Returns the body; it may be anything.
    pub const fn body(&self) -> &'r [u8] {
        self.body
    }
}

/// The kind of socket that a request arrived on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A unix socket, whose mode, owner and group choose who can connect.
    Unix,
    /// TCP: everyone who reaches the address can connect.
    Tcp,
}

/// A request for a [`Page`], and the state of the agent that serves it.
#[derive(Clone, Copy)]
pub struct PageRequest<'r> {
    pub(crate) query: &'r str,
    pub(crate) agent: &'r dyn AgentState,
}

/// The state of an agent that pages can show.
pub(crate) trait AgentState {
    /// Returns all metrics in the text format of Prometheus.
    fn metrics(&self) -> String;

    /// Returns the engines of HAProxy that are connected or were recently.
    fn engines(&self) -> Vec<Engine>;
}

impl<'r> PageRequest<'r> {
    /// Returns the text after `?` in the URL, percent-encoded; it may be anything.
    pub const fn query(&self) -> &'r str {
        self.query
    }

    /// Returns all metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.agent.metrics()
    }

    /// Returns the SPOE filters of HAProxy that are connected or were within the last hour: those with most NOTIFYs first.
    pub fn engines(&self) -> Vec<Engine> {
        self.agent.engines()
    }
}

impl Debug for PageRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRequest").field("query", &self.query).finish_non_exhaustive()
    }
}

/// The answer of a [`Page`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAnswer {
    /// The status.
    pub status: PageStatus,
    /// The value of the Content-Type header.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// The value of the Content-Security-Policy header: what a browser may load and run for this document.
    /// An invalid value is replaced by a policy that forbids everything.
    pub content_security_policy: Cow<'static, str>,
}

/// The status of a [`PageAnswer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStatus {
    /// 200.
    Ok,
    /// 400: something is wrong with the query or the body.
    BadRequest,
    /// 401: a token is needed, or it is wrong.
    Unauthorized,
    /// 403: the request is not allowed on this socket.
    Forbidden,
    /// 405: the method is not allowed.
    MethodNotAllowed,
    /// 410: the requested data are not kept any more.
    Gone,
}

/// Forbids a browser to load or run anything.
pub(crate) const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

impl PageAnswer {
    /// Returns a JSON document.
    pub const fn json(body: String) -> Self {
        let status = PageStatus::Ok;
        Self { status, content_type: "application/json", body, content_security_policy: Cow::Borrowed(NOTHING) }
    }

    /// Returns an HTML document with its Content-Security-Policy.
    pub const fn html(body: String, content_security_policy: String) -> Self {
        let content_security_policy = Cow::Owned(content_security_policy);
        Self { status: PageStatus::Ok, content_type: "text/html; charset=utf-8", body, content_security_policy }
    }

    /// Returns the reason why a query cannot be answered, a line of text.
    pub fn bad_query(reason: &str) -> Self {
        Self::refused(PageStatus::BadRequest, reason)
    }

    /// Returns a status with its reason, a line of text.
    pub fn refused(status: PageStatus, reason: &str) -> Self {
        let body = format!("{reason}\n");
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body,
            content_security_policy: Cow::Borrowed(NOTHING),
        }
    }
}
