"""The routes of the server, as an ASGI application."""

import asyncio
import importlib.resources
import logging
import time

from kerasseg.serve import bodies, image_api, replies
from kerasseg.serve.refusals import Refusal

_LOG = logging.getLogger(__name__)
_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_POLICY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
_METRICS = ("/metrics", "/monitoring/prometheus/metrics")
_GONE = 499  # Of the metrics only: the client hung up.


class App:
    """Answers requests; bounded in number, bytes and time.

    Args:
        settings: A `settings.Settings`.
        versions: A `versions.Versions`.
        segmenting: A `segmenting.Segmenting`.
        model_api: A `model_api.ModelApi`.
        admission: An `admission.Admission`.
        metrics: A `metrics.Metrics`.

    Attributes:
        stopping: Set when no more requests should come: /readyz says so.
    """

    def __init__(
        self, settings, versions, segmenting, model_api, *, admission, metrics
    ):
        self._settings, self._versions = settings, versions
        self._segmenting, self._model_api = segmenting, model_api
        self._admission, self._metrics = admission, metrics
        self.stopping = False
        here = importlib.resources.files("kerasseg.serve")
        self._page = {
            path: replies.Reply((here / name).read_bytes(), kind, headers=_POLICY)
            for path, (name, kind) in _PAGE.items()
        }

    async def __call__(self, scope, receive, send):
        """Answers one request, whatever happens."""
        began = time.monotonic()
        route, status = "other", _GONE
        try:
            path = scope["raw_path"].decode("ascii")
            route, answer = self._route(scope, path, receive)
            reply = await answer
        except Refusal as refusal:
            reply = replies.as_error(refusal)
        except bodies.ClientGoneError:
            reply = None
        except asyncio.CancelledError:  # The time to stop gracefully is over.
            reply = replies.as_error(_stopping())
        except Exception:
            _LOG.exception("A request failed.")
            error = Refusal(500, "The server failed at this; its log says why.")
            reply = replies.as_error(error)
        if reply is not None:
            status = reply.status
            await reply.send(send)
        self._metrics.count(route, status, time.monotonic() - began)

    def _route(self, scope, path, receive):
        """Returns the name of a route, and the coroutine that answers."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if path.lower().startswith("/v1/"):
            return "v1", self._model(scope, method, path, receive)
        fixed = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/model": self._facts,
            **dict.fromkeys(_METRICS, self._numbers),
            **dict.fromkeys(self._page, lambda: self._page[path]),
        }
        wanted = {"/segment": "POST", **dict.fromkeys(fixed, "GET")}.get(path)
        if wanted is None:
            return "other", _refuse(Refusal(404, "There is nothing at this address."))
        if method != wanted:
            refusal = Refusal(405, f"Only {wanted} is answered at this address.")
            return "other", _refuse(refusal, {"allow": wanted})
        if path == "/segment":
            return "segment", self._segment(scope, receive)
        return "fixed", _given(fixed[path])

    def _health(self):
        return replies.as_json({"status": "alive"})

    def _ready(self):
        if self.stopping:
            raise _stopping()
        return replies.as_json({"status": "ready", "version": self._number()})

    def _number(self):
        return str(self._versions.get().number)

    def _numbers(self):
        current = self._versions.current
        text, kind = self._metrics.text(current.number if current else 0)
        return replies.Reply(text, kind)

    def _facts(self):
        """Tells the page what it shows before there is a picture."""
        engine = self._versions.get()
        colors = engine.palette.tolist()
        return replies.as_json(
            {
                "name": self._versions.model_name,
                "version": str(engine.number),
                "max_pixels": self._settings.max_pixels,
                "max_bytes": self._settings.max_bytes,
                "classes": [
                    {"name": name, "color": color}
                    for name, color in zip(engine.class_names, colors, strict=True)
                ],
            }
        )

    async def _model(self, scope, method, path, receive):
        match = self._model_api.match(method, path)
        if method == "GET":
            return self._model_api.describe(match)
        engine = self._model_api.find(match)

        async def work(body, deadline):
            return await self._model_api.predict(engine, body, deadline=deadline)

        return await self._inside(scope, receive, work)

    async def _segment(self, scope, receive):
        accept = b",".join(v for name, v in scope["headers"] if name == b"accept")
        kind = replies.preferred(accept.decode("latin-1"), image_api.OFFERED)
        engine = self._versions.get()

        async def work(body, deadline):
            return await image_api.segment(
                self._segmenting, engine, body, kind, deadline=deadline
            )

        return await self._inside(scope, receive, work)

    async def _inside(self, scope, receive, work):
        """Reads the body, then works on it while there is a place and a client.

        Who sends slowly takes no place from those whose requests are here.
        """
        settings = self._settings
        with self._admission.holding() as hold:
            self._admission.check()
            body = await bodies.read(
                scope,
                receive,
                max_bytes=settings.max_bytes,
                seconds=settings.body_seconds,
                hold=hold,
            )
            deadline = asyncio.get_running_loop().time() + settings.request_seconds
            with self._admission.enter():
                return await _unless_gone(work(body, deadline), receive)


def _stopping():
    return Refusal(503, "The server is stopping; ask another.", retry_after=1)


async def _given(make):
    return make()


async def _refuse(refusal, headers=None):
    return replies.as_json({"error": str(refusal)}, refusal.status, headers)


async def _unless_gone(work, receive):
    """Awaits some work, and gives it up when the client hangs up."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(bodies.gone(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise bodies.ClientGoneError
        return working.result()
    finally:
        gone.cancel()
        working.cancel()
