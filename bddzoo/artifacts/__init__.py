"""Sources, download, digests and the cache."""

from bddzoo.artifacts.cache import Cache, Entry
from bddzoo.artifacts.digests import Hashes, hash_file
from bddzoo.artifacts.fetch import FetchResult
from bddzoo.artifacts.fetcher import Fetcher
from bddzoo.artifacts.streams import NetworkPolicy
from bddzoo.artifacts.verification import verify_file

__all__ = ["Cache", "Entry", "FetchResult", "Fetcher", "Hashes", "NetworkPolicy", "hash_file", "verify_file"]
