"""The routes of the server, as an ASGI application."""

import asyncio
import importlib.resources
import logging
import time

from kerasseg.serve import admission, bodies, image_api, request_checks, responses
from kerasseg.serve.image_pipeline import ImagePipeline
from kerasseg.serve.metrics import Metrics
from kerasseg.serve.model_api import ModelApi
from kerasseg.serve.request_errors import RequestError
from kerasseg.serve.settings import Settings
from kerasseg.serve.versions import Versions

_LOG = logging.getLogger(__name__)
_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page_objects.js": ("page_objects.js", "text/javascript; charset=utf-8"),
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
_UNCHECKED = ("/healthz", "/readyz", *_METRICS)  # Probes use addresses as hosts.
_GONE = 499  # In the metrics only: the client closed the connection.


class App:
    """Handles requests, with limits for their number, bytes and time.

    Args:
        settings: A `settings.Settings`.
        versions: A `versions.Versions`.
        pipeline: An `image_pipeline.ImagePipeline`.
        model_api: A `model_api.ModelApi`.
        gate: An `admission.Admission`.
        metrics: A `metrics.Metrics`.

    Attributes:
        stopping: Set before the server stops; /readyz then returns 503.
    """

    def __init__(
        self,
        settings: Settings,
        versions: Versions,
        pipeline: ImagePipeline,
        model_api: ModelApi,
        *,
        gate: admission.Admission,
        metrics: Metrics,
    ):
        self._settings, self._versions = settings, versions
        self._pipeline, self._model_api = pipeline, model_api
        self._admission, self._metrics = gate, metrics
        self._allowed_hosts = request_checks.allowed_hosts(
            settings.allowed_hosts, settings.host
        )
        self.stopping = False
        here = importlib.resources.files("kerasseg.serve")
        self._page = {
            path: responses.Response((here / name).read_bytes(), kind, headers=_POLICY)
            for path, (name, kind) in _PAGE.items()
        }

    async def __call__(self, scope, receive, send):
        """Responds to one request, also after unexpected errors."""
        began = time.monotonic()
        route, status = "other", _GONE
        try:
            request_checks.check_framing(scope)
            path = scope["raw_path"].decode("ascii")
            if path not in _UNCHECKED:
                request_checks.check_origin(scope, self._allowed_hosts)
            route, handler = self._route(scope, path, receive)
            response = await handler
        except RequestError as error:
            response = responses.as_error(error)
        except bodies.ClientGoneError:
            response = None
        except asyncio.CancelledError:  # The grace period is over.
            response = responses.as_error(_stopping())
        except Exception:
            _LOG.exception("A request failed.")
            failure = RequestError(500, "Internal server error; see the server's log.")
            response = responses.as_error(failure)
        if response is not None:
            status = await self._send(response, send, _client(scope))
        self._metrics.count(route, status, time.monotonic() - began)

    async def _send(self, response, send, client=None):
        """Sends a response, whose bytes are held until then; returns its status."""
        try:
            with self._admission.holding_image(len(response.body), client):
                await response.send(send)
        except RequestError as error:
            response = responses.as_error(error)
            await response.send(send)
        return response.status

    def _route(self, scope, path, receive):
        """Returns the name of a route, and the coroutine that handles it."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if path.lower().startswith("/v1/"):
            return "v1", self._model(scope, method, path, receive)
        fixed = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/model": self._description,
            **dict.fromkeys(_METRICS, self._prometheus),
            **dict.fromkeys(self._page, lambda: self._page[path]),
        }
        allowed = {"/segment": "POST", **dict.fromkeys(fixed, "GET")}.get(path)
        if allowed is None:
            return "other", _fail(RequestError(404, "Not found: this path is unknown."))
        if method != allowed:
            error = RequestError(405, f"This path allows only {allowed}.")
            return "other", _fail(error, {"allow": allowed})
        if path == "/segment":
            return "segment", self._segment(scope, receive)
        return "fixed", _as_coroutine(fixed[path])

    def _health(self):
        return responses.as_json({"status": "alive"})

    def is_ready(self) -> bool:
        """Returns whether /readyz returns 200."""
        try:
            self._ready()
        except RequestError:
            return False
        return True

    def _ready(self):
        if self.stopping:
            raise _stopping()
        waited = self._pipeline.oldest_seconds
        if waited > self._settings.max_queue_seconds:
            raise RequestError(
                503,
                f"The server is overloaded: the oldest image has waited {waited:.0f} "
                f"s; use another one.",
                retry_after=self._admission.retry_after,
            )
        return responses.as_json({"status": "ready", "version": self._number()})

    def _number(self):
        return str(self._versions.get().number)

    def _prometheus(self):
        current = self._versions.current
        text, kind = self._metrics.text(current.number if current else 0)
        return responses.Response(text, kind)

    def _description(self):
        """Describes the model for the web page."""
        engine = self._versions.get()
        colors, kind = engine.palette.tolist(), engine.image_kind
        return responses.as_json(
            {
                "name": self._versions.model_name,
                "version": str(engine.number),
                "max_pixels": self._settings.max_pixels,
                "max_bytes": self._settings.max_bytes,
                "classes": [
                    {"name": name, "color": color}
                    for name, color in zip(engine.class_names, colors, strict=True)
                ],
                **({} if kind.is_rgb else {"images": kind.to_json()}),
                **({"multi_label": True} if engine.rule.multi_label else {}),
            }
        )

    async def _model(self, scope, method, path, receive):
        match = self._model_api.match(method, path)
        if method == "GET":
            return self._model_api.describe(match)
        engine = self._model_api.find(match)

        async def work(body, budget):
            return await self._model_api.predict(engine, body, budget=budget)

        return await self._inside(scope, receive, work)

    async def _segment(self, scope, receive):
        accept = b",".join(v for name, v in scope["headers"] if name == b"accept")
        kind = responses.preferred(accept.decode("latin-1"), image_api.OFFERED)
        engine = self._versions.get()

        async def work(body, budget):
            return await image_api.segment(
                self._pipeline, engine, body, kind, budget=budget
            )

        return await self._inside(scope, receive, work)

    async def _inside(self, scope, receive, work):
        """Reads the body, then processes it, unless the client disconnects.

        A request counts towards the limit only when its body has arrived, so that slow
        clients do not block others.
        """
        settings = self._settings
        client = _client(scope)
        with self._admission.holding(client) as hold:
            self._admission.check(client)
            body = await bodies.read(
                scope,
                receive,
                max_bytes=settings.max_bytes,
                seconds=settings.body_seconds,
                hold=hold,
            )
            deadline = asyncio.get_running_loop().time() + settings.request_seconds
            budget = admission.Budget(self._admission, client, deadline)
            with self._admission.enter(client):
                response = await _unless_gone(work(body, budget), receive)
        if budget.tiled:
            response.headers["x-tile-size"] = str(settings.tile_side)
        return response


def _client(scope):
    return admission.client_of((scope["client"] or ("",))[0])


def _stopping():
    return RequestError(503, "The server is stopping; use another one.", retry_after=1)


async def _as_coroutine(handler):
    return handler()


async def _fail(error, headers=None):
    return responses.as_json({"error": str(error)}, error.status, headers)


async def _unless_gone(work, receive):
    """Awaits some work, and cancels it when the client disconnects."""
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
