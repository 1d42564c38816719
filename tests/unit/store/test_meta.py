"""Key-values of the vault."""

from fabnet_secure.store.meta import get_meta, list_meta, set_meta


def test_values_are_set_replaced_and_listed(site):
    """A value is stored under its key and replaced by the next; an unknown key is None."""
    with site.work() as work:
        set_meta(work.connection, "origin", "a")
        set_meta(work.connection, "origin", "葛󠄀城")
        set_meta(work.connection, "b", "")
        work.log("test.entry", facts={})
        assert get_meta(work.connection, "origin") == "葛󠄀城"
        assert get_meta(work.connection, "none") is None
        assert list_meta(work.connection) == {"b": "", "origin": "葛󠄀城"}
