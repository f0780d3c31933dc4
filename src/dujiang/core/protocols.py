"""The seams where features meet."""

from collections.abc import Awaitable, Callable

from dujiang.core.call import Call
from dujiang.core.reply import Reply

Handler = Callable[[Call], Awaitable[Reply]]
"""Opens the answer to a call, or raises an `AppError`. A provider is one; the whole pipeline is one."""

Stage = Callable[[Handler], Handler]
"""One concern wrapped around a handler."""
