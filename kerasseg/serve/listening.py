"""The listening socket, and the number of connections that the process can open."""

import asyncio
import dataclasses
import errno
import logging
import resource
import socket
from collections.abc import Callable

from kerasseg import errors
from kerasseg.serve.settings import Settings

BACKLOG = 128
_LOG = logging.getLogger(__name__)
_FEW = 8  # Connections with which a server is useful.


def fit_descriptors(settings: Settings) -> Settings:
    """Raises the limit for open files, or lowers the number of connections to it.

    Args:
        settings: The settings. If `max_connections` is lowered, a warning is logged.

    Returns:
        The settings with the number of connections that fits, in total and per client.

    Raises:
        errors.UserError: The limit is too low for any connection.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.num_descriptors
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY:
            needed = min(needed, hard)
        soft = max(soft, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    missing = settings.num_descriptors - soft
    if soft == resource.RLIM_INFINITY or missing <= 0:
        return settings
    each = settings.descriptors_per_connection
    fitting = settings.max_connections - -(-missing // each)
    if fitting < _FEW:
        raise errors.UserError(
            f"The process may open {soft} files, at least "
            f"{soft + each * (_FEW - fitting)} are needed. Raise the limit, for "
            f"example with ulimit -n {settings.num_descriptors}."
        )
    _LOG.warning(
        "max_connections was lowered from %d to %d, because the process may open %d "
        "files (ulimit -n).",
        settings.max_connections,
        fitting,
        soft,
    )
    # In proportion, so that one address still cannot take all of them.
    per_client = settings.max_connections_per_client * fitting
    return dataclasses.replace(
        settings,
        max_connections=fitting,
        max_connections_per_client=max(1, per_client // settings.max_connections),
    )


class Listener(socket.socket):
    """A listening socket that accepts no more connections than there is room for.

    asyncio then pauses for a second; further clients wait in the system's queue.

    Attributes:
        has_room: Function that returns whether another connection is accepted.
    """

    has_room: Callable[[], bool] = staticmethod(lambda: True)

    def accept(self):
        """Accepts a connection.

        Raises:
            OSError: There is no room, as if the process had too many open files.
        """
        if not self.has_room():
            raise OSError(errno.EMFILE, "There are too many connections.")
        return super().accept()


def listen(settings: Settings) -> Listener:
    """Opens the port.

    Raises:
        OSError: The port is not available.
    """
    address = settings.host, settings.port
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        opened = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot listen on `host={settings.host}` `port={settings.port}` "
            f"({error.strerror}). Choose another port, or stop the program that uses "
            f"it.",
        ) from error
    return Listener(fileno=opened.detach())


def limit(listener: Listener, connections: set, max_connections: int) -> None:
    """Limits the connections; must be called in the event loop.

    Args:
        listener: The socket.
        connections: The open connections, those that are being refused included.
        max_connections: Maximum number of connections that are served.
    """
    most = 2 * max_connections + BACKLOG
    listener.has_room = lambda: len(connections) < most

    def handle(loop, context):
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            _LOG.warning("%d connections are open: no more for now.", len(connections))
        else:
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(handle)
