"""What waited for a legal hold is carried through as soon as nothing holds it any more."""

from fabnet_secure.pipeline import holds
from fabnet_secure.pipeline.context import Site
from fabnet_secure.pipeline.withdraw import Withdrawn, carry_through
from fabnet_secure.store import erasures
from fabnet_secure.store.holds import list_holds
from fabnet_secure.store.states import ErasureState
from fabnet_secure.types import ConsentId, KeyDomain


def carry_waiting(site: Site) -> dict[ConsentId, Withdrawn]:
    """Finish every withdrawal that a hold, now ended, had kept from being carried out; cheap where none ever was.

    Left to whoever opens the vault next where this keyring cannot sign the certificate that a withdrawal ends with.
    """
    if not site.keyring.opens(KeyDomain.REPORT):
        return {}
    with site.reading() as connection:
        if not list_holds(connection):
            return {}
        rows = holds.checked(site, connection)
        now = site.clock()
        ended = {row.consent_id for row in rows} - {row.consent_id for row in rows if row.holds(now)}
        waiting = [
            row
            for row in erasures.list_erasures(connection)
            if row.consent_id in ended and row.state is not ErasureState.COMPLETE
        ]
    return {row.consent_id: carry_through(site, row) for row in waiting}
