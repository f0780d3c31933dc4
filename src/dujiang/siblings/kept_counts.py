"""Counters must not fall when a worker dies or is slow to answer: what was last heard of it is counted on."""

from collections.abc import Mapping

from msgspec import Raw, msgpack

from dujiang.telemetry.counts import Counts, Sample

METRICS = "metrics"
"""The topic whose answers are samples."""


class KeptCounts:
    """What workers had counted when they were last asked: all that died, and of those that live the last answer."""

    def __init__(self) -> None:
        self._gone = Counts()
        self._known: dict[int, Counts] = {}

    def gone(self, number: int) -> None:
        """This worker's counts stay for good; its successor begins at 0."""
        known = self._known.pop(number, None)
        if known is not None:
            self._gone.add(known)

    def beside(self, heard: Mapping[int, Raw]) -> Raw:
        """A sample of the counts of all who did not answer now. What they answer is remembered."""
        for number, body in heard.items():
            self._known[number] = msgpack.decode(body, type=Sample).counts
        total = Counts()
        total.add(self._gone)
        for number, known in self._known.items():
            if number not in heard:
                total.add(known)
        return Raw(msgpack.encode(Sample(0, total, None)))
