//! A client decides when it sends a body. If it has logged out meanwhile, or its token has expired, the request has no effect.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use adieu::session::Scope;
use adieu_axum::{AccessToken, AfterBody, Cookies, FreshAccessToken};
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::rejection::BytesRejection,
    http::Request,
    routing::post,
};
use http_body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::support::{Answer, App, receive};

const DAY: Duration = Duration::from_secs(86_400);

/// A body that arrives when the test sends it.
struct Withheld {
    asked: Option<oneshot::Sender<()>>,
    parts: mpsc::UnboundedReceiver<&'static str>,
}

impl HttpBody for Withheld {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(asked) = self.asked.take() {
            asked.send(()).unwrap();
        }
        let part = std::task::ready!(self.parts.poll_recv(context));
        Poll::Ready(part.map(|part| Ok(Frame::data(Bytes::from(part)))))
    }
}

/// A request whose head has been checked, and whose body is awaited.
struct Opened {
    body: mpsc::UnboundedSender<&'static str>,
    answer: JoinHandle<Answer>,
}

impl Opened {
    async fn with(router: &Router, path: &str, token: &str, content_type: &str) -> Self {
        let (body, parts) = mpsc::unbounded_channel();
        let (asked, was_asked) = oneshot::channel();
        let request = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", content_type)
            .body(Body::new(Withheld { asked: Some(asked), parts }))
            .unwrap();
        let answer = tokio::spawn(receive(router.clone(), request));
        was_asked.await.unwrap();
        Self { body, answer }
    }

    async fn finish(self, parts: &[&'static str]) -> String {
        for part in parts {
            // The receiver may be gone.
            let _ = self.body.send(part);
        }
        drop(self.body);
        self.answer.await.unwrap().text()
    }
}

/// How often a handler has run.
#[derive(Clone, Default)]
struct Done(Arc<AtomicUsize>);

impl Done {
    fn once(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn router(app: &App, done: &Done) -> Router {
    let guard = app.guard();
    let [one, two, three, four, five] = [(); 5].map(|()| done.clone());
    let below_the_layer = Router::new()
        .route(
            "/layer",
            post(async move |body: String| {
                one.once();
                body
            }),
        )
        .route(
            "/layer/whatever-comes",
            // The handler would continue without a body.
            post(async move |_: Result<Bytes, BytesRejection>| two.once()),
        )
        .layer(guard.protect());
    Router::new()
        .route(
            "/extractor",
            post(async move |AfterBody(_, body): AfterBody<AccessToken, String>| {
                three.once();
                body
            }),
        )
        .route(
            "/extractor/fresh",
            post(async move |AfterBody(_, body): AfterBody<FreshAccessToken, String>| {
                four.once();
                body
            }),
        )
        .route(
            "/extractor/optional",
            post(async move |AfterBody(_, body): AfterBody<(Option<AccessToken>,), String>| {
                five.once();
                body
            }),
        )
        .merge(below_the_layer)
        .with_state(app.state(guard))
}

const PATHS: [&str; 5] = ["/layer", "/layer/whatever-comes", "/extractor", "/extractor/fresh", "/extractor/optional"];

#[tokio::test]
async fn a_logout_in_between_counts() {
    let (app, done) = (App::new(), Done::default());
    let router = router(&app, &done);
    for path in PATHS {
        let pair = app.log_in().await;
        let opened = Opened::with(&router, path, &pair.access, "text/plain").await;
        app.sessions.log_out(&pair.access, Scope::All).await.unwrap();
        let answer = opened.finish(&["delete ", "everything"]).await;
        assert!(answer.starts_with("401 ") && answer.contains("token_revoked"), "{path} {answer}");
    }
    assert_eq!(done.times(), 0);
}

#[tokio::test]
async fn a_token_that_has_expired_in_between_is_refused() {
    let (app, done) = (App::new(), Done::default());
    let router = router(&app, &done);
    for path in PATHS {
        let pair = app.log_in().await;
        let opened = Opened::with(&router, path, &pair.access, "text/plain").await;
        app.pass(DAY);
        let answer = opened.finish(&["delete everything"]).await;
        assert!(answer.starts_with("401 ") && answer.contains("token_expired"), "{path} {answer}");
    }
    assert_eq!(done.times(), 0);
}

#[tokio::test]
async fn a_body_that_comes_in_parts_with_a_good_token_is_handed_on_whole() {
    let (app, done) = (App::new(), Done::default());
    let router = router(&app, &done);
    let pair = app.log_in().await;
    for path in PATHS {
        let opened = Opened::with(&router, path, &pair.access, "text/plain").await;
        app.pass(Duration::from_secs(60));
        let answer = opened.finish(&["all ", "of ", "it"]).await;
        let body = if path.ends_with("whatever-comes") { "" } else { "all of it" };
        assert_eq!(answer, format!("200 {body}"), "{path}");
    }
    assert_eq!(done.times(), PATHS.len());
}

/// A client that gets `100 Continue` knows that its head has been checked.
#[tokio::test]
async fn a_real_client_can_withhold_a_body_too() {
    let (app, done) = (App::new(), Done::default());
    let router = router(&app, &done);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    for path in PATHS {
        let pair = app.log_in().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {}\r\ncontent-length: 17\r\n\
             content-type: text/plain\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            pair.access
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.unwrap();
        assert!(go_on.starts_with(b"HTTP/1.1 100 "), "{path}");
        app.sessions.log_out(&pair.access, Scope::This).await.unwrap();
        stream.write_all(b"delete everything").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("token_revoked"), "{path} {answer}");
    }
    assert_eq!(done.times(), 0);
    serving.abort();
}

/// A body that is read outside the handler ends with an error, once the request has been answered.
#[tokio::test]
async fn who_reads_on_after_the_answer_is_stopped_too() {
    let app = App::new();
    let (read, outcome) = mpsc::unbounded_channel();
    let reads_on = post(async move |body: Body| {
        tokio::spawn(async move {
            let all = axum::body::to_bytes(body, 1024).await;
            read.send(all.map_err(|error| error.to_string())).unwrap();
        });
        "later"
    });
    let guard = app.guard();
    let router: Router = Router::new().route("/", reads_on).layer(guard.protect()).with_state::<()>(app.state(guard));
    let pair = app.log_in().await;
    let opened = Opened::with(&router, "/", &pair.access, "text/plain").await;
    app.sessions.log_out(&pair.access, Scope::This).await.unwrap();
    assert_eq!(opened.finish(&["delete everything"]).await, "200 later");
    let mut outcome = outcome;
    assert!(outcome.recv().await.unwrap().unwrap_err().contains("no longer valid"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_given_up() {
    let app = App::new();
    let guard = app.guard().with_cookies(Cookies::new().with_csrf_in_forms()).unwrap();
    let router = Router::new()
        .route("/", post(async |body: String| body))
        .layer(guard.protect().with_body_timeout(Duration::from_secs(7)))
        .route("/read", post(async |body: String| body).layer(guard.read_bodies()))
        .with_state(app.state(guard));
    let pair = app.log_in().await;
    for (path, content_type) in [
        ("/", "text/plain"),
        ("/", "application/json"),
        ("/read", "application/x-www-form-urlencoded"),
        ("/read", "multipart/form-data; boundary=x"),
    ] {
        let opened = Opened::with(&router, path, &pair.access, content_type).await;
        assert_eq!(opened.answer.await.unwrap().status, 408, "{path} {content_type}");
        drop(opened.body);
    }
}
