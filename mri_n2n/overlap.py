"""Files read ahead and written behind, in threads, while a device works on what lies between."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Overlap:
    """At most `count` items read ahead and `count` written behind; with 0 each waits for its turn.

    As a context: when it ends, all writes handed over are done, also after an error; reads not yet begun are dropped.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._readers = ThreadPoolExecutor(max(1, count), "read-ahead")
        self._writers = ThreadPoolExecutor(max(1, count), "write-behind")
        self._writes: deque[Future[Any]] = deque()

    def ahead(self, read: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, Callable[[], R]]]:
        """Every item, in order, with a function that waits for its `read(item)` and raises what that raised."""
        waiting: deque[tuple[T, Callable[[], R]]] = deque()
        for item in items:
            waiting.append((item, self._readers.submit(read, item).result))
            if len(waiting) > self._count:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    def behind(self, write: Callable[..., Any], *arguments: Any) -> None:
        """Have `write(*arguments)` done. Raises what an earlier one raised."""
        self._writes.append(self._writers.submit(write, *arguments))
        while len(self._writes) > self._count:
            self._writes.popleft().result()

    def __enter__(self) -> "Overlap":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown()
        while self._writes and error is None:
            self._writes.popleft().result()
