"""Sessions over the small lake, each on a copy of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from benchmark.review.items import Order
from benchmark.review.server import serving
from benchmark.review.session import Session, open_session
from schemas.reviews import Kind
from tests.conftest import Built

Open = Callable[..., Session]
Serve = Callable[[Session], str]


@pytest.fixture
def opened(copied: Built) -> Open:
    """Open a session on the copied lake: of samples and anna's, if nothing else is said."""

    def open_one(
        reviewer: str = "anna", kind: Kind = Kind.SAMPLE, where: str = "true", count: int = 4, order: str = "digest"
    ) -> Session:
        return open_session(copied.lake, kind, reviewer, where, count, Order(order))

    return open_one


@pytest.fixture
def served() -> Iterator[Serve]:
    """Serve sessions until the test ends; each has its address."""
    with ExitStack() as running:
        yield lambda session: running.enter_context(serving(session))
