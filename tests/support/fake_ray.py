"""Ray in this process: actors are objects, and a call that dies ends its actor."""


class DiedError(Exception):
    """Raised by a call to end its actor."""


class RayError(Exception):
    """Like Ray's."""


class RayActorError(RayError):
    """Like Ray's."""


class RayTaskError(RayError):
    """Like Ray's: `cause` is the exception of the call."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class FakeRay:
    """The part of the module `ray` that the engine uses.

    Args:
        num_gpus: Number of GPUs of the cluster.
        num_machines: Number of machines of the cluster.
    """

    def __init__(self, num_gpus=0, num_machines=1):
        self.exceptions = self
        self.RayError, self.RayActorError = RayError, RayActorError
        self.RayTaskError = RayTaskError
        self._num_gpus, self._num_machines = num_gpus, num_machines
        self.num_started = 0

    def cluster_resources(self):
        return {"CPU": 2.0, "GPU": self._num_gpus} if self._num_gpus else {"CPU": 2.0}

    def nodes(self):
        return [{"Alive": True}] * self._num_machines + [{"Alive": False}]

    def remote(self, **_):
        return lambda cls: _Class(self, cls)

    def get(self, calls):
        if isinstance(calls, list):
            return [self.get(call) for call in calls]
        return calls.result()

    def wait(self, waiting):
        return waiting[:1], waiting[1:]


class _Class:
    def __init__(self, ray, cls):
        self._ray, self._cls = ray, cls

    def remote(self, *arguments):
        self._ray.num_started += 1
        return _Actor(self._cls, arguments)


class _Actor:
    def __init__(self, cls, arguments):
        self._dead = False
        try:
            self._object = cls(*arguments)
        except Exception:
            self._dead = True

    def __getattr__(self, name):
        return _Method(self, name)

    def _call(self, name, arguments):
        if self._dead:
            raise RayActorError("the actor is dead")
        try:
            return getattr(self._object, name)(*arguments)
        except DiedError as error:
            self._dead = True
            raise RayActorError("the actor died") from error
        except Exception as error:
            raise RayTaskError(error) from error


class _Method:
    def __init__(self, actor, name):
        self._actor, self._name = actor, name

    def remote(self, *arguments):
        return _Call(self._actor, self._name, arguments)


class _Call:
    def __init__(self, *call):
        self._call = call

    def result(self):
        actor, name, arguments = self._call
        return actor._call(name, arguments)
