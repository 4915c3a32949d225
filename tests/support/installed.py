"""What pip leaves of an installed distribution."""

from pathlib import Path


def write_metadata(folder: Path, name: str, version: str) -> None:
    """The metadata of a distribution, in a folder of packages."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("pip\n")
