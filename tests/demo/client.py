"""A visitor of the example microblog: what a person does in a browser, over HTTP; an unexpected page is an error."""

import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from http.cookiejar import CookieJar
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urljoin
from urllib.request import HTTPCookieProcessor, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener
from uuid import uuid4

# The site's own templates, so that what stands where is known; they escape what people write.
POST = re.compile(
    r'<article class="post" id="post-(\d+)" data-author="([^"]*)">.*?<p class="body">(.*?)</p>', re.DOTALL
)
UPLOAD = re.compile(r'data-upload="([^"]+)" data-here="(yes|no)"')
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
WORDS = re.compile(r"<(?:h1|p)\b[^>]*>(.*?)</(?:h1|p)>", re.DOTALL)
UNFINISHED = ("queued", "started", "deferred", "scheduled")


class UnexpectedPageError(AssertionError):
    """A page was not what a visitor expects: the status and the words on it are in the message."""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer after redirects, with its bytes as they came."""

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def dyno(self) -> str:
        """The dyno that answered, as the page itself says; empty when it says none."""
        return self.value("data-dyno") or ""

    @property
    def is_signed_in(self) -> bool:
        """Only who is signed in is offered to sign out."""
        return 'action="/logout"' in self.text

    def value(self, attribute: str) -> str | None:
        """Value of the first such attribute on the page."""
        found = re.search(f'{re.escape(attribute)}="([^"]*)"', self.text)
        return unescape(found[1]) if found else None

    def expect(self, *statuses: int) -> "Page":
        """This page, or UnexpectedPageError unless its status is one of these."""
        if self.status not in statuses:
            raise UnexpectedPageError(f"{self.url} answered {self.status}, expected {statuses}: {self._words()}")
        return self

    def _words(self) -> str:
        text = self.body.decode(errors="replace")
        return unescape(" ".join(" ".join(WORDS.findall(text)).split()) or text)[:600]


@dataclass(frozen=True, slots=True)
class PostSeen:
    """A post as a page shows it."""

    id: int
    author: str
    body: str


@dataclass(frozen=True, slots=True)
class UploadSeen:
    """An upload as the list shows it: `is_here` when the dyno that answered has the file."""

    path: str
    is_here: bool


@dataclass(frozen=True, slots=True)
class Health:
    """What the dyno that answered reaches. `database` is `postgresql` or `sqlite`."""

    dyno: str
    database: str
    search: bool
    redis: bool


@dataclass(frozen=True, slots=True)
class Task:
    """The background task: `none`, `queued`, `started`, `finished`, `failed`, `unavailable`; the rest once finished."""

    status: str
    posts: int = 0
    words: int = 0
    worker: str = ""


class MicroblogClient:
    """One visitor with cookies of its own. Every method raises UnexpectedPageError when the site does something else.

    `base_url` is `http://HOST:PORT`; with https no certificate is checked. `language` is sent as Accept-Language.
    """

    def __init__(self, base_url: str, *, language: str = "en", timeout: float = 30) -> None:
        self.base_url = base_url.rstrip("/")
        self.language = language
        self.timeout = timeout
        self._opener = _opener()

    def register(self, username: str, password: str = "correct horse") -> Page:
        """Create the account; the visitor is signed in afterwards."""
        fields = {"username": username, "password": password, "repeated": password}
        return _signed_in(self.submit("/register", fields))

    def login(self, username: str, password: str = "correct horse") -> Page:
        return _signed_in(self.submit("/login", {"username": username, "password": password}))

    def logout(self) -> Page:
        return self.submit("/logout", {}, form_at="/").expect(200)

    def post(self, body: str) -> PostSeen:
        """Write a post, and find it at the top of the timeline."""
        page = self.submit("/post", {"body": body}, form_at="/").expect(200)
        found = next((post for post in _posts(page) if post.body == body), None)
        if found is None:
            raise UnexpectedPageError(f"the timeline does not show the post {body!r}")
        return found

    def delete(self, post: PostSeen) -> Page:
        return self.submit(f"/post/{post.id}/delete", {}, form_at="/").expect(200)

    def timeline(self) -> list[PostSeen]:
        """The newest 20 posts, newest first."""
        return _posts(self.get("/").expect(200))

    def search(self, words: str) -> list[PostSeen]:
        """Posts that match, best first; UnexpectedPageError (503) when search is unavailable."""
        return _posts(self.get(f"/search?q={quote(words)}").expect(200))

    def upload(self, name: str, content: bytes) -> str:
        """Upload a file and return its path, `/uploads/…`, which `get` fetches: 200 where it is, 404 where not."""
        self.submit("/upload", {}, files={"file": (name, content)}).expect(200)
        return self.uploads()[0].path

    def uploads(self) -> list[UploadSeen]:
        """The newest 50 uploads of everybody, newest first."""
        page = self.get("/upload").expect(200)
        return [UploadSeen(f"/uploads/{name}", here == "yes") for name, here in UPLOAD.findall(page.text)]

    def start_task(self) -> Task:
        """Have a worker count this account's words."""
        return _task(self.submit("/tasks", {}))

    def task(self) -> Task:
        return _task(self.get("/tasks"))

    def finished_task(self, within: float = 30) -> Task:
        """Start the task and ask for its result for at most `within` seconds: the site can only be asked again."""
        seen, deadline = self.start_task(), time.monotonic() + within
        while seen.status in UNFINISHED and time.monotonic() < deadline:
            time.sleep(0.2)
            seen = self.task()
        if seen.status != "finished":
            raise UnexpectedPageError(f"the background task is {seen.status} after at most {within} s")
        return seen

    def healthz(self) -> Health:
        return Health(**json.loads(self.get("/healthz").expect(200).body))

    def get(self, path: str) -> Page:
        """Any page, whatever its status."""
        return self._send(Request(self._url(path)))

    def submit(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        files: Mapping[str, tuple[str, bytes]] | None = None,
        form_at: str | None = None,
    ) -> Page:
        """Fetch the page with the form (`form_at`, else `path`) for its token, then send the form to `path`."""
        sent = {**fields, "csrf_token": self._token(form_at or path)}
        if files is None:
            return self._send(Request(self._url(path), urlencode(sent).encode()))
        content_type, body = _multipart(sent, files)
        return self._send(Request(self._url(path), body, {"Content-Type": content_type}))

    def _token(self, path: str) -> str:
        page = self.get(path).expect(200)
        found = TOKEN.search(page.text)
        if found is None:
            raise UnexpectedPageError(f"{page.url} has no form with a csrf_token: is nobody signed in?")
        return unescape(found[1])

    def _url(self, path: str) -> str:
        return urljoin(self.base_url + "/", path)

    def _send(self, request: Request) -> Page:
        request.add_header("Accept-Language", self.language)
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                return Page(answer.url, answer.status, dict(answer.headers), answer.read())
        except HTTPError as error:
            with error:
                return Page(error.url or request.full_url, error.code, dict(error.headers), error.read())


