"""The user's config file, `bddzoo/config.yaml` in `XDG_CONFIG_HOME` (`~/.config`).

mirrors: [https://host/zoo, /mnt/zoo]      # asked before the registry's URLs
data: /data/bdd100k                        # or one root for each data set:
data: {bdd100k: /data/bdd100k, ade20k: /data/ade20k}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bddzoo.errors import MissingError, UsageError
from bddzoo.files import user_folder
from bddzoo.reading import read_limited

_HINT = "write e.g. 'mirrors: [https://host/zoo]' and 'data: /data/bdd100k'"


@dataclass(frozen=True)
class Config:
    """What the file says.

    Attributes:
        path: The file, whether or not it is there; None for a user without a home folder.
        mirrors: Sources of files, best first.
        data: Data set -> its root; the root under "" stands for every data set.
    """

    path: Path | None = None
    mirrors: tuple[str, ...] = ()
    data: Mapping[str, Path] = field(default_factory=dict)

    def root_of(self, dataset: str) -> Path | None:
        """The folder of a data set, or None."""
        return self.data.get(dataset, self.data.get(""))


def config_path() -> Path | None:
    """Where the file belongs; None for a user without a home folder."""
    try:
        return user_folder("config") / "config.yaml"
    except MissingError:
        return None


def read_config() -> Config:
    """The settings; empty ones where there is no file.

    Raises:
        UsageError: The file is not what it should be.
    """
    path = config_path()
    if path is None:
        return Config()
    try:
        text = read_limited(path).decode("utf-8")
    except OSError:
        return Config(path)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8", hint=_HINT) from None
    import yaml

    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}", hint=_HINT) from None
    if raw is None:
        return Config(path)
    if not isinstance(raw, dict):
        raw = {"mirrors": raw}
    mirrors, data = raw.get("mirrors") or [], raw.get("data") or {}
    if not isinstance(mirrors, list) or not all(isinstance(m, str) and m.strip() for m in mirrors):
        raise UsageError(f"{path}: 'mirrors' must be a list of URLs or folders", hint=_HINT)
    if isinstance(data, str):
        data = {"": data}
    if not isinstance(data, dict) or not all(isinstance(x, str) and x for x in data.values()):
        raise UsageError(f"{path}: 'data' must be a folder, or a folder for each data set", hint=_HINT)
    roots = {str(name): Path(root).expanduser() for name, root in data.items()}
    return Config(path, tuple(m.strip() for m in mirrors), roots)


@dataclass(frozen=True)
class Setting:
    """Something that can be set other than by an option of a single command.

    Attributes:
        name: What it is called.
        option: The option that sets it, or nothing.
        variable: The environment variable.
        key: Its key in the config file, or nothing.
        meaning: What it does.
    """

    name: str
    option: str
    variable: str
    key: str
    meaning: str


SETTINGS = (
    Setting("registry", "--registry", "BDDZOO_REGISTRY", "", "Registry file to use instead of bddzoo's own."),
    Setting("cache", "--cache", "BDDZOO_CACHE", "", "Folder of downloaded files."),
    Setting("results", "--results", "BDDZOO_RESULTS", "", "Folder of records."),
    Setting(
        "data",
        "--data",
        "BDDZOO_DATA",
        "data",
        "Folder of the data set; in the config file also one for each data set.",
    ),
    Setting(
        "mirrors",
        "--from",
        "BDDZOO_MIRRORS",
        "mirrors",
        "Sources to ask before the registry's; all are asked.",
    ),
    Setting("color", "--no-color", "NO_COLOR", "", "Colours on a terminal."),
    Setting("ray", "--address", "RAY_ADDRESS", "", "The Ray cluster of 'sweep --executor ray'."),
    Setting(
        "native", "", "BDDZOO_NATIVE", "", "0: decode labels without compiled code; the numbers are the same."
    ),
    Setting(
        "oracle",
        "",
        "BDDZOO_ORACLE_PYTHON",
        "",
        "Python that has the official toolkit, for --evaluator official.",
    ),
)
