"""From the configuration's sections to the policies of the core."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta

from guardian.config.watching import LimitsConfig, MatchConfig, PolicyConfig, RecordingConfig
from guardian.watch.model import Action
from guardian.watch.patrol import WatchPlan
from guardian.watch.rules import Limits, Match, Policy, Victims

POLICIES = """\
    watch:
      limits: {per_cycle: 2, per_hour: 9}
      policies:
        - name: forgotten
          match: {state: idle in transaction, for: 5m, users: [web, "w*"], clients: 10.0.0.0/8}
          except: {applications: "pgAdmin*", query: spare me}
          action: terminate
        - name: runaway
          match: {state: [active], transaction_for: 1h, databases: mina, wait_event_types: IO}
          action: [cancel, terminate]
          grace: 10s
          victims: all-but-oldest
          superusers: true
        - name: roots
          match: {blocking: 3, blocking_for: 1m, waiting_for: 2m, blocking_backup: false}
          action: report
"""


def test_the_cores_policies_are_those_that_were_written(load):
    watch = load(POLICIES).servers["main"].watch
    assert watch.to_policies() == (
        Policy(
            name="forgotten",
            match=Match(
                state=("idle in transaction",),
                for_=timedelta(minutes=5),
                users=("web", "w*"),
                clients=("10.0.0.0/8",),
            ),
            except_=Match(applications=("pgAdmin*",), query="spare me"),
            action=(Action.TERMINATE,),
        ),
        Policy(
            name="runaway",
            match=Match(
                state=("active",),
                transaction_for=timedelta(hours=1),
                databases=("mina",),
                wait_event_types=("IO",),
            ),
            action=(Action.CANCEL, Action.TERMINATE),
            grace=timedelta(seconds=10),
            victims=Victims.ALL_BUT_OLDEST,
            superusers=True,
        ),
        Policy(
            name="roots",
            match=Match(
                blocking=3,
                blocking_for=timedelta(minutes=1),
                waiting_for=timedelta(minutes=2),
                blocking_backup=False,
            ),
            action=(Action.REPORT,),
        ),
    )
    assert watch.limits.to_limits() == Limits(per_cycle=2, per_hour=9)


def test_a_recording_is_bounded_as_the_core_does_by_default():
    plan, recording = WatchPlan(), RecordingConfig()
    assert (recording.keep, recording.max_size) == (plan.keep_recording, plan.recording_bytes)
    assert (recording.enabled, recording.query_text) == (plan.record, plan.record_query_text)


def test_both_have_the_same_keys_and_defaults():
    assert set(MatchConfig.model_fields) == {one.name for one in fields(Match) if one.init}
    assert set(PolicyConfig.model_fields) == {one.name for one in fields(Policy)}
    assert LimitsConfig().to_limits() == Limits()
    assert MatchConfig().to_match() == Match()
