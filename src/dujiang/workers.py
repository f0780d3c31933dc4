"""The worker processes, as the parent sees them: started, restarted with growing delay when they die, and stopped."""

import asyncio
import logging
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
from msgspec import structs

from dujiang.core.errors import Misconfigured
from dujiang.orders import Orders
from dujiang.server.address import Address
from dujiang.siblings.line import Answer, Ask, Line, Ready, Seen, ToParent
from dujiang.siblings.switchboard import Switchboard
from dujiang.telemetry.troubles import Troubles

_RESTART_MIN_S, _RESTART_MAX_S = 0.2, 10.0
_START_S = 60.0
_STOP_GRACE_S = 10.0

_log = logging.getLogger(__name__)


@asynccontextmanager
async def working(
    orders: Orders, environ: Mapping[str, str], address: Address, troubles: Troubles
) -> AsyncGenerator[Sequence[asyncio.Task[None]]]:
    """Let `orders.workers` processes serve, whatever happens to them; at the end let them drain, all at once.
    `troubles` hears what they see.

    Begins once all accept calls, and gives the tasks that see to it: one that ends is a reason to end. Raises
    `Misconfigured` when a worker dies before it accepts calls.
    """
    switchboard = Switchboard(orders.workers)
    workers = [
        Worker(structs.replace(orders, worker=n + 1), environ, address, switchboard, troubles)
        for n in range(orders.workers)
    ]
    keepers: list[asyncio.Task[None]] = []
    try:
        await _start_all(workers)
        keepers += [asyncio.create_task(each.keep(), name=f"keep worker {each.number} running") for each in workers]
        yield keepers
    finally:
        for keeper in keepers:
            keeper.cancel()
        for error in await asyncio.gather(*keepers, return_exceptions=True):
            if isinstance(error, Exception):
                _log.error("a worker was not looked after any more", exc_info=error)
        address.close()
        await asyncio.gather(*(worker.stop() for worker in workers))


async def _start_all(workers: Sequence["Worker"]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.start(), name=f"start worker {worker.number}")
    except* Misconfigured as errors:
        raise errors.exceptions[0] from None


class Worker:
    """One worker process after another, under the same number."""

    def __init__(
        self,
        orders: Orders,
        environ: Mapping[str, str],
        address: Address,
        switchboard: Switchboard,
        troubles: Troubles,
    ) -> None:
        self.number = orders.worker
        self._orders = orders
        self._environ = environ
        self._address = address
        self._switchboard = switchboard
        self._troubles = troubles
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it accepts calls. Raises `Misconfigured` when it dies first, or takes too long."""
        ours, theirs = socket.socketpair()
        ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def hear(message: ToParent) -> None:
            self._hear(message, line, ready)

        line = Line(ToParent, hear, lambda: self._lose(line, ready))
        try:
            with theirs, self._address.open() as listener:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "dujiang.worker",
                    stdin=theirs.fileno(),
                    stdout=DEVNULL,
                    env=self._environ,
                    pass_fds=(listener.fileno(),),
                    start_new_session=True,
                )
                orders = structs.replace(self._orders, listener=listener.fileno())
        except BaseException as error:
            ours.close()
            if not isinstance(error, OSError):
                raise
            raise Misconfigured(f"The worker process could not be started: {error.strerror}.") from error
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: line, sock=ours)
        transport.write(msgspec.json.encode(orders) + b"\n")
        await self._await_ready(ready)

    async def keep(self) -> None:
        """Restart the worker whenever it dies."""
        delay_s = _RESTART_MIN_S
        while True:
            if self._process is not None:
                status = await self._process.wait()
                _log.error("worker %d died with status %d; starting another in %g s", self.number, status, delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self.start()
                delay_s = _RESTART_MIN_S
            except (Misconfigured, OSError) as error:
                _log.error("worker %d could not be started: %s", self.number, error)
                delay_s = min(delay_s * 2, _RESTART_MAX_S)

    async def stop(self) -> None:
        """Let it drain; kill it if it takes longer than it was given."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._orders.drain_s + _STOP_GRACE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _await_ready(self, ready: asyncio.Future[bool]) -> None:
        try:
            async with asyncio.timeout(_START_S):
                if await ready:
                    return
        except TimeoutError:
            pass
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        raise Misconfigured("The worker process did not start; its own message is above.")

    def _hear(self, message: ToParent, line: Line, ready: asyncio.Future[bool]) -> None:
        match message:
            case Ready():
                self._switchboard.connect(self.number, line)
                if not ready.done():
                    ready.set_result(True)
            case Ask():
                self._switchboard.ask(self.number, message)
            case Answer():
                self._switchboard.hear(self.number, message)
            case Seen():
                self._troubles.hear(self.number, message.troubles)

    def _lose(self, line: Line, ready: asyncio.Future[bool]) -> None:
        self._switchboard.disconnect(self.number, line)
        if not ready.done():
            ready.set_result(False)
