"""A person who consents to embedding and not to training: embedded at once, without crops, and that is no loss."""


def test_what_was_embedded_at_once_is_not_missed(trained, ok, program, consent_of, clips):
    """A track without crops is bound, found whole by 'doctor', and is asked about like any other."""
    added = ok(*consent_of("eve@example.org", "--purpose", "embed", "--purpose", "query_internal"))
    told = ok("ingest", str(clips / "eve.mp4"), "--consent", added["consent_id"])
    assert told["tracks"]["bound"] == 1
    rows = {one["name"]: one for one in program("doctor").objects[-1]["checks"]}
    assert rows["rows"]["status"] == "ok", rows["rows"]
    found = ok("query", "similar", "--track", told["track_ids"][0], "--purpose", "query_internal", "--top", "3")
    assert len(found["results"]) == 3
