"""``track``: what became of every track."""

from fabnet_secure.commands.options import EXIT_STATUS, AsJson, Debug, KeyFile, Quiet, Vault, noun, opened
from fabnet_secure.commands.output import Output, day, print_json, short

commands = noun("Look at tracks: ids, counts and states; never pictures.", example="fabnet-secure track list")


@commands.command("list", epilog=EXIT_STATUS)
def list_all(
    *,
    vault: Vault = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,  # noqa: ARG001  read by program.main
) -> None:
    """List every track: bound, dropped, quarantined, expired or erased.

    Example: fabnet-secure track list
    """
    from fabnet_secure.pipeline.registers import list_tracks

    with opened(vault, key_file) as site:
        found = list_tracks(site)
    out = Output(as_json=as_json, quiet=quiet)
    if as_json:
        for fields in found:
            print_json("track", fields)
        print_json("summary", {"tracks": len(found)})
    out.ids(str(fields["track_id"]) for fields in found)
    head = ("track", "status", "frames", "consent", "expires", "reason")
    rows = [
        (
            one["track_id"],
            one["status"],
            one["frames"],
            short(one["consent_id"]),
            day(one["expires_at"]),
            one["reason"],
        )
        for one in found
    ]
    out.table(head, rows)
