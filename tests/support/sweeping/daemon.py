"""The daemon swept: one round of its duty, from the schedule to the message, and the next life.

A life is ``guardian run``: it starts while a backup is due and a probe fails, and is told to end
when a new backup is there and proven, an old one pruned, and the failing probe told of; or when it
has had the time for that, for with a fault it may never come to it. Its workers are processes of
their own, which are swept as the commands that they are like; its own points are the others: the
schedule, the start and the end of workers, probes, incidents, what is sent, the lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from support.listeners import Crowd, crowd
from support.ports import free_port
from support.receivers import Answer, WebReceiver
from support.sweeping.invariants import require
from support.sweeping.nursery import Life
from support.sweeping.stage import RETENTION, Case, Scenario, Scene, World, back_up

from guardian.errors import GuardianError
from guardian.escalate.model import State

_PROBE = {"name": "web", "kind": "http", "interval": "500ms", "failures": 1}
_OFTEN = "every 15s"
_QUICKLY = {"settle": {"*": "0s"}, "recovery": {"*": "0s"}, "startup_settle": "0s"}


def prepare_daemon(world: World) -> Iterator[Scene]:
    """A pinned backup and three others; somebody on call; a web address that answers with 500."""
    status = {"web": 500}
    with (
        crowd("pager") as people,
        WebReceiver(lambda _: Answer(status["web"], b"{}")) as web,
    ):
        ground = world.stocked(
            backup={"attempts": 1, "schedule": _OFTEN},
            retention={**RETENTION, "keep_last": 2},
            outage={"interval": "500ms"},
            watch={"interval": "500ms"},
        )
        ground.site.server["verify"]["schedule"] = "after-backup"
        ground.site.sections |= {
            "service": {"listen": f"127.0.0.1:{free_port()}"},
            "probes": [{**_PROBE, "url": f"{web.url}/health"}],
            "escalation": people.section({"on-call": ["pager"]}, **_QUICKLY),
        }
        pinned = world.larder.ids[0]
        ground.well("backup", "keep", pinned)
        judge = replace(world.judge(ground, {pinned}), tidy=False)

        def begin() -> None:
            status["web"] = 500
            ground.site.server["backup"]["schedule"] = _OFTEN
            people.receivers["pager"].requests.clear()

        facts = {"people": people, "old": set(world.larder.ids), "status": status}
        scene = Scene(ground, judge, ["run"], facts=facts, also=begin)
        scene.live = lambda strike: _live(scene, strike)
        yield scene


def _live(scene: Scene, strike: Case | None) -> Life:
    """Until its round is done."""

    def done(catalog: Any) -> bool:
        told = any(one["incident_kind"].startswith("probe") for one in _heard(scene))
        return told and _has_gone_round(scene, catalog)

    return _until(scene, done, strike=strike, watched=True)


def _until(scene: Scene, done: Callable[[Any], bool], **how: Any) -> Life:
    """The daemon, until the catalog says that it is done."""

    def look() -> bool:
        with suppress(GuardianError), scene.judge.catalog() as catalog:
            return done(catalog)
        return False

    return scene.ground.run(*scene.words, done=look, **how)


def _has_gone_round(scene: Scene, catalog: Any) -> bool:
    """Whether a new backup is there and proven, and an old one is gone."""
    there = {str(one.id): one for one in catalog.backups()}
    new = [one for name, one in there.items() if name not in scene.facts["old"]]
    pruned = not scene.facts["old"] <= there.keys()
    return pruned and any(one.proven for one in new)


def _heard(scene: Scene) -> list[dict[str, Any]]:
    people: Crowd = scene.facts["people"]
    return people.heard("pager")


def check_daemon(scene: Scene, life: Life, whole: dict[str, set[str]]) -> None:
    """What ends by SIGTERM ends with 0; what was said is so."""
    if not (life.killed or life.struck):
        require(life.status == 0, f"it ends with {life.status}: {life.err[-1500:]}")
        with scene.judge.catalog() as catalog:
            require(_has_gone_round(scene, catalog), f"no round was done: {life.err[-1500:]}")
    if not life.killed and life.status != 0:
        last = life.err.strip().splitlines()[-1:]
        require(last and "guardian" in last[0], f"it ends with {life.status} and says: {last}")


def settle_daemon(scene: Scene, life: Life) -> None:
    """The next one settles and proves what it finds; what was told of has ended, and that is told.

    It has the time for it: its schedule is slow, so a busy host makes no backup overdue meanwhile.
    """
    ground = scene.ground
    ground.age()
    scene.facts["status"]["web"] = 200
    newest = back_up(ground)

    def settled(catalog: Any) -> bool:
        proven = {str(one.id) for one in catalog.backups() if one.proven}
        over = all(one.state is State.RESOLVED for one in catalog.incidents())
        return newest in proven and over and catalog.outstanding() == 0

    ground.site.server["backup"]["schedule"] = "every 1h"
    after = _until(scene, settled, work=60.0)
    require(after.status == 0, f"the next daemon ends with {after.status}: {after.err[-1500:]}")
    with scene.judge.catalog() as catalog:
        open_ = [one.key for one in catalog.incidents() if one.state is not State.RESOLVED]
        require(settled(catalog), f"the next daemon: open {open_}: {after.err[-2500:]}")
    scene.judge.after_the_next_run()
    _require_ends(scene)


def _require_ends(scene: Scene) -> None:
    """Each alert has its end, and none came three times.

    While the catalog cannot be written, alerts leave without a record, so that somebody hears of
    it; the end of those is told by the daemon that sent them, and dies with it.
    """
    heard = _heard(scene)
    with scene.judge.catalog() as catalog:
        known = {str(one.id) for one in catalog.incidents()}
    for incident in known & {one["incident"] for one in heard}:
        told = [one for one in heard if one["incident"] == incident]
        kinds = [one["kind"] for one in told]
        require(kinds[-1] == "resolved", f"{told[0]['title']}: {kinds}")
    for one in heard:
        same = sum(other == one for other in heard)
        require(same <= 2, f"heard {same} times: {one['title']}")


DAEMON = Scenario("daemon", 100, prepare_daemon, check_daemon, settle_daemon)

__all__ = ["DAEMON"]
