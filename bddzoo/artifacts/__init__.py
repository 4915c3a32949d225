"""Sources, download, digests and the cache."""

from bddzoo.artifacts.cache import Cache, Entry
from bddzoo.artifacts.digests import Hashes, hash_file
from bddzoo.artifacts.fetcher import Fetcher, FetchResult
from bddzoo.artifacts.manners import Manners
from bddzoo.artifacts.verify import verify_file

__all__ = ["Cache", "Entry", "FetchResult", "Fetcher", "Hashes", "Manners", "hash_file", "verify_file"]
