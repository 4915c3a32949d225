"""`bddzoo adopt`: take files that are on this machine already into the cache."""

from __future__ import annotations

from pathlib import Path

from bddzoo.cli import options as opt
from bddzoo.cli.app import App, Named
from bddzoo.errors import BddzooError, ExitCode, MissingError
from bddzoo.text import number_of


@opt.command(
    epilog="""\b
Examples:
  bddzoo adopt ~/Downloads/fcn_r50-d8_512x1024_40k_sem_seg_bdd100k.pth
  bddzoo adopt /mnt/old-mirror --copy
  bddzoo adopt work_dirs --verify
"""
)
def command(
    app: App,
    *,
    paths: tuple[Path, ...] = opt.argument(nargs=-1, required=True, type=Named()),
    verify: bool = opt.VERIFY,
    copy: bool = opt.flag("--copy", help="Copy instead of linking: the cache shares nothing with the files."),
) -> int:
    """Take files into the cache that are on this machine already.

    Files are recognised by name, and by digest under any name where the registry knows one. Folders
    are searched. Files are linked where the file system can, so that they take no room twice; they
    are left where they are.
    """
    from bddzoo.artifacts import Cache
    from bddzoo.artifacts.adopt import Adopter, explain_error, walk_files
    from bddzoo.cli.weights import digest_tensors
    from bddzoo.files import format_size

    cache = Cache(app.cache_dir)
    adopter = Adopter(cache, app.registry.models, copy=copy, verify=verify, tensors=digest_tensors)
    taken, failed, others = [], [], 0
    for path in walk_files(paths, cache.root):
        try:
            adopted = adopter.adopt(path)
        except BddzooError as error:
            failed.append(error)
            continue
        except OSError as error:
            failed.append(explain_error(error, path))
            continue
        if adopted is None:
            others += 1
            app.detail(f"{path}: no model's file")
        else:
            taken.append(adopted)
    if app.json:
        keys = ("model", "kind", "size_bytes", "md5", "sha256")
        app.data_json(
            [
                {
                    "from": a.path,
                    "path": cache.path_of(a.entry),
                    "digest_state": a.state,
                    "how": a.how,
                    **{k: getattr(a.entry, k) for k in keys},
                }
                for a in taken
            ]
        )
    else:
        app.table(
            ("file", "size", "digest", "from"),
            [
                (cache.path_of(a.entry), format_size(a.entry.size_bytes), a.state, f"{a.how} of {a.path}")
                for a in taken
            ],
        )
    for failure in failed[:-1]:
        app.error(failure.message, hint=failure.hint)
    if failed:
        raise failed[-1]
    if not taken:
        raise MissingError(
            f"none of {number_of(others, 'file')} belongs to a model",
            hint="names must be as in the zoo; see 'bddzoo info MODEL'",
        )
    app.warn_unverified([(a.entry.model, a.state) for a in taken])
    return int(ExitCode.OK)
