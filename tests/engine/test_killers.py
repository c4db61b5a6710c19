"""The laws of finding the requests that kill engines, over made-up engines without a process."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from medsent.engine.killers import KillerDetector, Verdict


@dataclass
class World:
    """Requests that are sent until each is answered or quarantined; some of them kill."""

    requests: int
    at_once: int
    killers: frozenset[int] = frozenset()
    detector: KillerDetector = field(default_factory=KillerDetector)
    in_flight: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    quarantined: list[int] = field(default_factory=list)
    deaths: int = 0
    alone_outside: list[int] = field(default_factory=list)
    """Those that were alone in flight when an engine was killed from outside, for each time."""

    @property
    def open(self) -> list[int]:
        """Requests that have no end yet."""
        ended = {*self.answered, *self.quarantined}
        return [request for request in range(self.requests) if request not in ended]

    def send(self) -> None:
        """Send what may be sent; nothing is ever sent beside a suspect."""
        for request in self.open:
            if request in self.in_flight:
                continue
            verdict = self.detector.verdict(request)
            if verdict is Verdict.SEND:
                self.in_flight.append(request)
            elif verdict is Verdict.QUARANTINE:
                self.detector.finished(request)
                self.quarantined.append(request)
        if self.detector.tried_alone is not None:
            assert self.in_flight == [self.detector.tried_alone]

    def die(self) -> None:
        self.deaths += 1
        self.detector.died(self.in_flight, self.at_once)
        self.in_flight = []

    def die_from_outside(self) -> None:
        if len(self.in_flight) == 1:
            self.alone_outside += self.in_flight
        self.die()

    def step(self) -> None:
        """Work on the first in flight: it is answered, unless one at work on kills the engine."""
        if self.killers & set(self.in_flight[: self.at_once]):
            self.die()
        elif self.in_flight:
            request = self.in_flight.pop(0)
            self.detector.finished(request)
            self.answered.append(request)

    def run(self) -> None:
        while self.open:
            self.send()
            self.step()


worlds = st.integers(1, 30).flatmap(
    lambda requests: st.builds(
        World,
        requests=st.just(requests),
        at_once=st.integers(1, 40),
        killers=st.frozensets(st.integers(0, requests - 1)),
    )
)


@given(worlds)
def test_killers_are_quarantined_and_all_others_answered(world: World) -> None:
    world.run()
    assert sorted(world.quarantined) == sorted(world.killers)
    assert len(world.answered) == world.requests - len(world.killers)


@given(worlds)
def test_a_killer_costs_four_engines_at_most(world: World) -> None:
    """Two in company and two alone."""
    world.run()
    assert world.deaths <= 4 * len(world.killers)


@given(worlds, st.lists(st.booleans(), max_size=200))
def test_only_two_deaths_alone_make_a_harmless_request_a_killer(
    world: World, kills: list[bool]
) -> None:
    """However often and whenever engines are killed from outside."""
    for killed in kills:
        world.send()
        world.die_from_outside() if killed else world.step()
    world.run()
    for request in set(world.quarantined) - world.killers:
        assert world.alone_outside.count(request) >= 2
    assert world.killers <= set(world.quarantined)
    assert sorted(world.answered + world.quarantined) == list(range(world.requests))


@given(st.lists(st.integers(0, 99), min_size=2, unique=True), st.data())
def test_a_request_that_only_waited_is_never_suspected(
    in_flight: list[int], data: st.DataObject
) -> None:
    at_work = data.draw(st.integers(1, len(in_flight) - 1))
    detector = KillerDetector()
    for _ in range(9):
        detector.died(in_flight, at_work)
    assert {detector.deaths(request) for request in in_flight[at_work:]} == {0}
    for request in in_flight[:at_work]:
        assert detector.tried_alone == request
        assert detector.finished(request)
    assert {detector.verdict(request) for request in in_flight} == {Verdict.SEND}


@given(worlds)
def test_nothing_is_kept_of_what_is_finished(world: World) -> None:
    world.run()
    fresh = KillerDetector()
    assert vars(world.detector) == vars(fresh)
    assert not world.detector.finished(0)