def _signed_in(page: Page) -> Page:
    if not page.expect(200).is_signed_in:
        raise UnexpectedPageError(f"{page.url} does not show anybody as signed in")
    return page


def _posts(page: Page) -> list[PostSeen]:
    return [PostSeen(int(number), unescape(author), unescape(body)) for number, author, body in POST.findall(page.text)]


def _task(page: Page) -> Task:
    page.expect(200, 503)
    status = page.value("data-task")
    if status is None:
        raise UnexpectedPageError(f"{page.url} shows no background task: is nobody signed in?")
    return Task(
        status,
        posts=int(page.value("data-posts") or 0),
        words=int(page.value("data-words") or 0),
        worker=page.value("data-worker") or "",
    )


def _opener() -> OpenerDirector:
    """Cookies kept, no proxy of the machine's, any certificate: the site is on this machine."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return build_opener(ProxyHandler({}), HTTPSHandler(context=context), HTTPCookieProcessor(CookieJar()))


def _multipart(fields: Mapping[str, str], files: Mapping[str, tuple[str, bytes]]) -> tuple[str, bytes]:
    """Content type and body of a form with files. Names must be plain: nothing in them is escaped."""
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, (file, content) in files.items()
    ]
    return f"multipart/form-data; boundary={boundary}", b"".join([*parts, f"--{boundary}--\r\n".encode()])
