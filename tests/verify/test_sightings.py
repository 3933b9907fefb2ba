"""What a watch has seen: layers that are withdrawn leave nothing behind, and take nothing of others with them."""

from __future__ import annotations

from verify.sightings import Sightings


def test_a_layer_is_withdrawn_from_every_check_that_has_it() -> None:
    """Also from those after a check that has it not; what others showed stays, with the steps of the longest."""
    seen = Sightings()
    seen.enter("masks-monotone", "error", "a", 1, 3, 0.0)
    for step in (2, 3):
        seen.enter("resurrection", "error", "b", step, 2, 5.0)
    seen.enter("resurrection", "error", "a", 4, 1, 1.0)
    seen.enter("optimizer-state", "note", "b", 2, 2, 1.0)

    seen.withdraw("b")

    assert not seen.has("resurrection", "b")
    found = {finding.check: finding.data for finding in seen.findings(4, ())}
    assert found == {
        "masks-monotone": {"count": 3, "layers": {"a": 3}, "first_step": 1, "largest": "0", "steps": 1},
        "resurrection": {"count": 1, "layers": {"a": 1}, "first_step": 4, "largest": "1", "steps": 1},
    }


def test_a_layer_that_is_seen_again_after_it_was_withdrawn_grows_anew() -> None:
    """The largest that it had shown before is forgotten with it."""
    seen = Sightings()
    assert seen.grows("resurrection", "a", 9)
    assert not seen.grows("resurrection", "a", 9)
    seen.enter("resurrection", "error", "a", 1, 1, 1.0)
    seen.withdraw("a")
    assert seen.grows("resurrection", "a", 1)
