"""Assembles the server and runs it until it is stopped.

HTTP is uvicorn's with h11, which is well maintained, pure Python and strict; `protocol`
extends its connections. Waitress has timeouts only between bytes, and needs a thread
per request; aiohttp and hypercorn have no limits for slow clients either, and are
larger.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import typing
from collections.abc import Callable

import uvicorn

from kerasseg import errors
from kerasseg.serve import (
    access_log,
    admission,
    batching,
    decoding,
    image_pipeline,
    listening,
    logs,
    metrics,
    model_api,
    protocol,
)
from kerasseg.serve import app as application
from kerasseg.serve import versions as watching
from kerasseg.serve.settings import Settings
from kerasseg.system import runtime

_LOG = logging.getLogger(__name__)
_MAX_HEAD_BYTES = 16 * 1024
_KEEP_ALIVE_SECONDS = 5


def serve(settings: Settings, load: Callable) -> None:
    """Serves until SIGTERM or Ctrl-C, and completes the requests received until then.

    If the network is still computing after the grace period, the process exits.

    Args:
        settings: A `settings.Settings`.
        load: Function of the path of a version to an `engine.Engine`.

    Raises:
        errors.UserError: See `settings.Settings.check`.
        OSError: The port is not available.
        KeyboardInterrupt: It was stopped by Ctrl-C.
    """
    settings.check()
    with logs.opened(settings.log_format, settings.access_log) as log:
        settings = listening.fit_descriptors(settings)
        interrupted, computing = asyncio.run(_serve(settings, load, log))
        _LOG.info("The server has stopped.")
    if computing:
        os._exit(128 + signal.SIGINT if interrupted else 0)
    if interrupted:
        raise KeyboardInterrupt


async def _serve(settings, load, log):
    """Returns whether Ctrl-C stopped it, and whether the network is computing."""
    gate = admission.Admission(
        settings.max_requests,
        settings.max_held_bytes,
        max_per_client=settings.max_requests_per_client,
        max_seconds=settings.request_seconds,
        max_image_bytes=settings.max_image_bytes,
    )
    counted = metrics.Metrics(gate)
    versions = watching.Versions(
        settings.export_dir,
        settings.model_name,
        load,
        poll_seconds=settings.poll_seconds,
        load_seconds=settings.load_seconds,
    )
    counted.watch_scans(lambda: versions.seconds_since_last_scan)
    counted.watch_log(lambda: log.num_dropped)
    decoder = decoding.Decoder(
        settings.decoders, settings.max_pixels, on_output=counted.count_messages
    )
    counted.watch_decoders(lambda: decoder.pids)
    batcher = batching.Batcher(
        settings.max_batch_size,
        int(settings.max_batch_megapixels * 1e6),
        settings.max_batch_wait,
        on_batch=counted.count_batch,
        max_large_weight=settings.tile_side**2,
    )
    pipeline = image_pipeline.ImagePipeline(
        decoder, batcher, settings.max_pixels, settings.tile_side
    )
    api = model_api.ModelApi(versions, pipeline)
    app = application.App(settings, versions, pipeline, api, gate=gate, metrics=counted)
    server = _Server(_config(app, settings, log), app)
    with listening.listen(settings) as listener:
        listening.limit(
            listener, server.server_state.connections, settings.max_connections
        )
        parts = settings, api, gate, counted.count, log.request, app.is_ready
        async with _grpc(*parts) as (grpc_port, stop):
            server.stop_grpc = stop
            _announce(log, settings, listener, grpc_port)
            await _run(server, [listener], versions, decoder, batcher)
    return server.interrupted, batcher.computing


def _announce(log, settings, listener, grpc_port):
    """Writes the addresses, with the ports that the system may have chosen."""
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    fields = {"model": settings.model_name, "address": f"http://{host}:{port}/"}
    message = f"Serving {settings.model_name} of {settings.export_dir} at "
    message += fields["address"]
    if grpc_port is not None:
        fields["grpc_port"] = grpc_port
        message += f" and gRPC at port {grpc_port}"
    log.announce(message, fields)


@contextlib.asynccontextmanager
async def _grpc(settings, *parts):
    """Serves gRPC while the block runs.

    Yields:
        Its port, None without gRPC, and a function that stops it gracefully.
    """
    if settings.grpc_port < 0:
        yield None, _nothing
        return
    try:
        runtime.start_tensorflow()
        from kerasseg.serve import grpc_api  # Needs an extra.
    except ImportError as error:
        raise errors.MissingPackageError(
            f"`grpc_port` needs {error.name}: pip install 'kerasseg[grpc]'"
        ) from error
    server, port = await grpc_api.start(settings, *parts)
    try:
        stop = functools.partial(server.stop, settings.grace_seconds)
        yield port, stop
    finally:
        await server.stop(0)


async def _nothing():
    pass


async def _run(server, sockets, versions, decoder, batcher):
    gc.freeze()  # The libraries: later collections look for old versions only.
    versions.start()
    warming = asyncio.ensure_future(decoder.warm_up())
    try:
        await server.serve(sockets)
    finally:
        warming.cancel()
        versions.stop()
        decoder.close()
        await batcher.close()


def _config(app, settings, log):
    limits = protocol.Limits(
        max_connections=settings.max_connections,
        max_connections_per_client=settings.max_connections_per_client,
        header_seconds=settings.header_seconds,
        write_seconds=settings.request_seconds,
    )
    # uvicorn expects a class, but any callable works.
    guarded: typing.Any = functools.partial(
        protocol.GuardedProtocol, limits=limits, write=log.request
    )
    return uvicorn.Config(
        access_log.AccessLog(app, log.request),
        http=guarded,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=listening.BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.grace_seconds,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )


class _Server(uvicorn.Server):
    """Stops gracefully at the first signal, and at once at the second."""

    def __init__(self, config, app):
        super().__init__(config)
        self._app = app
        self.stop_grpc = _nothing
        self.interrupted = False

    async def shutdown(self, sockets=None):
        """Completes the requests of HTTP and gRPC concurrently."""
        _LOG.info("Stopping: the requests in progress are completed.")
        stopping = asyncio.ensure_future(self.stop_grpc())
        await super().shutdown(sockets)
        while not (stopping.done() or self.force_exit):
            await asyncio.sleep(0.05)

    def handle_exit(self, sig, frame):
        del frame
        self.force_exit = self.should_exit
        self.should_exit = self._app.stopping = True
        self.interrupted = self.interrupted or sig == signal.SIGINT
